"""A solve together with the regularizers that take part in it."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from pyndereg.engines import Engine
from pyndereg.ivp import ODEProblem, Solution, SolveOptions
from pyndereg.ivp.sampling import Sample
from pyndereg.regularizers import LocalRegularizer, Regularizer, RunningIntegral
from pyndereg.regularizers.integrals import with_integrals, without_integrals


def solve_with_penalties(
    engine: Engine, problem: ODEProblem, options: SolveOptions, regularizers: Sequence[Regularizer]
) -> Solution:
    """The solution of a problem, and the values of regularizers as its `penalties`.

    Running integrals join the state, which the step control does not see; local regularizers take their fresh steps
    after the solve. A solve that failed has no penalties.

    Raises:
        TypeError: a regularizer is none.
    """
    if not regularizers:
        return engine.solve(problem, options)
    for regularizer in regularizers:
        if not isinstance(regularizer, Regularizer):
            raise TypeError(
                f"regularizers holds a {type(regularizer).__name__}; pass values such as regularizers.LocalError()"
            )
    integrals = [regularizer for regularizer in regularizers if isinstance(regularizer, RunningIntegral)]
    locals_ = [regularizer for regularizer in regularizers if isinstance(regularizer, LocalRegularizer)]
    samplers = [regularizer.sampler(*problem.interval) for regularizer in locals_]
    if integrals:
        solution = engine.solve(*with_integrals(problem, options, integrals), samplers)
        solution, values = without_integrals(solution, problem, len(integrals))
    else:
        solution, values = engine.solve(problem, options, samplers), ()
    if not solution.status.succeeded:
        return solution
    penalties: dict[int, Tensor] = {id(one): value for one, value in zip(integrals, values, strict=True)}
    local_nfe = 0
    for one, sample in zip(locals_, solution.samples, strict=True):
        penalties[id(one)], nfe = _local_penalty(engine, problem, options, one, sample)
        local_nfe += nfe
    stats = replace(solution.stats, nfe=solution.stats.nfe + local_nfe, local_nfe=local_nfe)
    return replace(solution, stats=stats, penalties=tuple(penalties[id(one)] for one in regularizers))


def _local_penalty(
    engine: Engine, problem: ODEProblem, options: SolveOptions, regularizer: LocalRegularizer, sample: Sample
) -> tuple[Tensor, int]:
    """The penalty of one fresh step, and the evaluations that it took."""
    y = sample.y
    if not regularizer.through_state:
        y = tuple(part.detach() for part in y) if isinstance(y, tuple) else y.detach()
    rest = ODEProblem(problem.f, y, sample.t, problem.interval[1], problem.params)
    if regularizer.method is not None:
        options = replace(options, method=regularizer.method)
    step = engine.fresh_step(rest, options, constant_start=not regularizer.through_state)
    return regularizer.penalty(step.steps), step.stats.nfe
