"""Brownian paths on a grid, and the same paths on coarser grids."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tests.equations import FLOAT64


@dataclass(frozen=True)
class GridPath:
    """Increments of many paths on [0, 1]: cells of length dt, with dW and dZ of shape (cells, paths, noises)."""

    dt: float
    dW: Tensor
    dZ: Tensor

    @property
    def areas(self) -> Tensor:
        """Integrals of W - W(start of the cell) over the cells."""
        return self.dt / 2 * (self.dW + self.dZ / math.sqrt(3))

    @cached_property
    def halved(self) -> "GridPath":
        """The same paths on cells of twice the length: increments add, areas add with a shift."""
        first, second = self.dW[::2], self.dW[1::2]
        areas = self.areas[::2] + self.areas[1::2] + self.dt * first
        return GridPath(2 * self.dt, first + second, math.sqrt(3) * (areas / self.dt - first - second))

    def with_cells(self, cells: int) -> "GridPath":
        return self if len(self.dW) == cells else self.halved.with_cells(cells)


def draw(cells: int, paths: int, noises: int, seed: int) -> GridPath:
    generator = torch.Generator().manual_seed(seed)
    normals = torch.randn(2, cells, paths, noises, generator=generator, dtype=FLOAT64)
    return GridPath(1 / cells, *(normals * math.sqrt(1 / cells)).unbind())
