"""What training does to a model's cost and quality, epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyndereg.plotting.canvas import blank, count_in_integers, stroke, styled, write_powers_plainly
from pyndereg.plotting.groups import Quality, curves_of, group_by_label, name_of_runs, unit_of_training
from pyndereg.plotting.labels import write_at_ends
from pyndereg.plotting.looks import Look, choose_looks
from pyndereg.results import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS_PER_LINE = 8


def plot_nfe(records: Sequence[RunRecord]) -> "Figure":
    """Evaluations of the vector field that a solve takes, against the epochs of training.

    Lines are means over the runs of a group (one regularizer), bands reach from the least to the greatest run; each
    line's last value stands at its end.

    Args:
        records: runs with the curve nfe (evaluations).
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, records of several experiments, a seed twice, runs of one group that differ in length, or
            a curve that is missing.
    """
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    with styled():
        figure = blank(6.4, 3.6)
        panel = figure.subplots()
        panel.set_title(f"{records[0].experiment}: function evaluations of one solve (NFE)")
        draw_nfe(panel, groups, looks)
        ends = {
            label: (f"{name_of_runs(label, runs)}: {final:.0f}", final)
            for label, runs in groups.items()
            for final in [last_mean(runs, "nfe")]
        }
        write_at_ends(panel, ends, looks)
    return figure


def draw_nfe(axes: "Axes", groups: Mapping[str, Sequence[RunRecord]], looks: Mapping[str, Look]) -> None:
    """NFE of all groups in one panel, from zero, since lengths above zero compare as the costs do."""
    _draw_curves(axes, groups, looks, "nfe")
    axes.set_ylim(bottom=0.0)


def draw_quality(
    axes: "Axes", groups: Mapping[str, Sequence[RunRecord]], looks: Mapping[str, Look], quality: Quality
) -> None:
    """Accuracy or loss of all groups in one panel, scaled to where training ends."""
    _draw_curves(axes, groups, looks, quality.name)
    axes.set_ylabel(quality.heading)
    if quality.higher_is_better:
        # The first epochs, of a hardly trained model, would flatten all that comes after them.
        floor = min(float(curves_of(runs, quality.name)[:, -1].min()) for runs in groups.values())
        axes.set_ylim(bottom=max(0.0, 100.0 - 4.0 * (100.0 - floor)), top=100.0)
    else:
        axes.set_yscale("log")
        write_powers_plainly(axes.yaxis)


def last_mean(runs: Sequence[RunRecord], name: str) -> float:
    """A curve's value after the last epoch, mean over runs, in the curve's unit."""
    return float(curves_of(runs, name)[:, -1].mean())


def _draw_curves(axes: "Axes", groups: Mapping[str, Sequence[RunRecord]], looks: Mapping[str, Look], name: str) -> None:
    count_in_integers(axes.xaxis)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(unit_of_training(next(iter(groups.values()))[0]))
    for number, (label, runs) in enumerate(groups.items()):
        values, look = curves_of(runs, name), looks[label]
        _draw_band(axes, values, look, offset=number / len(groups), label=name_of_runs(label, runs))
    axes.margins(x=0.01)


def _draw_band(axes: "Axes", values: np.ndarray, look: Look, *, offset: float, label: str) -> None:
    """Mean and range of runs over the epochs; `offset` in [0, 1) shifts the markers of one group against another's."""
    epochs = np.arange(1, values.shape[1] + 1)
    spacing = max(1, round(values.shape[1] / MARKERS_PER_LINE))
    if len(values) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=look.color, alpha=0.15, linewidth=0)
    every = (int(offset * spacing), spacing)
    axes.plot(epochs, values.mean(axis=0), **stroke(look), marker=look.marker, markevery=every, label=label)
