"""The first evaluation of f, watched: what it depends on, and what the solve can keep for its gradient."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.ivp import (
    Backprop,
    ContinuousAdjoint,
    DiscreteAdjoint,
    ForwardSensitivity,
    Gradient,
    ODEProblem,
    SolveOptions,
    SolveWarning,
)
from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.continuous import what_to_keep
from pyndereg.solver.field import Field
from pyndereg.solver.gradients.allowance import CAN_WEIGH, Room, bytes_held
from pyndereg.solver.gradients.around import Around
from pyndereg.solver.gradients.captured import Captured, capture
from pyndereg.solver.gradients.guard import StartGraph
from pyndereg.solver.gradients.kept import KeptGraphs, keep_graphs, must_be_exchanged
from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.gradients.watch import Seen, watched
from pyndereg.solver.integration import Keep
from pyndereg.solver.runge_kutta import Stage
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.times import time_dtype


@dataclass(frozen=True)
class Start:
    """Where a solve starts from.

    Attributes:
        stage: the first stage, with a graph where gradients may be asked for.
        coarsest: the largest unit roundoff among the results of f's operations.
        field: f, to go on with.
        captured: f as it is now; None where nothing can ask for a gradient.
        keep: what is kept of the accepted steps.
        graphs: what the graphs that are kept lead to; None where none are.
        room: for graphs of steps whose states are kept otherwise.
    """

    stage: Stage
    coarsest: float
    field: Field
    captured: Captured | None
    keep: Keep = Keep.NOTHING
    graphs: KeptGraphs | None = None
    room: Room | None = None


def begin(
    problem: ODEProblem,
    options: SolveOptions,
    tableau: Tableau,
    y0: Tensor,
    surroundings: Surroundings,
    *,
    with_time: bool,
    adaptive: bool,
) -> Start:
    """Evaluate f at t0 and y0.

    Args:
        tableau: the method's.
        y0: flat. Shape (size,).
        surroundings: those of the solve.
        with_time: whether the graph reaches t.
        adaptive: whether errors decide on the steps.
    Raises:
        GradientRefused: f is another function at each evaluation, which the gradient cannot follow.
    """
    grad_mode = torch.is_grad_enabled()
    around = Around(surroundings, {})
    field = Field(problem)
    if around.is_needed:
        field = field.on(problem.f, around, None)
    t = _start_time(problem, y0, with_time=with_time)
    y = y0.detach().view(problem.layout.solver_shape).requires_grad_(grad_mode)
    slope, seen = watched(lambda: field(t, y), (y, t), must_be_exchanged, field.watch_next)
    if id(slope) in seen.changed:
        field.copy_result()
        slope = slope.clone()
    start = start_of(seen, t)
    captured = capture([field], problem.parameters, seen, surroundings, [start]) if grad_mode or seen.draws else None
    with_grad = grad_mode and captured is not None and (with_time or y0.requires_grad or bool(captured.inputs))
    keep = keep_for(options.gradient) if with_grad else Keep.NOTHING
    is_doubtful = bool(seen.changed or seen.draws) and (keep is not Keep.STAGES or adaptive)
    if captured is not None and is_doubtful and not captured.reproduces(captured.fields[0], t, y, slope):
        if adaptive and seen.draws:
            warn_of_random_numbers(field.name)
        keep = keep_of_changing(options.gradient, field.name, seen) if with_grad else keep
    stage = Stage(t, y, slope)
    if not with_grad or captured is None:
        return Start(stage, seen.coarsest, field, None)
    room = _room(options.gradient, tableau, seen, stage) if keep is Keep.STATES else None
    if room is None and keep is not Keep.STAGES and not isinstance(options.gradient, ForwardSensitivity):
        return Start(stage, seen.coarsest, field, captured, keep)
    kept = keep_graphs(field, captured, seen.nodes_of_leaves, None if room is None else y)
    if seen.is_mixed:
        stage = Stage(t, y, kept.field(t, y))
    return Start(stage, seen.coarsest, kept.field, captured, keep, kept.graphs, room)


def _room(gradient: Gradient, tableau: Tableau, seen: Seen, stage: Stage) -> Room | None:
    """Room for graphs of steps, as the first evaluation tells; None where there is none for a single step."""
    if not isinstance(gradient, DiscreteAdjoint) or gradient.allowance == 0 or not CAN_WEIGH:
        return None
    shared = [x for x, _ in seen.entered.values()] + [*seen.captured.values(), *seen.changed.values()]
    tensors = bytes_held(stage.slope, stage.y, seen.operations, shared)
    room = Room(gradient.allowance, tensors, seen.made_nodes, len(tableau.nodes_c) - 1)
    return room if room.has_a_place else None


def begin_again(
    problem: ODEProblem, options: SolveOptions, y0: Tensor, captured: Captured, *, with_time: bool
) -> Start:
    """The start of an earlier solve once more, with f as it was then; arguments as those of `begin`."""
    field = captured.fields[0].again()
    t = _start_time(problem, y0, with_time=with_time)
    y = y0.detach().view(problem.layout.solver_shape).requires_grad_(torch.is_grad_enabled())
    captured.check_versions()
    stage = Stage(t, y, field(t, y))
    if not torch.is_grad_enabled() or not (with_time or y0.requires_grad or captured.inputs):
        return Start(stage, captured.coarsest, field, None)
    return Start(stage, captured.coarsest, field, captured, keep_for(options.gradient), KeptGraphs(captured.targets))


def _start_time(problem: ODEProblem, y0: Tensor, *, with_time: bool) -> Tensor:
    dtype = time_dtype(*problem.interval, y0.dtype)
    return torch.full((), problem.interval[0], dtype=dtype, device=y0.device, requires_grad=with_time)


def start_of(seen: Seen, t: Tensor, *, counts: bool = True, may_differ: bool = False) -> StartGraph | None:
    """What a copy of f has to show at the start, where f had a graph there.

    Args:
        counts: whether the number of operations is known: it depends on what the state came from.
        may_differ: whether the first evaluation of a step taken again may be at another time.
    """
    if seen.reached is None:
        return None
    inputs, nodes = seen.reached
    at = t.detach().requires_grad_(t.requires_grad)
    return StartGraph(at, inputs, nodes if counts else None, {}, may_differ)


def keep_for(gradient: Gradient) -> Keep:
    """What a forward solve keeps of its steps for a gradient."""
    if isinstance(gradient, Backprop):
        return Keep.STAGES
    if isinstance(gradient, ForwardSensitivity):
        return Keep.NOTHING
    return what_to_keep(gradient) if isinstance(gradient, ContinuousAdjoint) else Keep.STATES


def keep_of_changing(gradient: Gradient, name: str, seen: Seen) -> Keep:
    """What a forward solve keeps where f is another function at each evaluation: the graphs of its stages.

    Raises:
        GradientRefused: the gradient evaluates f again.
    """
    if isinstance(gradient, ForwardSensitivity):
        return Keep.NOTHING
    if isinstance(gradient, Backprop) or (isinstance(gradient, DiscreteAdjoint) and gradient.checkpoints is None):
        return Keep.STAGES
    why = "draws random numbers" if seen.draws else "changes a buffer of its own"
    raise GradientRefused(
        f"{name} {why} in each evaluation, and {gradient} evaluates it again, when it is another function; pass "
        "gradient=Backprop() or DiscreteAdjoint(), call eval() on its modules, or draw before the solve"
    )


def warn_of_random_numbers(name: str) -> None:
    """Tell that step control cannot follow a random right-hand side."""
    warnings.warn(
        f"{name} draws random numbers in each evaluation, which the step control takes for errors and answers with "
        "ever shorter steps; draw them once before the solve, call eval() on its modules, or take steps of one length "
        "with dt= and adaptive=False",
        SolveWarning,
        stacklevel=2,
    )
