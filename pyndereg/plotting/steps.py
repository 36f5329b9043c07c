"""The steps along one trajectory: their lengths, and what the solver knew of error and stiffness at each."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyndereg.ivp.solution import Solution, StepRecord
from pyndereg.plotting.canvas import FAINT, blank, styled, write_powers_plainly
from pyndereg.plotting.groups import group_by_label, seeds_shown
from pyndereg.plotting.looks import LOOKS, Look, choose_looks
from pyndereg.results import RunRecord, StepTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Quantity of a step, the name of its axis, and whether the axis is logarithmic.
ROWS = (("dt", "step length dt", True), ("scaled_error", "scaled error", True), ("stiffness", "stiffness", False))


def plot_steps(records: Sequence[RunRecord]) -> "Figure":
    """The steps before and after training, one column for each group (one regularizer), of its first run.

    Each step is as wide as it is long. Grey: before training; coloured: after it.

    Args:
        records: runs with their steps before and after training.
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, records of several experiments, a seed twice, or runs of one group that differ in length.
    """
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    columns = [(label, runs[0].steps_before, runs[0].steps_after, looks[label]) for label, runs in groups.items()]
    figure = _draw_columns(columns)
    figure.suptitle(
        f"{records[0].experiment}: steps along one trajectory before (grey) and after training, {seeds_shown(groups)}",
        x=0.01,
        ha="left",
        fontsize=9.0,
    )
    return figure


def steps_figure(solution: Solution, before: Solution | None = None, *, title: str = "") -> "Figure":
    """The steps of a solution just computed.

    Args:
        solution: whose steps are drawn.
        before: another solution of the same problem, such as that before training, drawn in grey behind it.
        title: over the figure.
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    grey = None if before is None else _as_trace(before.steps)
    return _draw_columns([(title, grey, _as_trace(solution.steps), LOOKS[1])])


def _draw_columns(columns: Sequence[tuple[str, StepTrace | None, StepTrace, Look]]) -> "Figure":
    """Three rows (step length, scaled error, stiffness) by one column for each title, trace before, after and look."""
    with styled():
        figure = blank(max(4.6, 0.8 + 2.5 * len(columns)), 5.6)
        axes = figure.subplots(
            len(ROWS), len(columns), squeeze=False, sharex=True, sharey="row", height_ratios=(1.4, 1.0, 1.0)
        )
        for panels, (title, before, after, look) in zip(axes.T, columns, strict=True):
            panels[0].set_title(title, pad=16.0)
            panels[-1].set_xlabel("time t")
            _draw_column(panels, before, after, look)
        traces = [trace for _, *both, _ in columns for trace in both if trace is not None]
        for row, (quantity, name, logarithmic) in zip(axes, ROWS, strict=True):
            row[0].set_ylabel(name)
            if logarithmic:
                row[0].set_yscale("log")
                fit_to_free_steps(row[0], traces, quantity)
        write_powers_plainly(axes[0, 0].yaxis)
        figure.align_ylabels(axes[:, 0])
    return figure


def _draw_column(panels: "Sequence[Axes]", before: StepTrace | None, after: StepTrace, look: Look) -> None:
    for panel, (quantity, *_) in zip(panels, ROWS, strict=True):
        panel.grid(axis="x", visible=False)
        if before is not None:
            _draw_stairs(panel, before, quantity, FAINT, width=1.0)
        drawn = _draw_stairs(panel, after, quantity, look.color, width=1.6)
        if not drawn and not (before is not None and has_estimate(before, quantity)):
            say_that_nothing_is_estimated(panel)
    panels[0].annotate(
        f"{len(after.t)} steps" + (f", {len(before.t)} before" if before is not None else ""),
        xy=(0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0.0, 4.0),
        textcoords="offset points",
        color=look.color,
    )


def _draw_stairs(axes: "Axes", trace: StepTrace, quantity: str, color: str, *, width: float) -> bool:
    """One stair per step, from its beginning to its end; returns whether there was anything to draw."""
    if not has_estimate(trace, quantity):
        return False
    edges = [*trace.t, trace.t[-1] + trace.dt[-1]]
    heights = np.abs(getattr(trace, quantity))  # the length of a step backwards in time is negative
    axes.stairs(heights, edges, baseline=None, color=color, linewidth=width)
    return True


def has_estimate(trace: StepTrace, quantity: str) -> bool:
    """Whether the method that took the steps knows the quantity at any of them."""
    return any(math.isfinite(value) for value in getattr(trace, quantity))


def say_that_nothing_is_estimated(axes: "Axes") -> None:
    """Tell why a panel is empty."""
    axes.text(0.5, 0.5, "the method has no estimate", transform=axes.transAxes, ha="center", color="0.4")


def fit_to_free_steps(axes: "Axes", traces: Sequence[StepTrace], quantity: str) -> None:
    """Scale an axis to the steps that the solver chose freely.

    The end of the interval cuts the last step to what is left, which may be next to nothing; where it is far below all
    other steps it falls off the panel. A step that is a solve's only one is in it.
    """
    columns = [getattr(trace, quantity) for trace in traces]
    values = [abs(value) for column in columns for value in (column[:-1] or column) if value != 0.0]
    values = [value for value in values if math.isfinite(value)]
    if values:
        axes.set_ylim(min(values) / 2.0, 2.0 * max(values))


def _as_trace(steps: StepRecord) -> StepTrace:
    columns = {name: getattr(steps, name).detach().cpu() for name in ("t", "dt", "scaled_error", "stiffness")}
    return StepTrace(**{name: tuple(column.double().tolist()) for name, column in columns.items()})
