"""Where steps end, as far as the user says it: checks of `dt`, `grid`, `steps`, `dt_max` and `breakpoints`."""

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pyndereg.numbers import as_float64, real

# The ends of a grid may be rounded to float32, in which schedules of samplers are often made.
ROUNDING = 2.0**-23


def checked_times(times: Any, name: str, least: int) -> tuple[float, ...]:
    """A list of finite times as numbers.

    Raises:
        TypeError, ValueError: it is none, or shorter than `least`.
    """
    parts = times if isinstance(times, list | tuple) else (times,)
    if any(isinstance(part, Tensor) and part.requires_grad for part in parts):
        raise ValueError(f"{name} asks for a gradient, which times of steps have not; pass {name}.detach()")
    try:
        found = as_float64(times, name)
    except TypeError:
        raise TypeError(f"{name} is {times!r}; pass a sequence of numbers") from None
    if found.ndim != 1 or found.numel() < least:
        raise ValueError(f"{name} has shape {tuple(found.shape)}; pass a sequence of at least {least} numbers")
    if not bool(found.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinity; pass finite times")
    return tuple(found.tolist())


def checked_count(steps: Any) -> int:
    """A number of steps.

    Raises:
        ValueError: it is no positive whole number.
    """
    try:
        count = 0 if isinstance(steps, bool) else operator.index(steps)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"steps is {steps!r}; pass a positive whole number")
    return count


def checked_longest(dt_max: Any) -> float:
    """The length that no step exceeds.

    Raises:
        ValueError: it is no positive number.
    """
    try:
        longest = math.nan if isinstance(dt_max, bool | str) else float(dt_max)
    except (TypeError, ValueError, RuntimeError):
        longest = math.nan
    if not longest > 0:
        raise ValueError(f"dt_max is {dt_max!r}; pass a positive step length, whatever the direction of time")
    return longest


def checked_first(first_step: Any) -> float:
    """The length of the first step.

    Raises:
        ValueError: it is no positive number.
    """
    length = None if isinstance(first_step, str) else real(first_step, "first_step")
    if length is None or not 0 < length < math.inf:
        raise ValueError(
            f"first_step is {first_step!r}; pass a positive step length, whatever the direction of time, 'search', or "
            "Remembered()"
        )
    return length


def refuse_first_step(first_step: float | None, name: str, reason: str) -> None:
    """Refuse a first step where steps are planned.

    Args:
        name: the method's.
        reason: why they are.
    Raises:
        ValueError: there is one.
    """
    if first_step is not None:
        raise ValueError(
            f"first_step was given, and method {name!r} {reason}, so that all steps are planned; pass their length as "
            "dt="
        )


def refuse_contradictions(dt: Any, grid: Sequence[float] | None, steps: int | None, max_steps: int) -> None:
    """Refuse two answers to where steps end, and more steps than the limit.

    Raises:
        ValueError: more than one of dt, grid and steps was given, or more steps than max_steps.
    """
    given = [name for name, value in (("dt", dt), ("grid", grid), ("steps", steps)) if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} were given, and each says where steps end; pass one of them")
    count = steps if grid is None else len(grid) - 1
    if count is not None and count > max_steps:
        raise ValueError(f"{given[0]} asks for {count} steps, and max_steps is {max_steps}; raise max_steps")


def grid_between(grid: Sequence[float], t0: float, t1: float) -> tuple[float, ...]:
    """A grid from t0 to t1, whose ends are these to the last digit.

    Raises:
        ValueError: it does not begin at t0 or end at t1, or is not strictly monotone.
    """
    rounding = ROUNDING * max(abs(t0), abs(t1))
    if abs(grid[0] - t0) > rounding or abs(grid[-1] - t1) > rounding:
        raise ValueError(f"grid goes from {grid[0]} to {grid[-1]}; let it go from t0={t0} to t1={t1}")
    times = (t0, *grid[1:-1], t1)
    for earlier, later in itertools.pairwise(times):
        if (later - earlier) * (t1 - t0) <= 0:
            raise ValueError(f"grid goes from {earlier} to {later}; sort it from t0={t0} to t1={t1}, without repeats")
    return times


def breakpoints_between(breakpoints: Sequence[float], t0: float, t1: float) -> tuple[float, ...]:
    """The breakpoints strictly inside an interval, each once, in the order in which they are passed."""
    low, high = min(t0, t1), max(t0, t1)
    return tuple(sorted({t for t in breakpoints if low < t < high}, reverse=t1 < t0))
