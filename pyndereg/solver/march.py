"""The loop that accepts and rejects steps: the only one."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from pyndereg.ivp import Status
from pyndereg.solver.control import Controller

# A step is tried again this often after f gave NaN or infinity; each try is five times shorter.
NON_FINITE_TRIES = 20
# A step that would end this many units in the last place before t1 ends at t1, as in OrdinaryDiffEq.
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
    """

    t_reached: float
    status: Status = Status.SUCCESS
    t: list[float] = field(default_factory=list)
    dt: list[float] = field(default_factory=list)
    rejected: int = 0
    proposed: float = math.nan


def march(
    attempt: Callable[[float, float], StepT],
    accept: Callable[[StepT, float], None],
    controller: Controller,
    t0: float,
    t1: float,
    dt: float,
    max_steps: int,
    snap: Callable[[float, float], float] | None = None,
) -> March[StepT]:
    """Step from t0 to t1.

    The host waits for the device once per attempted step, for the error, and not at all if the controller needs none.

    Args:
        attempt: takes a step from where the last accepted one ended: (t, signed dt) -> step.
        accept: told of each accepted step and of the time at which it ends, before the next attempt.
        controller: decides on acceptance and lengths.
        t0, t1: ends of the interval, in the problem's time units.
        dt: length of the first step, > 0; NaN if f is not finite at t0.
        max_steps: limit on attempted steps.
        snap: where a step from t of signed length dt shall end instead, (t, dt) -> a time near t + dt; None: there.
    Returns:
        The record; a status other than SUCCESS if it stopped before t1.
    """
    direction = math.copysign(1.0, t1 - t0)
    result: March[StepT] = March(t_reached=t0)
    t = t0
    non_finite = 0
    if math.isnan(dt):
        result.status = Status.NON_FINITE
        return result
    for _ in range(max_steps):
        distance = abs(t1 - t)
        result.proposed = dt
        is_last = dt + END_TOLERANCE * math.ulp(max(abs(t), abs(t1))) >= distance
        dt = min(dt, distance)
        if snap is not None and not is_last:
            dt = abs(snap(t, direction * dt) - t)
            is_last = dt >= distance
        step = attempt(t, direction * dt)
        error = step.scaled_error.item() if controller.adaptive and step.scaled_error is not None else math.nan
        if controller.accepts(error):
            result.t_reached = t1 if is_last else t + direction * dt
            result.t.append(t)
            result.dt.append(direction * dt)
            accept(step, result.t_reached)
            if is_last:
                return result
            t, non_finite = result.t_reached, 0
            dt, controller = controller.after_acceptance(dt, error)
            dt = max(dt, math.ulp(t))
        else:
            result.rejected += 1
            non_finite = 0 if math.isfinite(error) else non_finite + 1
            if non_finite > NON_FINITE_TRIES:
                result.status = Status.NON_FINITE
                return result
            dt, controller = controller.after_rejection(dt, error)
            if t + direction * dt == t:
                result.status = Status.STEP_UNDERFLOW if math.isfinite(error) else Status.NON_FINITE
                return result
    result.status = Status.MAX_STEPS
    return result
