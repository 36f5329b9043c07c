"""Parts of a problem between two times at which its right-hand side jumps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from pyndereg.ivp.problem import ODEProblem, Time
from pyndereg.ivp.sde import SDEProblem
from pyndereg.ivp.state import State

EVERYWHERE = (-math.inf, math.inf)


@dataclass(frozen=True)
class ODESegment(ODEProblem):
    """Part of an `ODEProblem`.

    Attributes:
        times: the earliest and the latest time that f may be asked at: a step that ends at a jump sees its own side.
    """

    times: tuple[float, float] = EVERYWHERE


@dataclass(frozen=True)
class SDESegment(SDEProblem):
    """Part of an `SDEProblem`; attributes as those of `ODESegment`."""

    times: tuple[float, float] = EVERYWHERE


def segment_of(
    problem: ODEProblem | SDEProblem,
    y0: State,
    ends: tuple[Time, Time],
    breakpoints: Sequence[float],
    dtype: torch.dtype,
) -> ODEProblem | SDEProblem:
    """The part of a problem between two times, of which those that are breakpoints are left to the inside.

    Args:
        y0: state at the first of them.
        ends: start and end, in the problem's time units.
        breakpoints: times at which f jumps.
        dtype: of the times that f is called with.
    """
    kept: dict[str, Any] = {field.name: getattr(problem, field.name) for field in fields(problem)}
    start, end = (float(t.detach()) if isinstance(t, torch.Tensor) else t for t in ends)
    low, high = sorted((start, end))
    inside = (
        _neighbour(low, math.inf, dtype) if low in breakpoints else -math.inf,
        _neighbour(high, -math.inf, dtype) if high in breakpoints else math.inf,
    )
    kept |= {"y0": y0, "t0": ends[0], "t1": ends[1], "times": inside}
    return SDESegment(**kept) if isinstance(problem, SDEProblem) else ODESegment(**kept)


def _neighbour(t: float, towards: float, dtype: torch.dtype) -> float:
    """The next time that a dtype has, beyond that to which it rounds t."""
    number = np.float32 if dtype == torch.float32 else np.float64
    return float(np.nextafter(number(t), number(towards)))
