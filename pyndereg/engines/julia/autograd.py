"""Differentiable solves: autograd Functions whose forward and backward passes run in Julia."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyndereg.engines.julia.convert import Pullback, address, pointer
from pyndereg.engines.julia.forward import JuliaSolve, Outcome
from pyndereg.engines.julia.session import Held, call, number_of, warn, without_gil
from pyndereg.ivp import BacksolveAdjoint, ContinuousAdjoint, DiscreteAdjoint, ForwardSensitivity, Gradient
from pyndereg.ivp.julia import JuliaSensealg
from pyndereg.solver.adjoints import check_unchanged, refuse_second_derivatives, version_of


def as_tensors(ends: tuple[float | Tensor, ...]) -> list[Tensor]:
    """Both ends of the interval as inputs of an autograd Function. Shape () each."""
    return [t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64, device="cpu") for t in ends]


@dataclass(frozen=True)
class Cotangents:
    """What arrives at the outputs of a solve; None means zero. Shapes as those of `Outcome`."""

    y1: Tensor | None = None
    times: tuple[float, ...] = ()
    saved: Tensor | None = None
    ends: Tensor | None = None
    scaled_error: Tensor | None = None
    stiffness: Tensor | None = None


@dataclass
class DifferentiableRun:
    """A solve, how its gradient is made, and what came of it.

    Attributes:
        solve: the solve.
        gradient: how gradients flow.
        outcome: what it left, once it ran.
    """

    solve: JuliaSolve
    gradient: Gradient
    outcome: Outcome | None = None


class SolveInJulia(torch.autograd.Function):
    """The solution of an initial value problem as a function of its initial state, times and parameters.

    Inputs: a `DifferentiableRun`; y0 (size,), t0 and t1 (), and the parameters, any shapes.
    Outputs: y1 (size,), saved states (times, size), scaled errors (steps,) and stiffness (steps,), both in the state's
    dtype.
    """

    @staticmethod
    def forward(ctx: Any, run: DifferentiableRun, y0: Tensor, t0: Tensor, t1: Tensor, *params: Tensor) -> Any:
        """Run the solve, and keep what its gradient needs."""
        outcome = run.outcome = run.solve.run(y0)
        _keep(ctx, run.solve, run.gradient, outcome, y0, (t0, t1))
        scaled_error, stiffness = outcome.rows[2:].to(y0.dtype, copy=True).unbind()
        constants = [x for x in (scaled_error, stiffness) if bool(x.isnan().all())]
        ctx.mark_non_differentiable(*constants)
        return outcome.y1, outcome.saved, scaled_error, stiffness

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradient, from the record that Julia kept."""
        y1, saved, scaled_error, stiffness = cotangents
        every_step = ctx.solve.every_step
        if isinstance(ctx.gradient, DiscreteAdjoint):
            found = Cotangents(
                y1,
                () if every_step else ctx.times,
                None if every_step else saved,
                saved if every_step else None,
                scaled_error,
                stiffness,
            )
        else:
            if scaled_error is not None or stiffness is not None:
                raise RuntimeError(
                    f"{_name(ctx.gradient)} differentiates the solution, not the solver's steps, so solution.steps has "
                    "no gradient; pass gradient=DiscreteAdjoint(), or Backprop() with engine='embedded'"
                )
            found = _with_end(Cotangents(y1, ctx.times, saved), ctx.solve.t1)
        return _backward(ctx, found)


class InterpolateInJulia(torch.autograd.Function):
    """Dense output as a function of the initial state, times and parameters.

    Inputs: a `DenseRun`; y0, t0, t1 and parameters, as those of `SolveInJulia`. Output: (points, size).
    """

    @staticmethod
    def forward(ctx: Any, run: Any, y0: Tensor, t0: Tensor, t1: Tensor, *params: Tensor) -> Tensor:
        """Evaluate the interpolant."""
        _keep(ctx, run.solve, run.gradient, run.outcome, y0, (t0, t1))
        ctx.times, ctx.order = run.sorted_times()
        return run.values()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The gradient, from the record that Julia kept."""
        saved = None if cotangent is None else cotangent[ctx.order]
        return _backward(ctx, Cotangents(None, ctx.times, saved))


def _with_end(cotangents: Cotangents, t1: float) -> Cotangents:
    """The same cotangents, a state saved at t1 counted as the final state, which moves with t1."""
    times, saved = cotangents.times, cotangents.saved
    if saved is None or not times or times[-1] != t1:
        return cotangents
    y1 = saved[-1] if cotangents.y1 is None else cotangents.y1 + saved[-1]
    return Cotangents(y1, times[:-1], saved[:-1])


def _keep(
    ctx: Any,
    solve: JuliaSolve,
    gradient: Gradient,
    outcome: Outcome,
    y0: Tensor,
    ends: tuple[Tensor, Tensor],
) -> None:
    ctx.set_materialize_grads(False)
    ctx.solve, ctx.gradient, ctx.held = solve, gradient, outcome.held
    ctx.times, ctx.steps = outcome.times, outcome.steps
    ctx.like_times = [end.detach() for end in ends]
    ctx.save_for_backward(y0)
    ctx.y0_version = version_of(y0)


def _backward(ctx: Any, cotangents: Cotangents) -> tuple[Tensor | None, ...]:
    refuse_second_derivatives()
    check_unchanged(ctx.y0_version)
    captured = ctx.solve.field.captured
    return _pulled(ctx, cotangents) if captured is None else captured.replay(lambda: _pulled(ctx, cotangents))


def _pulled(ctx: Any, cotangents: Cotangents) -> tuple[Tensor | None, ...]:
    (y0,) = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    solve: JuliaSolve = ctx.solve
    gu0, ends = torch.zeros_like(y0), torch.zeros(2, dtype=torch.float64, device="cpu")
    gp = torch.zeros_like(solve.field.p) if any(wanted[4:]) else None
    for message in call(lambda bridge: _pull(bridge, solve, ctx.gradient, ctx.held, cotangents, gu0, gp, ends)):
        warn(message)
    times = [
        gradient.to(like).reshape(like.shape) if needed else None
        for gradient, like, needed in zip(ends, ctx.like_times, wanted[2:4], strict=True)
    ]
    params = solve.field.gradients(gp)
    return (
        None,
        gu0 if wanted[1] else None,
        *times,
        *(gradient if needed else None for gradient, needed in zip(params, wanted[4:], strict=True)),
    )


def _pull(
    bridge: Any,
    solve: JuliaSolve,
    gradient: Gradient,
    held: Held,
    cotangents: Cotangents,
    gu0: Tensor,
    gp: Tensor | None,
    ends: Tensor,
) -> tuple[str, ...]:
    """Fill gu0, gp and ends with the gradient; on the Julia thread. Returns the warnings of a backward solve."""

    def dense(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.contiguous()

    y1, saved, steps_ends = dense(cotangents.y1), dense(cotangents.saved), dense(cotangents.ends)
    scaled_error, stiffness = dense(cotangents.scaled_error), dense(cotangents.stiffness)
    times = torch.tensor(cotangents.times, dtype=torch.float64, device="cpu") if saved is not None else None
    pullback = Pullback(
        held.number,
        pointer(solve.field.p),
        pointer(y1),
        pointer(times),
        pointer(saved),
        0 if times is None else len(times),
        pointer(steps_ends),
        pointer(scaled_error),
        pointer(stiffness),
        pointer(gu0),
        pointer(gp),
        pointer(ends),
    )
    if isinstance(gradient, DiscreteAdjoint):
        replay = without_gil(bridge, "discrete_adjoint")
        solve.enter(lambda: replay(address(pullback)))
        return ()
    number = sensealg_number(bridge, gradient)
    rtol, atol = (
        getattr(gradient, name, None) or default for name, default in (("rtol", solve.rtol), ("atol", solve.atol))
    )
    adjoint = without_gil(bridge, "continuous_adjoint")
    messages = str(solve.enter(lambda: adjoint(address(pullback), number, rtol, atol)))
    return tuple(message for message in messages.split("\0") if message)


def sensealg_number(bridge: Any, gradient: Gradient) -> int:
    """The number of a sensitivity algorithm; on the Julia thread."""
    sensealg = _sensealg(gradient)
    keys, values = ([part[i] for part in sensealg.options] for i in (0, 1))
    return number_of(bridge, sensealg, lambda bridge: bridge.sensealg(sensealg.name, keys, values))


def _sensealg(gradient: Gradient) -> JuliaSensealg:
    if isinstance(gradient, JuliaSensealg):
        return gradient
    options: dict[str, Any] = {}
    if isinstance(gradient, BacksolveAdjoint):
        options["checkpointing"] = gradient.checkpointing
    if isinstance(gradient, ContinuousAdjoint) and gradient.vjp is not None:
        options["autojacvec"] = gradient.vjp
    name = "ForwardDiffSensitivity" if isinstance(gradient, ForwardSensitivity) else _name(gradient)
    return JuliaSensealg(name, tuple(options.items()))


def _name(gradient: Gradient) -> str:
    if isinstance(gradient, JuliaSensealg):
        return gradient.name
    assert isinstance(gradient, ContinuousAdjoint | ForwardSensitivity)
    return type(gradient).__name__
