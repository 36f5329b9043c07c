"""Mean and standard deviation of stochastic trajectories over time."""

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


def plot_bands(records: Sequence[RunRecord]) -> "Figure":
    """Mean and standard deviation of trajectories over time, of the data and of a trained model, element by element.

    One column for each group (one regularizer), of which its first run is drawn; one row for each element of the state.

    Args:
        records: runs whose trajectories hold "t" and, as `mean` and `variance` of each element, "data", "before" and
            "after" training, such as "data mean 1".
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, a seed twice, runs of one group that differ in length, or no such trajectories in a
            record.
    """
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    for label in groups:
        _check_moments(groups[label][0])
    elements = sum(name.startswith("data mean") for name in next(iter(groups.values()))[0].trajectories)
    with styled():
        figure = blank(max(5.4, 0.8 + 2.9 * len(groups)), 1.0 + 2.2 * elements)
        axes = figure.subplots(elements, len(groups), squeeze=False, sharex=True, sharey="row")
        for column, (label, runs) in zip(axes.T, groups.items(), strict=True):
            column[0].set_title(f"{label}, seed {runs[0].seed}")
            column[-1].set_xlabel("time t")
            for place, panel in enumerate(column, start=1):
                _draw_moments(panel, runs[0], place, looks[label])
        for place, panel in enumerate(axes[:, 0], start=1):
            panel.set_ylabel(f"$u_{place}$, mean ± standard deviation")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def _check_moments(record: RunRecord) -> None:
    if "data mean 1" not in record.trajectories:
        raise ValueError(f"the record of seed {record.seed} holds no trajectories' moments; draw records of spiral-sde")


def _draw_moments(axes: "Axes", record: RunRecord, place: int, look: Look) -> None:
    """Band of the trained model, mean before training, and the data with bars, of one element of the state."""
    columns = record.trajectories
    t = columns["t"]
    deviation = {name: np.sqrt(columns[f"{name} variance {place}"]) for name in ("data", "after")}
    mean = {name: np.array(columns[f"{name} mean {place}"]) for name in ("data", "before", "after")}
    low, high = mean["after"] - deviation["after"], mean["after"] + deviation["after"]
    axes.fill_between(t, low, high, color=look.color, alpha=0.2, linewidth=0)
    axes.plot(t, mean["before"], color=FAINT, dashes=(4.0, 2.0), linewidth=1.0, label="model before training")
    axes.plot(t, mean["after"], color=look.color, label="model after training")
    axes.errorbar(
        t, mean["data"], deviation["data"], fmt="o", color="0.25", markersize=2.5, elinewidth=0.7, label="data"
    )
    # An untrained model may leave the data's range far behind.
    floor, ceiling = (mean["data"] - deviation["data"]).min(), (mean["data"] + deviation["data"]).max()
    room = 0.25 * (ceiling - floor)
    axes.set_ylim(floor - room, ceiling + room)
