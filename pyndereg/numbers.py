"""Numbers as users write them: Python's, NumPy's, and tensors that hold one."""

import ctypes
import math
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Relative rounding of a time, and how many of them a sum of steps or a grid makes.
FLOAT32_UNIT, FLOAT64_UNIT, ROUNDINGS = 2.0**-23, 2.0**-52, 8


def real(value: Any, name: str) -> float | None:
    """A real number as a float; None if it is none: a bool, a string, a complex number, an array of several, ...

    Args:
        value: a Python or NumPy number, an array or a tensor without axes, or whatever else has a `__float__`.
        name: what the number is called where it was asked for.
    Raises:
        ValueError: it is a tensor that asks for a gradient, which an option of a solve has not.
    """
    if type(value) is float:
        return value
    if isinstance(value, Tensor):
        return _from_tensor(value, name)
    if isinstance(value, np.generic | np.ndarray) and (value.ndim != 0 or value.dtype.kind not in "iuf"):
        return None
    if isinstance(value, bool) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def whole(value: Any) -> int | None:
    """A whole number as an int; None if it is none: a bool, a float, a string, an array of several, ..."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, Tensor) and (value.ndim != 0 or _holds_no(value, floats=False)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def at_least(value: Any, least: int, name: str, what: str = "a positive whole number") -> int:
    """A whole number from `least` on.

    Raises:
        ValueError: it is none, or smaller.
    """
    number = whole(value)
    if number is None or number < least:
        raise ValueError(f"{name} is {value!r}; pass {what}")
    return number


def positive(value: Any, name: str, what: str = "a finite number above 0") -> float:
    """A positive finite number.

    Raises:
        ValueError: it is none.
    """
    number = real(value, name)
    if number is None or not 0 < number < math.inf:
        raise ValueError(f"{name} is {value!r}; pass {what}")
    return number


def as_float64(numbers: Any, name: str) -> Tensor:
    """Real numbers as a tensor of their shape, float64 on the CPU, without a graph.

    Args:
        numbers: one number of any kind, a sequence, an array or a tensor of them.
        name: what they are called where they were asked for, in the plural.
    Raises:
        TypeError: they are no real numbers.
    """
    try:
        return _as_float64(numbers)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} are {numbers!r}; pass a sequence of numbers") from None


def _as_float64(numbers: Any) -> Tensor:
    if isinstance(numbers, Tensor):
        if numbers.is_complex() or numbers.dtype == torch.bool:
            raise TypeError(f"a tensor of {numbers.dtype} holds no real numbers")
        return numbers.detach().to("cpu", torch.float64)
    if isinstance(numbers, np.ndarray):
        if numbers.dtype.kind not in "iuf":
            raise TypeError(f"an array of {numbers.dtype} holds no real numbers")
        return torch.tensor(numbers.astype(np.float64), device="cpu")
    if isinstance(numbers, list | tuple):
        numbers = [_plain(number) for number in numbers]
    elif isinstance(numbers, bool):
        raise TypeError("a bool is no real number")
    return torch.as_tensor(numbers, dtype=torch.float64, device="cpu")


def _plain(number: Any) -> Any:
    """An entry of a list as a float if it is one number; a list inside the list as it is."""
    if isinstance(number, list | tuple):
        return number
    found = real(number, "a number")
    if found is None:
        raise TypeError(f"a {type(number).__name__} is no real number")
    return found


def _from_tensor(value: Tensor, name: str) -> float | None:
    if value.ndim != 0 or _holds_no(value, floats=True):
        return None
    if value.requires_grad:
        raise ValueError(f"{name} is a tensor that asks for a gradient, which it has not; pass it detached")
    return float(value)


def _holds_no(value: Tensor, *, floats: bool) -> bool:
    """Whether a tensor holds no real number, or none that can be looked at."""
    is_float = value.is_floating_point()
    return value.is_meta or value.is_complex() or value.dtype == torch.bool or (is_float and not floats)


def onto_interval(t: float, low: float, high: float) -> float:
    """A time; that end of the interval which it passes by no more than rounding, if it does.

    By a few units in the last place: of float32 where float32 holds the time exactly, as it does those of
    `torch.linspace`, else of float64.

    Args:
        t: a time, in any unit.
        low, high: ends of the interval, in the same unit.
    """
    if low <= t <= high or not math.isfinite(t):
        return t
    end = low if t < low else high
    unit = FLOAT32_UNIT if ctypes.c_float(t).value == t else FLOAT64_UNIT
    return end if abs(t - end) <= ROUNDINGS * unit * max(abs(low), abs(high)) else t
