"""Gradients of a stochastic solve by replaying its accepted steps with the same increments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyndereg.solver.adjoints import check_unchanged, refuse_second_derivatives, version_of
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.gradients.graph import gradients_of
from pyndereg.solver.gradients.sums import add_to
from pyndereg.solver.norms import RMS, Norm
from pyndereg.solver.stochastic.integration import SavedBetween, StochasticTrajectory, TakenStep, TakeStep

# The backward pass takes as many steps at a time: calls of autograd cost most where states are small, and the graph of
# a segment costs memory where they are large.
LONGEST_SEGMENT, NUMBERS_PER_SEGMENT = 16, 2**14


@dataclass
class StochasticSolve:
    """A stochastic solve that is ready to run.

    Attributes:
        run: the forward solve, from the initial state in the solver's shape.
        take_step: one of its steps with f and g as they were at the solve, (t, dt, y0) -> step, with the same
            increments whenever it is taken.
        captured: f and g as they were.
        norm: that the errors of its steps are measured by.
        trajectory: what the forward solve left behind, once it ran.
    """

    run: Callable[[Tensor], StochasticTrajectory]
    take_step: TakeStep
    captured: Captured
    norm: Norm = RMS
    trajectory: StochasticTrajectory | None = None


class ReplayedStochasticSolve(torch.autograd.Function):
    """The solution of a stochastic problem on one Brownian path as a function of its initial state and parameters.

    Inputs: a `StochasticSolve`; y0 (*state), and the parameters, any shapes. Outputs as `StochasticTrajectory.outputs`.
    """

    @staticmethod
    def forward(ctx: Any, solve: StochasticSolve, y0: Tensor, *params: Tensor) -> Any:
        """Run the solve, and keep the states at the starts of its steps."""
        trajectory = solve.trajectory = solve.run(y0)
        ctx.set_materialize_grads(False)
        ctx.take_step, ctx.captured, ctx.y0_version = solve.take_step, solve.captured, version_of(y0)
        ctx.norm = solve.norm
        ctx.t, ctx.dt = trajectory.march.t, trajectory.march.dt
        ctx.saves, ctx.saves_start = trajectory.saves, trajectory.saves_start
        ctx.samples = [(sampled.step, sampled.theta) for sampled in trajectory.samples if sampled is not None]
        ctx.kept_steps, ctx.increments = list(trajectory.states), trajectory.increments
        # A copy of what is handed out, which may be changed in place.
        ctx.save_for_backward(y0, trajectory.y1.clone(), *trajectory.states.values())
        outputs = trajectory.outputs()
        ctx.mark_non_differentiable(*(estimate for estimate in outputs[2:4] if bool(estimate.isnan().any())))
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Sweep backwards over the accepted steps."""
        refuse_second_derivatives(*cotangents)
        check_unchanged(ctx.y0_version)
        return ctx.captured.replay(lambda: _sweep(ctx, *cotangents))


def _sweep(
    ctx: Any,
    y1: Tensor | None,
    saved: Tensor | None,
    scaled_error: Tensor | None,
    stiffness: Tensor | None,
    sampled: Tensor | None,
) -> tuple[Tensor | None, ...]:
    captured: Captured = ctx.captured
    if scaled_error is not None:
        ctx.norm.check()
    y0, following, *rest = ctx.saved_tensors
    states = dict(zip(ctx.kept_steps, rest, strict=True))
    adjoint = torch.zeros_like(y0) if y1 is None else y1
    gradients: list[Tensor | None] = [None] * len(captured.targets)
    agreement = Agreement(y0.dtype, captured.coarsest)
    length = max(1, min(LONGEST_SEGMENT, NUMBERS_PER_SEGMENT // y0.numel()))
    for stop in range(len(ctx.t), 0, -length):
        segment = range(max(0, stop - length), stop)
        ends = [states.get(i + 1) for i in segment[:-1]] + [following]
        following = state = _state(ctx.take_step, ctx.t, ctx.dt, states, segment)
        again = [partial(ctx.take_step, ctx.t[i], ctx.dt[i], increments=ctx.increments.get(i)) for i in segment]
        arrived: list[tuple[Tensor | None, ...]] = []
        at_next: Tensor | None = adjoint
        for i in reversed(segment):
            at_start, at_end = arriving(ctx, i, saved, sampled)
            at_end = at_end if at_next is None else add(at_end, at_next)
            arrived.insert(0, (at_end, _row(scaled_error, i), _row(stiffness, i)))
            at_next = at_start
        if segment.start == 0:
            captured.expect_start()
        pulled = _pull(again, captured.targets, state, arrived, ends, agreement)
        adjoint = at_next if pulled[0] is None else add(at_next, pulled[0])
        adjoint = torch.zeros_like(y0) if adjoint is None else adjoint
        add_to(gradients, pulled[1:])
    agreement.check()
    if ctx.saves_start and saved is not None:
        adjoint = adjoint + saved[0]
    _, wants_y0, *wants_params = ctx.needs_input_grad
    return (
        None,
        adjoint if wants_y0 else None,
        *(x if wanted else None for x, wanted in zip(captured.gradients(gradients), wants_params, strict=True)),
    )


def _pull(
    again: Sequence[Callable[[Tensor], TakenStep]],
    params: Sequence[Tensor],
    y0: Tensor,
    cotangents: Sequence[Sequence[Tensor | None]],
    ends: Sequence[Tensor | None],
    agreement: Agreement,
) -> tuple[Tensor | None, ...]:
    """Vector-Jacobian product of neighbouring steps, which are taken again: cotangents of y0 and of the parameters.

    Args:
        again: takes each step from the state that the one before it reached.
        params: tensors that receive gradients.
        y0: state at the start of the first step.
        cotangents: of the end, the error and the stiffness of each step; None is zero.
        ends: of the steps in the solve, where they are known.
        agreement: compares them.
    """
    pairs: list[tuple[Tensor | None, Tensor | None]] = []
    with torch.enable_grad():
        leaf = y = y0.detach().requires_grad_()
        for take_step, arrived, end in zip(again, cotangents, ends, strict=True):
            step = take_step(y)
            y = step.y1
            if end is not None:
                agreement.compare(step.t, y.detach(), end, (y - step.y0).detach())
            pairs += zip((y, step.scaled_error, step.stiffness), arrived, strict=True)
    used = [(x, v) for x, v in pairs if x is not None and v is not None and x.requires_grad]
    return gradients_of([x for x, _ in used], (leaf, *params), [v for _, v in used])


def arriving(ctx: Any, i: int, saved: Tensor | None, sampled: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Cotangents that arrive at both ends of step i from saved and from sampled states."""
    at_start, at_end = inside(ctx.saves[i], saved)
    for k, (index, theta) in enumerate(ctx.samples):
        if index == i and sampled is not None:
            at_start, at_end = add(at_start, (1.0 - theta) * sampled[k]), add(at_end, theta * sampled[k])
    return at_start, at_end


def inside(points: SavedBetween, saved: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Cotangents of the ends of a step from those of states on the line between them."""
    at_start: Tensor | None = None
    at_end: Tensor | None = None
    if saved is not None:
        for row, theta in zip(points.rows, points.theta, strict=True):
            at_end = add(at_end, theta * saved[row])
            at_start = at_start if theta == 1.0 else add(at_start, (1.0 - theta) * saved[row])
    return at_start, at_end


def _row(tensor: Tensor | None, i: int) -> Tensor | None:
    return None if tensor is None else tensor[i]


def add(total: Tensor | None, part: Tensor) -> Tensor:
    """The sum; a total that is None is zero."""
    return part if total is None else total + part


def _state(
    take_step: TakeStep, t: Sequence[float], dt: Sequence[float], states: dict[int, Tensor], segment: range
) -> Tensor:
    """The state at the start of a segment, last one first; those between checkpoints are computed again."""
    if segment.start not in states:
        first = max(index for index in states if index < segment.start)
        for index in range(first, segment.start):
            states[index + 1] = take_step(t[index], dt[index], states[index]).y1
    for index in segment[1:]:
        states.pop(index, None)
    return states.pop(segment.start)
