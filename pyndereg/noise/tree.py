"""The lazily built tree behind a Brownian path, on arrays of one flat axis."""

from collections import OrderedDict
from functools import lru_cache
from itertools import chain

import numpy as np
import torch

from pyndereg.noise.areas import Split, joining, midpoint, split, within
from pyndereg.noise.stream import NormalStream

# Cells are drawn in blocks: long ones keep calls few, short ones keep a block within a processor's cache.
NUMBERS_PER_BLOCK = 2**17
LONGEST_BLOCK, SHORTEST_BLOCK = 32, 8
# Of each level those nodes that hold the ends of a step, and one for a step that was rejected.
NODES_PER_LEVEL = 3
# The root's normals belong to a level that no tree has, so that paths of different depth are one path.
ABOVE_THE_ROOT = 255


class Pieces:
    """Neighbouring intervals in time order, joined at the end: such sums lose no digits, as differences would."""

    def __init__(self) -> None:
        self._lengths: list[list[float]] = []
        self._rows: list[np.ndarray] = []

    def append(self, lengths: list[float], rows: np.ndarray) -> None:
        """Add intervals of these lengths, in leaves, with W and Z of shape (2, intervals, count)."""
        self._lengths.append(lengths)
        self._rows.append(rows)

    def extend_reversed(self, later: "Pieces") -> None:
        """Add what was collected from its end to its beginning."""
        self._lengths += later._lengths[::-1]
        self._rows += later._rows[::-1]

    def join(self) -> np.ndarray:
        """W and Z of all together. Shape (2, count), units of sqrt(time)."""
        rows = np.concatenate(self._rows, axis=1) if len(self._rows) > 1 else self._rows[0]
        return joining(tuple(chain.from_iterable(self._lengths))) @ rows.reshape(-1, rows.shape[-1])


class Tree:
    """Increments and areas of a Brownian motion over any part of [0, length], each a function of the seed.

    The root is the whole interval. Blocks cut it into ever shorter pieces of equal length (the last may be shorter)
    down to the cells, and midpoints cut a cell in halves `depth` times, down to the leaves, within which the path is
    a parabola. A node is cut when it is first asked for, by normals that belong to its place in the tree; of each
    level the last few nodes are kept. Positions are counted in leaves: floats from 0 to `leaves`.

    Args:
        count: number of independent components.
        length: length of the interval, units of time.
        cells: number of equal cells.
        depth: number of halvings within a cell.
        seed: 0 <= seed < 2^64.
    """

    def __init__(self, count: int, length: float, cells: int, depth: int, seed: int) -> None:
        self.leaves = cells << depth
        self._count = count
        self._leaf = length / self.leaves
        self._sizes = block_sizes(cells, depth, count) + [1 << halving for halving in reversed(range(depth + 1))]
        self._leaf_level = len(self._sizes) - 1
        self._cell_level = self._leaf_level - depth
        self._midpoints = {level: midpoint(self._sizes[level] * self._leaf) for level in self._halved_levels()}
        self._stream = NormalStream(seed)
        self._kept: list[OrderedDict[int, np.ndarray]] = [OrderedDict() for _ in self._sizes]
        self._normals = torch.empty(2, count, dtype=torch.float32, device="cpu")
        self._drawn = self._normals.numpy()  # a view
        self._rows = np.empty((4, count))
        self._stream.draw(ABOVE_THE_ROOT, 0, self._normals)
        self._root = self._drawn * np.sqrt(length)

    def increment(self, start: float, stop: float) -> np.ndarray:
        """W and Z from one position to a later one. Shape (2, count), units of sqrt(time)."""
        level, index = self._smallest_node(start, stop)
        if (start, stop) == self._ends(level, index):
            return self._node(level, index).copy()
        pieces = Pieces()
        self._inside(level, index, start, stop, pieces)
        return pieces.join()

    def cells(self, start: int, stop: int, out: np.ndarray) -> None:
        """W and Z of the cells from one to before another. Fills shape (2, stop - start, count), units sqrt(time)."""
        level = self._cell_level - 1
        if level < 0:  # the only cell is the root
            out[:] = self._root[:, None]
            return
        per_block = self._sizes[level] // self._sizes[level + 1]
        for block in range(start // per_block, (stop - 1) // per_block + 1):
            first = block * per_block
            i, j = max(start, first), min(stop, first + per_block)
            out[:, i - start : j - start] = self._pieces(level, block)[:, i - first : j - first]

    def _halved_levels(self) -> range:
        return range(self._cell_level, self._leaf_level)

    def _ends(self, level: int, index: int) -> tuple[int, int]:
        size = self._sizes[level]
        return index * size, min((index + 1) * size, self.leaves)

    def _smallest_node(self, start: float, stop: float) -> tuple[int, int]:
        """Level and index of the smallest node that holds both positions."""
        level = index = 0
        for below in range(1, len(self._sizes)):
            size = self._sizes[below]
            i = int(start // size)
            if stop > (i + 1) * size:
                break
            level, index = below, i
        return level, index

    def _inside(self, level: int, index: int, start: float, stop: float, pieces: Pieces) -> None:
        """Append the largest nodes that make up the part from start to stop of the smallest node around both."""
        if level == self._leaf_level:
            self._part_of_leaf(index, start, stop, pieces)
            return
        first, end = self._ends(level, index)
        cut, size = self._pieces(level, index), self._sizes[level + 1]
        i = int((start - first) // size)
        j = cut.shape[1] if stop == end else int((stop - first) // size)
        if start > first + i * size:
            self._tail(level + 1, first // size + i, start, pieces)
            i += 1
        if j > i:
            pieces.append([min(size, end - first - k * size) for k in range(i, j)], cut[:, i:j])
        if first + j * size < stop < end:
            self._head(level + 1, first // size + j, stop, pieces)

    def _tail(self, level: int, index: int, start: float, pieces: Pieces) -> None:
        """Append what makes up a node from a position inside it to its end."""
        later = Pieces()
        while level < self._leaf_level:
            first, end = self._ends(level, index)
            cut, size = self._pieces(level, index), self._sizes[level + 1]
            i = int((start - first) // size)
            k = i if start == first + i * size else i + 1
            if k < cut.shape[1]:
                later.append([min(size, end - first - m * size) for m in range(k, cut.shape[1])], cut[:, k:])
            if k == i:
                break
            level, index = level + 1, first // size + i
        else:
            self._part_of_leaf(index, start, index + 1, pieces)
        pieces.extend_reversed(later)

    def _head(self, level: int, index: int, stop: float, pieces: Pieces) -> None:
        """Append what makes up a node from its beginning to a position inside it."""
        while level < self._leaf_level:
            cut, size = self._pieces(level, index), self._sizes[level + 1]
            first = index * self._sizes[level]
            j = int((stop - first) // size)
            if j > 0:
                pieces.append([size] * j, cut[:, :j])
            level, index = level + 1, first // size + j
            if stop == index * size:
                return
        self._part_of_leaf(index, index, stop, pieces)

    def _part_of_leaf(self, index: int, start: float, stop: float, pieces: Pieces) -> None:
        part = within(start - index, stop - index) @ self._node(self._leaf_level, index)
        pieces.append([stop - start], part[:, None])

    def _node(self, level: int, index: int) -> np.ndarray:
        """W and Z of one node. Shape (2, count), a view."""
        if level == 0:
            return self._root
        fan = -(-self._sizes[level - 1] // self._sizes[level])
        return self._pieces(level - 1, index // fan)[:, index % fan]

    def _pieces(self, level: int, index: int) -> np.ndarray:
        """W and Z of the pieces that a node is cut into. Shape (2, pieces, count); kept for a while."""
        kept = self._kept[level]
        if index in kept:
            kept.move_to_end(index)
            return kept[index]
        cut = self._halve if level >= self._cell_level else self._cut
        pieces = kept[index] = cut(level, index, self._node(level, index))
        if len(kept) > NODES_PER_LEVEL:
            kept.popitem(last=False)
        return pieces

    def _halve(self, level: int, index: int, whole: np.ndarray) -> np.ndarray:
        self._stream.draw(level, index, self._normals)
        self._rows[:2], self._rows[2:] = whole, self._drawn
        return self._midpoints[level].dot(self._rows).reshape(2, 2, self._count)

    def _cut(self, level: int, index: int, whole: np.ndarray) -> np.ndarray:
        first, end = self._ends(level, index)
        size = self._sizes[level + 1]
        scale, total, share = block_split(-(-(end - first) // size), size, (end - 1 - first) % size + 1, self._leaf)
        normals = torch.empty(len(scale), self._count, dtype=torch.float32, device="cpu")
        self._stream.draw(level, index, normals)
        pieces = normals.numpy() * scale
        pieces += share @ (whole - total @ pieces)
        return pieces.reshape(2, -1, self._count)


def block_sizes(cells: int, depth: int, count: int) -> list[int]:
    """Lengths, in leaves, of the blocks of every level above the cells, from the root down."""
    fan = min(max(NUMBERS_PER_BLOCK // count, SHORTEST_BLOCK), LONGEST_BLOCK)
    sizes, size = [], fan
    while size < cells:
        sizes.append(size << depth)
        size *= fan
    return [cells << depth, *reversed(sizes)] if cells > 1 else []


@lru_cache(maxsize=256)
def block_split(pieces: int, size: int, last: int, leaf: float) -> Split:
    """How to cut a block into pieces of `size` leaves, the last of which has `last`; a leaf lasts `leaf`."""
    return split(np.array([size] * (pieces - 1) + [last]) * leaf)
