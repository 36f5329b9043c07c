"""The first evaluation of drift and diffusion, watched: what they depend on, and how a solve gets its gradient."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.engines.embedded.start import keep_of_changing, start_of, warn_of_random_numbers
from pyndereg.ivp import Backprop, SDEProblem, SolveOptions, SolveWarning
from pyndereg.solver.field import DiffusionField, Field
from pyndereg.solver.gradients.around import Around
from pyndereg.solver.gradients.captured import Captured, capture
from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.gradients.watch import Seen, watched


@dataclass(frozen=True)
class StochasticStart:
    """Where a stochastic solve starts from.

    Attributes:
        drift, diffusion: f and g, to go on with.
        captured: f and g as they are now, where the gradient takes steps again.
        again: the same, for dense output to take them again with.
        with_graph: whether the steps carry graphs themselves.
        slope: f at the start, in the solver's shape.
    """

    drift: Field
    diffusion: Field
    captured: Captured | None
    again: Captured | None
    with_graph: bool
    slope: Tensor


def begin(
    problem: SDEProblem,
    options: SolveOptions,
    y0: Tensor,
    surroundings: Surroundings,
    captured: Captured | None,
    *,
    adaptive: bool,
) -> StochasticStart:
    """Evaluate f and g at the start.

    Args:
        y0: in the solver's shape.
        surroundings: those of the solve.
        captured: f and g as they were at an earlier solve, if it is to be taken again.
        adaptive: whether errors decide on the steps.
    Raises:
        GradientRefused: f or g is another function at each evaluation, which the gradient cannot follow.
    """
    fields = _fields(problem, surroundings) if captured is None else tuple(x.again() for x in captured.fields)
    t = torch.full((), problem.t0, dtype=y0.dtype, device=y0.device)
    slopes, starts, seen = [], [], Seen()
    for field in fields:
        slope, shown = watched(_evaluation(field, t, y0), (y0, t))
        if id(slope) in shown.changed:
            field.copy_result()
            slope = slope.clone()
        field.make_ready(t, y0, slope)
        slopes.append(slope)
        starts.append(start_of(shown, t, counts=y0.is_leaf and y0.requires_grad, may_differ=True))
        seen = seen.merged(shown)
    if adaptive:
        _warn_of_coarse_results(seen, options.rtol, y0.dtype)
    grad_mode = torch.is_grad_enabled()
    is_again = captured is not None
    if captured is None and (grad_mode or (seen.draws and adaptive)):
        captured = capture(fields, problem.parameters, seen, surroundings, starts)
    with_grad = grad_mode and captured is not None and (y0.requires_grad or bool(captured.inputs))
    replays = with_grad and not isinstance(options.gradient, Backprop)
    if captured is not None and not is_again and (seen.changed or seen.draws) and (replays or adaptive):
        replays = replays and _are_themselves(captured, fields, slopes, t, y0, seen, options, adaptive=adaptive)
    drift, diffusion = fields
    again = captured if with_grad else None
    return StochasticStart(drift, diffusion, captured if replays else None, again, with_grad and not replays, slopes[0])


def _fields(problem: SDEProblem, surroundings: Surroundings) -> tuple[Field, Field]:
    around = Around(surroundings, {})
    fields = Field(problem), DiffusionField(problem)
    if not around.is_needed:
        return fields
    drift, diffusion = (field.on(field.function, around, None) for field in fields)
    return drift, diffusion


def _evaluation(field: Field, t: Tensor, y: Tensor) -> Callable[[], Tensor]:
    return lambda: field(t, y)


def _are_themselves(
    captured: Captured,
    fields: tuple[Field, ...],
    slopes: list[Tensor],
    t: Tensor,
    y0: Tensor,
    seen: Seen,
    options: SolveOptions,
    *,
    adaptive: bool,
) -> bool:
    """Whether f and g are the same functions again; where they are not, whether the gradient can do without."""
    for field, copy, slope in zip(fields, captured.fields, slopes, strict=True):
        if not captured.reproduces(copy, t, y0, slope):
            if adaptive and seen.draws:
                warn_of_random_numbers(field.name)
            if torch.is_grad_enabled():
                keep_of_changing(options.gradient, field.name, seen)
            return False
    return True


def _warn_of_coarse_results(seen: Seen, rtol: float, dtype: torch.dtype) -> None:
    """Tell that f computes in half precision and the tolerance lies below what that resolves."""
    halves = max(torch.finfo(torch.bfloat16).eps, torch.finfo(torch.float16).eps)
    smallest = torch.finfo(torch.float16).eps
    if smallest <= seen.coarsest <= halves and rtol < seen.coarsest:
        name = "bfloat16" if seen.coarsest == torch.finfo(torch.bfloat16).eps else "float16"
        warnings.warn(
            f"f computes in {name}, which resolves {seen.coarsest:.0e}, and rtol={rtol:g} lies below that, so the "
            f"steps shorten against rounding; pass rtol={seen.coarsest:.0e} or more, or let f compute in {dtype}",
            SolveWarning,
            stacklevel=2,
        )
