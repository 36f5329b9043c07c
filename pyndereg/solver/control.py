"""Step-size control: how long the next step is, and whether a step is accepted."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pyndereg.solver.norms import natural_sizes, root_mean_square
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.times import least_advance, origin_of


class Controller(Protocol):
    """Decides on steps from their scaled errors. A value: its methods return the controller of the next step."""

    @property
    def longest(self) -> float:
        """Length that no step exceeds, > 0, in the problem's time units."""
        ...

    def accepts(self, scaled_error: float) -> bool:
        """Whether a step with this error is acceptable."""
        ...

    def after_acceptance(self, dt: float, scaled_error: float) -> tuple[float, "Controller"]:
        """Length of the next step after an accepted one of length dt >= 0, and the controller that judges it."""
        ...

    def after_rejection(self, dt: float, scaled_error: float) -> tuple[float, "Controller"]:
        """Length with which to try a rejected step of length dt >= 0 again, and the controller that judges it."""
        ...


class PIController(NamedTuple):
    """Proportional-integral control with the constants of OrdinaryDiffEq 7.

    With the error E of this step and that of the last accepted one, E': q = E^beta1 / (E'^beta2 gamma), kept within
    [1/qmax, 1/qmin]; the next step is dt/q. A rejected step is tried again with dt / min(1/qmin, E^beta1 / gamma).
    Until a step was accepted, growth is capped by `qmax_first` in place of `qmax`: the automatic first step is only a
    guess. A step whose error is not finite is tried again with the shortest factor, qmin.

    Source: [@hairer1996solving] section IV.2, [@soderlind2003digital]; constants of
    [@rackauckas2017differentialequations].
    """

    beta1: float
    beta2: float
    gamma: float = 0.9
    qmin: float = 0.2
    qmax: float = 10.0
    qmax_first: float = 10_000.0
    error_floor: float = 1e-4
    last_error: float = 1e-4
    first: bool = True
    longest: float = math.inf

    @staticmethod
    def of(tableau: Tableau) -> "PIController":
        """The controller with a method's own exponents."""
        beta1, beta2 = tableau.controller_exponents
        return PIController(beta1, beta2)

    def no_longer_than(self, dt: float | None) -> "PIController":
        """The same with a length that no step exceeds; None for none."""
        return self if dt is None else self._replace(longest=float(dt))

    def accepts(self, scaled_error: float) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return scaled_error <= 1

    def after_acceptance(self, dt: float, scaled_error: float) -> tuple[float, "PIController"]:
        """Next step length, and the controller that remembers this error."""
        qmax = self.qmax_first if self.first else self.qmax
        if scaled_error == 0:
            q = 1 / qmax
        else:
            # One division: so OrdinaryDiffEq's compiled code rounds it.
            q = scaled_error**self.beta1 / (self.last_error**self.beta2 * self.gamma)
            q = min(max(q, 1 / qmax), 1 / self.qmin)
        return dt / q, self._replace(last_error=max(scaled_error, self.error_floor), first=False)

    def after_rejection(self, dt: float, scaled_error: float) -> tuple[float, "PIController"]:
        """Shorter step length; the memory of the last accepted step stays."""
        if not math.isfinite(scaled_error):
            return dt * self.qmin, self
        return dt / min(1 / self.qmin, scaled_error**self.beta1 / self.gamma), self


def first_step(
    slope: Callable[[Tensor, Tensor], Tensor],
    t0: float,
    t1: float,
    y0: Tensor,
    slope0: Tensor,
    order: int,
    rtol: float,
    atol: float,
    controlled: int | None = None,
    time_dtype: torch.dtype | None = None,
) -> float:
    """Length of the first step, from the sizes of the state, its slope and its curvature.

    Args:
        slope: f(t, y) on flat states; called once.
        t0, t1: ends of the interval, in the problem's time units.
        y0, slope0: state and slope at t0. Shape (size,), units of y and of y per time.
        order: order of the method. OrdinaryDiffEq uses the order itself where the book has order + 1.
        rtol, atol: tolerances.
        controlled: how many elements at the start of the state the sizes see; None for all.
        time_dtype: of the times that f is called with; None for the state's.
    Returns:
        A positive length in the problem's time units; NaN if the slope at t0 is not finite.
    Source: [@hairer1993solving] section II.4, "Starting Step Size"; as in OrdinaryDiffEq 7.7.
    """
    search = FirstStepSearch(t0, t1)
    seen = slice(controlled)
    scale = natural_sizes(y0[seen], rtol, atol)
    size, speed = root_mean_square(y0[seen] / scale), root_mean_square(slope0[seen] / scale)
    if not math.isfinite(speed):
        return math.nan
    trial = search.trial(size, speed)
    t_trial = torch.full((), t0 + search.direction * trial, dtype=time_dtype or y0.dtype, device=y0.device)
    slope1 = slope(t_trial, torch.add(y0, slope0, alpha=search.direction * trial))
    change = root_mean_square((slope1 - slope0)[seen] / scale)
    return search.length(trial, speed, change, order)


def possible_growth(scaled_error: float, order: float) -> float:
    """By which factor a step could have been longer, or should have been shorter, to have the error 0.9^order.

    Args:
        scaled_error: its error in units of the tolerance, >= 0; NaN if it is not known.
        order: the error grows as its length to this power.
    Returns:
        A factor > 0; infinity for no error, NaN if it is not known.
    """
    return math.inf if scaled_error == 0 else 0.9 * scaled_error ** (-1 / order)


class FirstStepSearch:
    """The search for a first step's length, given sizes in units of the tolerance.

    Args:
        t0, t1: ends of the interval, in the problem's time units.
    """

    def __init__(self, t0: float, t1: float) -> None:
        self.direction = math.copysign(1.0, t1 - t0)
        self._longest = abs(t1 - t0)
        self._shortest = least_advance(t0 - origin_of(t0, t1))
        self._small = max(self._shortest, 1e-6)

    def trial(self, size: float, speed: float) -> float:
        """Length of the Euler step that measures the curvature, from the sizes of the state and of its slope."""
        trial = self._small if size < 1e-5 or speed < 1e-5 else size / speed / 100
        return min(trial, self._longest)

    def length(self, trial: float, speed: float, change: float, order: float) -> float:
        """Length of the first step, from the size of the slope's change along the Euler step."""
        if change == 0:
            return max(self._shortest, 100 * trial)
        curvature = change / trial
        if not math.isfinite(curvature):
            return max(self._shortest, trial * 1e-3)
        steepest = max(speed, curvature)
        guess = max(self._small, trial * 1e-3) if steepest <= 1e-15 else 10.0 ** (-(2 + math.log10(steepest)) / order)
        return max(self._shortest, min(100 * trial, guess, self._longest))
