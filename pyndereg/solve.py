"""The one entry point: choose the engine, run it, raise on failure."""

import difflib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from pyndereg.engines import get_engine
from pyndereg.ivp import (
    DEFAULT_GRADIENT,
    Gradient,
    Problem,
    SaveAt,
    SDEProblem,
    Solution,
    SolveFailed,
    SolveOptions,
    Status,
)
from pyndereg.ivp.first_step import Remembered, given_length
from pyndereg.ivp.julia import JuliaFunction, JuliaMethod
from pyndereg.penalties import solve_with_penalties
from pyndereg.regularizers import Regularizer
from pyndereg.torch_modes import ordinary, ordinary_tensors, outside_graphs, refuse_transforms

# That of StochasticDiffEq: the steps of its methods shorten in proportion to the tolerance.
STOCHASTIC_TOLERANCE = 1e-2
# A failure within this part of the interval before its end is one at the end, if f is not finite there.
NEAR_END = 1e-3


@outside_graphs
def solve(
    problem: Problem,
    method: str | JuliaMethod | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    saveat: SaveAt | Sequence[float] | Tensor | None = None,
    gradient: Gradient | None = None,
    engine: str = "embedded",
    regularizers: Sequence[Regularizer] = (),
    raise_on_failure: bool = True,
    **options: Any,
) -> Solution:
    """Solve an initial value problem.

    Args:
        problem: the question.
        method: of an `ODEProblem` `tsit5` (default), `dp5`, `bs3`, `vern7`, `vern9` (adaptive), `euler`, `midpoint`,
            `heun`, `rk4` (fixed step); with `engine="julia"` also any algorithm of OrdinaryDiffEq, or for an
            `SDEProblem` of StochasticDiffEq, as `pyndereg.julia.method(name, ...)`. Of an `SDEProblem` `sosri`
            (default), `sosri2`, `sriw1`, with additive noise `sosra` (default), `sra1` (adaptive); `em`, `milstein`,
            `heun` (fixed step; `heun` is the default of Stratonovich equations).
        rtol, atol: relative (dimensionless) and absolute (units of y) tolerance of the local error; by default 1e-6, of
            an `SDEProblem` 1e-2.
        saveat: what to save: times, shape (times,), in the problem's time units; a `SaveAt`; None for the end alone.
        gradient: how gradients flow: None for `DiscreteAdjoint(allowance=2**30)`, which keeps the graphs of steps while
            they fit 1 GiB and takes the others again; `DiscreteAdjoint(...)`, with the embedded engine `Backprop()`;
            without a gradient of `solution.steps` `InterpolatingAdjoint(...)`, `BacksolveAdjoint(...)`,
            `QuadratureAdjoint(...)`, `GaussAdjoint(...)`, `ForwardSensitivity()`, with `engine="julia"`
            `pyndereg.julia.sensealg(name, ...)`.
        engine: who takes the steps: `"embedded"` (PyTorch) or `"julia"` (OrdinaryDiffEq and
            StochasticDiffEq).
        regularizers: what `solution.penalties` holds, in this order: `regularizers.LocalError(...)`,
            `LocalStiffness(...)`, `TaylorDerivative(...)`, `KineticEnergy()`, `JacobianFrobenius(...)`.
        raise_on_failure: raise `SolveFailed` unless the end was reached; otherwise look at `solution.status`.
        dt: step length of a fixed-step method, length of the first step of an adaptive one (automatic by default);
            positive, in the problem's time units. Fixed steps begin at t0 + i dt, and the last one ends at t1.
        first_step: what an adaptive method starts with: `"search"` (default), a length, in the problem's time units, or
            a `Remembered()`, which hands the length that this solve's first step could have had to the next solve.
        steps, grid: instead of `dt`, a number of equal steps, or the times from t0 to t1 at which steps end. Shape
            (steps + 1,), in the problem's time units.
        adaptive: False takes steps as `dt`, `steps` or `grid` say with an adaptive method.
        control: how an adaptive method's steps are controlled: `control.PI()` (default), `control.I()`,
            `control.PID(...)`.
        norm: of the local error in units of the tolerance: `norm.RMS()`, the root mean square over the whole state, the
            batch included (default); `norm.LargestOfSamples()`, the largest root mean square of a sample; or a
            function from a state to a tensor of shape (), whose own tensors have no gradient. It controls the steps, is
            `steps.scaled_error`, and sizes states and slopes for the first step and for rounding.
        dt_max, dt_min: length that no step of an adaptive method exceeds, and the one from which on steps are accepted
            whatever their error (the first and the last step may be shorter), in the problem's time units.
        breakpoints: times at which f or its derivatives jump, in any order, in the problem's time units: adaptive steps
            end there, f is asked on the step's own side of them, and the step control starts anew.
        max_steps: limit on attempted steps.
        stiffness: definition of the stiffness estimate: `"rms"`, the ratio of root mean squares of [@pal2021opening],
            or `"max"`, the largest element-wise ratio, as OrdinaryDiffEq computes it since version 6.81.
        uncontrolled: how many tensors at the end of a tuple state the step control does not look at: their errors
            count neither for `scaled_error` nor for `stiffness`.
        field: with `engine="julia"`, how f gets there: `"native"`, as a Julia network over the same parameters;
            `"callback"`, called back from Julia; by default native where f has a counterpart.

    Returns:
        The solution with its states, its differentiable record of steps and true counts.

    Raises:
        SolveFailed: the solve ended early; the exception carries the solution so far.
        TypeError, ValueError: an option is unknown or out of range, the engine does not know it, or f returns something
            that is no slope of y.
        JuliaUnavailable: the julia engine cannot be started here; the sentence says what to install.
    """
    refuse_transforms()
    names = [option.name for option in fields(SolveOptions)]
    for name in options:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            known = ", ".join((*names, "engine", "regularizers", "raise_on_failure"))
            raise TypeError(f"unknown option {name!r}; {hint}choose from {known}")
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem is a {type(problem).__name__}; pass ODEProblem(f, y0, t0, t1) or SDEProblem(f, g, y0, t0, t1)"
        )
    first_step = options.pop("first_step", None)
    tolerance = STOCHASTIC_TOLERANCE if isinstance(problem, SDEProblem) else SolveOptions.rtol
    checked = SolveOptions(
        method=default_method(problem) if method is None else method,
        rtol=tolerance if rtol is None else rtol,
        atol=tolerance if atol is None else atol,
        saveat=saveat if isinstance(saveat, SaveAt) else SaveAt(times=saveat),
        gradient=DEFAULT_GRADIENT if gradient is None else gradient,
        first_step=given_length(first_step),
        **options,
    )
    with ordinary_tensors():
        solution = solve_with_penalties(get_engine(engine), _ordinary(problem), checked, regularizers)
    if isinstance(first_step, Remembered):
        first_step.remember(solution)
    if raise_on_failure and not solution.status.succeeded:
        raise SolveFailed(solution.status, solution, problem.interval[1], _is_singular_at_end(problem, solution))
    return solution


def _ordinary(problem: Problem) -> Problem:
    """The problem with a copy of what was made in inference mode, which gradients and versions know nothing of."""
    parts = {name: ordinary(getattr(problem, name)) for name in ("y0", "t0", "t1")}
    same = all(part is getattr(problem, name) for name, part in parts.items())
    return problem if same else replace(problem, **parts)


def _is_singular_at_end(problem: Problem, solution: Solution) -> bool:
    """Whether a solve failed just before its end because f is not finite there: f is asked once more."""
    t0, t1 = problem.interval
    stopped_early = solution.status in (Status.NON_FINITE, Status.STEP_UNDERFLOW) and solution.t_reached != t1
    if not stopped_early or abs(t1 - solution.t_reached) > NEAR_END * abs(t1 - t0):
        return False
    y1 = solution.y1
    state = tuple(part.detach() for part in y1) if isinstance(y1, tuple) else y1.detach()
    first = state[0] if isinstance(state, tuple) else state
    if isinstance(problem.f, JuliaFunction):
        return False
    try:
        with torch.no_grad():
            slope = problem.f(torch.full((), t1, dtype=first.dtype, device=first.device), state)
    except ArithmeticError:  # of Python's own numbers, which have no infinity to divide by zero to
        return True
    return not all(bool(part.isfinite().all()) for part in (slope if isinstance(slope, tuple) else (slope,)))


def default_method(problem: Problem) -> str:
    """The method that a problem is solved with unless one is named."""
    if not isinstance(problem, SDEProblem):
        return "tsit5"
    if problem.noise == "additive":
        return "sosra"
    if problem.interpretation == "stratonovich":
        return "heun"
    return "em" if problem.noise == "general" else "sosri"
