"""What floating point can tell apart: times of an interval that is short for where it lies."""

import math

import torch

# Below this length, in units of where it lies, rounding of absolute times would be seen in lengths of steps.
FAR = 2.0**-8
# Below this one float32 has fewer than 2,048 times in the whole interval.
TOO_FAR_FOR_FLOAT32 = 2.0**-13


def origin_of(t0: float, t1: float) -> float:
    """The time from which a solve counts: zero, or t0 where the interval lies far away from zero for its length.

    Counting from zero rounds as OrdinaryDiffEq does; counting from t0, steps shorter than the spacing of float64 at t0
    still add up to t1 - t0.
    """
    return t0 if _is_shorter_than(FAR, t0, t1) else 0.0


def time_dtype(t0: float, t1: float, dtype: torch.dtype) -> torch.dtype:
    """Dtype of the times that f is called with: the state's, unless it could not tell the times of steps apart.

    Decided by the interval, never by a step, so that a solve does not change it on the way.
    """
    is_too_far = dtype == torch.float32 and _is_shorter_than(TOO_FAR_FOR_FLOAT32, t0, t1)
    return torch.float64 if is_too_far else dtype


def _is_shorter_than(fraction: float, t0: float, t1: float) -> bool:
    return abs(t1 - t0) < fraction * max(abs(t0), abs(t1))


def least_advance(t: float) -> float:
    """The least length by which time can advance beyond t, in the problem's time units."""
    return math.nextafter(math.ulp(t), math.inf)
