"""What decides on the steps of an embedded solve: an error estimate, or the user."""

import math
from dataclasses import replace

from pyndereg.ivp import Backprop, SaveAt, SolveOptions
from pyndereg.ivp.stepping import grid_between, refuse_first_step
from pyndereg.solver.control import Controller, PIController
from pyndereg.solver.plans import FixedStep, GridSteps, OneStep, Plan


def control_of(
    options: SolveOptions, interval: tuple[float, float], name: str, controller: PIController | None
) -> Controller | Plan:
    """The control of a method's steps.

    Args:
        interval: t0 and t1, in the problem's time units.
        name: the method's.
        controller: the method's; None if it has no error estimate.
    Raises:
        ValueError: the steps are planned and nothing says where they end, or options contradict each other.
    """
    if controller is not None and options.adaptive:
        _refuse_plans(options, name)
        return controller.no_longer_than(options.dt_max)
    reason = "has no error estimate" if controller is None else "was asked for with adaptive=False"
    refuse_first_step(options.first_step, name, reason)
    for option, value in (("dt_max", options.dt_max), ("breakpoints", options.breakpoints)):
        if value is not None:
            raise ValueError(
                f"{option} was given, and method {name!r} {reason} that could choose steps; pass grid=, the times at "
                "which its steps end"
            )
    t0, t1 = interval
    if options.grid is not None:
        return GridSteps(grid_between(options.grid, t0, t1))  # type: ignore[arg-type]
    if options.steps is not None:
        return FixedStep(abs(t1 - t0) / options.steps)
    if options.dt is None:
        raise ValueError(
            f"method {name!r} {reason} and no step length was given; pass dt=, e.g. dt=0.01, or steps= or grid="
        )
    return FixedStep(float(options.dt))


def one_step_of(options: SolveOptions) -> tuple[SolveOptions, OneStep]:
    """Options and control of a single step of automatic length, differentiated through its own graph."""
    one = replace(options, dt=None, first_step=None, grid=None, steps=None)
    one = replace(one, saveat=SaveAt(), gradient=Backprop(), max_steps=1)
    return one, OneStep(math.inf if options.dt_max is None else options.dt_max)


def _refuse_plans(options: SolveOptions, name: str) -> None:
    for option, value in (("grid", options.grid), ("steps", options.steps)):
        if value is not None:
            raise ValueError(
                f"{option} was given, and method {name!r} chooses its steps by their error; pass adaptive=False, or "
                "breakpoints= for times at which its steps have to end"
            )
