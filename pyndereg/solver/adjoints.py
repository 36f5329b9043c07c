"""A differentiable solve: one autograd Function whose backward pass is a reverse sweep over the accepted steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.gradients.kept import KeptGraphs
from pyndereg.solver.integration import Keep, SavedInStep, Trajectory
from pyndereg.solver.reverse import Leaves, ReverseSweep, StepCotangents
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, FieldFunction, Stage, Step
from pyndereg.solver.states import StepStates
from pyndereg.solver.tableau import Tableau
from pyndereg.torch_modes import refuse_batched, refuse_transforms


@dataclass(frozen=True)
class StepsAgain:
    """What the backward pass of a solve through its steps needs; it holds nothing of the user's.

    Attributes:
        tableau: the method's.
        method: makes a method on a field, with its stages' graphs or without.
        keep: what the forward solve keeps.
        captured: f as it was at the solve.
        graphs: what the graphs that are kept lead to; None where none are.
    """

    tableau: Tableau
    method: Callable[[FieldFunction, bool], ExplicitRungeKutta]
    keep: Keep
    captured: Captured
    graphs: KeptGraphs | None

    @property
    def field(self) -> FieldFunction:
        """f, where steps are taken again."""
        return self.captured.fields[0]

    def leaves(self, *, kept: bool) -> Leaves:
        """Those of the graphs that were kept, or of steps that are taken again."""
        targets = self.graphs.targets if kept and self.graphs is not None else self.captured.targets
        return Leaves(targets, retain_graph=kept)


@dataclass
class Solve:
    """A solve that is ready to run.

    Attributes:
        run: the forward solve, from the flat initial state.
        again: what its backward pass needs.
        trajectory: what the forward solve left behind, once it ran.
    """

    run: Callable[[Tensor], Trajectory]
    again: StepsAgain
    trajectory: Trajectory | None = None


class DifferentiableSolve(torch.autograd.Function):
    """The solution of an initial value problem as a function of its initial state, times and parameters.

    Inputs: a `Solve`; y0 (size,), t0 and t1 (), and the parameters, any shapes.
    Outputs: y1 (size,), saved states (times, size), scaled errors (steps,), stiffness (steps,), for dense output the
    states (steps, size) and slopes (steps, nodes, size), else two empty tensors, and sampled states (samples, size).
    """

    @staticmethod
    def forward(ctx: Any, solve: Solve, y0: Tensor, t0: Tensor, t1: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        """Run the solve, and keep what its gradient needs."""
        trajectory = solve.trajectory = solve.run(y0)
        ctx.set_materialize_grads(False)
        ctx.again, ctx.y0_version = solve.again, version_of(y0)
        ctx.t, ctx.dt = trajectory.march.t, trajectory.march.dt
        ctx.saves, ctx.saves_start = trajectory.saves, trajectory.saves_start
        ctx.samples = [(sampled.step, sampled.theta) for sampled in trajectory.samples if sampled is not None]
        ctx.like_times = [time.detach() for time in (t0, t1)]
        ctx.kept_states = list(trajectory.states)
        ctx.stage_counts = [len(step.stages) for step in trajectory.steps]
        kept = list(trajectory.states.values())
        for step in trajectory.steps:
            kept.extend(tensor for stage in step.stages for tensor in stage)
        # A copy of what is handed out, which may be changed in place; the rest so that graphs go once they are used up.
        ctx.save_for_backward(y0, trajectory.y1.clone(), *kept)
        tableau = solve.again.tableau
        estimates = ((trajectory.scaled_error, tableau.b_error), (trajectory.stiffness, tableau.stiffness_stages))
        ctx.mark_non_differentiable(*(estimate for estimate, source in estimates if source is None))
        return trajectory.outputs()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Sweep backwards over the accepted steps."""
        refuse_second_derivatives(*cotangents)
        check_unchanged(ctx.y0_version)
        again: StepsAgain = ctx.again
        if again.keep is Keep.STAGES:
            return again.captured.surroundings.put_back(lambda: _sweep_kept_alone(ctx, again, cotangents))
        return again.captured.replay(lambda: _sweep_what_is_kept(ctx, again, cotangents))


def _sweep_kept_alone(ctx: Any, again: StepsAgain, cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Over the graphs of all steps, where f is not to be evaluated again."""
    assert again.graphs is not None
    again.graphs.refuse_hooks()
    return _sweep(ctx, again, cotangents, kept=len(ctx.t))


def _sweep_what_is_kept(ctx: Any, again: StepsAgain, cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Over the graphs that are there; where something changed that they share with the user, over none of them."""
    kept = len(ctx.stage_counts)
    if kept and again.graphs is not None and not again.graphs.are_those_of_the_solve():
        kept = 0
    return _sweep(ctx, again, cotangents, kept=kept)


def _sweep(ctx: Any, again: StepsAgain, cotangents: Sequence[Tensor | None], *, kept: int) -> tuple[Tensor | None, ...]:
    """Over all steps, of which so many at the start have graphs and the rest are taken again."""
    try:
        return _sweep_steps(ctx, again, cotangents, kept=kept)
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise GradientRefused(
            "a tensor that f uses was changed in place between the solve and its backward pass (by an optimizer's "
            "step, say, or by f itself); call backward before the change, or solve again"
        ) from error


def _sweep_steps(
    ctx: Any, again: StepsAgain, cotangents: Sequence[Tensor | None], *, kept: int
) -> tuple[Tensor | None, ...]:
    y0, y1, *tensors = ctx.saved_tensors
    method = again.method(again.field, True)
    if cotangents[2] is not None:
        method.norm.check()
    agreement = Agreement(y0.dtype, again.captured.coarsest)
    steps, states = len(ctx.t), tensors[: len(ctx.kept_states)]
    with_graphs = KeptSteps(method, ctx.t, ctx.dt, y1, ctx.stage_counts, tensors[len(states) :])
    source: KeptSteps | ReplayedSteps = with_graphs
    if kept < steps:
        starts = with_graphs.starts | dict(zip(ctx.kept_states, states, strict=True))
        plain = again.method(again.field, False)
        source = ReplayedSteps(method, plain, ctx.t, ctx.dt, starts, y1, agreement)
    sweep = ReverseSweep(method, again.leaves(kept=kept == steps), len(again.captured.targets))
    arriving = _per_step(cotangents, ctx.saves, ctx.samples)
    y, slope = torch.zeros_like(y0) if cotangents[0] is None else cotangents[0], None
    for i in reversed(range(steps)):
        if i == kept - 1:
            source, sweep.leaves = with_graphs, again.leaves(kept=True)
        if i == 0 and kept < steps:
            again.captured.expect_start()
            if kept > 0:  # the copy was not evaluated there; what it says is compared
                method.start(ctx.t[0], y0)
        step = source.step(i, arriving[i])
        y, slope = sweep.step(step, y, slope, arriving[i], is_last=i == steps - 1)
        if i == 0:
            pulled = sweep.stage(step.stages[0], method.coefficients.c[0], slope)
            y = y if pulled is None else y + pulled
    agreement.check()
    saved = cotangents[1]
    if ctx.saves_start and saved is not None:
        y = y + saved[0]
    times = [
        gradient.to(like).reshape(like.shape) if needed else None
        for gradient, like, needed in zip((sweep.t0, sweep.t1), ctx.like_times, ctx.needs_input_grad[2:4], strict=True)
    ]
    return None, y if ctx.needs_input_grad[1] else None, *times, *again.captured.gradients(sweep.gradients)


def version_of(y0: Tensor) -> tuple[Tensor, int]:
    """The initial state, without its graph, and how often it was changed in place so far."""
    y0 = y0.detach()
    return y0, y0._version


def check_unchanged(version: tuple[Tensor, int]) -> None:
    """Called in a backward pass.

    Raises:
        GradientRefused: the initial state was changed in place since the solve.
    """
    y0, before = version
    if y0._version != before:
        raise GradientRefused(
            "y0 was changed in place between the solve and its backward pass, and belongs to what is differentiated; "
            "call backward before the change, or solve from a copy, y0.clone()"
        )


def refuse_second_derivatives(*cotangents: Tensor | None) -> None:
    """Called in a backward pass.

    Args:
        cotangents: what arrives there.

    Raises:
        GradientRefused: it is to be differentiated.
        RuntimeError: it runs for many cotangents at once.
    """
    refuse_transforms("the backward pass of a solve")
    refuse_batched(*cotangents)
    if torch.is_grad_enabled():
        raise GradientRefused(
            "the gradient of a solve cannot be differentiated again: call backward without create_graph=True, or "
            "write the second derivative into f as further states"
        )


def refuse_gradient_of_steps(gradient: str, *cotangents: Tensor | None) -> None:
    """Called in the backward pass of a gradient of the equation itself.

    Args:
        gradient: its name.
        cotangents: of the steps' estimates; None where there is none.
    Raises:
        RuntimeError: there is one.
    """
    if any(cotangent is not None for cotangent in cotangents):
        raise RuntimeError(
            f"{gradient} differentiates the solution, not the solver's steps, so solution.steps has no gradient; pass "
            "gradient=DiscreteAdjoint() or Backprop()"
        )


def _per_step(
    cotangents: Sequence[Tensor | None], saves: Sequence[SavedInStep | None], samples: Sequence[tuple[int, float]]
) -> list[StepCotangents]:
    """Sort the cotangents of a solve's outputs by the step that they arrive at."""
    _, saved, scaled_error, stiffness, nodes, slopes, sampled = cotangents

    def row(tensor: Tensor | None, i: int) -> Tensor | None:
        return None if tensor is None or tensor.numel() == 0 else tensor[i]

    result = []
    for i, points in enumerate(saves):
        theta = inside = end = None
        if points is not None and saved is not None:
            count = points.theta.shape[0]
            if count > 0:
                theta, inside = points.theta, saved[points.first_row : points.first_row + count]
            if points.at_end:
                end = saved[points.first_row + count]
        result.append(
            StepCotangents(
                scaled_error=row(scaled_error, i),
                stiffness=row(stiffness, i),
                theta=theta,
                saved=inside,
                y1=end,
                y1_follows_step=points is None or points.follows_step,
                y0=row(nodes, i),
                slopes=row(slopes, i),
            )
        )
    if sampled is not None:
        for state, (i, theta) in zip(sampled, samples, strict=True):
            result[i] = result[i].with_sample(theta, state)
    return result


class KeptSteps:
    """Steps whose stages were kept with their graphs; consecutive steps share the stage between them.

    Args:
        method: whose buffer of slopes is filled where they are asked for.
        t, dt: of the accepted steps, in the problem's time units.
        y1: state at the end of the last one. Shape (size,).
        counts: of the stages of each step that was kept, the first ones.
        tensors: time, state and slope of each of these stages, one after the other.
    """

    def __init__(
        self,
        method: ExplicitRungeKutta,
        t: Sequence[float],
        dt: Sequence[float],
        y1: Tensor,
        counts: Sequence[int],
        tensors: Sequence[Tensor],
    ) -> None:
        self._method, self._t, self._dt = method, t, dt
        stages = [Stage(*tensors[k : k + 3]) for k in range(0, len(tensors), 3)]
        self._stages: list[list[Stage]] = []
        for count in counts:
            self._stages.append(stages[:count])
            stages = stages[count:]
        self._y1 = y1

    @property
    def starts(self) -> dict[int, Tensor]:
        """The states at the starts of the steps, by their indices. Shape (size,) each."""
        return {i: stages[0].y.detach().view(-1) for i, stages in enumerate(self._stages)}

    def step(self, i: int, outside: StepCotangents) -> Step:
        """Step i as it was taken."""
        stages, end = self._stages[i], self._method.tableau.end
        y1 = self._y1 if i == len(self._t) - 1 else stages[end].y.detach().view(-1)
        step = Step(self._t[i], self._dt[i], stages[0].y.detach().view(-1), y1, stages, None)
        if outside.needs_slopes:
            self._method.reload(step)
        return step


class ReplayedSteps:
    """Steps that are taken again from the states at their starts, last one first.

    Args:
        method: keeps graphs.
        method_without_graph: recomputes states between checkpoints.
        t, dt: of the accepted steps, in the problem's time units.
        states: state at the start of step i; the first is there, further ones may be missing.
        y1: state at the end of the last one.
        agreement: compares their ends.
    """

    def __init__(
        self,
        method: ExplicitRungeKutta,
        method_without_graph: ExplicitRungeKutta,
        t: Sequence[float],
        dt: Sequence[float],
        states: dict[int, Tensor],
        y1: Tensor,
        agreement: Agreement,
    ) -> None:
        self._method, self._t, self._dt = method, t, dt
        self._states = StepStates(method_without_graph, t, dt, states)
        self._next_start: Stage | None = None
        self._end, self._agreement = y1, agreement

    def step(self, i: int, outside: StepCotangents) -> Step:
        """Step i with graphs; its end is the start of step i + 1, which was asked for before it."""
        step = self._method.replay(self._t[i], self._dt[i], self._states.take(i), self._next_start)
        self._method.compare(step, self._end, self._agreement)
        self._end = step.y0
        if outside.needs_extension:
            self._method.extend(step)
        elif outside.needs_slopes and self._method.tableau.first_same_as_last:
            self._method.complete(step)
        self._next_start = step.stages[0]
        return step
