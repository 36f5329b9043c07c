"""A solve whose gradient is that of the differential equation: the adjoint equation, solved by the method itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp import (
    BacksolveAdjoint,
    ContinuousAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    QuadratureAdjoint,
)
from pyndereg.ivp.errors import AdjointFailed
from pyndereg.solver.adjoint_equation import AdjointField, BackwardSolve, Pullback
from pyndereg.solver.adjoints import (
    check_unchanged,
    refuse_gradient_of_steps,
    refuse_second_derivatives,
    version_of,
)
from pyndereg.solver.control import Controller
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.gradients.captured import Captured, refuse_unseen_changes
from pyndereg.solver.gradients.sums import zeros_for
from pyndereg.solver.gradients.watch import random_states, same_states
from pyndereg.solver.integration import Keep, Trajectory
from pyndereg.solver.march import March
from pyndereg.solver.norms import rms
from pyndereg.solver.parameters import AlongTheWay, AtGaussPoints, ByQuadrature, ParameterRule
from pyndereg.solver.path import Path, Pieces, ReplayedPath
from pyndereg.solver.plans import Plan
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, FieldFunction, Step


@dataclass
class AdjointSolve:
    """A solve that is ready to run, and what its backward solve needs.

    Attributes:
        gradient: which adjoint.
        run: the forward solve, from the flat initial state.
        captured, shape: f as it was at the solve, on states in the solver's shape.
        stepper: makes a method that takes forward steps again.
        backward: makes a method for the backward solve, from its right-hand side and the size of its state.
        controller: step-size control of the backward solve.
        dt: length of its first step; None for an automatic one.
        rtol, atol: its tolerances.
        max_steps: limit on its attempted steps between two jumps.
        t0: start of the interval, in the problem's time units.
        every_step, dense: what was asked to be saved: the ends of all steps, the slopes.
        start_slope: f at t0 and y0. Shape (size,).
        trajectory: what the forward solve left behind, once it ran.
    """

    gradient: ContinuousAdjoint
    run: Callable[[Tensor], Trajectory]
    captured: Captured
    shape: torch.Size
    stepper: Callable[[FieldFunction], ExplicitRungeKutta]
    backward: Callable[[FieldFunction, int], ExplicitRungeKutta]
    controller: Controller | Plan
    dt: float | None
    rtol: float
    atol: float
    max_steps: int
    t0: float
    every_step: bool
    dense: bool
    start_slope: Tensor
    trajectory: Trajectory | None = None

    @property
    def field(self) -> FieldFunction:
        """f as it was at the solve."""
        return self.captured.fields[0]

    def replay(self) -> ExplicitRungeKutta:
        """A method that takes forward steps again, without graphs."""
        return self.stepper(self.field)

    @property
    def keeps_saved(self) -> bool:
        """Whether the backward pass needs the saved states."""
        return self.every_step or (isinstance(self.gradient, BacksolveAdjoint) and self.gradient.checkpointing)


def what_to_keep(gradient: ContinuousAdjoint) -> Keep:
    """What the forward solve keeps of its steps for an adjoint, besides what `AdjointSolve` says."""
    if isinstance(gradient, InterpolatingAdjoint):
        return Keep.CHECKPOINTS if gradient.checkpointing else Keep.STATES
    return Keep.STATES if isinstance(gradient, GaussAdjoint) else Keep.NOTHING


@dataclass(frozen=True)
class Jump:
    """What the loss takes from the solution at one time.

    Attributes:
        t: the time, in the problem's time units.
        cotangent: of the state there; None if the loss does not use it. Shape (size,).
        state: the state there, if it was kept. Shape (size,).
        follows_start: whether the time moves with t0.
    """

    t: float
    cotangent: Tensor | None = None
    state: Tensor | None = None
    follows_start: bool = False

    def in_units_of(self, unit: float) -> "Jump":
        """The same with its cotangent in other units."""
        return self if self.cotangent is None else replace(self, cotangent=self.cotangent / unit)


class ContinuousAdjointSolve(torch.autograd.Function):
    """The solution of an initial value problem as a function of its initial state, times and parameters.

    Inputs: an `AdjointSolve`; y0 (size,), t0 and t1 (), and the parameters, any shapes.
    Outputs: those of `DifferentiableSolve`; only states are differentiable, and dense output has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, solve: AdjointSolve, y0: Tensor, t0: Tensor, t1: Tensor, *params: Tensor) -> Any:
        """Run the solve, and keep what its gradient needs."""
        states = random_states(y0.device)
        trajectory = solve.trajectory = solve.run(y0)
        # A sampler draws by itself, so where there is one, draws say nothing of f.
        ctx.draws = not trajectory.samples and not same_states(states, random_states(y0.device))
        ctx.set_materialize_grads(False)
        ctx.solve, ctx.y0_version = replace(solve, run=_already_run, trajectory=None), version_of(y0)
        ctx.march, ctx.times, ctx.saves_start = trajectory.march, trajectory.times, trajectory.saves_start
        ctx.samples = [(sampled.t, sampled.theta == 0.0) for sampled in trajectory.samples if sampled is not None]
        ctx.like_times = [time.detach() for time in (t0, t1)]
        ctx.kept_steps = list(trajectory.states)
        *outputs, nodes, slopes, sampled = trajectory.outputs()
        keep_slopes = isinstance(solve.gradient, QuadratureAdjoint)
        # Copies of what is handed out, which may be changed in place.
        ctx.save_for_backward(
            y0,
            trajectory.y1.clone(),
            trajectory.saved.clone() if solve.keeps_saved else None,
            sampled.clone(),
            *((nodes, slopes) if keep_slopes else (None, None)),
            *trajectory.states.values(),
        )
        if not solve.dense:
            nodes, slopes = (nodes.new_empty(0) for _ in range(2))
        ctx.mark_non_differentiable(nodes, slopes)
        return *outputs, nodes, slopes, sampled

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Solve the adjoint equation backwards."""
        refuse_second_derivatives(*cotangents)
        solve: AdjointSolve = ctx.solve
        refuse_gradient_of_steps(type(solve.gradient).__name__, *cotangents[2:4])
        check_unchanged(ctx.y0_version)
        if isinstance(solve.gradient, BacksolveAdjoint | QuadratureAdjoint):
            refuse_unseen_changes(solve.captured, type(solve.gradient).__name__, draws=ctx.draws)
        return solve.captured.replay(lambda: _backward(ctx, solve, cotangents))


def _backward(ctx: Any, solve: AdjointSolve, cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    y1_cotangent, saved, _, _, _, _, sampled = cotangents
    y0, y1, kept_saved, kept_sampled, nodes, slopes, *kept_states = ctx.saved_tensors
    _, wants_y0, wants_t0, wants_t1, *wants_params = ctx.needs_input_grad
    agreement = Agreement(y0.dtype, solve.captured.coarsest)
    start, jumps, end = _in_order(
        [*_saved_jumps(ctx, saved, kept_saved), *_sampled_jumps(ctx, sampled, kept_sampled)],
        solve.t0,
        ctx.march.t_reached,
    )
    adjoint = _with_cotangents(torch.zeros_like(y0), [Jump(ctx.march.t_reached, y1_cotangent), *end])
    pullback = Pullback(solve.field, solve.shape, solve.captured.targets)
    solve.captured.expect_start()
    agreement.compare(solve.t0, pullback.slope(solve.t0, y0, with_graph=True), solve.start_slope, solve.start_slope)
    if nodes is not None and slopes is not None and ctx.march.dt:
        for t, y, kept in zip(ctx.march.t, nodes, slopes[:, 0], strict=True):
            agreement.compare(t, pullback.slope(t, y), kept, kept)
    agreement.check()
    t0, t1 = adjoint.new_zeros(()), adjoint.new_zeros(())
    if wants_t1 and ctx.march.status.succeeded:
        t1 = adjoint @ pullback.slope(ctx.march.t_reached, y1)
    gradients: list[Tensor | None] = [None] * len(pullback.targets)
    if ctx.march.dt:
        states = dict(zip(ctx.kept_steps, kept_states, strict=True))
        path = _path(solve, ctx.march, states, y1, nodes, slopes, agreement)
        # The adjoint equation is linear: in units of what arrives, the default tolerances fit a loss of any size.
        unit = 1.0 if solve.gradient.atol is not None else _largest(adjoint, jumps)
        backwards = _Backwards(solve, pullback, path, ctx.march, with_params=any(wants_params))
        adjoint, found = backwards.run(y1, adjoint / unit, [jump.in_units_of(unit) for jump in jumps])
        adjoint = adjoint * unit
        # Where f depends on none of a tensor's elements anywhere, there is no gradient, rather than zero.
        gradients = [x * unit if used else None for x, used in zip(found, pullback.used, strict=True)]
    if wants_t0:
        t0 = -(adjoint @ pullback.slope(solve.t0, y0))
        for jump in jumps:
            if jump.follows_start and jump.cotangent is not None and jump.state is not None:
                t0 = t0 + jump.cotangent @ pullback.slope(jump.t, jump.state)
    agreement.check()
    adjoint = _with_cotangents(adjoint, start)
    return (
        None,
        adjoint if wants_y0 else None,
        *(
            gradient.to(like).reshape(like.shape) if wanted else None
            for gradient, like, wanted in zip((t0, t1), ctx.like_times, (wants_t0, wants_t1), strict=True)
        ),
        *(
            gradient if wanted else None
            for gradient, wanted in zip(solve.captured.gradients(gradients), wants_params, strict=True)
        ),
    )


class _Backwards:
    """The backward solve of one gradient.

    Args:
        solve: what is solved and how.
        pullback: of f.
        path: the forward solution; None where it is solved backwards, too.
        march: the forward steps.
        with_params: whether the parameters' part is wanted.
    """

    def __init__(
        self, solve: AdjointSolve, pullback: Pullback, path: Path | None, march: March[Step], *, with_params: bool
    ) -> None:
        self._solve, self._pullback, self._path, self._march = solve, pullback, path, march
        along = not isinstance(solve.gradient, QuadratureAdjoint | GaussAdjoint)
        self._field = AdjointField(pullback, path, with_params=with_params and along)
        size = solve.shape.numel()
        self._method = solve.backward(self._field, size if path is not None else 2 * size)
        self._rule = self._rule_for(along) if with_params else None

    def run(self, y1: Tensor, adjoint: Tensor, jumps: Sequence[Jump]) -> tuple[Tensor, list[Tensor]]:
        """Solve from the end to the start.

        Args:
            y1, adjoint: state and adjoint at the end. Shape (size,).
            jumps: on the way, last one first.
        Returns:
            The adjoint at the start, before what the loss takes from the initial state itself; and the gradients of
            the parameters.
        Raises:
            AdjointFailed: the start was not reached.
        """
        solve, t_end = self._solve, self._march.t_reached
        backward = BackwardSolve(
            self._field,
            self._method,
            solve.controller,
            self._path,
            max_steps=solve.max_steps,
            t=t_end,
            state=adjoint if self._path is not None else torch.cat([y1, adjoint]),
            dt=solve.dt,
            on_step=self._on_step,
            refine=self._refine,
        )
        self._backward = backward
        for jump in (*jumps, Jump(solve.t0)):
            if jump.t != backward.t:
                result = backward.to(jump.t)
                if not result.status.succeeded:
                    raise AdjointFailed(type(solve.gradient).__name__, result.status, result.t_reached)
            if jump.cotangent is not None or jump.state is not None:
                backward.put(self._after(jump, backward.state))
        if self._rule is not None:
            self._rule.finish([t_end, *(jump.t for jump in jumps), solve.t0])
        targets = self._pullback.targets
        found = [zeros_for(x) for x in targets] if self._rule is None else self._rule.gradients
        return (backward.state if self._path is not None else backward.state.chunk(2)[1]), found

    def _after(self, jump: Jump, state: Tensor) -> Tensor:
        """The state of the backward solve after a jump; the solution that it carries is put back where it was."""
        if self._path is not None:
            return state if jump.cotangent is None else state + jump.cotangent
        y, adjoint = state.chunk(2)
        if jump.state is not None and isinstance(self._solve.gradient, BacksolveAdjoint):
            y = jump.state if self._solve.gradient.checkpointing else y
        return torch.cat([y, adjoint if jump.cotangent is None else adjoint + jump.cotangent])

    def _rule_for(self, along: bool) -> ParameterRule:
        solve, gradient = self._solve, self._solve.gradient
        if along:
            return AlongTheWay(self._field, self._method, self._pullback.targets, solve.atol)
        assert self._path is not None
        if isinstance(gradient, GaussAdjoint):
            return AtGaussPoints(self._path, self._pullback, self._method)
        assert isinstance(gradient, QuadratureAdjoint)
        return ByQuadrature(
            self._path,
            self._pullback,
            self._method,
            -1.0 if self._march.dt[0] > 0 else 1.0,
            solve.rtol if gradient.quadrature_rtol is None else gradient.quadrature_rtol,
            solve.atol if gradient.quadrature_atol is None else gradient.quadrature_atol,
        )

    def _on_step(self, step: Step) -> None:
        if self._rule is not None:
            self._rule.accept(self._backward, step)

    @property
    def _refine(self) -> Callable[[Step], Tensor] | None:
        if self._solve.gradient.norm == "all" and isinstance(self._rule, AlongTheWay):
            return self._rule.scaled_error
        return None


def _already_run(y0: Tensor) -> Trajectory:
    raise AssertionError("a solve runs once")


def _path(
    solve: AdjointSolve,
    march: March[Step],
    states: dict[int, Tensor],
    y1: Tensor,
    nodes: Tensor | None,
    slopes: Tensor | None,
    agreement: Agreement,
) -> Path | None:
    """The forward solution; None where it is solved backwards, too."""
    if isinstance(solve.gradient, BacksolveAdjoint):
        return None
    if nodes is None or slopes is None:
        return ReplayedPath(solve.replay(), solve.replay(), march.t, march.dt, states, y1, agreement)
    pieces = Pieces(solve.replay().coefficients.weights, 1.0 if march.dt[0] > 0 else -1.0)
    for t, dt, y, k in zip(march.t, march.dt, nodes, slopes, strict=True):
        pieces.append(t, dt, y, k)
    return pieces


def _saved_jumps(ctx: Any, cotangents: Tensor | None, states: Tensor | None) -> list[Jump]:
    if cotangents is None and states is None:
        return []
    used = set(ctx.times) if cotangents is None else _rows_that_arrive(cotangents)
    return [
        Jump(
            time,
            cotangents[i] if cotangents is not None and i in used else None,
            None if states is None else states[i],
            follows_start=ctx.solve.every_step,
        )
        for i, time in enumerate(ctx.times)
        if i in used or states is not None
    ]


def _rows_that_arrive(cotangents: Tensor) -> set[int]:
    """Rows (times, size) that are not zero: the loss uses no other saved state, and nothing jumps there."""
    return set(cotangents.ne(0).any(1).nonzero().view(-1).tolist())


def _sampled_jumps(ctx: Any, cotangents: Tensor | None, states: Tensor) -> list[Jump]:
    if cotangents is None:
        return []
    return [Jump(t, cotangents[i], states[i], follows) for i, (t, follows) in enumerate(ctx.samples)]


def _in_order(jumps: Sequence[Jump], t0: float, t_end: float) -> tuple[list[Jump], list[Jump], list[Jump]]:
    """Jumps at the start, those on the way from the end to the start, and those at the end."""
    inside = [jump for jump in jumps if jump.t not in (t0, t_end)]
    inside.sort(key=lambda jump: abs(jump.t - t_end))
    return [x for x in jumps if x.t == t0], inside, [x for x in jumps if x.t == t_end and x.t != t0]


def _largest(adjoint: Tensor, jumps: Sequence[Jump]) -> float:
    """Root mean square of the largest cotangent; 1 if all are zero."""
    arriving = [adjoint, *(jump.cotangent for jump in jumps if jump.cotangent is not None)]
    return torch.stack([rms(cotangent.double()) for cotangent in arriving]).max().item() or 1.0


def _with_cotangents(adjoint: Tensor, jumps: Sequence[Jump]) -> Tensor:
    for jump in jumps:
        adjoint = adjoint if jump.cotangent is None else adjoint + jump.cotangent
    return adjoint
