"""What decides on the steps of an embedded solve: an error estimate, or the user."""

import math
from dataclasses import replace

from pyndereg.ivp import Backprop, SaveAt, SolveOptions
from pyndereg.ivp.control import PI, PID, Control, Filter
from pyndereg.ivp.stepping import grid_between, refuse_first_step
from pyndereg.solver.control import Controller, FreeStart, Law, Limited, MethodControl, PIController
from pyndereg.solver.filters import FilterController
from pyndereg.solver.plans import FixedStep, GridSteps, OneStep, Plan


def control_of(
    options: SolveOptions, interval: tuple[float, float], name: str, method: MethodControl | None
) -> Controller | Plan:
    """The control of a method's steps.

    Args:
        interval: t0 and t1, in the problem's time units.
        name: the method's.
        method: what it says of its control; None if it has no error estimate.
    Raises:
        ValueError: the steps are planned and nothing says where they end, or options contradict each other.
    """
    if method is not None and options.adaptive:
        _refuse_plans(options, name)
        controller = _controller(PI() if options.control is None else options.control, method)
        if options.dt_min is None and options.dt_max is None:
            return controller
        return Limited(controller, options.dt_min or 0.0, options.dt_max or math.inf)
    if method is None and options.norm is not None:
        raise ValueError(
            f"norm was given, and method {name!r} has no error estimate to measure; leave it out, or pass an adaptive "
            "method, such as 'tsit5' or 'sosri'"
        )
    reason = "has no error estimate" if method is None else "was asked for with adaptive=False"
    refuse_first_step(options.first_step, name, reason)
    for option in ("control", "dt_min", "dt_max", "breakpoints"):
        if getattr(options, option) is not None:
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


def _controller(control: Control, method: MethodControl) -> Controller:
    grow = method.grow if control.grow is None else control.grow
    grow_first = grow if control.grow_first is None else control.grow_first
    law: Law
    if isinstance(control, PI):
        law = PIController(method.beta1, method.beta2, control.safety, control.shrink, grow, grow_first)
    else:
        is_filter = isinstance(control, PID)
        beta, alpha = (control.coefficients if is_filter else Filter((1.0,))).as_floats
        law = FilterController(
            method.error_order,
            beta,
            alpha,
            control.safety,
            control.shrink,
            grow,
            grow_first,
            keeps_length=not is_filter,
        )
    return FreeStart(law, method.error_order, control.safety, grow_first) if control.start == "free" else law


def _refuse_plans(options: SolveOptions, name: str) -> None:
    for option, value in (("grid", options.grid), ("steps", options.steps)):
        if value is not None:
            raise ValueError(
                f"{option} was given, and method {name!r} chooses its steps by their error; pass adaptive=False, or "
                "breakpoints= for times at which its steps have to end"
            )
