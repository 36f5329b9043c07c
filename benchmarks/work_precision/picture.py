"""One picture: time over the error that was reached, a panel for each problem."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.work_precision.report import Best, Report

# Okabe and Ito's colours, which are told apart without red or green; markers tell them apart without colour.
LOOKS: Mapping[str, tuple[str, str, float]] = {
    "pyndereg": ("#0072B2", "o", 2.2),
    "pyndereg, searched start": ("#56B4E9", "s", 1.4),
    "torchdiffeq": ("#D55E00", "^", 2.2),
    "torchode": ("#CC79A7", "D", 1.2),
    "torchdyn": ("#E69F00", "v", 1.2),
    "torchsde": ("#D55E00", "^", 2.2),
    "diffrax": ("#009E73", "P", 1.2),
}


def draw(report: Report, path: Path, precision: str = "float32", passes: str = "both") -> None:
    """Draw times at equal error."""
    problems = report.problems("equal error", precision)
    columns = min(4, len(problems) + 1)
    rows = math.ceil((len(problems) + 1) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.9 * rows), squeeze=False)
    panels = list(axes.flat)
    for axis, problem in zip(panels, problems, strict=False):
        draw_panel(axis, report, problem, precision, passes)
    for axis in panels[len(problems) :]:
        axis.axis("off")
    handles = {
        label: handle for axis in panels for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    panels[-1].legend(list(handles.values()), list(handles), loc="center", frameon=False, fontsize=10)
    what = "a solve and its gradient" if passes == "both" else "a solve"
    figure.suptitle(f"Time of {what} at equal error, {precision}\nlower is faster, further right is more exact")
    figure.supxlabel("error at most, relative to the solution")
    figure.supylabel("milliseconds")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_panel(axis: Axes, report: Report, problem: str, precision: str, passes: str) -> None:
    """The lines of one problem, with quartiles, over the time of the bare evaluations."""
    for library, (color, marker, width) in LOOKS.items():
        found = [report.best(problem, precision, passes, library, target) for target in report.targets(problem)]
        best = [one for one in found if one is not None]
        if best:
            draw_line(axis, best, library, color, marker, width)
    ours = [report.best(problem, precision, passes, "pyndereg", target) for target in report.targets(problem)]
    floors = [(one.target, 1e3 * one.floor) for one in ours if one is not None]
    if floors:
        axis.plot(*zip(*floors, strict=True), color="0.6", linestyle=":", label="pyndereg's evaluations alone")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.invert_xaxis()
    axis.set_title(report.title(problem), fontsize=10)
    axis.grid(visible=True, which="major", color="0.9")
    axis.xaxis.set_major_locator(LogLocator())
    axis.xaxis.set_minor_locator(NullLocator())
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.spines[["top", "right"]].set_visible(False)


def draw_line(axis: Axes, best: Sequence[Best], library: str, color: str, marker: str, width: float) -> None:
    targets, middles = [one.target for one in best], [1e3 * one.quartiles[1] for one in best]
    axis.plot(targets, middles, color=color, marker=marker, linewidth=width, markersize=5, label=library)
    low, high = ([1e3 * one.quartiles[i] for one in best] for i in (0, 2))
    axis.fill_between(targets, low, high, color=color, alpha=0.2, linewidth=0)
