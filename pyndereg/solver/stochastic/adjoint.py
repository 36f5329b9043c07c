"""Gradients of a stochastic solve by replaying its accepted steps with the same increments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyndereg.solver.adjoints import refuse_second_derivatives
from pyndereg.solver.stochastic.integration import SavedBetween, StochasticTrajectory, TakenStep, TakeStep


@dataclass
class StochasticSolve:
    """A stochastic solve that is ready to run.

    Attributes:
        run: the forward solve, from the flat initial state.
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

    Inputs: a `StochasticSolve`; y0 (size,), and the parameters, any shapes. Outputs: as `StochasticTrajectory.outputs`.
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
        refuse_second_derivatives()
        y1, saved, scaled_error, stiffness, sampled = cotangents
        solve: StochasticSolve = ctx.solve
        samples: list[tuple[int, float]] = ctx.samples
        y0, *rest = ctx.saved_tensors
        states = dict(zip(ctx.kept_steps, rest[len(solve.params) :], strict=True))
        adjoint = torch.zeros_like(y0) if y1 is None else y1
        gradients = [torch.zeros_like(param) for param in solve.params]
        for i in reversed(range(len(ctx.t))):
            at_start, at_end = inside(ctx.saves[i], saved)
            for k, (index, theta) in enumerate(samples):
                if index == i and sampled is not None:
                    at_start, at_end = add(at_start, (1.0 - theta) * sampled[k]), add(at_end, theta * sampled[k])
            state = _state(solve.take_step, ctx.t, ctx.dt, states, i)
            estimates = (None if scaled_error is None else scaled_error[i], None if stiffness is None else stiffness[i])
            again = partial(solve.take_step, ctx.t[i], ctx.dt[i], increments=ctx.increments.get(i))
            pulled = _pull(again, solve.params, state, add(at_end, adjoint), estimates)
            adjoint = add(at_start, pulled[0])
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
    again: Callable[[Tensor], TakenStep],
    params: Sequence[Tensor],
    y0: Tensor,
    adjoint: Tensor,
    estimates: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """Vector-Jacobian product of one step, which is taken again: cotangents of its start and of the parameters."""
    with torch.enable_grad():
        leaf = y0.detach().requires_grad_()
        step = again(leaf)
    pairs = [(step.y1, adjoint), *zip((step.scaled_error, step.stiffness), estimates, strict=True)]
    used = [(x, v) for x, v in pairs if x is not None and v is not None and x.requires_grad]
    return torch.autograd.grad(
        [x for x, _ in used], (leaf, *params), [v for _, v in used], allow_unused=True, materialize_grads=True
    )


def inside(points: SavedBetween, saved: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Cotangents of the ends of a step from those of states on the line between them."""
    at_start: Tensor | None = None
    at_end: Tensor | None = None
    if saved is not None:
        for row, theta in zip(points.rows, points.theta, strict=True):
            at_end = add(at_end, theta * saved[row])
            at_start = at_start if theta == 1.0 else add(at_start, (1.0 - theta) * saved[row])
    return at_start, at_end


def add(total: Tensor | None, part: Tensor) -> Tensor:
    """The sum; a total that is None is zero."""
    return part if total is None else total + part


def _state(take_step: TakeStep, t: Sequence[float], dt: Sequence[float], states: dict[int, Tensor], i: int) -> Tensor:
    """The state at the start of step i, last steps first; those between checkpoints are computed again."""
    if i not in states:
        first = max(index for index in states if index < i)
        for index in range(first, i):
            states[index + 1] = take_step(t[index], dt[index], states[index]).y1
    return states.pop(i)
