"""The norms that a solver controls its steps with."""

import math
from collections.abc import Callable
from typing import Protocol

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


class Norm(Protocol):
    """How large a state in units of the tolerance is: what decides on steps."""

    def of(self, x: Tensor) -> Tensor:
        """The norm of a state, flat or in the solver's shape. Shape (), dimensionless, >= 0."""
        ...

    def of_parts(self, scaled: Tensor, error: Tensor, others: Tensor) -> Tensor:
        """Norms of the parts of the state that are judged apart, the largest of which is the norm.

        Args:
            scaled, error: a state, shape (size,), and its norm, shape ().
            others: further states. Shape (others, size).
        Returns:
            Of all of them. Shape (1 + others, parts).
        """
        ...

    def check(self) -> None:
        """Called by a backward pass that computes norms again.

        Raises:
            GradientRefused: it is not the function that it was.
        """
        ...


class RootMeanSquare:
    """The root mean square over the whole state; see `Norm`."""

    of = staticmethod(rms)

    def of_parts(self, scaled: Tensor, error: Tensor, others: Tensor) -> Tensor:
        """See `Norm`; the state is one part."""
        sizes = torch.linalg.vector_norm(others, dim=1) * others.shape[1] ** -0.5
        return torch.cat([error[None], sizes])[:, None]

    def check(self) -> None:
        """It is always itself."""


RMS: Norm = RootMeanSquare()


def size_of(x: Tensor, norm: Norm = RMS) -> float:
    """A norm as a number, for which the host waits; right for sizes whose squares float32 cannot hold, too."""
    found = norm.of(x).item()
    # Squares of anything between these sizes are normal numbers of float32.
    return found if 1e-15 < found < 1e15 or x.dtype == torch.float64 else norm.of(x.double()).item()


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
    norm: Callable[[Tensor], Tensor] = rms,
) -> Tensor:
    """Norm of the local error in units of the tolerance.

    Args:
        error: local error estimate of one step. Any shape, units of y.
        y0, y1: state at both ends of the step. That shape, units of y.
        rtol, atol: relative (dimensionless) and absolute (units of y, shape ()) tolerance.
        norm: over the whole batch, the root mean square or another `Norm`'s `of`.
    Returns:
        Shape (), dimensionless, >= 0; the step is acceptable iff it is <= 1.
    Source: [@hairer1993solving] eq. (II.4.11); one norm over the whole batch, as in [@pal2021opening].
    """
    return norm(error / error_scale(y0, y1, rtol, atol))


def error_scale(
    y0: Tensor, y1: Tensor, rtol: float, atol: Tensor, room: tuple[Tensor | None, Tensor | None] = (None, None)
) -> Tensor:
    """The tolerance of each element of a step. Shape of y0, units of y, > 0.

    Args:
        y0, y1, rtol, atol: those of `scaled_error`.
        room: two tensors of the state's shape to work in, instead of fresh ones; only where no gradient is needed.
    """
    a, b = room
    return torch.add(atol, torch.maximum(torch.abs(y0, out=a), torch.abs(y1, out=b), out=a), alpha=rtol, out=a)
