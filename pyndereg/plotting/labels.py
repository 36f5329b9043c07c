"""Texts written beside what they name, so that no two cover each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyndereg.plotting.looks import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS_PER_INCH = 72.0
FONT_SIZE = 9.0  # points, as are all lengths below
LINE_HEIGHT = 11.0
LETTER_WIDTH = 5.2  # of an average letter
MARK_SIZE = 8.0
DISTANCE = 6.0  # from the middle of a mark to its text
# Where a text may stand, the most legible places first: horizontal and vertical direction from the mark.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
REACHES = (1.0, 2.2, 3.4)  # how far away, as multiples of the distance


@dataclass(frozen=True)
class Label:
    """A text for a mark.

    Args:
        text: one line.
        x, y: the mark, in data units.
        color: of the text.
    """

    text: str
    x: float
    y: float
    color: str


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, in points from its lower left corner."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area that two rectangles share, in square points."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    @property
    def area(self) -> float:
        """In square points."""
        return (self.right - self.left) * (self.top - self.bottom)


def write_at_ends(axes: "Axes", ends: Mapping[str, tuple[str, float]], looks: Mapping[str, Look]) -> None:
    """Write a text beside the end of each line, moved up or down where two would cover each other.

    The axis must have its final range.

    Args:
        ends: under each label, the text and the height of the line's end, in data units.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    panel = POINTS_PER_INCH * figure.get_size_inches()[1] * axes.get_position().height
    low, high = axes.get_ylim()
    gap = (high - low) * LINE_HEIGHT / panel
    labels = sorted(ends, key=lambda label: ends[label][1])
    for label, height in zip(labels, keep_apart([ends[label][1] for label in labels], gap, ceiling=high), strict=True):
        axes.annotate(
            ends[label][0],
            xy=(1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(4.0, 0.0),
            textcoords="offset points",
            va="center",
            color=looks[label].color,
            annotation_clip=False,
        )


def keep_apart(heights: Sequence[float], gap: float, *, ceiling: float = math.inf) -> list[float]:
    """Ascending heights, moved so that neighbours are at least `gap` apart and, if that can be, below the ceiling."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    for place in reversed(range(len(moved))):
        moved[place] = min(moved[place], ceiling)
        ceiling = moved[place] - gap
    return moved


def write_beside(axes: "Axes", labels: Sequence[Label], marks: np.ndarray) -> None:
    """Write each text near its mark, where it covers neither marks nor other texts.

    The axes must have their final ranges.

    Args:
        marks: everything that texts should leave visible. Shape (marks, 2), data units.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # until then nothing has its final place
    scale = POINTS_PER_INCH / figure.dpi
    taken = [_box_around(x, y, MARK_SIZE, MARK_SIZE) for x, y in scale * axes.transData.transform(marks)]
    frame = axes.get_window_extent()
    page = Box(scale * frame.x0, scale * frame.y0, scale * frame.x1, scale * frame.y1)
    for label in labels:
        mark = scale * axes.transData.transform((label.x, label.y))
        box = min(_places(mark, label.text), key=lambda box: _cost(box, taken, page))
        taken.append(box)
        text = axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=((box.left + box.right) / 2.0 - mark[0], (box.bottom + box.top) / 2.0 - mark[1]),
            textcoords="offset points",
            ha="center",
            va="center",
            color=label.color,
            arrowprops={"arrowstyle": "-", "color": label.color, "linewidth": 0.5, "shrinkA": 0.0, "shrinkB": 4.0},
        )
        text.set_in_layout(False)


def _places(mark: np.ndarray, text: str) -> list[Box]:
    """Where a text may stand, the best places first."""
    width = LETTER_WIDTH * len(text)
    return [
        _box_around(
            mark[0] + right * (reach * DISTANCE + width / 2.0),
            mark[1] + up * (reach * DISTANCE + (LINE_HEIGHT / 2.0 if right == 0 else 0.0)),
            width,
            LINE_HEIGHT,
        )
        for reach in REACHES
        for right, up in DIRECTIONS
    ]


def _box_around(x: float, y: float, width: float, height: float) -> Box:
    return Box(x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0)


def _cost(box: Box, taken: Sequence[Box], page: Box) -> float:
    """What a text here would cover, and how much of it would be off the page, in square points."""
    covered = sum(box.overlap(other) for other in taken) + (box.area - box.overlap(page))
    return round(covered, 3)  # so that rounding errors make no place worse than the next
