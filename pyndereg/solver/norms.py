"""The norms that a solver controls its steps with."""

import torch
from torch import Tensor


def rms(x: Tensor) -> Tensor:
    """Root mean square over all elements, the whole batch included. Any shape -> (), units of x."""
    return torch.linalg.vector_norm(x) * x.numel() ** -0.5


def scaled_error(error: Tensor, y0: Tensor, y1: Tensor, rtol: float, atol: float) -> Tensor:
    """Root-mean-square of the local error in units of the tolerance.

    Args:
        error: local error estimate of one step. Shape (size,), units of y.
        y0, y1: state at both ends of the step. Shape (size,), units of y.
        rtol, atol: relative (dimensionless) and absolute (units of y) tolerance.
    Returns:
        Shape (), dimensionless, >= 0; the step is acceptable iff it is <= 1.
    Source: [@hairer1993solving] eq. (II.4.11); one norm over the whole batch, as in [@pal2021opening].
    """
    largest = torch.maximum(y0.abs(), y1.abs())
    return rms(error / torch.add(largest.new_tensor(atol), largest, alpha=rtol))
