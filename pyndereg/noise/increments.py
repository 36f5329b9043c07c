"""What a stochastic step asks of a path: its increment and its space-time area over an interval."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pyndereg.numbers import as_float64


class Increments(NamedTuple):
    """Increment and normalised space-time Lévy area of one path over an interval from s to t.

    The integral of W(u) - W(s) over u from s to t is (t - s)/2 (dW + dZ/sqrt(3)), so dZ is sqrt(12) H in the notation
    of [@foster2020optimal]: normal with the variance of dW and independent of it. The identity holds for t < s, too:
    reversing an interval changes the sign of dW and leaves dZ as it is.

    Attributes:
        dW: W(t) - W(s). Shape (*shape) of the path, or (steps, *shape), units of sqrt(time).
        dZ: normalised area. Shape of dW, units of sqrt(time).
    """

    dW: Tensor
    dZ: Tensor

    def reversed(self) -> "Increments":
        """The same path over the same interval, run through backwards."""
        return Increments(-self.dW, self.dZ)


class Path(Protocol):
    """A path of a Brownian motion on [t0, t1] that can be asked in any order. Times are floats."""

    @property
    def t0(self) -> float:
        """Time at which the path begins."""
        ...

    @property
    def t1(self) -> float:
        """Time at which the path ends."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the path at one time."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of its tensors."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        ...

    def __call__(self, t: float) -> Tensor:
        """W(t). Shape (*shape), units of sqrt(time)."""
        ...

    def values(self, times: Sequence[float] | Tensor) -> Tensor:
        """W at several times. Shape (times, *shape), units of sqrt(time)."""
        ...

    def dW(self, s: float, t: float) -> Tensor:
        """W(t) - W(s) alone. Shape (*shape), units of sqrt(time)."""
        ...

    def increments(self, s: float, t: float) -> Increments:
        """Increment and area from s to t, in either direction. Shapes (*shape), units of sqrt(time)."""
        ...

    def on_grid(self, times: Sequence[float] | Tensor) -> Increments:
        """Increments and areas between neighbours of a list of times. Shapes (times - 1, *shape)."""
        ...


def as_times(times: Sequence[float] | Tensor) -> np.ndarray:
    """A list of times as float64, wherever and however it was kept. Shape (times,).

    Raises:
        ValueError: the times are not a list of one dimension.
    """
    found = as_float64(times, "times").numpy()
    if found.ndim != 1:
        raise ValueError(f"times have shape {found.shape}, expected (times,); pass one list of times")
    return found
