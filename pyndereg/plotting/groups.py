"""What of the records is drawn together: runs of one kind, their curves, and what the curves are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyndereg.plotting.looks import REGULARIZERS
from pyndereg.results import RunRecord


@dataclass(frozen=True)
class Quality:
    """What says how well a trained model does.

    Args:
        name: of the metric, and of the curve.
        heading: what an axis is called.
        higher_is_better: whether a model gets better as it grows.
    """

    name: str
    heading: str
    higher_is_better: bool


# A figure shows the first that the records have.
QUALITIES = (
    Quality("test_accuracy", "test accuracy (%)", higher_is_better=True),
    Quality("test_loss", "test loss", higher_is_better=False),
    Quality("loss", "loss", higher_is_better=False),
)


def group_by_label(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The runs of each kind under its label, such as "error + STEER", whatever the order of the records.

    Raises:
        ValueError: no record, records of several experiments, a seed twice, or runs of one kind that differ in length.
    """
    check_one_experiment(records)
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


def check_one_experiment(records: Sequence[RunRecord]) -> None:
    """Raise ValueError where there is no record, or where there are records of several experiments."""
    if not records:
        raise ValueError("there is no record to draw; name at least one")
    experiments = sorted({record.experiment for record in records})
    if len(experiments) > 1:
        raise ValueError(f"the records are of {' and '.join(experiments)}; draw those of one experiment at a time")


def label_of(record: RunRecord) -> str:
    """The kind of a run: its regularizer, what else it was trained with, and the gradient if one was chosen."""
    config = record.config
    if config.get("engine") == "torchdiffeq":
        return "torchdiffeq"
    steer = " + STEER" if config.get("steer") else ""
    remembered = " + remembered" if config.get("first_step") == "remembered" else ""
    steps = f" + {config['steps']} step{'s' if config['steps'] != 1 else ''}" if config.get("steps") else ""
    gradient = config.get("gradient", "auto")
    chosen = "" if gradient == "auto" else f" @ {gradient}"
    return f"{config.get('regularizer', record.experiment)}{steer}{remembered}{steps}{chosen}"


def curves_of(runs: Sequence[RunRecord], name: str) -> np.ndarray:
    """One curve of several runs. Shape (runs, epochs), units of the curve.

    Raises:
        ValueError: a run has no such curve.
    """
    for run in runs:
        if name not in run.curves:
            raise ValueError(f"the record of seed {run.seed} has no curve {name!r}, only {', '.join(run.curves)}")
    return np.array([run.curves[name] for run in runs], dtype=float)


def quality_of(names: Mapping[str, object], *, seed: int) -> Quality:
    """What says how good a run is, among the names of its curves or metrics.

    Raises:
        ValueError: there is none.
    """
    for quality in QUALITIES:
        if quality.name in names:
            return quality
    known = "' or '".join(quality.name for quality in QUALITIES)
    raise ValueError(f"the record of seed {seed} has no curve '{known}', only {', '.join(names)}")


def unit_of_training(record: RunRecord) -> str:
    """What one point of a run's curves stands for: an epoch, or an iteration where a run counts these."""
    return "iteration" if "iterations" in record.config else "epoch"


def name_of_runs(label: str, runs: Sequence[RunRecord]) -> str:
    """A group's name with the number of its seeds, if there are several."""
    return f"{label} ({len(runs)} seeds)" if len(runs) > 1 else label


def seeds_shown(groups: Mapping[str, Sequence[RunRecord]]) -> str:
    """Which run of each group is drawn, where only the first is."""
    seeds = {runs[0].seed for runs in groups.values()}
    return f"seed {seeds.pop()}" if len(seeds) == 1 else "first seed of each"
