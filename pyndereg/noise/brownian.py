"""One sample path of a Brownian motion as a function of time."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyndereg.noise.fixed import FixedPath
from pyndereg.noise.increments import Increments, as_times
from pyndereg.noise.tree import Tree
from pyndereg.numbers import onto_interval, real, whole
from pyndereg.torch_modes import built_outside_graphs, outside_graphs

MOST_CELLS, MOST_HALVINGS = 2**20, 24
# Times this near to a leaf's end, in cells, are meant to be there: sums of step lengths carry rounding errors.
SNAP = 2.0**-28


@built_outside_graphs
class BrownianPath:
    """A sample path of a Brownian motion, W(t0) = 0, of independent components in a tensor of any shape.

    The path is a function of (seed, interval, shape, cells, depth) alone. However and in whatever order it is asked,
    the answers belong to this one path: a step can be rejected, halved and repeated without bias. It is drawn where it
    is asked, in blocks of cells and by halving cells, and all but the last few blocks and halves are forgotten, to be
    drawn again as they were: memory does not grow with the number of questions. Asking forwards at the ends of cells
    is cheapest, so that a fixed-step solver should have one cell for each step; see `nearest_time` for adaptive ones.

    Increments between times t0 + k `resolution`, with whole k and `resolution` = cell / 2^depth, have exactly the law
    of Brownian motion. Between such neighbours the path is its own conditional expectation, a parabola with the right
    increment and area, whose variance falls short by at most resolution / 12; steps should be much longer than that.
    Times within 2^-28 of a cell from such a time are taken to be it. Normals have 24 random bits: none exceeds 5.8.

    Draws are made on the CPU, in float64 from float32 normals, and moved: the path is the same on every device and, up
    to rounding, in both dtypes. Not for several threads at once.

    Args:
        t0, t1: the interval, t0 < t1, units of time.
        shape: shape of the path at one time.
        seed: 0 <= seed < 2^64; None draws one from torch's global generator, to be read at `path.seed`.
        cells: number of equal cells of the base grid, at most 2^20; best near the expected number of steps.
        depth: how often a cell can be halved, at most 24.
        dtype: float32 or float64.
        device: where the tensors are put.
    Raises:
        ValueError: an argument is out of its range.
    Source: halving [@foster2020optimal]; a tree from one seed [@jelincic2024single; @li2020scalable].
    """

    def __init__(
        self,
        t0: float,
        t1: float,
        shape: Sequence[int],
        *,
        seed: int | None = None,
        cells: int = 256,
        depth: int = 12,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.t0, self.t1 = _end(t0, "t0"), _end(t1, "t1")
        self.shape = _sizes(tuple(shape))
        drawn = int(torch.randint(2**63 - 1, (), device="cpu").item()) if seed is None else seed
        self.seed = _within("seed", drawn, 0, 2**64 - 1)
        self.cells, self.depth = _within("cells", cells, 1, MOST_CELLS), _within("depth", depth, 0, MOST_HALVINGS)
        self.dtype, self.device = dtype, torch.device(device)
        self._check()
        self._tree = Tree(math.prod(self.shape), self.t1 - self.t0, self.cells, self.depth, self.seed)

    @property
    def resolution(self) -> float:
        """Spacing of the times at which the path is random, units of time; it is smooth in between."""
        return (self.t1 - self.t0) / self._tree.leaves

    def __reduce__(self) -> tuple[partial["BrownianPath"], tuple[float, float, tuple[int, ...]]]:
        """A copy is the same path, with nothing drawn yet."""
        keywords = ("seed", "cells", "depth", "dtype", "device")
        build = partial(BrownianPath, **{keyword: getattr(self, keyword) for keyword in keywords})
        return build, (self.t0, self.t1, self.shape)

    def __repr__(self) -> str:
        """The call that builds the path."""
        return (
            f"BrownianPath({self.t0!r}, {self.t1!r}, {self.shape}, seed={self.seed}, cells={self.cells}, "
            f"depth={self.depth}, dtype={self.dtype}, device={str(self.device)!r})"
        )

    def __call__(self, t: float) -> Tensor:
        """W(t). Shape (*shape), units of sqrt(time)."""
        return self.dW(self.t0, t)

    @outside_graphs
    def values(self, times: Sequence[float] | Tensor) -> Tensor:
        """W at several times. Shape (times, *shape), units of sqrt(time)."""
        rows = [self._rows(0.0, position)[0] for position in self._positions(times)]
        return self._tensor(np.stack(rows) if rows else np.empty((0, math.prod(self.shape))))

    def dW(self, s: float, t: float) -> Tensor:
        """W(t) - W(s) alone. Shape (*shape), units of sqrt(time)."""
        return self.increments(s, t).dW

    @outside_graphs
    def increments(self, s: float, t: float) -> Increments:
        """Increment and normalised space-time area from s to t; zeros if s = t.

        Args:
            s, t: two times in [t0, t1], in either order, units of time.
        Returns:
            dW and dZ as `Increments` defines them. Shapes (*shape), units of sqrt(time).
        Raises:
            ValueError: a time lies outside [t0, t1].
        """
        start, stop = self._position(float(s)), self._position(float(t))
        dW, dZ = self._tensor(self._rows(min(start, stop), max(start, stop))).unbind()
        return Increments(dW, dZ) if start <= stop else Increments(-dW, dZ)

    @outside_graphs
    def on_grid(self, times: Sequence[float] | Tensor) -> Increments:
        """Increments and areas between neighbours of a list of times, drawn in one go if they are ends of cells.

        Args:
            times: times in [t0, t1], all rising or all falling, at least one. Shape (times,), units of time.
        Returns:
            dW and dZ of every step. Shapes (times - 1, *shape), units of sqrt(time).
        Raises:
            ValueError: a time lies outside [t0, t1], or the times turn around.
        """
        positions = np.array(self._positions(times))
        steps = np.diff(positions)
        if len(positions) == 0 or (np.any(steps < 0) and np.any(steps > 0)):
            raise ValueError(
                f"{len(positions)} times that turn around, or none, were asked; pass times that rise or fall"
            )
        if np.any(steps < 0):
            return Increments(*self._tensor(self._steps(positions[::-1])[:, ::-1].copy())).reversed()
        return Increments(*self._tensor(self._steps(positions)))

    def record(self, times: Sequence[float] | Tensor) -> FixedPath:
        """The path at rising times, with the areas between them, as tensors that can be kept and handed on."""
        return FixedPath(times, self.values(times), self.on_grid(times).dZ)

    def nearest_time(self, t: float, spacing: float) -> float:
        """The nearest time of a grid that is coarse, and therefore cheap to ask at.

        The grid is t0 + k cell / 2^j, whole k, with the least j from 0 to `depth` that makes it as fine as `spacing`.
        A cell is halved j times to get there, but `depth` times to get to most other times.

        Args:
            t: a time in [t0, t1], units of time.
            spacing: how far apart the times to choose from may be, > 0, units of time.
        Returns:
            A time in [t0, t1], which may be t0 or t1.
        """
        cell = (self.t1 - self.t0) / self.cells
        halvings = min(max(math.ceil(math.log2(cell / spacing)), 0), self.depth)
        stride = 1 << (self.depth - halvings)
        position = min(round(self._position(t) / stride) * stride, self._tree.leaves)
        return self.t0 + (self.t1 - self.t0) * (position / self._tree.leaves)

    def _position(self, t: float) -> float:
        """Time counted in leaves, rounded to a leaf's end if it is that near."""
        leaves, snap = self._tree.leaves, SNAP * (1 << self.depth)
        position = (onto_interval(t, self.t0, self.t1) - self.t0) / (self.t1 - self.t0) * leaves
        if not -snap <= position <= leaves + snap:
            raise ValueError(
                f"t={t:g} lies outside the path's interval [{self.t0:g}, {self.t1:g}]; build the path over the whole "
                "interval of the solve"
            )
        nearest = float(round(position))
        return nearest if abs(position - nearest) <= snap else position

    def _positions(self, times: Sequence[float] | Tensor) -> list[float]:
        return [self._position(t) for t in as_times(times).tolist()]

    def _rows(self, start: float, stop: float) -> np.ndarray:
        """W and Z between two positions. Shape (2, count)."""
        return np.zeros((2, math.prod(self.shape))) if start == stop else self._tree.increment(start, stop)

    def _steps(self, positions: np.ndarray) -> np.ndarray:
        """W and Z between rising positions. Shape (2, positions - 1, count)."""
        rows = np.empty((2, len(positions) - 1, math.prod(self.shape)))
        per_cell = 1 << self.depth
        are_cells = (np.diff(positions) == per_cell) & (positions[:-1] % per_cell == 0)
        cells = int(np.argmin(np.append(are_cells, False)))  # those before the first step that is not a cell
        if cells > 0:
            first = int(positions[0]) // per_cell
            self._tree.cells(first, first + cells, rows[:, :cells])
        ends = positions[cells:].tolist()
        for step, (start, stop) in enumerate(pairwise(ends), start=cells):
            rows[:, step] = self._rows(start, stop)
        return rows

    def _tensor(self, rows: np.ndarray) -> Tensor:
        """Rows of shape (..., count) as a tensor of shape (..., *shape)."""
        tensor = torch.from_numpy(rows).to(dtype=self.dtype, device=self.device)
        return tensor.reshape(*rows.shape[:-1], *self.shape)

    def _check(self) -> None:
        if not (math.isfinite(self.t0) and math.isfinite(self.t1) and self.t0 < self.t1):
            raise ValueError(
                f"the interval [{self.t0:g}, {self.t1:g}] is not one with t0 < t1; pass finite rising times"
            )
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype={self.dtype} is not float32 or float64; draw in one of these and convert")


def _end(t: object, name: str) -> float:
    """An end of the interval as a float; infinite and NaN ones are refused with the interval."""
    number = real(t, name)
    if number is None:
        raise TypeError(f"{name} is {t!r}; pass a finite number")
    return number


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    sizes = tuple(whole(size) or 0 for size in shape)
    if any(size < 1 for size in sizes):
        raise ValueError(f"shape={shape} is not one of a tensor with components; pass sizes >= 1")
    return sizes


def _within(name: str, found: object, least: int, most: int) -> int:
    number = whole(found)
    if number is None or not least <= number <= most:
        raise ValueError(f"{name}={found} is not a whole number from {least} to {most}; pass one that is")
    return number
