"""Figures drawn from run records; nothing here runs a solver."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pyndereg.plotting.bands import plot_bands
from pyndereg.plotting.canvas import SUFFIXES, check_figure_path, save
from pyndereg.plotting.comparison import plot_comparison
from pyndereg.plotting.costs import PublishedPoint, plot_accuracy_nfe
from pyndereg.plotting.curves import plot_nfe
from pyndereg.plotting.groups import check_one_experiment, group_by_label, label_of
from pyndereg.plotting.looks import LOOKS, REGULARIZERS, Look, choose_looks
from pyndereg.plotting.phase import plot_phase
from pyndereg.plotting.series import plot_series
from pyndereg.plotting.steps import plot_steps, steps_figure
from pyndereg.results import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "KINDS",
    "LOOKS",
    "REGULARIZERS",
    "SUFFIXES",
    "Look",
    "PublishedPoint",
    "check_figure_path",
    "choose_looks",
    "group_by_label",
    "kind_that_fits",
    "label_of",
    "plot",
    "plot_accuracy_nfe",
    "plot_bands",
    "plot_comparison",
    "plot_nfe",
    "plot_phase",
    "plot_series",
    "plot_steps",
    "save",
    "steps_figure",
]

KINDS: Mapping[str, "Callable[[Sequence[RunRecord]], Figure]"] = {
    "comparison": plot_comparison,
    "nfe": plot_nfe,
    "accuracy-nfe": plot_accuracy_nfe,
    "steps": plot_steps,
    "phase": plot_phase,
    "bands": plot_bands,
    "series": plot_series,
}
# A trajectory that only records for one kind of figure have, and that kind.
TELLING_TRAJECTORIES = {"data mean 1": "bands", "after 1": "phase", "model 1 1": "series"}


def plot(
    records: Sequence[RunRecord], kind: str | None = None, *, published: Sequence[PublishedPoint] = ()
) -> "Figure":
    """A figure of one of the KINDS.

    Args:
        records: of one experiment.
        kind: None: what fits the trajectories that the records hold, a comparison over the epochs if they hold none.
        published: what the papers report, for the kind accuracy-nfe; others have no place for it.
    Returns:
        The figure, to show or save.
    Raises:
        ModuleNotFoundError, ValueError: as the function of the kind; or there is no such kind.
    """
    check_one_experiment(records)
    kind = kind or kind_that_fits(records)
    if kind not in KINDS:
        raise ValueError(f"the kind of figure is {kind!r}; choose one of {', '.join(KINDS)}")
    return plot_accuracy_nfe(records, published) if kind == "accuracy-nfe" else KINDS[kind](records)


def kind_that_fits(records: Sequence[RunRecord]) -> str:
    """The kind of figure for what the records hold."""
    held = {name for record in records for name in record.trajectories}
    return next((kind for name, kind in TELLING_TRAJECTORIES.items() if name in held), "comparison")
