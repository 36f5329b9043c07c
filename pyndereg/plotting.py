"""Figures drawn from run records; nothing here runs a solver."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyndereg.results import RunRecord, StepTrace, check_destination

# Matplotlib is an extra: without it this module can be imported, and says what is missing when a figure is asked for.
MATPLOTLIB_IS_INSTALLED = find_spec("matplotlib") is not None
if TYPE_CHECKING or MATPLOTLIB_IS_INSTALLED:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 160


@dataclass(frozen=True)
class Look:
    """How one group of runs is drawn: a colour, and dashes and a marker that tell it apart without colour.

    Args:
        color: as matplotlib names colours.
        dashes: on and off lengths, in line widths; empty for a solid line.
        marker: as matplotlib names markers.
    """

    color: str
    dashes: tuple[float, ...]
    marker: str


# In the order of legends and looks.
REGULARIZERS = ("none", "error", "stiffness", "both", "local-unbiased", "local-biased", "taylor", "rnode")
# Colours that colour-blind readers can tell apart (Okabe and Ito), neighbours of different lightness.
LOOKS = (
    Look("#000000", (), "o"),
    Look("#d55e00", (4.0, 1.6), "s"),
    Look("#3f9fd6", (1.0, 1.2), "^"),
    Look("#009e73", (6.0, 1.5, 1.0, 1.5), "D"),
    Look("#a3507e", (8.0, 2.0), "v"),
    Look("#b58900", (3.0, 1.0, 1.0, 1.0, 1.0, 1.0), "X"),
    Look("#0072b2", (2.0, 2.0), "P"),
    Look("#e07b91", (10.0, 1.5, 2.0, 1.5), "*"),
    Look("#6b6b00", (5.0, 3.0), "<"),
    Look("#7fc7af", (1.5, 0.8, 1.5, 2.5), ">"),
)
SHARED = Look("#777777", (), "o")  # for what all groups have in common
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "svg.fonttype": "none",
}


def plot(records: Sequence[RunRecord]) -> "Figure":
    """The figure that fits the records: bands of trajectories where they hold any, else a comparison over the epochs.

    Raises:
        ModuleNotFoundError, ValueError: as `plot_bands` and `plot_comparison`; or the records are of more than one
            experiment.
    """
    experiments = sorted({record.experiment for record in records})
    if len(experiments) > 1:
        raise ValueError(f"the records are of {' and '.join(experiments)}; draw those of one experiment at a time")
    return (plot_bands if any(record.trajectories for record in records) else plot_comparison)(records)


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
        ValueError: no record, a seed twice, runs of one group that differ in length, or no trajectories in a record.
    """
    _require_matplotlib()
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    elements = sum(name.startswith("data mean") for name in next(iter(groups.values()))[0].trajectories)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(5.4, 0.8 + 2.9 * len(groups)), 1.0 + 2.2 * max(elements, 1)), layout="constrained")
        axes = figure.subplots(max(elements, 1), len(groups), squeeze=False, sharex=True, sharey="row")
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


def plot_comparison(records: Sequence[RunRecord]) -> "Figure":
    """NFE and test accuracy over the epochs, and the steps along one trajectory before and after training.

    Lines are means over the runs of a group (one regularizer), bands reach from the least to the greatest run. The
    steps are those of each group's first run, on its fixed evaluation batch.

    Args:
        records: runs with the curves nfe (evaluations) and test_accuracy (percent).
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: no record, a seed twice, runs of one group that differ in length, or a curve that is missing.
    """
    _require_matplotlib()
    groups = group_by_label(records)
    looks = choose_looks(list(groups))
    with rc_context(STYLE):
        figure = Figure(figsize=(8.2, 8.8), layout="constrained")
        axes = figure.subplots(4, 2, height_ratios=(1.7, 1.0, 1.0, 1.0))
        _draw_curves(axes[0], groups, looks)
        _draw_steps(axes[1:], groups, looks)
        figure.align_ylabels(axes[:, 0])
        handles = [_line(label, looks[label], len(runs)) for label, runs in groups.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4), handlelength=3.2)
    return figure


def choose_looks(labels: Sequence[str]) -> dict[str, Look]:
    """One look per label; the regularizers without STEER have the same look in every figure.

    Raises:
        ValueError: there are more labels than looks.
    """
    if len(labels) > len(LOOKS):
        raise ValueError(f"found {len(labels)} kinds of runs; plot at most {len(LOOKS)} in one figure")
    looks = {label: LOOKS[REGULARIZERS.index(label)] for label in labels if label in REGULARIZERS}
    free = [look for look in reversed(LOOKS) if look not in looks.values()]
    return {label: looks[label] if label in looks else free.pop(0) for label in labels}


def save(figure: "Figure", path: Path, *, overwrite: bool = False) -> None:
    """Write a figure in the format that the suffix of `path` names: .png, .svg or .pdf.

    Raises:
        FileExistsError: something lies at `path` and `overwrite` is false.
        ValueError: another suffix.
    """
    check_figure_path(path, overwrite=overwrite)
    with rc_context(STYLE):
        figure.savefig(path, dpi=DOTS_PER_INCH)


def check_figure_path(path: Path, *, overwrite: bool = False) -> None:
    """Make sure, before anything is computed, that a figure can be drawn and written to `path`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        FileExistsError: something lies at `path` and `overwrite` is false.
        ValueError: the suffix names no format that figures are written in.
    """
    _require_matplotlib()
    if path.suffix not in SUFFIXES:
        raise ValueError(f"the figure {path} has the suffix {path.suffix!r}; choose one of {', '.join(SUFFIXES)}")
    check_destination(path, overwrite=overwrite)


def group_by_label(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The runs of each kind under its label, such as "error + STEER", whatever the order of the records.

    Raises:
        ValueError: no record, a seed twice, or runs of one kind that differ in length.
    """
    if not records:
        raise ValueError("there is no record to draw; name at least one")
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(label_of(record), []).append(record)
    order = {name: place for place, name in enumerate(REGULARIZERS)}
    groups = dict(sorted(groups.items(), key=lambda group: (order.get(group[0], len(order)), group[0])))
    for label, runs in groups.items():
        seeds = [run.seed for run in runs]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"the runs of {label!r} have seeds {seeds}; draw each seed once")
        epochs = sorted({run.epochs for run in runs})
        if len(epochs) > 1:
            raise ValueError(f"the runs of {label!r} have {epochs} epochs; draw runs of one length together")
        groups[label] = sorted(runs, key=lambda run: run.seed)
    return groups


def label_of(record: RunRecord) -> str:
    """The kind of a run: its regularizer, STEER if end times are random, and the gradient if one was chosen."""
    config = record.config
    steer = " + STEER" if config.get("steer") else ""
    gradient = config.get("gradient", "auto")
    return f"{config.get('regularizer', record.experiment)}{steer}{'' if gradient == 'auto' else f' @ {gradient}'}"


def _require_matplotlib() -> None:
    if not MATPLOTLIB_IS_INSTALLED:
        raise ModuleNotFoundError(
            'figures are drawn by matplotlib, which is not installed; run pip install "pyndereg[plots]"'
        )


def _line(label: str, look: Look, runs: int) -> "Line2D":
    name = f"{label} ({runs} seeds)" if runs > 1 else label
    return Line2D([], [], color=look.color, dashes=look.dashes or (None, None), marker=look.marker, label=name)


def _draw_curves(axes: np.ndarray, groups: Mapping[str, Sequence[RunRecord]], looks: Mapping[str, Look]) -> None:
    nfe, accuracy = axes
    nfe.set(title="Cost of one prediction", ylabel="function evaluations (NFE)")
    accuracy.set(title="Accuracy on test images", ylabel="test accuracy (%)")
    for panel, curve in ((nfe, "nfe"), (accuracy, "test_accuracy")):
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for number, (label, runs) in enumerate(groups.items()):
            _draw_band(panel, _curves(runs, curve), looks[label], offset=number / len(groups))
    nfe.set_ylim(bottom=0.0)  # lengths above zero compare as the costs do
    # The first epochs, of a hardly trained model, would flatten all that comes after them.
    floor = min(float(_curves(runs, "test_accuracy")[:, -1].min()) for runs in groups.values())
    accuracy.set_ylim(bottom=max(0.0, 100.0 - 4.0 * (100.0 - floor)), top=100.0)
    _label_ends(nfe, {label: float(_curves(runs, "nfe")[:, -1].mean()) for label, runs in groups.items()}, looks)


def _label_ends(axes: "Axes", finals: Mapping[str, float], looks: Mapping[str, Look]) -> None:
    """Write each line's last value beside its end, moved up where two would cover each other."""
    smallest_gap = 0.06 * axes.get_ylim()[1]
    height = -math.inf
    for label, value in sorted(finals.items(), key=lambda item: item[1]):
        height = max(value, height + smallest_gap)
        axes.annotate(
            f"{value:.0f}",
            xy=(1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(2.0, 0.0),
            textcoords="offset points",
            va="center",
            color=looks[label].color,
            annotation_clip=False,
        )


def _curves(runs: Sequence[RunRecord], name: str) -> np.ndarray:  # (runs, epochs)
    for run in runs:
        if name not in run.curves:
            raise ValueError(f"the record of seed {run.seed} has no curve {name!r}, only {', '.join(run.curves)}")
    return np.array([run.curves[name] for run in runs], dtype=float)


def _draw_band(axes: "Axes", values: np.ndarray, look: Look, *, offset: float) -> None:
    """Mean and range of runs over the epochs; `offset` in [0, 1) shifts the markers of one group against another's."""
    epochs = np.arange(1, values.shape[1] + 1)
    spacing = max(1, round(values.shape[1] / 8))
    if len(values) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=look.color, alpha=0.15, linewidth=0)
    axes.plot(
        epochs,
        values.mean(axis=0),
        color=look.color,
        dashes=look.dashes or (None, None),
        marker=look.marker,
        markevery=(int(offset * spacing), spacing),
    )


def _draw_steps(axes: np.ndarray, groups: Mapping[str, Sequence[RunRecord]], looks: Mapping[str, Look]) -> None:
    """Three rows (step length, scaled error, stiffness) by two columns (before, after training)."""
    _share_axes(axes)
    for column, moment in enumerate(("before", "after")):
        traces = {label: getattr(runs[0], f"steps_{moment}") for label, runs in groups.items()}
        if len(traces) > 1 and len(set(traces.values())) == 1:
            # Equal seeds start equal: one line says more than several that cover each other.
            traces = {"all": next(iter(traces.values()))}
        axes[0, column].set_title(f"Steps {moment} training, {_seeds_shown(groups)}")
        axes[-1, column].set_xlabel("time t at the start of the step")
        for quantity, panel in zip(("dt", "scaled_error", "stiffness"), axes[:, column], strict=True):
            for label, trace in traces.items():
                _draw_trace(panel, trace, quantity, looks.get(label, SHARED), label=f"{label}: {len(trace.t)} steps")
        if len(traces) <= 3:
            axes[0, column].legend(loc="lower center", handlelength=2.6, fontsize=8)
        else:  # several columns, or they would cover the panel and its title
            axes[0, column].legend(loc="lower center", handlelength=2.2, fontsize=6.5, ncols=2, columnspacing=1.0)
    for row, name in enumerate(("step length dt", "scaled error", "stiffness")):
        axes[row, 0].set_ylabel(name)
    every_trace = [trace for runs in groups.values() for trace in (runs[0].steps_before, runs[0].steps_after)]
    for row, quantity in enumerate(("dt", "scaled_error")):
        _fit_to_free_steps(axes[row, 0], every_trace, quantity)
    for panel in axes[0]:
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        panel.yaxis.set_minor_formatter(NullFormatter())


def _fit_to_free_steps(axes: "Axes", traces: Sequence[StepTrace], quantity: str) -> None:
    """Scale an axis to the steps that the solver chose freely.

    The end of the interval cuts the last step to what is left, which may be next to nothing; where it is far below all
    other steps it falls off the panel.
    """
    values = [value for trace in traces for value in getattr(trace, quantity)[:-1] if value > 0.0]
    if values:
        axes.set_ylim(min(values) / 2.0, 2.0 * max(values))


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


def _draw_moments(axes: "Axes", record: RunRecord, place: int, look: Look) -> None:
    """Band of the trained model, mean before training, and the data with bars, of one element of the state."""
    columns = record.trajectories
    if not columns:
        raise ValueError(f"the record of seed {record.seed} holds no trajectories; draw records of spiral-sde")
    t = columns["t"]
    deviation = {name: np.sqrt(columns[f"{name} variance {place}"]) for name in ("data", "after")}
    mean = {name: np.array(columns[f"{name} mean {place}"]) for name in ("data", "before", "after")}
    low, high = mean["after"] - deviation["after"], mean["after"] + deviation["after"]
    axes.fill_between(t, low, high, color=look.color, alpha=0.2, linewidth=0)
    axes.plot(t, mean["before"], color=SHARED.color, dashes=(4.0, 2.0), linewidth=1.0, label="model before training")
    axes.plot(t, mean["after"], color=look.color, label="model after training")
    axes.errorbar(
        t, mean["data"], deviation["data"], fmt="o", color="0.25", markersize=2.5, elinewidth=0.7, label="data"
    )
    # An untrained model may leave the data's range far behind.
    floor, ceiling = (mean["data"] - deviation["data"]).min(), (mean["data"] + deviation["data"]).max()
    room = 0.25 * (ceiling - floor)
    axes.set_ylim(floor - room, ceiling + room)


def _draw_trace(axes: "Axes", trace: StepTrace, quantity: str, look: Look, *, label: str) -> None:
    values = getattr(trace, quantity)
    if not any(math.isfinite(value) for value in values):
        axes.text(0.5, 0.5, "the method has no estimate", transform=axes.transAxes, ha="center", color="0.4")
        return
    axes.plot(trace.t, values, color=look.color, dashes=look.dashes or (None, None), marker=look.marker, label=label)


def _seeds_shown(groups: Mapping[str, Sequence[RunRecord]]) -> str:
    seeds = {runs[0].seed for runs in groups.values()}
    return f"seed {seeds.pop()}" if len(seeds) == 1 else "first seed of each"
