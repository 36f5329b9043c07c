"""A solve together with its derivatives: forward mode, one tangent for each number that a gradient is asked for.

With S = dy/dv for a direction v, dS/dt = (df/dy) S + (df/dθ) (dθ/dv). The tangents ride along as further elements of
the state that the step control does not see, so the steps are those of the plain solve and the derivatives are exactly
those of its numerical solution with the lengths of the steps held constant.

Source: [@hairer1993solving] section I.14; the products with the Jacobian by differentiating a vector-Jacobian product
with respect to its vector, in which it is linear.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.adjoints import (
    check_unchanged,
    refuse_gradient_of_steps,
    refuse_second_derivatives,
    version_of,
)
from pyndereg.solver.gradients.captured import Captured, Target
from pyndereg.solver.integration import Trajectory
from pyndereg.solver.runge_kutta import FieldFunction, Stage, evaluate

MOST_TANGENTS = 1000


class SensitivityField:
    """The right-hand side of a state and its tangents, one after the other in one vector.

    Args:
        field, shape: f, on states in the solver's shape.
        targets: what f's graphs are differentiated with respect to.
        params: tensors of their shapes. A complex one has a tangent for each real and for each imaginary part.
        of_state, of_time: whether there are tangents for the initial state and for t0, besides the parameters'.

    Attributes:
        used: for each parameter, whether f ever depended on it.
    """

    def __init__(
        self,
        field: FieldFunction,
        shape: torch.Size,
        targets: Sequence[Target],
        params: Sequence[Tensor],
        *,
        of_state: bool,
        of_time: bool,
    ) -> None:
        self._field, self._shape, self._targets, self._params = field, shape, tuple(targets), tuple(params)
        self.of_state, self.of_time = of_state, of_time
        numbers = [x.numel() * (2 if x.is_complex() else 1) for x in params]
        self.sizes = (shape.numel() if of_state else 0, *numbers, 1 if of_time else 0)
        self.tangents = sum(self.sizes)
        if self.tangents <= MOST_TANGENTS:
            self._directions = [self._unit(k) for k in range(len(self._params))]
        self.used = [False] * len(self._params)

    def start(self, stage: Stage) -> tuple[Tensor, Tensor]:
        """State and slope, with their tangents, at the start.

        Args:
            stage: f at the start, with its graph.
        Returns:
            Shape ((1 + tangents) size,) each.
        """
        y, slope = stage.y.detach().reshape(-1), stage.slope.detach().reshape(-1)
        tangents = y.new_zeros(self.tangents, y.shape[0])
        if self.of_state:
            tangents[: y.shape[0]] = torch.eye(y.shape[0], dtype=y.dtype, device=y.device)
        if self.of_time:
            # A later start is a start from where the solution was: y(t0 + h) = y0 has moved by -h f.
            tangents[-1] = -slope
        return torch.cat([y, tangents.view(-1)]), torch.cat([slope, self._push(stage, tangents).reshape(-1)])

    def __call__(self, t: Tensor, state: Tensor) -> Tensor:
        """Slopes of the state and of its tangents. Shape of `state`, ((1 + tangents) size,)."""
        rows = state.view(1 + self.tangents, -1)
        stage = evaluate(self._field, t, rows[0].view(self._shape), with_graph=True)
        pushed = self._push(stage, rows[1:])
        return torch.cat([stage.slope.detach().reshape(-1), pushed.reshape(-1)])

    def _push(self, stage: Stage, tangents: Tensor) -> Tensor:
        """(df/dy) S + (df/dθ) dθ/dv of every direction. Shape (tangents, size).

        Raises:
            GradientRefused: f has a derivative that torch cannot differentiate again, or not for many directions.
        """
        if not stage.slope.requires_grad:
            return torch.zeros_like(tangents)
        try:
            return self._pushed(stage, tangents)
        except (RuntimeError, NotImplementedError) as error:
            why = str(error).splitlines()[0].split(". ")[0].rstrip(".")
            raise GradientRefused(
                f"ForwardSensitivity differentiates the derivative of f, and torch cannot do that here ({why}); pass "
                "another gradient, such as DiscreteAdjoint()"
            ) from error

    def _pushed(self, stage: Stage, tangents: Tensor) -> Tensor:
        with torch.enable_grad():
            cotangent = torch.zeros_like(stage.slope, requires_grad=True)
            inputs: list[Any] = [stage.y, *self._targets]
            pulled = torch.autograd.grad(stage.slope, inputs, cotangent, create_graph=True, allow_unused=True)
        self.used = [was or x is not None for was, x in zip(self.used, pulled[1:], strict=True)]
        directions = [tangents.view(-1, *self._shape), *self._directions]
        used = [(x, v) for x, v in zip(pulled, directions, strict=True) if x is not None and x.requires_grad]
        if not used:
            return torch.zeros_like(tangents)
        outputs, vectors = zip(*used, strict=True)
        (found,) = torch.autograd.grad(outputs, cotangent, vectors, is_grads_batched=True)
        return found.reshape(tangents.shape)

    def _unit(self, k: int) -> Tensor:
        """Parameter k along every direction. Shape (tangents, *parameter)."""
        param, first = self._params[k].detach(), sum(self.sizes[: k + 1])
        unit, size = param.new_zeros(self.tangents, param.numel()), param.numel()
        identity = torch.eye(size, dtype=param.dtype, device=param.device)
        unit[first : first + size] = identity
        if param.is_complex():
            unit[first + size : first + 2 * size] = 1j * identity
        return unit.view(self.tangents, *param.shape)


@dataclass
class TangentSolve:
    """A solve that is ready to run with tangents.

    Attributes:
        run: the solve, from the flat initial state and the right-hand side of state and tangents.
        field, shape: f, on states in the solver's shape.
        t0: start of the interval, in the problem's time units.
        every_step: whether saved states belong to ends of steps, which move with t0.
        targets, params: what f's graphs are differentiated with respect to, and tensors of their shapes.
        captured: f as it was at the solve.
        trajectory: what the solve left behind, tangents included, once it ran.
    """

    run: Callable[[Tensor, SensitivityField], Trajectory]
    field: FieldFunction
    shape: torch.Size
    t0: float
    every_step: bool
    targets: tuple[Target, ...]
    params: tuple[Tensor, ...]
    captured: Captured
    trajectory: Trajectory | None = None


class ForwardModeSolve(torch.autograd.Function):
    """The solution of an initial value problem as a function of its initial state, times and parameters.

    Inputs: a `TangentSolve`; y0 (size,), t0 and t1 (), and the parameters, any shapes.
    Outputs: those of `DifferentiableSolve`; only states are differentiable, and dense output has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, solve: TangentSolve, y0: Tensor, t0: Tensor, t1: Tensor, *params: Tensor) -> Any:
        """Run the solve, and keep its tangents.

        Raises:
            ValueError: a gradient is asked for with respect to too many numbers, or a sparse tensor.
        """
        _, of_state, of_time, *_ = ctx.needs_input_grad
        if any(x.layout != torch.strided for x in params):
            raise ValueError(
                "f depends on a sparse tensor that requires a gradient, which ForwardSensitivity has not; pass another "
                "gradient, such as DiscreteAdjoint()"
            )
        field = SensitivityField(
            solve.field, solve.shape, solve.targets, solve.params, of_state=of_state, of_time=of_time
        )
        if field.tangents > MOST_TANGENTS:
            raise ValueError(
                f"ForwardSensitivity carries a tangent for each of {field.tangents} numbers of y0 and the parameters; "
                f"pass a gradient for many of them, such as DiscreteAdjoint(), or have at most {MOST_TANGENTS}"
            )
        whole = solve.run(y0, field)
        size = y0.shape[0]
        solve.trajectory = whole.first_elements(size)
        ctx.set_materialize_grads(False)
        kept = replace(solve, run=_already_run, field=solve.captured.fields[0], targets=(), trajectory=None)
        ctx.solve, ctx.sizes, ctx.used, ctx.y0_version = kept, field.sizes, field.used, version_of(y0)
        ctx.t_reached, ctx.succeeded = whole.march.t_reached, whole.march.status.succeeded
        ctx.times = whole.times
        ctx.samples = [(sampled.t, sampled.theta == 0.0) for sampled in whole.samples if sampled is not None]
        ctx.like_times = [time.detach() for time in (t0, t1)]
        outputs = solve.trajectory.outputs()
        tangents = [part[..., size:].reshape(-1, field.tangents, size) for part in _states(whole)]
        ctx.save_for_backward(y0, *(outputs[k] for k in (0, 1, 6)), *tangents)
        # Copies, as what is returned is the user's to change, and shares its memory with the tangents.
        outputs = tuple(output.clone() for output in outputs)
        ctx.mark_non_differentiable(outputs[4], outputs[5])
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Products of the cotangents with the tangents."""
        refuse_second_derivatives(*cotangents)
        refuse_gradient_of_steps("ForwardSensitivity", *cotangents[2:4])
        check_unchanged(ctx.y0_version)
        return ctx.solve.captured.surroundings.put_back(lambda: _products(ctx, *cotangents))


def _products(
    ctx: Any,
    y1: Tensor | None,
    saved: Tensor | None,
    scaled_error: Tensor | None,
    stiffness: Tensor | None,
    nodes: Tensor | None,
    slopes: Tensor | None,
    sampled: Tensor | None,
) -> tuple[Tensor | None, ...]:
    y0, *rest = ctx.saved_tensors
    states, tangents = rest[:3], rest[3:6]
    solve: TangentSolve = ctx.solve
    arriving = (None if y1 is None else y1[None], saved, sampled)
    total = y0.new_zeros(sum(ctx.sizes))
    for cotangent, tangent in zip(arriving, tangents, strict=True):
        if cotangent is not None and cotangent.numel() > 0:
            total += torch.einsum("ps,pks->k", cotangent, tangent)
    ends = total.new_zeros(2).unbind()
    if any(ctx.needs_input_grad[2:4]):
        ends = solve.captured.replay(lambda: _times(ctx, solve, arriving, states, total))
    parts = total.split(ctx.sizes)
    wanted = ctx.needs_input_grad
    return (
        None,
        parts[0] if wanted[1] else None,
        *(
            gradient.to(like).reshape(like.shape) if needed else None
            for gradient, like, needed in zip(ends, ctx.like_times, wanted[2:4], strict=True)
        ),
        *(
            _as_gradient(part, param) if needed and used else None
            for part, param, needed, used in zip(parts[1:-1], solve.params, wanted[4:], ctx.used, strict=True)
        ),
    )


def _as_gradient(part: Tensor, param: Tensor) -> Tensor:
    """Products with the tangents of a parameter as its gradient."""
    if not param.is_complex():
        return part.view(param.shape).to(param.dtype)
    real, imaginary = part.chunk(2)
    return torch.complex(real, imaginary).view(param.shape).to(param.dtype)


def _already_run(y0: Tensor, field: SensitivityField) -> Trajectory:
    raise AssertionError("a solve runs once")


def _states(trajectory: Trajectory) -> tuple[Tensor, ...]:
    """Final, saved and sampled states with their tangents. Shape (points, (1 + tangents) size) each."""
    outputs = trajectory.outputs()
    return outputs[0][None], outputs[1], outputs[6].view(-1, outputs[0].shape[0])


def _times(
    ctx: Any, solve: TangentSolve, arriving: Sequence[Tensor | None], states: Sequence[Tensor], total: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of t0 and t1: what the tangent of t0 says, and the motion of points that follow either."""
    t0, t1 = (total[-1] if ctx.needs_input_grad[2] else total.new_zeros(())), total.new_zeros(())
    y1, saved, sampled = arriving
    points = [(ctx.t_reached, None if y1 is None else y1[0], states[0], False)]
    points += [
        (t, None if saved is None else saved[i], states[1][i], solve.every_step) for i, t in enumerate(ctx.times)
    ]
    points += [
        (t, None if sampled is None else sampled[i], states[2][i], follows)
        for i, (t, follows) in enumerate(ctx.samples)
    ]
    for t, cotangent, state, follows in points:
        at_start, at_end = t == solve.t0, t == ctx.t_reached
        if cotangent is None or not (at_start or at_end or follows):
            continue
        time = torch.full((), t, dtype=state.dtype, device=state.device)
        moved = cotangent @ solve.field(time, state.view(solve.shape)).detach().reshape(-1)
        if at_end and not at_start:
            t1 = t1 + moved if ctx.succeeded else t1
        else:
            # The initial state itself does not depend on t0: what its tangent says is taken back.
            t0 = t0 + moved
    return t0, t1
