"""The papers' table: what each method reaches, and what it costs."""

import statistics
from collections.abc import Sequence

from pyndereg.experiments.classification import EVALUATION_IMAGES
from pyndereg.experiments.config import DigitsODEConfig
from pyndereg.experiments.digits_ode import method_name
from pyndereg.results import RunRecord

# Heading, metric, digits, factor from the metric's unit to that of the heading.
COLUMNS = (
    ("train accuracy (%)", "train_accuracy", 2, 1.0),
    ("test accuracy (%)", "test_accuracy", 2, 1.0),
    ("training (s)", "training_seconds", 1, 1.0),
    ("prediction (ms)", "prediction_seconds", 2, 1e3),
    ("NFE", "nfe", 1, 1.0),
)


def format_table(records: Sequence[RunRecord]) -> str:
    """One line per method: mean ± sample standard deviation over its runs, and what it costs relative to none.

    Args:
        records: finished runs, with the metrics train_accuracy and test_accuracy (percent), training_seconds,
            prediction_seconds and nfe. Methods are listed in the order of their first record.
    Source: the columns are those of [@pal2023locally], tables of the experiments.
    """
    groups = group_by_method(records)
    every_seed = sorted({record.seed for record in records})
    plain = _plain_runs(groups)
    rows: list[tuple[str, ...]] = [("method", *(heading for heading, *_ in COLUMNS), "NFE vs none", "speed-up")]
    for method, runs in groups.items():
        seeds = sorted(run.seed for run in runs)
        rows.append(
            (
                method if seeds == every_seed else f"{method} (seeds {_listed(seeds)})",
                *(_spread(runs, metric, digits, factor) for _, metric, digits, factor in COLUMNS),
                f"{mean_of(runs, 'nfe') / mean_of(plain, 'nfe'):.2f}" if plain else "",
                f"{mean_of(plain, 'prediction_seconds') / mean_of(runs, 'prediction_seconds'):.2f}" if plain else "",
            )
        )
    lines = _aligned(rows)
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:], rule, _caption(records[0], every_seed)])


def group_by_method(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records under the name of their method, in the order of first appearance."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(method_name(DigitsODEConfig.from_json(record.config)), []).append(record)
    return groups


def mean_of(records: Sequence[RunRecord], metric: str) -> float:
    """Mean of one metric over runs, in the metric's unit."""
    return statistics.fmean(record.metrics[metric] for record in records)


def _plain_runs(groups: dict[str, list[RunRecord]]) -> list[RunRecord]:
    """The runs without a regularizer, if there are any: those without random end times before those with them."""
    plain = [runs for runs in groups.values() if runs[0].config["regularizer"] == "none"]
    return min(plain, key=lambda runs: bool(runs[0].config.get("steer")), default=[])


def _spread(records: Sequence[RunRecord], metric: str, digits: int, factor: float) -> str:
    values = [factor * record.metrics[metric] for record in records]
    # The sample standard deviation, as in the papers' tables; one run has none.
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows as lines of equal length, the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _caption(record: RunRecord, seeds: Sequence[int]) -> str:
    config = DigitsODEConfig.from_json(record.config)
    return (
        f"mean ± standard deviation over seeds {_listed(seeds)}; {config.epochs} epochs, {config.optimizer}, "
        f"{config.method}, {config.precision}, rtol {config.rtol:g}, atol {config.atol:g};\n"
        f"NFE and prediction: one batch of {EVALUATION_IMAGES} images, predictions timed one model at a time"
    )


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
