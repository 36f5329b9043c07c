"""Where figures are drawn: matplotlib behind one door, the style of all figures, and the files that they become."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyndereg.plotting.looks import Look
from pyndereg.results import check_destination

# Matplotlib is an extra: without it this module can be imported, and says what is missing when a figure is asked for.
MATPLOTLIB_IS_INSTALLED = find_spec("matplotlib") is not None
if TYPE_CHECKING or MATPLOTLIB_IS_INSTALLED:
    from matplotlib import rc_context
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 160
FAINT = "0.55"  # grey of what is there for comparison
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.6",
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "xtick.color": "0.6",
    "ytick.color": "0.6",
    "xtick.labelcolor": "0.2",
    "ytick.labelcolor": "0.2",
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "svg.fonttype": "none",
}


@contextmanager
def styled() -> Iterator[None]:
    """Everything inside is drawn in the style of all figures.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    require_matplotlib()
    with rc_context(STYLE):
        yield


def blank(width: float, height: float) -> "Figure":
    """An empty figure, width and height in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", path: Path, *, overwrite: bool = False) -> None:
    """Write a figure in the format that the suffix of `path` names: .png, .svg or .pdf.

    Raises:
        FileExistsError: something lies at `path` and `overwrite` is false.
        ValueError: another suffix.
    """
    check_figure_path(path, overwrite=overwrite)
    with styled():
        figure.savefig(path, dpi=DOTS_PER_INCH)


def check_figure_path(path: Path, *, overwrite: bool = False) -> None:
    """Make sure, before anything is computed, that a figure can be drawn and written to `path`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        FileExistsError: something lies at `path` and `overwrite` is false.
        ValueError: the suffix names no format that figures are written in.
    """
    require_matplotlib()
    if path.suffix not in SUFFIXES:
        raise ValueError(f"the figure {path} has the suffix {path.suffix!r}; choose one of {', '.join(SUFFIXES)}")
    check_destination(path, overwrite=overwrite)


def require_matplotlib() -> None:
    """Raise ModuleNotFoundError with the way to install it where matplotlib is missing."""
    if not MATPLOTLIB_IS_INSTALLED:
        raise ModuleNotFoundError(
            'figures are drawn by matplotlib, which is not installed; run pip install "pyndereg[plots]"'
        )


def stroke(look: Look) -> dict[str, Any]:
    """A look as matplotlib's words for a line: colour and dashes."""
    return {"color": look.color, "dashes": look.dashes or (None, None)}


def count_in_integers(axis: "Axis") -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(integer=True))


def write_powers_plainly(axis: "Axis") -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 times the powers of ten, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())
