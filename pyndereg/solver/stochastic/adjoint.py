"""Gradients of a stochastic solve by replaying its accepted steps with the same increments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyndereg.solver.adjoints import refuse_second_derivatives
from pyndereg.solver.stochastic.integration import SavedBetween, StochasticTrajectory, TakenStep, TakeStep

# The backward pass takes as many steps at a time: calls of autograd cost most where states are small, and the graph of
# a segment costs memory where they are large.
LONGEST_SEGMENT, NUMBERS_PER_SEGMENT = 16, 2**14


@dataclass
class StochasticSolve:
    """A stochastic solve that is ready to run.

    Attributes:
        run: the forward solve, from the initial state in the solver's shape.
        take_step: one of its steps, (t, dt, y0) -> step, with the same increments whenever it is taken.
        params: tensors inside the drift and the diffusion that receive gradients: the very objects that they use.
        trajectory: what the forward solve left behind, once it ran.
    """

    run: Callable[[Tensor], StochasticTrajectory]
    take_step: TakeStep
    params: tuple[Tensor, ...]
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
        ctx.solve = replace(solve, trajectory=None)
        ctx.t, ctx.dt = trajectory.march.t, trajectory.march.dt
        ctx.saves, ctx.saves_start = trajectory.saves, trajectory.saves_start
        ctx.samples = [(sampled.step, sampled.theta) for sampled in trajectory.samples if sampled is not None]
        ctx.kept_steps, ctx.increments = list(trajectory.states), trajectory.increments
        # Through save_for_backward, so that a change in place is noticed.
        ctx.save_for_backward(y0, *params, *trajectory.states.values())
        outputs = trajectory.outputs()
        ctx.mark_non_differentiable(*(estimate for estimate in outputs[2:4] if bool(estimate.isnan().any())))
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Sweep backwards over the accepted steps."""
        refuse_second_derivatives(*cotangents)
        y1, saved, scaled_error, stiffness, sampled = cotangents
        solve: StochasticSolve = ctx.solve
        y0, *rest = ctx.saved_tensors
        states = dict(zip(ctx.kept_steps, rest[len(solve.params) :], strict=True))
        adjoint = torch.zeros_like(y0) if y1 is None else y1
        gradients = [torch.zeros_like(param) for param in solve.params]
        length = max(1, min(LONGEST_SEGMENT, NUMBERS_PER_SEGMENT // y0.numel()))
        for stop in range(len(ctx.t), 0, -length):
            segment = range(max(0, stop - length), stop)
            state = _state(solve.take_step, ctx.t, ctx.dt, states, segment)
            again = [partial(solve.take_step, ctx.t[i], ctx.dt[i], increments=ctx.increments.get(i)) for i in segment]
            arrived: list[tuple[Tensor | None, ...]] = []
            at_next: Tensor | None = adjoint
            for i in reversed(segment):
                at_start, at_end = arriving(ctx, i, saved, sampled)
                at_end = at_end if at_next is None else add(at_end, at_next)
                arrived.insert(0, (at_end, _row(scaled_error, i), _row(stiffness, i)))
                at_next = at_start
            pulled = _pull(again, solve.params, state, arrived)
            adjoint = add(at_next, pulled[0])
            if gradients:
                torch._foreach_add_(gradients, list(pulled[1:]))
        if ctx.saves_start and saved is not None:
            adjoint = adjoint + saved[0]
        _, wants_y0, *wants_params = ctx.needs_input_grad
        return (
            None,
            adjoint if wants_y0 else None,
            *(gradient if wanted else None for gradient, wanted in zip(gradients, wants_params, strict=True)),
        )


def _pull(
    again: Sequence[Callable[[Tensor], TakenStep]],
    params: Sequence[Tensor],
    y0: Tensor,
    cotangents: Sequence[Sequence[Tensor | None]],
) -> tuple[Tensor, ...]:
    """Vector-Jacobian product of neighbouring steps, which are taken again: cotangents of y0 and of the parameters.

    Args:
        again: takes each step from the state that the one before it reached.
        params: tensors that receive gradients.
        y0: state at the start of the first step.
        cotangents: of the end, the error and the stiffness of each step; None is zero.
    """
    pairs: list[tuple[Tensor | None, Tensor | None]] = []
    with torch.enable_grad():
        leaf = y = y0.detach().requires_grad_()
        for take_step, arrived in zip(again, cotangents, strict=True):
            step = take_step(y)
            y = step.y1
            pairs += zip((y, step.scaled_error, step.stiffness), arrived, strict=True)
    used = [(x, v) for x, v in pairs if x is not None and v is not None and x.requires_grad]
    return torch.autograd.grad(
        [x for x, _ in used], (leaf, *params), [v for _, v in used], allow_unused=True, materialize_grads=True
    )


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
