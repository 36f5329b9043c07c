"""The embedded engine: what it answers, and what it refuses."""

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from pyndereg.engines.embedded.control import one_step_of
from pyndereg.engines.embedded.dense import dense_output
from pyndereg.engines.embedded.forward import step_control
from pyndereg.engines.embedded.run import Run, run
from pyndereg.engines.embedded.segments import solve_in_segments
from pyndereg.engines.embedded.stochastic import fresh_stochastic_step, solve_stochastic, stochastic_control
from pyndereg.ivp import (
    ContinuousAdjoint,
    DiscreteAdjoint,
    Gradient,
    ODEProblem,
    Problem,
    SDEProblem,
    Solution,
    SolveOptions,
    Statistics,
    Status,
    StepRecord,
)
from pyndereg.ivp.julia import JuliaFunction, JuliaMethod, JuliaSensealg
from pyndereg.ivp.sampling import Sample, Sampler
from pyndereg.ivp.segment import segment_of
from pyndereg.ivp.stepping import breakpoints_between
from pyndereg.solver.stochastic.path import path_of
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.tableaus import get_tableau
from pyndereg.solver.times import time_dtype


class EmbeddedEngine:
    """Solves ordinary differential equations with the steps of OrdinaryDiffEq 7, in pure PyTorch."""

    name = "embedded"
    takes_regularizers = True

    def solve(self, problem: Problem, options: SolveOptions, samplers: Sequence[Sampler] = ()) -> Solution:
        """The solution of a problem; see `pyndereg.solve`."""
        _refuse_what_only_julia_has(problem, options)
        if options.breakpoints is not None:
            return self._solve_in_segments(problem, options, samplers)
        if isinstance(problem, SDEProblem):
            return solve_stochastic(problem, options, samplers)
        tableau = get_tableau(str(options.method))
        control = step_control(options, tableau, problem.interval)
        made = run(problem, options, tableau, problem.interval[1], control, samplers=samplers)
        if made.march.status.succeeded and not bool(made.y1.isfinite().all()):
            made.march.status = Status.NON_FINITE
        return _solution(problem, options, tableau, made)

    def fresh_step(self, problem: Problem, options: SolveOptions, *, constant_start: bool) -> Solution:
        """The first step of a solve, of automatic length, whatever its error is; see `Engine`."""
        problem = _up_to_the_next_breakpoint(problem, options)
        options = replace(options, breakpoints=None)
        if isinstance(problem, SDEProblem):
            return fresh_stochastic_step(problem, options)
        tableau = get_tableau(str(options.method))
        one, control = one_step_of(options)
        made = run(problem, one, tableau, problem.interval[1], control, constant_start=constant_start)
        return _solution(problem, one, tableau, made)

    def _solve_in_segments(self, problem: Problem, options: SolveOptions, samplers: Sequence[Sampler]) -> Solution:
        if isinstance(problem, SDEProblem):
            problem = replace(problem, brownian=path_of(problem, stochastic_control(problem, options)))
        else:
            step_control(options, get_tableau(str(options.method)), problem.interval)  # refuses what has no control
        assert options.breakpoints is not None
        points = breakpoints_between(options.breakpoints, *problem.interval)  # type: ignore[arg-type]
        options = replace(options, gradient=_of_one_part(options.gradient, len(points) + 1))
        return solve_in_segments(self.solve, problem, options, points, samplers)


def _of_one_part(gradient: Gradient, parts: int) -> Gradient:
    """The gradient of one of several solves, which share its allowance."""
    if not isinstance(gradient, DiscreteAdjoint):
        return gradient
    return replace(gradient, allowance=gradient.allowance // parts)


def _up_to_the_next_breakpoint(problem: Problem, options: SolveOptions) -> Problem:
    """The problem of a single step, which ends at a breakpoint rather than beyond it."""
    if options.breakpoints is None:
        return problem
    points = breakpoints_between(options.breakpoints, *problem.interval)  # type: ignore[arg-type]
    end = points[0] if points else problem.t1
    dtype = time_dtype(*problem.interval, problem.layout.dtype)
    return segment_of(problem, problem.y0, (problem.t0, end), options.breakpoints, dtype)  # type: ignore[arg-type]


def _solution(problem: ODEProblem, options: SolveOptions, tableau: Tableau, made: Run) -> Solution:
    layout, result, y1 = problem.layout, made.march, made.y1
    saves_end_only = options.saveat.times is None and not options.saveat.every_step
    sampled = [Sample(point.t, layout.unflatten(y)) for point, y in zip(made.samples, made.sampled, strict=True)]
    return Solution(
        t=y1.new_tensor([result.t_reached] if saves_end_only else made.times),
        y=layout.result(y1[None].clone() if saves_end_only else made.saved),
        y1=layout.result(y1),
        steps=StepRecord(
            y1.new_tensor(result.t),
            y1.new_tensor(result.dt),
            made.scaled_error,
            made.stiffness,
            *_rounding_columns(made),
        ),
        stats=Statistics(made.nfe, len(result.t), result.rejected, **result.first(tableau.order)),
        status=result.status,
        t_reached=result.t_reached,
        interpolate=dense_output(problem, options, tableau, made),
        samples=tuple(sampled),
    )


def _rounding_columns(made: Run) -> tuple[Tensor, Tensor]:
    """`StepRecord.rounding` and `StepRecord.allowed` of a solve. Shape (steps,) each."""
    if made.judged is not None:
        rows = made.y1.new_tensor([(step.rounding, step.allowed) for step in made.judged]).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]
    is_planned, steps = math.isnan(made.march.first_error), (len(made.march.t),)
    return made.y1.new_full(steps, math.nan if is_planned else 0.0), made.y1.new_ones(steps)


def _refuse_what_only_julia_has(problem: Problem, options: SolveOptions) -> None:
    found = None
    if isinstance(problem.f, JuliaFunction):
        found = f"f is the Julia function {problem.f.name}"
    elif isinstance(options.method, JuliaMethod):
        found = f"method is the Julia algorithm {options.method.name}"
    elif options.field is not None:
        found = f"field is {options.field!r}"
    elif isinstance(options.gradient, JuliaSensealg):
        found = f"gradient is {options.gradient.name}"
    if found is not None:
        raise ValueError(f"{found}, which engine='embedded' does not have; pass engine='julia'")
    gradient = options.gradient
    if not isinstance(gradient, ContinuousAdjoint) or isinstance(problem, SDEProblem):
        return
    if gradient.vjp not in (None, "field"):
        raise ValueError(f"vjp of {type(gradient).__name__} is {gradient.vjp!r}; pass 'field', or engine='julia'")
