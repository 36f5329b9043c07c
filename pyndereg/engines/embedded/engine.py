"""The embedded engine: what it answers, and what it refuses."""

import math
from collections.abc import Sequence
from dataclasses import replace

from pyndereg.engines.embedded.dense import dense_output
from pyndereg.engines.embedded.forward import step_control
from pyndereg.engines.embedded.run import Run, run
from pyndereg.engines.embedded.stochastic import fresh_stochastic_step, solve_stochastic
from pyndereg.ivp import (
    Backprop,
    ODEProblem,
    Problem,
    SaveAt,
    SDEProblem,
    Solution,
    SolveOptions,
    Statistics,
    StepRecord,
)
from pyndereg.ivp.julia import JuliaFunction, JuliaMethod, JuliaSensealg
from pyndereg.ivp.sampling import Sample, Sampler
from pyndereg.solver.control import FixedStep
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.tableaus import get_tableau


class EmbeddedEngine:
    """Solves ordinary differential equations with the steps of OrdinaryDiffEq 7, in pure PyTorch."""

    name = "embedded"
    takes_regularizers = True

    def solve(self, problem: Problem, options: SolveOptions, samplers: Sequence[Sampler] = ()) -> Solution:
        """The solution of a problem; see `pyndereg.solve`."""
        _refuse_what_only_julia_has(problem, options)
        if isinstance(problem, SDEProblem):
            return solve_stochastic(problem, options, samplers)
        tableau = get_tableau(str(options.method))
        made = run(problem, options, tableau, problem.interval[1], step_control(options, tableau), samplers=samplers)
        return _solution(problem, options, tableau, made)

    def fresh_step(self, problem: Problem, options: SolveOptions, *, constant_start: bool) -> Solution:
        """The first step of a solve, of automatic length, whatever its error is; see `Engine`."""
        if isinstance(problem, SDEProblem):
            return fresh_stochastic_step(problem, options)
        tableau = get_tableau(str(options.method))
        one = replace(options, dt=None, saveat=SaveAt(), gradient=Backprop(), max_steps=1)
        any_length = FixedStep(math.inf)
        made = run(problem, one, tableau, problem.interval[1], any_length, constant_start=constant_start)
        return _solution(problem, one, tableau, made)


def _solution(problem: ODEProblem, options: SolveOptions, tableau: Tableau, made: Run) -> Solution:
    layout, result, y1 = problem.layout, made.march, made.y1
    saves_end_only = options.saveat.times is None and not options.saveat.every_step
    sampled = [Sample(point.t, layout.unflatten(y)) for point, y in zip(made.samples, made.sampled, strict=True)]
    return Solution(
        t=y1.new_tensor([result.t_reached] if saves_end_only else made.times),
        y=layout.result(y1[None].clone() if saves_end_only else made.saved),
        y1=layout.result(y1),
        steps=StepRecord(y1.new_tensor(result.t), y1.new_tensor(result.dt), made.scaled_error, made.stiffness),
        stats=Statistics(nfe=made.nfe, accepted=len(result.t), rejected=result.rejected),
        status=result.status,
        t_reached=result.t_reached,
        interpolate=dense_output(problem, options, tableau, made),
        samples=tuple(sampled),
    )


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
