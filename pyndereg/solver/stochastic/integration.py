"""A whole stochastic solve: the march of a stochastic method along a Brownian path, and what is kept of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pyndereg.ivp.sampling import Sampler
from pyndereg.solver.control import Controller
from pyndereg.solver.integration import Sampled
from pyndereg.solver.march import March, march
from pyndereg.solver.plans import Plan
from pyndereg.solver.states import ThinnedStates

Increments = tuple[Tensor, Tensor]


class TakenStep(NamedTuple):
    """One attempted step of a stochastic method.

    Attributes:
        t, dt: where it began and its length, in the problem's time units.
        y0, y1: states at both ends, in the solver's shape: one tensor (*state); flat where the user's is a tuple.
        scaled_error: error in units of the tolerance. Shape (); None where the method has no estimate.
        stiffness: estimate of |largest eigenvalue| of the drift's Jacobian, 1/time. Shape (); None without one.
        increments: of the Brownian motion over it: dW and dZ, shape of the noise each.
    """

    t: float
    dt: float
    y0: Tensor
    y1: Tensor
    scaled_error: Tensor | None
    stiffness: Tensor | None
    increments: Increments


class TakeStep(Protocol):
    """Takes one step; with the same increments whenever it is taken again."""

    def __call__(self, t: float, dt: float, y0: Tensor, increments: Increments | None = None) -> TakenStep:
        """Step from a state in the solver's shape.

        Args:
            t, dt: where it begins and its length, in the problem's time units.
            y0: shape (*state).
            increments: of the Brownian motion, if they are at hand; else its path is asked.
        """
        ...


class SavedBetween(NamedTuple):
    """The save points of one step: rows of the saved states, and fractions of the step at which they lie."""

    rows: tuple[int, ...]
    theta: tuple[float, ...]


@dataclass
class StochasticTrajectory:
    """What a stochastic solve left behind; tensors carry graphs where the steps do.

    Attributes:
        march: accepted steps and how it ended.
        y1: last accepted state. Shape (*state).
        times, saved: save times that were reached, and states there. Shape (times, *state).
        saves_start: whether the first of them is the initial state.
        saves: per step, its save points.
        scaled_error, stiffness: per step. Shape (steps,); NaN where the method has no estimate.
        states, increments: state at the start of a step, and its increments, by its index, if they are kept.
        samples: per sampler, what it chose; None if nothing.
    """

    march: March[TakenStep]
    y1: Tensor
    times: list[float]
    saved: Tensor
    saves_start: bool
    saves: list[SavedBetween]
    scaled_error: Tensor
    stiffness: Tensor
    states: dict[int, Tensor]
    increments: dict[int, Increments]
    samples: list[Sampled | None]

    def outputs(self) -> tuple[Tensor, ...]:
        """What a differentiable solve returns.

        Final state (*state), saved states (times, *state), scaled errors and stiffness (steps,), and sampled states
        (samples, *state).
        """
        states = [sampled.state for sampled in self.samples if sampled is not None]
        sampled = torch.stack(states) if states else self.y1.new_empty(0)
        return self.y1, self.saved, self.scaled_error, self.stiffness, sampled


class StochasticRecorder:
    """Takes the steps of a march and keeps what was asked for; between the ends of a step states lie on a line.

    Args:
        take_step: (t, dt, y0) -> step.
        y0: initial state. Shape (*state).
        t0: its time.
        times: save times in order; `every_step` saves the end of each step instead.
        keep_states, checkpoints: whether to keep states at the starts of steps with their increments, or states alone,
            and then how many at most.
        samplers: choose points of the solution.
    """

    def __init__(
        self,
        take_step: TakeStep,
        y0: Tensor,
        *,
        t0: float,
        times: tuple[float, ...],
        every_step: bool,
        keep_states: bool,
        checkpoints: int | None,
        samplers: Sequence[Sampler],
    ) -> None:
        self._take_step, self.y1 = take_step, y0
        self._pending, self._every_step = list(reversed(times)), every_step
        self._keep_states, self._kept = keep_states, ThinnedStates(checkpoints)
        self._samplers = samplers
        self.samples: list[Sampled | None] = [None] * len(samplers)
        self.times: list[float] = []
        self.saved: list[Tensor] = []
        self.saves: list[SavedBetween] = []
        self.errors: list[Tensor] = []
        self.stiffness: list[Tensor] = []
        self._nan = y0.new_tensor(math.nan)
        self.increments: dict[int, Increments] = {}
        self.saves_start = every_step or (bool(self._pending) and self._pending[-1] == t0)
        if self.saves_start:
            self._save(t0, y0)
            self._pending = self._pending[:-1]

    def attempt(self, t: float, dt: float) -> TakenStep:
        """Take one step from the end of the last accepted one."""
        return self._take_step(t, dt, self.y1)

    def accept(self, step: TakenStep, t_end: float) -> None:
        """Keep what was asked for of an accepted step."""
        index = len(self.errors)
        self.errors.append(self._nan if step.scaled_error is None else step.scaled_error)
        self.stiffness.append(self._nan if step.stiffness is None else step.stiffness)
        rows, thetas = [], []
        while self._pending and self._pending[-1] <= t_end:
            time = self._pending.pop()
            rows.append(len(self.times))
            thetas.append(1.0 if time == t_end else (time - step.t) / (t_end - step.t))
            self._save(time, between(step, thetas[-1]))
        if self._every_step:
            rows.append(len(self.times))
            thetas.append(1.0)
            self._save(t_end, step.y1)
        self.saves.append(SavedBetween(tuple(rows), tuple(thetas)))
        for k, sampler in enumerate(self._samplers):
            theta = sampler.choose(step.t, t_end)
            if theta is not None:
                self.samples[k] = Sampled(step.t + theta * (t_end - step.t), index, theta, between(step, theta))
        if self._keep_states:
            self._kept.keep(index, step.y0)
            if self._kept.most is None:
                self.increments[index] = step.increments
        self.y1 = step.y1

    def trajectory(self, result: March[TakenStep]) -> StochasticTrajectory:
        """Everything that was kept."""
        none = self.y1.detach().new_empty(0)
        return StochasticTrajectory(
            march=result,
            y1=self.y1,
            times=self.times,
            saved=torch.stack(self.saved) if self.saved else self.y1.new_empty(0, *self.y1.shape),
            saves_start=self.saves_start,
            saves=self.saves,
            scaled_error=torch.stack(self.errors) if self.errors else none,
            stiffness=torch.stack(self.stiffness) if self.stiffness else none.clone(),
            states=self._kept.states,
            increments=self.increments,
            samples=self.samples,
        )

    def _save(self, time: float, state: Tensor) -> None:
        self.times.append(time)
        self.saved.append(state)


def between(step: TakenStep, theta: float) -> Tensor:
    """The state at a fraction of a step, on the straight line between its ends. Shape (*state)."""
    if theta in (0.0, 1.0):
        return step.y0 if theta == 0.0 else step.y1
    return torch.lerp(step.y0, step.y1, theta)


def integrate(
    recorder: StochasticRecorder,
    controller: Controller | Plan,
    t0: float,
    t1: float,
    first_step: float,
    max_steps: int,
    snap: Callable[[float, float], float] | None,
) -> StochasticTrajectory:
    """Solve from t0 to t1 > t0; arguments as those of `march`."""
    result = march(recorder.attempt, recorder.accept, controller, t0, t1, first_step, max_steps, snap)
    return recorder.trajectory(result)
