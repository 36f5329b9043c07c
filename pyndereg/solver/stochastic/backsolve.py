"""The continuous adjoint of a stochastic solve: state and adjoint solved backwards along the same path.

In Stratonovich form a stochastic equation obeys the chain rule of ordinary calculus, so its adjoint is that of an
ordinary equation with f dt + g dW in place of f dt: da = -(∂f/∂y)ᵀ a dt - (∂g/∂y)ᵀ (a ∘ dW). Both are solved backwards
by Heun's method over the accepted steps, which keeps nothing of them but their times.

Source: [@li2020scalable], section 3.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp.sde import BrownianMotion
from pyndereg.solver.adjoints import (
    check_unchanged,
    refuse_gradient_of_steps,
    refuse_second_derivatives,
    version_of,
)
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.gradients.captured import Captured, refuse_unseen_changes
from pyndereg.solver.gradients.graph import gradients_of
from pyndereg.solver.gradients.sums import add_to
from pyndereg.solver.gradients.watch import random_states, same_states
from pyndereg.solver.stochastic.adjoint import add, arriving
from pyndereg.solver.stochastic.integration import StochasticTrajectory
from pyndereg.solver.stochastic.path import RememberedPath

# (t, dt, y) and the increment over the step -> f dt + g dW in Stratonovich form, differentiable in y.
Motion = Callable[[float, float, Tensor, Tensor], Tensor]


@dataclass
class BacksolvedSolve:
    """A stochastic solve that is ready to run, and its motion.

    Attributes:
        run: the forward solve, from the initial state in the solver's shape.
        motion: the equation's right-hand side, times increments.
        path: of the Brownian motion.
        checkpointing: put the state back on the forward solution where it was saved at the end of a step.
        captured: the drift and the diffusion as they were at the solve.
        t0, start: start of the interval in the problem's time units, and the drift there, to compare with. (*state)
        trajectory: what the forward solve left behind, once it ran.
    """

    run: Callable[[Tensor], StochasticTrajectory]
    motion: Motion
    path: BrownianMotion
    checkpointing: bool
    captured: Captured
    t0: float
    start: Tensor
    trajectory: StochasticTrajectory | None = None

    def compare_start(self, y0: Tensor) -> None:
        """Refuse a gradient if the drift at the start is not what it was.

        Raises:
            GradientRefused: it is not.
        """
        agreement = Agreement(y0.dtype, self.captured.coarsest)
        t = torch.full((), self.t0, dtype=y0.dtype, device=y0.device)
        self.captured.expect_start()
        with torch.enable_grad():
            drift, _ = (field(t, y0.detach().requires_grad_()) for field in self.captured.fields)
        agreement.compare(self.t0, drift.detach(), self.start, self.start)
        agreement.check()


class BacksolvedStochasticSolve(torch.autograd.Function):
    """The solution of a stochastic problem on one Brownian path as a function of its initial state and parameters.

    Inputs: a `BacksolvedSolve`; y0 (*state), and the parameters, any shapes. Outputs as `StochasticTrajectory.outputs`;
    only states are differentiable.
    """

    @staticmethod
    def forward(ctx: Any, solve: BacksolvedSolve, y0: Tensor, *params: Tensor) -> Any:
        """Run the solve, and keep the times of its steps."""
        states = random_states(y0.device)
        trajectory = solve.trajectory = solve.run(y0)
        # A sampler draws by itself, so where there is one, draws say nothing of f.
        ctx.draws = not trajectory.samples and not same_states(states, random_states(y0.device))
        ctx.set_materialize_grads(False)
        ctx.solve, ctx.y0_version = replace(solve, run=_already_run, trajectory=None), version_of(y0)
        ctx.t, ctx.dt, ctx.t_reached = trajectory.march.t, trajectory.march.dt, trajectory.march.t_reached
        ctx.saves, ctx.saves_start = trajectory.saves, trajectory.saves_start
        ctx.samples = [(sampled.step, sampled.theta) for sampled in trajectory.samples if sampled is not None]
        outputs = trajectory.outputs()
        # Copies of what is handed out, which may be changed in place.
        ctx.save_for_backward(outputs[0].clone(), outputs[1].clone() if solve.checkpointing else None, y0)
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Solve state and adjoint backwards."""
        refuse_second_derivatives(*cotangents)
        refuse_gradient_of_steps("BacksolveAdjoint", *cotangents[2:4])
        check_unchanged(ctx.y0_version)
        refuse_unseen_changes(ctx.solve.captured, "BacksolveAdjoint", draws=ctx.draws)
        return ctx.solve.captured.replay(lambda: _backwards(ctx, ctx.solve, *cotangents))


def _already_run(y0: Tensor) -> StochasticTrajectory:
    raise AssertionError("a solve runs once")


def _backwards(
    ctx: Any,
    solve: BacksolvedSolve,
    y1: Tensor | None,
    saved: Tensor | None,
    scaled_error: Tensor | None,
    stiffness: Tensor | None,
    sampled: Tensor | None,
) -> tuple[Tensor | None, ...]:
    state, kept, y0 = ctx.saved_tensors
    solve.compare_start(y0)
    adjoint = torch.zeros_like(state) if y1 is None else y1
    gradients: list[Tensor | None] = [None] * len(solve.captured.targets)
    ends = [*ctx.t[1:], ctx.t_reached]
    for i in reversed(range(len(ctx.t))):
        at_start, at_end = arriving(ctx, i, saved, sampled)
        for row, theta in zip(ctx.saves[i].rows, ctx.saves[i].theta, strict=True):
            state = kept[row] if kept is not None and theta == 1.0 else state
        dW, _ = solve.path.increments(ends[i], ctx.t[i])
        state, adjoint = _heun(solve, ends[i], -ctx.dt[i], dW, state, add(at_end, adjoint), gradients)
        adjoint = add(at_start, adjoint)
    if isinstance(solve.path, RememberedPath):
        solve.path.check()
    if ctx.saves_start and saved is not None:
        adjoint = adjoint + saved[0]
    _, wants_y0, *wants_params = ctx.needs_input_grad
    return (
        None,
        adjoint if wants_y0 else None,
        *(x if wanted else None for x, wanted in zip(solve.captured.gradients(gradients), wants_params, strict=True)),
    )


def _heun(
    solve: BacksolvedSolve,
    t: float,
    dt: float,
    dW: Tensor,
    state: Tensor,
    adjoint: Tensor,
    gradients: list[Tensor | None],
) -> tuple[Tensor, Tensor]:
    """One step of Heun's method of signed length dt; the parameters' part is added to `gradients`."""

    def pull(t: float, y: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = y.detach().requires_grad_()
            moved = solve.motion(t, dt, leaf, dW)
        if not moved.requires_grad:
            return moved, torch.zeros_like(y)
        found = gradients_of(moved, (leaf, *solve.captured.targets), a)
        add_to(gradients, found[1:], -0.5)
        return moved.detach(), torch.zeros_like(y) if found[0] is None else found[0]

    moved, pulled = pull(t, state, adjoint)
    again, back = pull(t + dt, state + moved, adjoint - pulled)
    return state + 0.5 * (moved + again), adjoint - 0.5 * (pulled + back)


def stratonovich_correction(g: Tensor, y: Tensor) -> Tensor:
    """Half of g_i ∂g_i/∂y_i: what the Itô drift has beyond the Stratonovich drift, for diagonal noise.

    Args:
        g: diffusion at y, with its graph. Shape of y.
    """
    if not g.requires_grad:
        return torch.zeros_like(y)
    (product,) = torch.autograd.grad(g, y, g, create_graph=True, allow_unused=True, materialize_grads=True)
    return 0.5 * product
