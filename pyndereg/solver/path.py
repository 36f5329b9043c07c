"""A finished solution as a function of time, for a solve that runs backwards along it."""

import bisect
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.interpolation import extension_weights, interpolate
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, Stage
from pyndereg.solver.states import StepStates


class Path(Protocol):
    """A solution at any time between its ends, by its method's interpolant."""

    def at(self, times: Sequence[float]) -> Tensor:
        """States at times, in the problem's time units; a time beyond an end is taken as that end. (times, size)."""
        ...

    def forget_after(self, t: float) -> None:
        """Times after t will not be asked for again."""
        ...


class Pieces:
    """Consecutive steps whose slopes are kept.

    Args:
        weights: of the method's interpolant. Shape (nodes, degree), float64 on the CPU.
        direction: 1.0 if time grows from step to step, else -1.0.
    """

    def __init__(self, weights: Tensor, direction: float) -> None:
        self._weights, self._direction = weights, direction
        self._starts: list[float] = []  # times direction, so that they grow
        self._t: list[float] = []
        self._dt: list[float] = []
        self._y: list[Tensor] = []
        self._slopes: list[Tensor] = []

    def append(self, t: float, dt: float, y: Tensor, slopes: Tensor) -> None:
        """One more step: start and signed length, state at the start (size,), slopes of all nodes (nodes, size)."""
        self._starts.append(t * self._direction)
        self._t.append(t)
        self._dt.append(dt)
        self._y.append(y)
        self._slopes.append(slopes)

    def at(self, times: Sequence[float]) -> Tensor:
        """See `Path`."""
        return torch.cat(
            [self._one(i, [times[k] for k in rows]) for i, rows in groups(self._starts, self._direction, times)]
        )

    def forget_after(self, t: float) -> None:
        """All steps stay."""

    def _one(self, i: int, times: Sequence[float]) -> Tensor:
        return piece(self._weights, self._t[i], self._dt[i], self._y[i], self._slopes[i], times)


class ReplayedPath:
    """Steps that are taken again from the states at their starts, when the time that is asked for comes to them.

    Times come from the end of the solution to its start; only the steps around the present one hold slopes.

    Args:
        method, plain: two methods without graphs, one for the steps and one for states between checkpoints.
        t, dt: of the accepted steps, in the problem's time units; at least one.
        states: state at the start of step i; the first is there, further ones may be missing.
        y1: state at the end of the last one. Shape (size,).
        agreement: compares their ends.
    """

    def __init__(
        self,
        method: ExplicitRungeKutta,
        plain: ExplicitRungeKutta,
        t: Sequence[float],
        dt: Sequence[float],
        states: dict[int, Tensor],
        y1: Tensor,
        agreement: Agreement,
    ) -> None:
        self._method, self._t, self._dt = method, t, dt
        self._direction = 1.0 if dt[0] > 0 else -1.0
        self._starts = [start * self._direction for start in t]
        self._states = StepStates(plain, t, dt, states)
        self._first_stages: dict[int, Stage] = {}
        self._ends, self._agreement = {len(dt) - 1: y1}, agreement
        self._present: dict[int, tuple[Tensor, Tensor]] = {}

    def at(self, times: Sequence[float]) -> Tensor:
        """See `Path`."""
        grouped = groups(self._starts, self._direction, times)
        # The last step first, for the sake of the checkpoints and of the stage between two steps.
        for i in sorted({i for i, _ in grouped}, reverse=True):
            self._take(i)
        weights = self._method.coefficients.weights
        return torch.cat(
            [
                piece(weights, self._t[i], self._dt[i], *self._present[i], [times[k] for k in rows])
                for i, rows in grouped
            ]
        )

    def forget_after(self, t: float) -> None:
        """Let go of the steps that begin at t or later."""
        first = bisect.bisect_left(self._starts, t * self._direction)
        for i in [i for i in self._present if i >= first]:
            del self._present[i]
        for i in [i for i in self._first_stages if i > first]:
            del self._first_stages[i]
        self._states.forget_from(first)

    def _take(self, i: int) -> None:
        if i in self._present:
            return
        y = self._states.take(i)
        step = self._method.replay(self._t[i], self._dt[i], y, self._first_stages.get(i + 1))
        end = self._ends.pop(i, None)
        if end is not None:
            self._method.compare(step, end, self._agreement)
        self._ends[i - 1] = y
        self._method.extend(step)
        self._first_stages[i] = step.stages[0]
        self._present[i] = (y, self._method.slopes.clone())


def groups(starts: Sequence[float], direction: float, times: Sequence[float]) -> list[tuple[int, list[int]]]:
    """Runs of consecutive times that lie in one step: index of the step, and indices of the times.

    The time between two steps belongs to the earlier one, which a backward solve comes to next.

    Args:
        starts: starts of the steps times their direction, ascending.
    """
    found: list[tuple[int, list[int]]] = []
    for k, time in enumerate(times):
        i = max(bisect.bisect_left(starts, time * direction) - 1, 0)
        if found and found[-1][0] == i:
            found[-1][1].append(k)
        else:
            found.append((i, [k]))
    return found


def piece(weights: Tensor, t: float, dt: float, y: Tensor, slopes: Tensor, times: Sequence[float]) -> Tensor:
    """States inside one step. Shape (times, size)."""
    theta = torch.tensor([min(max((time - t) / dt, 0.0), 1.0) for time in times], dtype=torch.float64, device="cpu")
    return interpolate(extension_weights(weights, theta, y), y, slopes, dt)
