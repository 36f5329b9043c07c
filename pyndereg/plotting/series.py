"""Irregular series, and what a latent ODE makes of them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyndereg.plotting.canvas import blank, stroke, styled
from pyndereg.plotting.groups import group_by_label
from pyndereg.plotting.looks import choose_looks
from pyndereg.results import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES_SHOWN = 4
FEATURES_SHOWN = 4


def plot_series(records: Sequence[RunRecord]) -> "Figure":
    """Observations of series over time, and the model's continuous reconstruction through the gaps between them.

    One column for each series, one row for each feature, the first four of both; a line for each group (one
    regularizer), of its first run.

    Args:
        records: runs whose trajectories hold "t" and, for feature j of series k, "data k j", which is NaN where
            nothing was observed, and "model k j".
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, a seed twice, runs of one group that differ in length, or no such trajectories in a
            record.
    """
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    first = [runs[0] for runs in groups.values()]
    names = [_names_of_series(record) for record in first]
    series = sorted({k for k, _ in names[0]})[:SERIES_SHOWN]
    features = sorted({j for _, j in names[0]})[:FEATURES_SHOWN]
    with styled():
        figure = blank(1.0 + 2.2 * max(2, len(series)), 0.9 + 1.3 * len(features))
        axes = figure.subplots(len(features), len(series), squeeze=False, sharex=True, sharey="row")
        for j, row in zip(features, axes, strict=True):
            row[0].set_ylabel(f"feature {j}")
            for k, panel in zip(series, row, strict=True):
                panel.grid(axis="x", visible=False)
                data = first[0].trajectories
                panel.plot(data["t"], data[f"data {k} {j}"], "o", color="0.25", markersize=3.0, label="observed")
                for (label, runs), look in zip(groups.items(), looks.values(), strict=True):
                    model = runs[0].trajectories
                    panel.plot(model["t"], model[f"model {k} {j}"], **stroke(look), label=f"model, {label}")
        for k, panel, below in zip(series, axes[0], axes[-1], strict=True):
            panel.set_title(f"series {k} ({_observed(first[0], k)} seen)")
            below.set_xlabel("time t")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4), handlelength=3.2)
    return figure


def _names_of_series(record: RunRecord) -> list[tuple[int, int]]:
    """Number of series and of feature of every reconstruction in a record."""
    matches = [re.fullmatch(r"model (\d+) (\d+)", name) for name in record.trajectories]
    found = [(int(match[1]), int(match[2])) for match in matches if match]
    if not found:
        raise ValueError(f"the record of seed {record.seed} holds no series; draw records of physionet-latent-ode")
    return found


def _observed(record: RunRecord, series: int) -> str:
    """The share of a series that was observed, in percent."""
    values = [column for name, column in record.trajectories.items() if name.startswith(f"data {series} ")]
    return f"{100.0 * np.isfinite(values).mean():.0f} %"
