"""The loop that accepts and rejects steps: the only one."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from pyndereg.ivp import Status
from pyndereg.solver.control import Controller, possible_growth
from pyndereg.solver.plans import Plan, PlannedStep
from pyndereg.solver.times import origin_of

# A step is tried again this often after f gave NaN or infinity; each try is five times shorter.
NON_FINITE_TRIES = 20
# A step that would end this many units in the last place before t1 ends at t1, as in OrdinaryDiffEq; units of the time
# since t0 where t0 and t1 are far from zero, so that it is never a visible part of the interval.
END_TOLERANCE = 100


class Attempt(Protocol):
    """What the loop needs to know about an attempted step."""

    @property
    def scaled_error(self) -> Tensor | None:
        """Shape (), the step's error in units of the tolerance; None where there is no estimate."""
        ...


StepT = TypeVar("StepT", bound=Attempt)


@dataclass
class March(Generic[StepT]):
    """How the loop went; one entry of each list per accepted step.

    Attributes:
        status: how it ended.
        t, dt: start and signed length, in the problem's time units.
        rejected: count of rejected steps.
        proposed: length of the last step before it was cut to end at t1, > 0: what a march that goes on would try.
        t_reached: end of the last accepted step.
        first_error: error of the first accepted step, as the controller saw it; NaN where steps are planned.
        first_rejected: how often it was tried before.
    """

    t_reached: float
    status: Status = Status.SUCCESS
    t: list[float] = field(default_factory=list)
    dt: list[float] = field(default_factory=list)
    rejected: int = 0
    proposed: float = math.nan
    first_error: float = math.nan
    first_rejected: int = 0

    def first(self, order: float) -> dict[str, Any]:
        """What `Statistics` say of the first step, of a method whose error has this order."""
        if math.isnan(self.first_error):
            return {}
        growth = possible_growth(self.first_error, order)
        return {"first_step": abs(self.dt[0]), "first_growth": growth, "first_rejected": self.first_rejected}


def error_of(step: Attempt) -> float:
    """The scaled error of a step, for which the host waits; NaN where there is none."""
    return math.nan if step.scaled_error is None else step.scaled_error.item()


def march(
    attempt: Callable[[float, float], StepT],
    accept: Callable[[StepT, float], None],
    controller: Controller | Plan,
    t0: float,
    t1: float,
    dt: float,
    max_steps: int,
    snap: Callable[[float, float], float] | None = None,
    judge: Callable[[StepT], float] | None = None,
) -> March[StepT]:
    """Step from t0 to t1.

    The host waits for the device once per attempted step, for the error, and not at all if the steps are planned.

    Args:
        attempt: takes a step from where the last accepted one ended: (t, signed dt) -> step.
        accept: told of each accepted step and of the time at which it ends, before the next attempt.
        controller: decides on acceptance and lengths, or knows the steps.
        t0, t1: ends of the interval, in the problem's time units.
        dt: length of the first step, > 0; NaN if f is not finite at t0.
        max_steps: limit on attempted steps.
        snap: where a step from t of signed length dt shall end instead, (t, dt) -> a time near t + dt; None: there.
        judge: the error that the controller is handed, for which the host waits; None for the scaled error itself.
    Returns:
        The record; a status other than SUCCESS if it stopped before t1.
    """
    result: March[StepT] = March(t_reached=t0, proposed=dt)
    if math.isnan(dt):
        result.status = Status.NON_FINITE
    elif isinstance(controller, Plan):
        _walk(attempt, accept, controller.steps(t0, t1, dt), max_steps, result)
    else:
        _search(attempt, accept, controller, t0, t1, dt, max_steps, snap, judge or error_of, result)
    return result


def _walk(
    attempt: Callable[[float, float], StepT],
    accept: Callable[[StepT, float], None],
    steps: Iterable[PlannedStep],
    max_steps: int,
    result: March[StepT],
) -> None:
    """Take the steps of a plan; arguments as those of `march`, and the record to be filled."""
    for t, dt, end in steps:
        if len(result.t) == max_steps:
            result.status = Status.MAX_STEPS
            return
        step = attempt(t, dt)
        result.t_reached = end
        result.t.append(t)
        result.dt.append(dt)
        accept(step, end)
        del step  # its states are memory while the next one is taken


def _search(
    attempt: Callable[[float, float], StepT],
    accept: Callable[[StepT, float], None],
    controller: Controller,
    t0: float,
    t1: float,
    dt: float,
    max_steps: int,
    snap: Callable[[float, float], float] | None,
    judge: Callable[[StepT], float],
    result: March[StepT],
) -> None:
    """Take the steps that a controller asks for; arguments as those of `march`, and the record to be filled."""
    direction, origin = math.copysign(1.0, t1 - t0), origin_of(t0, t1)
    now, end = t0 - origin, t1 - origin
    non_finite, rejected = 0, math.inf
    for _ in range(max_steps):
        t, distance = origin + now, abs(end - now)
        dt = min(dt, controller.longest)
        result.proposed = dt
        is_last = dt + END_TOLERANCE * math.ulp(max(abs(now), abs(end))) >= distance
        dt = min(dt, distance)
        if snap is not None and not is_last:
            snapped = min(abs(snap(t, direction * dt) - t), distance)
            # Where a step is too short to have a cheap time near its end, the nearest one may be as far as it is long,
            # or be the one at which the step that is tried again has ended.
            dt = snapped if abs(snapped - dt) <= dt / 8 and snapped <= controller.longest and snapped < rejected else dt
            is_last = dt >= distance
        step = attempt(t, direction * dt)
        error = judge(step)
        if controller.accepts(error):
            if not result.t:
                result.first_error, result.first_rejected = error, result.rejected
            now = end if is_last else now + direction * dt
            result.t_reached = t1 if is_last else origin + now
            result.t.append(t)
            result.dt.append(direction * dt)
            accept(step, result.t_reached)
            if is_last:
                return
            del step  # its states are memory while the next one is tried
            non_finite, rejected = 0, math.inf
            dt, controller = controller.after_acceptance(dt, error)
            dt = max(dt, math.ulp(now))
        else:
            del step
            result.rejected, rejected = result.rejected + 1, dt
            non_finite = 0 if math.isfinite(error) else non_finite + 1
            if non_finite > NON_FINITE_TRIES:
                result.status = Status.NON_FINITE
                return
            dt, controller = controller.after_rejection(dt, error)
            if now + direction * dt == now:
                result.status = Status.STEP_UNDERFLOW if math.isfinite(error) else Status.NON_FINITE
                return
    result.status = Status.MAX_STEPS
