"""A solve together with the regularizers that take part in it."""

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from pyndereg.engines import Engine
from pyndereg.ivp import Problem, SDEProblem, Solution, SolveOptions, Status
from pyndereg.ivp.sampling import Sample
from pyndereg.regularizers import LocalRegularizer, Regularizer, RunningIntegral
from pyndereg.regularizers.integrals import with_integrals, without_integrals

# Of the fresh step of a local regularizer, as in the published code, which takes it whatever method solves.
DEFAULT_METHOD = "tsit5"


def check_regularizers(regularizers: Sequence[Regularizer]) -> tuple[Regularizer, ...]:
    """The regularizers, if that is what they are.

    Raises:
        TypeError: one of them is something else, or one was passed by itself.
    """
    if isinstance(regularizers, Regularizer):
        raise TypeError(f"regularizers is a {type(regularizers).__name__}; pass a list of them, even of one")
    for regularizer in regularizers:
        if not isinstance(regularizer, Regularizer):
            is_class = isinstance(regularizer, type)
            found = f"the class {regularizer.__name__}" if is_class else f"a value of type {type(regularizer).__name__}"
            raise TypeError(f"regularizers holds {found}; pass values such as regularizers.LocalError()")
    return tuple(regularizers)


def solve_with_penalties(
    engine: Engine, problem: Problem, options: SolveOptions, regularizers: Sequence[Regularizer]
) -> Solution:
    """The solution of a problem, and the values of regularizers as its `penalties`.

    Running integrals join the state, which the step control does not see; local regularizers take their fresh steps
    after the solve. A solve that failed has no penalties.

    Raises:
        TypeError: a regularizer is none.
        ValueError: the engine has no such regularizers, the method of a local regularizer's step lacks the estimate,
            or f is not finite there.
    """
    regularizers = check_regularizers(regularizers)
    if not regularizers:
        return engine.solve(problem, options)
    if not engine.takes_regularizers:
        names = ", ".join(type(regularizer).__name__ for regularizer in regularizers)
        raise ValueError(
            f"regularizers holds {names}, which engine={engine.name!r} does not have; pass engine='embedded', or "
            "regularize its record, e.g. with regularizers.error_estimate(solution.steps)"
        )
    integrals = [regularizer for regularizer in regularizers if isinstance(regularizer, RunningIntegral)]
    samplers = [one.sampler(*problem.interval) for one in regularizers if isinstance(one, LocalRegularizer)]
    if integrals:
        if isinstance(problem, SDEProblem):
            names = ", ".join(type(integral).__name__ for integral in integrals)
            raise ValueError(f"regularizers holds {names}, which stochastic solves do not have; pass local ones")
        solution = engine.solve(*with_integrals(problem, options, integrals), samplers)
        solution, values = without_integrals(solution, problem, len(integrals))
    else:
        solution, values = engine.solve(problem, options, samplers), ()
    if not solution.status.succeeded:
        return solution
    of_integrals, samples = iter(values), iter(solution.samples)
    penalties: list[Tensor] = []
    local_nfe = 0
    for regularizer in regularizers:
        if isinstance(regularizer, RunningIntegral):
            penalties.append(next(of_integrals))
        else:
            penalty, nfe = _local_penalty(engine, problem, options, regularizer, next(samples))
            penalties.append(penalty)
            local_nfe += nfe
    stats = replace(solution.stats, nfe=solution.stats.nfe + local_nfe, local_nfe=local_nfe)
    return replace(solution, stats=stats, penalties=tuple(penalties))


def _local_penalty(
    engine: Engine, problem: Problem, options: SolveOptions, regularizer: LocalRegularizer, sample: Sample
) -> tuple[Tensor, int]:
    """The penalty of one fresh step, and the evaluations that it took."""
    y = sample.y
    if not regularizer.through_state:
        y = tuple(part.detach() for part in y) if isinstance(y, tuple) else y.detach()
    t0, t1 = problem.interval
    # A time drawn from [t0, t1) may still round to t1, from where there is no step.
    t = sample.t if sample.t != t1 else math.nextafter(t1, t0)
    if isinstance(problem, SDEProblem):
        rest: Problem = replace(problem, y0=y, t0=t, t1=t1, brownian=None)
        usual = options.method
    else:
        rest, usual = replace(problem, y0=y, t0=t, t1=t1), DEFAULT_METHOD
    options = replace(options, method=regularizer.method or usual)
    step = engine.fresh_step(rest, options, constant_start=regularizer.constant_start)
    if step.status is Status.NON_FINITE:
        raise ValueError(
            f"f is not finite at t={t:g}, where a local regularizer drew a state of the solution; tighten rtol and "
            "atol, or pass sampling='biased', which draws among the solver's own states"
        )
    return regularizer.penalty(step.steps), step.stats.nfe
