"""The first evaluation of right-hand sides that Julia calls back, watched as by the embedded engine."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.ivp import ODEProblem, SDEProblem, SolveOptions
from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.field import Field
from pyndereg.solver.gradients.around import Around
from pyndereg.solver.gradients.captured import Captured, capture
from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.gradients.watch import Seen, watched


@dataclass(frozen=True)
class Begun:
    """Right-hand sides after their first evaluation.

    Attributes:
        fields: to be called by the forward solve.
        captured: as they are now; None where nothing can ask for a gradient.
        slopes: their values at the start. Shapes in the solver's layout.
    """

    fields: tuple[Field, ...]
    captured: Captured | None
    slopes: tuple[Tensor, ...]


def begin(problem: ODEProblem | SDEProblem, fields: Sequence[Field], options: SolveOptions) -> Begun:
    """Evaluate right-hand sides at the start.

    Raises:
        GradientRefused: one of them is another function at each evaluation, whose steps cannot be taken again.
    """
    layout, grad_mode = problem.layout, torch.is_grad_enabled()
    surroundings = Surroundings.now(layout.device)
    around = Around(surroundings, {})
    if around.is_needed:
        fields = [field.on(field.function, around, None) for field in fields]
    t = torch.full((), problem.interval[0], dtype=layout.dtype, device=layout.device)
    y = layout.flatten(problem.y0).detach().view(layout.solver_shape).requires_grad_(grad_mode)
    seen, slopes = Seen(), []
    for field in fields:
        slope, shown = watched(lambda field=field: field(t, y), (y, t))  # type: ignore[misc]
        slopes.append(slope.detach())
        seen = seen.merged(shown)
    if not grad_mode:
        return Begun(tuple(fields), None, tuple(slopes))
    captured = capture(fields, problem.parameters, seen, surroundings)
    if (seen.changed or seen.draws) and (captured.inputs or layout.flatten(problem.y0).requires_grad):
        for field, copied, slope in zip(fields, captured.fields, slopes, strict=True):
            if not captured.reproduces(copied, t, y, slope):
                _refuse(field.name, seen, options)
    return Begun(tuple(fields), captured, tuple(slopes))


def _refuse(name: str, seen: Seen, options: SolveOptions) -> None:
    why = "draws random numbers" if seen.draws else "changes a buffer of its own"
    raise GradientRefused(
        f"{name} {why} in each evaluation, and {options.gradient} with engine='julia' evaluates it again, when it is "
        "another function; pass engine='embedded' with gradient=Backprop(), call eval() on its modules, or draw before "
        "the solve"
    )
