"""The norms that a solver controls its steps with."""

import torch
from torch import Tensor

# Up to this size float64 squares are added in OrdinaryDiffEq's order and rounding, for the reason that
# `runge_kutta.ORDERED_SIZE` states; the last digit is all that differs.
SEQUENTIAL_SIZE = 8


def rms(x: Tensor) -> Tensor:
    """Root mean square over all elements, the whole batch included. Any shape -> (), units of x."""
    if x.numel() > SEQUENTIAL_SIZE or x.dtype != torch.float64 or torch.is_grad_enabled():
        return torch.linalg.vector_norm(x) * x.numel() ** -0.5
    first, *others = x.view(-1).unbind()
    total = first * first
    for element in others:
        total = torch.addcmul(total, element, element)
    return (total / x.numel()).sqrt()


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
    a, b = room
    scale = torch.add(atol, torch.maximum(torch.abs(y0, out=a), torch.abs(y1, out=b), out=a), alpha=rtol, out=a)
    return rms(torch.div(error, scale, out=b))
