"""The julia engine: the solvers of OrdinaryDiffEq and StochasticDiffEq, their error estimates, gradients of both."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyndereg.engines.julia.autograd import DifferentiableRun, SolveInJulia, as_tensors, sensealg_number
from pyndereg.engines.julia.checks import check_options, pass_on
from pyndereg.engines.julia.dense import JuliaDense
from pyndereg.engines.julia.fields import julia_field
from pyndereg.engines.julia.forward import JuliaSolve, method_number, rounded, step_length
from pyndereg.engines.julia.session import call
from pyndereg.engines.julia.stochastic import solve_stochastic
from pyndereg.ivp import (
    ContinuousAdjoint,
    DiscreteAdjoint,
    Problem,
    SDEProblem,
    Solution,
    SolveOptions,
    StateLayout,
    Statistics,
    StepRecord,
)
from pyndereg.ivp.julia import JuliaMethod
from pyndereg.ivp.sampling import Sampler
from pyndereg.ivp.stepping import refuse_first_step
from pyndereg.julia_runtime import start
from pyndereg.solver.tableaus import TABLEAUS, get_tableau


class JuliaEngine:
    """Solves ordinary differential equations with OrdinaryDiffEq, stochastic ones with StochasticDiffEq."""

    name = "julia"
    takes_regularizers = False

    def solve(self, problem: Problem, options: SolveOptions, samplers: Sequence[Sampler] = ()) -> Solution:
        """The solution of a problem; see `pyndereg.solve`."""
        assert not samplers
        if isinstance(problem, SDEProblem):
            return solve_stochastic(problem, options)
        method = _checked_method(options)
        layout = problem.layout
        _check(layout, options)
        start()
        grad_mode = torch.is_grad_enabled()
        ends = (problem.t0, problem.t1)
        with_time = grad_mode and any(isinstance(t, Tensor) and t.requires_grad for t in ends)
        field = julia_field(problem, layout, options, with_time=with_time)
        y0 = layout.flatten(problem.y0)
        with_grad = grad_mode and (with_time or y0.requires_grad or any(param.requires_grad for param in field.inputs))
        discrete = isinstance(options.gradient, DiscreteAdjoint)
        if with_grad and discrete:
            _check_replayable(method)
        elif with_grad:
            # An algorithm that there is not is found before the solve rather than after it.
            call(lambda bridge: sensealg_number(bridge, options.gradient))
        t0, t1 = (rounded(t, layout.dtype) for t in problem.interval)
        times = tuple(rounded(t, layout.dtype) for t in options.saveat.checked_times(*problem.interval))
        checkpoints = options.gradient.checkpoints if isinstance(options.gradient, DiscreteAdjoint) else None
        julia_solve = JuliaSolve(
            field=field,
            method=method,
            layout=layout,
            t0=t0,
            t1=t1,
            times=times,
            every_step=options.saveat.every_step,
            rtol=options.rtol,
            atol=options.atol,
            dt=step_length(options.dt or options.first_step),
            adaptive=options.adaptive,
            max_steps=options.max_steps,
            stiffness=options.stiffness,
            keep_states=with_grad and discrete,
            checkpoints=0 if options.saveat.every_step else checkpoints or 0,
            keep_solution=options.saveat.dense or (with_grad and not discrete),
        )
        run = DifferentiableRun(julia_solve, options.gradient)
        if with_grad:
            y1, saved, scaled_error, stiffness = SolveInJulia.apply(run, y0, *as_tensors(ends), *field.inputs)
        else:
            with torch.no_grad():
                run.outcome = julia_solve.run(y0)
            y1, saved = run.outcome.y1, run.outcome.saved
            scaled_error, stiffness = run.outcome.rows[2:].to(layout.dtype).unbind()
        field.settle()
        outcome = run.outcome
        assert outcome is not None
        pass_on(outcome.warnings, outcome.status)
        t, dt = outcome.rows[:2].to(layout.dtype).unbind()
        saves_end_only = options.saveat.times is None and not options.saveat.every_step
        t_reached = problem.interval[1] if outcome.status.succeeded else outcome.t_reached
        return Solution(
            t=y1.new_tensor([t_reached] if saves_end_only else outcome.times),
            y=layout.result(y1[None].clone() if saves_end_only else saved),
            y1=layout.result(y1),
            steps=StepRecord(t, dt, scaled_error, stiffness),
            stats=Statistics(
                outcome.nfe, outcome.steps, outcome.rejected, **(outcome.first if options.adaptive else {})
            ),
            status=outcome.status,
            t_reached=t_reached,
            interpolate=JuliaDense(problem, run),
        )

    def fresh_step(self, problem: Problem, options: SolveOptions, *, constant_start: bool) -> Solution:
        """Never asked: see `takes_regularizers`."""
        raise AssertionError("the julia engine takes no fresh steps")


def _checked_method(options: SolveOptions) -> JuliaMethod:
    """The algorithm.

    Raises:
        ValueError: the name is unknown, or a step length is missing.
    """
    method = options.method
    chosen = method if isinstance(method, JuliaMethod) else JuliaMethod(method)
    has_error = isinstance(method, JuliaMethod) or get_tableau(method).b_error is not None
    if has_error and options.adaptive:
        return chosen
    reason = "was asked for with adaptive=False" if has_error else "has no error estimate"
    refuse_first_step(options.first_step, chosen.name, reason)
    if options.dt is None:
        raise ValueError(f"method {chosen.name!r} {reason} and no step length was given; pass dt=, e.g. dt=0.01")
    return chosen


def _check(layout: StateLayout, options: SolveOptions) -> None:
    check_options(layout, options)
    for name in ("method", "norm", "quadrature_rtol", "quadrature_atol"):
        value = getattr(options.gradient, name, None) if isinstance(options.gradient, ContinuousAdjoint) else None
        if value is not None:
            raise ValueError(
                f"{name} of {type(options.gradient).__name__} is {value!r}, which the julia engine does not choose; "
                "pass None, or engine='embedded'"
            )


def _check_replayable(method: JuliaMethod) -> None:
    if method.name in TABLEAUS:
        return

    def replayable(bridge: object) -> bool:
        return bool(bridge.has_tableau(method_number(bridge, method)))  # type: ignore[attr-defined]

    if not call(replayable):
        raise ValueError(
            f"method {method.name!r} is no explicit Runge–Kutta method, whose steps DiscreteAdjoint could replay; pass "
            "another gradient=, such as InterpolatingAdjoint()"
        )
