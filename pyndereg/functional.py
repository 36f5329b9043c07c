"""Plain functions around the differentiable solves: tensors in, tensors out, for modules of one's own."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pyndereg.ivp import (
    Backprop,
    ContinuousAdjoint,
    DiscreteAdjoint,
    ForwardSensitivity,
    Gradient,
    InterpolatingAdjoint,
    ODEProblem,
    SaveAt,
    State,
)
from pyndereg.ivp.problem import Time
from pyndereg.solve import solve
from pyndereg.torch_modes import outside_graphs


class ODEResult(NamedTuple):
    """Differentiable outputs of a solve.

    Attributes:
        y1: final state. Shape (*state).
        y: saved states; the final one alone without save times. Shape (times, *state).
        dt: signed lengths of the accepted steps, constants of the gradient. Shape (steps,), in time units.
        scaled_error: their errors in units of the tolerance. Shape (steps,), dimensionless.
        stiffness: their stiffness estimates. Shape (steps,), 1/time.
    """

    y1: State
    y: State
    dt: Tensor
    scaled_error: Tensor
    stiffness: Tensor


def odesolve_backprop(
    f: Callable[..., Any],
    y0: State,
    t0: Time,
    t1: Time,
    params: Iterable[Tensor] = (),
    *,
    saveat: SaveAt | Sequence[float] | Tensor | None = None,
    **options: Any,
) -> ODEResult:
    """Solve dy/dt = f(t, y), with the gradient by the graph of every accepted stage, which is kept.

    Args:
        f: right-hand side f(t, y).
        y0: initial state; any shape, or a tuple of tensors. Differentiable.
        t0, t1: ends of the interval, in time units; scalar tensors are differentiable.
        params: tensors that f uses and that receive gradients; a module's own parameters are found.
        saveat: see `pyndereg.solve`.
        options: method, rtol, atol and others of `pyndereg.solve`.
    Raises:
        SolveFailed, TypeError, ValueError: as `pyndereg.solve`.
    """
    return _odesolve(f, y0, t0, t1, params, Backprop(), saveat, options)


def odesolve_discrete_adjoint(
    f: Callable[..., Any],
    y0: State,
    t0: Time,
    t1: Time,
    params: Iterable[Tensor] = (),
    *,
    checkpoints: int | None = None,
    saveat: SaveAt | Sequence[float] | Tensor | None = None,
    **options: Any,
) -> ODEResult:
    """Solve dy/dt = f(t, y), with the gradient by replaying accepted steps in reverse.

    Args:
        checkpoints: number of states to keep at most; None for one per accepted step.
        f, y0, t0, t1, params, saveat, options: as in `odesolve_backprop`.
    """
    return _odesolve(f, y0, t0, t1, params, DiscreteAdjoint(checkpoints), saveat, options)


def odesolve_continuous_adjoint(
    f: Callable[..., Any],
    y0: State,
    t0: Time,
    t1: Time,
    params: Iterable[Tensor] = (),
    *,
    adjoint: ContinuousAdjoint | ForwardSensitivity = InterpolatingAdjoint(),  # noqa: B008 (a frozen value)
    saveat: SaveAt | Sequence[float] | Tensor | None = None,
    **options: Any,
) -> ODEResult:
    """Solve dy/dt = f(t, y), with the gradient of the differential equation itself.

    The errors and stiffness estimates of the result are numbers: their gradient is that of a numerical solution.

    Args:
        adjoint: `InterpolatingAdjoint(...)`, `BacksolveAdjoint(...)`, `QuadratureAdjoint(...)`, `GaussAdjoint(...)` or
            `ForwardSensitivity()`.
        f, y0, t0, t1, params, saveat, options: as in `odesolve_backprop`.
    Raises:
        AdjointFailed: in the backward pass, whose solve ended early.
        SolveFailed, TypeError, ValueError: as `pyndereg.solve`.
    """
    return _odesolve(f, y0, t0, t1, params, adjoint, saveat, options)


@outside_graphs
def _odesolve(
    f: Callable[..., Any],
    y0: State,
    t0: Time,
    t1: Time,
    params: Iterable[Tensor],
    gradient: Gradient,
    saveat: SaveAt | Sequence[float] | Tensor | None,
    options: dict[str, Any],
) -> ODEResult:
    solution = solve(ODEProblem(f, y0, t0, t1, params), gradient=gradient, saveat=saveat, **options)
    steps = solution.steps
    return ODEResult(solution.y1, solution.y, steps.dt, steps.scaled_error, steps.stiffness)
