"""A path that was handed in as tensors."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pyndereg.noise.areas import weights
from pyndereg.noise.increments import Increments, as_times
from pyndereg.torch_modes import ordinary

# Listed times are recognised up to the rounding of a sum of steps, relative to the path's length.
SNAP = 2.0**-36


class FixedPath:
    """A path known at listed times: measured, drawn elsewhere, or recorded from a `BrownianPath`.

    It can be asked between any two of its times, in either direction; between them it is not defined.

    Args:
        times: rising, at least two. Shape (times,), units of time.
        values: W at these times. Shape (times, *shape), units of sqrt(time).
        areas: normalised space-time area dZ of each interval, see `Increments`. Shape (times - 1, *shape), units of
            sqrt(time). None: the path has no areas, which is enough for methods that ask for dW alone.
    Raises:
        ValueError: the times do not rise, or shapes do not fit together.
    """

    def __init__(self, times: Sequence[float] | Tensor, values: Tensor, areas: Tensor | None = None) -> None:
        self.times: list[float] = as_times(times).tolist()
        _check(self.times, values, areas)
        # One made in inference mode could not be differentiated along.
        self._values, self._areas = ordinary(values), ordinary(areas)
        self._places = {time: place for place, time in enumerate(self.times)}

    @property
    def t0(self) -> float:
        """First time, units of time."""
        return self.times[0]

    @property
    def t1(self) -> float:
        """Last time, units of time."""
        return self.times[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the path at one time."""
        return tuple(self._values.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the tensors handed in."""
        return self._values.dtype

    @property
    def device(self) -> torch.device:
        """Where the tensors handed in are."""
        return self._values.device

    @property
    def areas(self) -> Tensor:
        """Areas of the intervals between neighbouring times. Shape (times - 1, *shape), units of sqrt(time).

        Raises:
            ValueError: the path has none.
        """
        if self._areas is None:
            raise ValueError(
                "this FixedPath has no areas, expected one dZ for each interval; pass areas=, or use a method that "
                "needs dW alone"
            )
        return self._areas

    def __call__(self, t: float) -> Tensor:
        """The listed value W(t). Shape (*shape), units of sqrt(time)."""
        return self._values[self._place(t)]

    def values(self, times: Sequence[float] | Tensor) -> Tensor:
        """Listed values at several times. Shape (times, *shape), units of sqrt(time)."""
        return self._values[[self._place(t) for t in as_times(times).tolist()]]

    def dW(self, s: float, t: float) -> Tensor:
        """W(t) - W(s) alone. Shape (*shape), units of sqrt(time)."""
        return self._values[self._place(t)] - self._values[self._place(s)]

    def increments(self, s: float, t: float) -> Increments:
        """Increment and area from s to t, in either direction; zeros if s = t.

        Raises:
            ValueError: a time is not listed, or the path has no areas.
        """
        return self._between(self._place(s), self._place(t))

    def on_grid(self, times: Sequence[float] | Tensor) -> Increments:
        """Increments and areas between neighbours among listed times, at least two. Shapes (times - 1, *shape)."""
        places = [self._place(t) for t in as_times(times).tolist()]
        if all(j - i == 1 for i, j in pairwise(places)):
            steps = slice(places[0], places[-1])
            return Increments(self._values[places[0] : places[-1] + 1].diff(dim=0), self.areas[steps])
        steps = [self._between(i, j) for i, j in pairwise(places)]
        return Increments(torch.stack([step.dW for step in steps]), torch.stack([step.dZ for step in steps]))

    def _between(self, i: int, j: int) -> Increments:
        if i > j:
            return self._between(j, i).reversed()
        areas = self.areas[i:j]
        dW = self._values[j] - self._values[i]
        if j - i < 2:
            return Increments(dW, areas[0] if len(areas) else torch.zeros_like(dW))
        lengths = torch.tensor(self.times[i : j + 1], dtype=torch.float64, device="cpu").diff()
        tilt, fraction = (torch.from_numpy(weight).to(areas) for weight in weights(lengths.numpy()))
        dZ = torch.tensordot(tilt, self._values[i : j + 1].diff(dim=0), 1) + torch.tensordot(fraction, areas, 1)
        return Increments(dW, dZ)

    def _place(self, t: float) -> int:
        """Index of a listed time."""
        place = self._places.get(t)
        if place is not None:
            return place
        nearest = min(self.times, key=lambda time: abs(time - t))
        if not abs(nearest - t) <= SNAP * (self.t1 - self.t0):
            raise ValueError(
                f"t={t:g} is not one of the {len(self.times)} times of this FixedPath, the nearest of which is "
                f"{nearest:g}; take steps between its times, or use a BrownianPath"
            )
        return self._places[nearest]


def _check(times: list[float], values: Tensor, areas: Tensor | None) -> None:
    if len(times) < 2 or not all(math.isfinite(t) for t in times) or any(s >= t for s, t in pairwise(times)):
        raise ValueError(f"times={times[:4]}... do not rise or are fewer than two; pass finite rising times")
    if values.shape[:1] != (len(times),):
        raise ValueError(f"values of shape {tuple(values.shape)} for {len(times)} times; pass shape (times, *shape)")
    expected = (len(times) - 1, *values.shape[1:])
    if areas is not None and tuple(areas.shape) != expected:
        raise ValueError(f"areas of shape {tuple(areas.shape)}, expected {expected}; pass one for each interval")
