"""One page on a comparison: cost and quality over the epochs, and the steps before and after training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyndereg.plotting.canvas import blank, stroke, styled, write_powers_plainly
from pyndereg.plotting.curves import draw_nfe, draw_quality, last_mean
from pyndereg.plotting.groups import group_by_label, quality_of, seeds_shown
from pyndereg.plotting.labels import write_at_ends
from pyndereg.plotting.looks import SHARED, Look, choose_looks
from pyndereg.plotting.steps import ROWS, fit_to_free_steps, has_estimate, say_that_nothing_is_estimated
from pyndereg.results import RunRecord, StepTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_comparison(records: Sequence[RunRecord]) -> "Figure":
    """NFE and quality over the epochs, and the steps along one trajectory before and after training.

    Lines are means over the runs of a group (one regularizer), bands reach from the least to the greatest run. The
    steps are those of each group's first run, on its fixed evaluation batch.

    Args:
        records: runs with the curves nfe (evaluations) and test_accuracy (percent), test_loss or loss.
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, records of several experiments, a seed twice, runs of one group that differ in length, or
            a curve that is missing.
    """
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    quality = quality_of(records[0].curves, seed=records[0].seed)
    with styled():
        figure = blank(8.2, 8.8)
        axes = figure.subplots(4, 2, height_ratios=(1.7, 1.0, 1.0, 1.0))
        nfe, right = axes[0]
        nfe.set(title="Cost of one prediction", ylabel="function evaluations (NFE)")
        draw_nfe(nfe, groups, looks)
        finals = {label: last_mean(runs, "nfe") for label, runs in groups.items()}
        write_at_ends(nfe, {label: (f"{final:.0f}", final) for label, final in finals.items()}, looks)
        right.set_title("Accuracy on test images" if quality.higher_is_better else "Distance from the data")
        draw_quality(right, groups, looks, quality)
        _draw_steps(axes[1:], groups, looks)
        figure.align_ylabels(axes[:, 0])
        handles, names = nfe.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=_columns(names), handlelength=3.2)
    return figure


def _columns(names: Sequence[str]) -> int:
    """How many names stand beside each other on a page."""
    return min(len(names), 4 if max(map(len, names)) <= 20 else 3)


def _draw_steps(axes: np.ndarray, groups: Mapping[str, Sequence[RunRecord]], looks: Mapping[str, Look]) -> None:
    """Three rows (step length, scaled error, stiffness) by two columns (before, after training)."""
    _share_axes(axes)
    for column, moment in enumerate(("before", "after")):
        traces = {label: getattr(runs[0], f"steps_{moment}") for label, runs in groups.items()}
        if len(traces) > 1 and len(set(traces.values())) == 1:
            # Equal seeds start equal: one line says more than several that cover each other.
            traces = {"all": next(iter(traces.values()))}
        axes[0, column].set_title(f"Steps {moment} training, {seeds_shown(groups)}")
        axes[-1, column].set_xlabel("time t at the start of the step")
        for (quantity, *_), panel in zip(ROWS, axes[:, column], strict=True):
            _draw_traces(panel, traces, quantity, looks)
        if len(traces) <= 3:
            axes[0, column].legend(loc="lower center", handlelength=2.6, fontsize=8)
        else:  # several columns, or they would cover the panel and its title
            axes[0, column].legend(loc="lower center", handlelength=2.2, fontsize=6.5, ncols=2, columnspacing=1.0)
    every_trace = [trace for runs in groups.values() for trace in (runs[0].steps_before, runs[0].steps_after)]
    for row, (quantity, name, logarithmic) in zip(axes, ROWS, strict=True):
        row[0].set_ylabel(name)
        if logarithmic:
            fit_to_free_steps(row[0], every_trace, quantity)
    for panel in axes[0]:
        write_powers_plainly(panel.yaxis)


def _share_axes(axes: np.ndarray) -> None:
    """One time axis for all panels, one quantity's axis per row, logarithmic in all rows but the last."""
    for panel in axes.flat:
        if panel is not axes[0, 0]:
            panel.sharex(axes[0, 0])
    for left, right in axes:
        right.sharey(left)
        right.tick_params(labelleft=False)
    for panel in axes[:-1].flat:
        panel.tick_params(labelbottom=False)
        panel.set_yscale("log")


def _draw_traces(axes: "Axes", traces: Mapping[str, StepTrace], quantity: str, looks: Mapping[str, Look]) -> None:
    """The lines of those whose method knows the quantity; where none does, the panel says so, once."""
    known = {label: trace for label, trace in traces.items() if has_estimate(trace, quantity)}
    if not known:
        say_that_nothing_is_estimated(axes)
    for label, trace in known.items():
        look = looks.get(label, SHARED)
        values = getattr(trace, quantity)
        axes.plot(trace.t, values, **stroke(look), marker=look.marker, label=f"{label}: {len(trace.t)} steps")
