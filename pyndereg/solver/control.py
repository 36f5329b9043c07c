"""Step-size control: how long the next step is, and whether a step is accepted."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pyndereg.solver.norms import RMS, Norm, natural_sizes, size_of
from pyndereg.solver.times import least_advance, origin_of

# A tiny error is remembered as this one: it says only that the step could have been longer, not by how much.
ERROR_FLOOR = 1e-4
# A step that could have been this many times longer at most is no start any more.
ENDS_THE_START = 2.0


class Controller(Protocol):
    """Decides on steps from their scaled errors. A value: its methods return the controller of the next step."""

    @property
    def longest(self) -> float:
        """Length that no step exceeds, > 0, in the problem's time units."""
        ...

    @property
    def aim(self) -> float:
        """The scaled error that steps settle at where it changes slowly, 0 < aim <= 1."""
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


class Law(Controller, Protocol):
    """A controller that can take over from another one."""

    def settled(self, scaled_error: float) -> "Law":
        """The law as it goes on after a step with this error, without a memory of the steps before it."""
        ...


class MethodControl(NamedTuple):
    """What a method says of the control of its steps.

    Attributes:
        error_order: the power of the step length that its error estimate grows as.
        beta1, beta2: exponents of `PIController`.
        grow: by which factor a step may grow unless the user says otherwise.
    """

    error_order: float
    beta1: float
    beta2: float
    grow: float = 10.0


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
    error_floor: float = ERROR_FLOOR
    last_error: float = ERROR_FLOOR
    first: bool = True

    @property
    def longest(self) -> float:
        """No limit."""
        return math.inf

    @property
    def aim(self) -> float:
        """See `Controller`: a constant error with which steps keep their length."""
        return self.gamma ** (1 / (self.beta1 - self.beta2))

    def settled(self, scaled_error: float) -> "PIController":
        """See `Law`."""
        return self._replace(last_error=max(scaled_error, self.error_floor), first=False)

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
        return dt / q, self.settled(scaled_error)

    def after_rejection(self, dt: float, scaled_error: float) -> tuple[float, "PIController"]:
        """Shorter step length; the memory of the last accepted step stays."""
        if not math.isfinite(scaled_error):
            return dt * self.qmin, self
        return dt / min(1 / self.qmin, scaled_error**self.beta1 / self.gamma), self


class FreeStart(NamedTuple):
    """Integral control while a solve starts: until a step could not have been twice as long, or was rejected.

    A step that is far too short says by its error alone how much longer it could have been; a law with a memory would
    weigh that against errors of steps that were shorter still.

    Attributes:
        law: goes on from there.
        error_order: the power of the step length that errors grow as.
        safety, grow: factor of the length with error 1, and by how much a step may grow.
    """

    law: Law
    error_order: float
    safety: float
    grow: float

    @property
    def longest(self) -> float:
        """That of the law."""
        return self.law.longest

    @property
    def aim(self) -> float:
        """That of the law."""
        return self.law.aim

    def accepts(self, scaled_error: float) -> bool:
        """As the law does."""
        return self.law.accepts(scaled_error)

    def after_acceptance(self, dt: float, scaled_error: float) -> tuple[float, Controller]:
        """See `Controller`; an error of zero does not say how much longer the step could have been."""
        settled = self.law.settled(scaled_error)
        if scaled_error == 0:
            return dt * self.grow, settled
        growth = min(self.safety * scaled_error ** (-1 / self.error_order), self.grow)
        return dt * growth, self if growth > ENDS_THE_START else settled

    def after_rejection(self, dt: float, scaled_error: float) -> tuple[float, Controller]:
        """See `Controller`."""
        return self.law.settled(1.0).after_rejection(dt, scaled_error)


class Limited(NamedTuple):
    """A controller whose steps are neither shorter nor longer than the user says.

    A step that would be too short is as short as may be, and accepted whatever its error, as in torchdiffeq and
    diffrax, unless that is not finite. The first step, and the last one, which ends at t1, may be shorter.

    Attributes:
        controller: chooses within the limits.
        shortest, longest: lengths, in the problem's time units.
        at_limit: whether the step that is judged was to be too short.
    """

    controller: Controller
    shortest: float
    longest: float
    at_limit: bool = False

    @property
    def aim(self) -> float:
        """See `Controller`."""
        return self.controller.aim

    def accepts(self, scaled_error: float) -> bool:
        """See `Controller`."""
        return self.controller.accepts(scaled_error) or (self.at_limit and math.isfinite(scaled_error))

    def after_acceptance(self, dt: float, scaled_error: float) -> tuple[float, Controller]:
        """See `Controller`."""
        return self._limited(*self.controller.after_acceptance(dt, scaled_error))

    def after_rejection(self, dt: float, scaled_error: float) -> tuple[float, Controller]:
        """See `Controller`; no length where the shortest step is not finite."""
        if self.at_limit:
            return 0.0, self
        return self._limited(*self.controller.after_rejection(dt, scaled_error))

    def _limited(self, dt: float, controller: Controller) -> tuple[float, Controller]:
        return max(dt, self.shortest), self._replace(controller=controller, at_limit=0 < dt <= self.shortest)


def first_step(
    slope: Callable[[Tensor, Tensor], Tensor],
    t0: float,
    t1: float,
    y0: Tensor,
    slope0: Tensor,
    order: int,
    rtol: float,
    atol: float,
    *,
    controlled: int | None = None,
    time_dtype: torch.dtype | None = None,
    norm: Norm = RMS,
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
        norm: that the sizes are measured by.
    Returns:
        A positive length in the problem's time units; NaN if the slope at t0 is not finite.
    Source: [@hairer1993solving] section II.4, "Starting Step Size"; as in OrdinaryDiffEq 7.7.
    """
    search = FirstStepSearch(t0, t1)
    seen = slice(controlled)
    scale = natural_sizes(y0[seen], rtol, atol)
    size, speed = size_of(y0[seen] / scale, norm), size_of(slope0[seen] / scale, norm)
    if not math.isfinite(speed):
        return math.nan
    trial = search.trial(size, speed)
    t_trial = torch.full((), t0 + search.direction * trial, dtype=time_dtype or y0.dtype, device=y0.device)
    slope1 = slope(t_trial, torch.add(y0, slope0, alpha=search.direction * trial))
    change = size_of((slope1 - slope0)[seen] / scale, norm)
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
