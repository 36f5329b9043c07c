"""What accuracy costs: the final quality of every run against its NFE."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyndereg.plotting.canvas import blank, styled
from pyndereg.plotting.groups import group_by_label, quality_of
from pyndereg.plotting.labels import Label, write_beside
from pyndereg.plotting.looks import Look, choose_looks
from pyndereg.results import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEAN_SIZE, RUN_SIZE = 7.5, 3.5  # of marks, in points


@dataclass(frozen=True)
class PublishedPoint:
    """What a paper reports for one method.

    Args:
        label: of the group of runs that it belongs to, such as "error + STEER".
        source: the paper in a word, such as its year.
        nfe: evaluations of a solve.
        quality: accuracy or loss, in the unit of the records' metric.
    """

    label: str
    source: str
    nfe: float
    quality: float


def plot_accuracy_nfe(records: Sequence[RunRecord], published: Sequence[PublishedPoint] = ()) -> "Figure":
    """Final accuracy (or loss) against NFE: a small mark for each run, a large one for the mean of each group.

    Args:
        records: runs with the metrics nfe (evaluations) and test_accuracy (percent), test_loss or loss.
        published: what the papers report, drawn as hollow marks; points of methods that no record has are left out.
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, records of several experiments, a seed twice, runs of one group that differ in length, or
            a metric that is missing.
    """
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    quality = quality_of(records[0].metrics, seed=records[0].seed)
    shown = [point for point in published if point.label in groups]
    with styled():
        figure = blank(6.4, 4.4)
        panel = figure.subplots()
        panel.set_xlabel("function evaluations of one solve (NFE)")
        panel.set_ylabel(quality.heading)
        runs = {label: _points(group, quality.name) for label, group in groups.items()}
        labels = [*_draw_means(panel, runs, looks), *_draw_published(panel, shown, looks)]
        marks = np.array([*(point for points in runs.values() for point in points), *_places(labels)])
        _make_room(panel, marks, percent=quality.higher_is_better)
        better = "upper" if quality.higher_is_better else "lower"
        hollow = "; hollow: published" if shown else ""
        panel.set_title(f"{records[0].experiment}: the {better} left is accurate and cheap{hollow}")
        write_beside(panel, labels, np.concatenate([marks, *(_rays(points) for points in runs.values())]))
    return figure


def _points(runs: Sequence[RunRecord], quality: str) -> list[tuple[float, float]]:
    """NFE and quality of each run."""
    for run in runs:
        for name in ("nfe", quality):
            if name not in run.metrics:
                raise ValueError(
                    f"the record of seed {run.seed} has no metric {name!r}, only {', '.join(run.metrics)}; draw runs "
                    "of one experiment that reached their end"
                )
    return [(run.metrics["nfe"], run.metrics[quality]) for run in runs]


def _draw_means(
    axes: "Axes", runs: Mapping[str, Sequence[tuple[float, float]]], looks: Mapping[str, Look]
) -> list[Label]:
    labels = []
    for label, points in runs.items():
        look = looks[label]
        nfe, quality = (statistics.fmean(values) for values in zip(*points, strict=True))
        if len(points) > 1:
            for point in points:  # a ray from the mean to each of its runs
                axes.plot(*zip((nfe, quality), point, strict=True), color=look.color, linewidth=0.5)
            axes.plot(*zip(*points, strict=True), look.marker, color=look.color, markersize=RUN_SIZE)
        axes.plot([nfe], [quality], look.marker, color=look.color, markersize=MEAN_SIZE)
        labels.append(Label(label, nfe, quality, look.color))
    return labels


def _draw_published(axes: "Axes", points: Sequence[PublishedPoint], looks: Mapping[str, Look]) -> list[Label]:
    for point in points:
        look = looks[point.label]
        axes.plot([point.nfe], [point.quality], look.marker, color=look.color, markersize=MEAN_SIZE, fillstyle="none")
    return [
        Label(f"{point.label}, {point.source}", point.nfe, point.quality, looks[point.label].color) for point in points
    ]


def _rays(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Points along the rays from a mean to its runs. Shape (points, 2)."""
    ends = np.array(points)
    return np.concatenate([ends.mean(axis=0) + share * (ends - ends.mean(axis=0)) for share in (0.25, 0.5, 0.75)])


def _places(labels: Sequence[Label]) -> list[tuple[float, float]]:
    return [(label.x, label.y) for label in labels]


def _make_room(axes: "Axes", marks: np.ndarray, *, percent: bool) -> None:
    """NFE from zero, since ratios of costs matter; quality with room for texts around the marks."""
    (_, low), (right, high) = marks.min(axis=0), marks.max(axis=0)
    room = 0.15 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_xlim(0.0, 1.2 * right)
    axes.set_ylim(low - room, min(high + room, 100.0 + 0.1 * room) if percent else high + room)
