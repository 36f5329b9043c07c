"""Estimates of stiffness from two stages of a step with equal nodes."""

from collections.abc import Callable

import torch
from torch import Tensor

StiffnessEstimate = Callable[[Tensor, Tensor], Tensor]


def rms_ratio(slopes: Tensor, states: Tensor) -> Tensor:
    """Ratio of norms ||f(x) - f(y)|| / ||x - y||, an estimate of the largest |eigenvalue| of the Jacobian.

    Args:
        slopes: difference of the two stages' slopes. Shape (size,), units of y per time.
        states: difference of the two stages' states. Shape (size,), units of y.
    Returns:
        Shape (), 1/time; zero where the states do not differ, as in the published code.
    Source: [@shampine1977stiffness]; [@pal2021opening] section 3.
    """
    # Equal states at equal times have equal slopes, so the quotient is then 0 / tiny = 0. Sizes cancel. In float64,
    # because the two states of a step differ by so little that float32 may not hold the squares.
    norm, wide = torch.linalg.vector_norm, torch.float64
    ratio = norm(slopes, dtype=wide) / norm(states, dtype=wide).clamp_min(torch.finfo(wide).tiny)
    return ratio if slopes.dtype == wide else ratio.to(slopes.dtype)


def max_ratio(slopes: Tensor, states: Tensor) -> Tensor:
    """Largest element-wise ratio |f(x) - f(y)| / |x - y|: OrdinaryDiffEq's definition since version 6.81.

    Arguments and result as in `rms_ratio`; elements that do not differ are passed over.
    """
    differ = states != 0
    ratios = torch.where(differ, slopes / torch.where(differ, states, 1.0), 0.0)
    return ratios.abs().max()


STIFFNESS_ESTIMATES: dict[str, StiffnessEstimate] = {"rms": rms_ratio, "max": max_ratio}
