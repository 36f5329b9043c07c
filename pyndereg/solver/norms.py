"""The norms that a solver controls its steps with."""

import math

import torch
from torch import Tensor

# Up to this size float64 squares are added in OrdinaryDiffEq's order and rounding, for the reason that
# `runge_kutta.ORDERED_SIZE` states; the last digit is all that differs.
SEQUENTIAL_SIZE = 8


def rms(x: Tensor) -> Tensor:
    """Root mean square over all elements, the whole batch included. Any shape -> (), units of x."""
    if x.numel() > SEQUENTIAL_SIZE or x.dtype != torch.float64 or torch.is_grad_enabled():
        return torch.linalg.vector_norm(x) * x.numel() ** -0.5
    first, *others = x.reshape(-1).unbind()
    total = first * first
    for element in others:
        total = torch.addcmul(total, element, element)
    return (total / x.numel()).sqrt()


def root_mean_square(x: Tensor) -> float:
    """The same as a number, for which the host waits; right for sizes whose squares float32 cannot hold, too."""
    found = rms(x).item()
    # Squares of anything between these sizes are normal numbers of float32.
    return found if 1e-15 < found < 1e15 or x.dtype == torch.float64 else rms(x.double()).item()


def absolute_tolerance(atol: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tolerance as `scaled_error` takes it. Shape (), units of y.

    Zero becomes the least normal number: an element that is zero, without an error, then has no error in units of it
    (zero over zero would be NaN), one with an error has a huge one, and no other scale moves by a bit.
    """
    return torch.full((), max(atol, torch.finfo(dtype).tiny), dtype=dtype, device=device)


def natural_sizes(y: Tensor, rtol: float, atol: float) -> Tensor:
    """The tolerance of each element of a state, infinite where it is zero: that element has no size of its own yet.

    Args:
        y: the state. Any shape.
    Returns:
        Shape of y, units of y, > 0.
    """
    scale = torch.add(y.new_full((), atol), y.abs(), alpha=rtol)
    return scale if atol > 0 else scale.masked_fill_(scale == 0, math.inf)


def scaled_error(
    error: Tensor,
    y0: Tensor,
    y1: Tensor,
    rtol: float,
    atol: Tensor,
    room: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Tensor:
    """Root-mean-square of the local error in units of the tolerance.

    Args:
        error: local error estimate of one step. Any shape, units of y.
        y0, y1: state at both ends of the step. That shape, units of y.
        rtol, atol: relative (dimensionless) and absolute (units of y, shape ()) tolerance.
        room: two tensors of the state's shape to work in, instead of fresh ones; only where no gradient is needed.
    Returns:
        Shape (), dimensionless, >= 0; the step is acceptable iff it is <= 1.
    Source: [@hairer1993solving] eq. (II.4.11); one norm over the whole batch, as in [@pal2021opening].
    """
    scale = error_scale(y0, y1, rtol, atol, room)
    return rms(torch.div(error, scale, out=room[1]))


def error_scale(
    y0: Tensor, y1: Tensor, rtol: float, atol: Tensor, room: tuple[Tensor | None, Tensor | None] = (None, None)
) -> Tensor:
    """The tolerance of each element of a step; arguments as those of `scaled_error`. Shape of y0, units of y, > 0."""
    a, b = room
    return torch.add(atol, torch.maximum(torch.abs(y0, out=a), torch.abs(y1, out=b), out=a), alpha=rtol, out=a)
