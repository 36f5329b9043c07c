"""Phase portraits: one element of the state against another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyndereg.plotting.canvas import FAINT, blank, styled
from pyndereg.plotting.groups import group_by_label
from pyndereg.plotting.looks import Look, choose_looks
from pyndereg.results import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS_WANTED = tuple(f"{name} {place}" for name in ("data", "before", "after") for place in (1, 2))


def plot_phase(records: Sequence[RunRecord]) -> "Figure":
    """Trajectories in the plane of the state's first two elements: the data, and the model before and after training.

    One panel for each group (one regularizer), of which its first run is drawn. Where the record's steps after training
    are those of this trajectory, rings on it mark where each step began.

    Args:
        records: runs whose trajectories hold "t", "data 1", "data 2", and likewise "before" and "after" training.
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, a seed twice, runs of one group that differ in length, or no such trajectories in a
            record.
    """
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    for runs in groups.values():
        _check_trajectories(runs[0])
    with styled():
        figure = blank(max(4.2, 0.6 + 3.1 * len(groups)), 4.0)
        axes = figure.subplots(1, len(groups), squeeze=False, sharex=True, sharey=True)[0]
        for panel, (label, runs) in zip(axes, groups.items(), strict=True):
            panel.set(title=f"{label}, seed {runs[0].seed}", xlabel="$u_1$", aspect="equal")
            _draw_portrait(panel, runs[0], looks[label])
        axes[0].set_ylabel("$u_2$")
        _show_surroundings(axes[0], [runs[0] for runs in groups.values()])
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def _check_trajectories(record: RunRecord) -> None:
    missing = [name for name in ("t", *COLUMNS_WANTED) if name not in record.trajectories]
    if missing:
        raise ValueError(
            f"the record of seed {record.seed} holds no trajectory {missing[0]!r}; draw records of spiral-ode or "
            "lotka-volterra"
        )


def _draw_portrait(axes: "Axes", record: RunRecord, look: Look) -> None:
    path = {name: np.array(record.trajectories[name]) for name in ("t", *COLUMNS_WANTED)}
    before = {"color": FAINT, "dashes": (4.0, 2.0), "linewidth": 1.0}
    axes.plot(path["before 1"], path["before 2"], **before, label="model before training")
    axes.plot(path["after 1"], path["after 2"], color=look.color, label="model after training", zorder=2.5)
    axes.plot(path["data 1"], path["data 2"], "o", color="0.25", markersize=2.8, zorder=2.7, label="data")
    t, steps = path["t"], np.array(record.steps_after.t)
    if len(steps) and t[0] <= steps[0] and steps[-1] <= t[-1]:
        places = [np.interp(steps, t, path[f"after {place}"]) for place in (1, 2)]
        size = min(max(300.0 / len(steps), 2.5), 5.5)  # so that many rings leave the line visible
        marks = {"marker": "o", "markersize": size, "markerfacecolor": "white", "linestyle": "none"}
        axes.plot(*places, **marks, color=look.color, zorder=2.6, label="its steps")


def _show_surroundings(axes: "Axes", records: Sequence[RunRecord]) -> None:
    """Scale the axes to the data and the trained models: an untrained model may leave their range far behind."""
    for place, limit in ((1, axes.set_xlim), (2, axes.set_ylim)):
        values = [record.trajectories[f"{name} {place}"] for record in records for name in ("data", "after")]
        low, high = np.nanmin(values[0]), np.nanmax(values[0])
        for one in values:
            low, high = min(low, np.nanmin(one)), max(high, np.nanmax(one))
        room = 0.15 * (high - low)
        limit(low - room, high + room)
