"""The papers' tables: what each method reaches and what it costs, alone and beside the published numbers."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyndereg.experiments.classification import EVALUATION_IMAGES
from pyndereg.experiments.naming import method_of
from pyndereg.experiments.published import STANDS_FOR, UNITS, YEARS, Published, published_of, ratio_to_none
from pyndereg.plotting import REGULARIZERS
from pyndereg.results import RunRecord

# Heading, metric, digits, factor from the metric's unit to that of the heading.
COLUMNS = (
    ("train accuracy (%)", "train_accuracy", 2, 1.0),
    ("test accuracy (%)", "test_accuracy", 2, 1.0),
    ("training (s)", "training_seconds", 1, 1.0),
    ("prediction (ms)", "prediction_seconds", 2, 1e3),
    ("NFE", "nfe", 1, 1.0),
    ("end error", "end_error", 2, 1.0),
)


@dataclass(frozen=True)
class Quantity:
    """A column of the papers' tables.

    Args:
        metric: as run records name it.
        heading: of the column.
        digits: behind the point.
        is_cost: whether a column of its own says what part it is of the plain model's.
        unit: of the records' metric, written behind each number where sources differ in it.
    """

    metric: str
    heading: str
    digits: int
    is_cost: bool = False
    unit: str = ""


QUANTITIES = (
    Quantity("train_accuracy", "train accuracy (%)", 2),
    Quantity("test_accuracy", "test accuracy (%)", 2),
    Quantity("train_loss", "train loss", 4),
    Quantity("test_loss", "test loss", 4),
    Quantity("loss", "loss", 4),
    Quantity("training_seconds", "training", 2, is_cost=True, unit="s"),
    Quantity("prediction_seconds", "prediction", 4, is_cost=True, unit="s"),
    Quantity("nfe", "NFE", 1, is_cost=True),
)
MISSING = "-"


def format_table(records: Sequence[RunRecord]) -> str:
    """One line per method: mean ± sample standard deviation over its runs, and what it costs relative to none.

    Args:
        records: finished runs, with the metrics train_accuracy and test_accuracy (percent), training_seconds,
            prediction_seconds and nfe, and end_error where it was measured. Methods are listed in the order of their
            first record.
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
    return "\n".join([*_ruled(rows), _caption(records[0], every_seed)])


def papers_table(records: Sequence[RunRecord]) -> str:
    """One table for each experiment: a line for each method of the records, under it what the papers report of it.

    Every number is a mean ± a sample standard deviation. Columns named after their left neighbour's ratio say what part
    a cost is of the same source's plain model: times of different machines never meet in one.

    Args:
        records: finished runs of any experiments.
    Raises:
        ValueError: no record, or a method with a seed twice.
    """
    if not records:
        raise ValueError("there is no record to tabulate; name at least one")
    experiments: dict[str, list[RunRecord]] = {}
    for record in records:
        experiments.setdefault(record.experiment, []).append(record)
    return "\n\n".join(_experiment_table(name, group) for name, group in experiments.items())


def group_by_method(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records under the name of their method, in the order of first appearance."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(method_of(record.config), []).append(record)
    return groups


def mean_of(records: Sequence[RunRecord], metric: str) -> float:
    """Mean of one metric over runs, in the metric's unit."""
    return statistics.fmean(record.metrics[metric] for record in records)


def _experiment_table(experiment: str, records: Sequence[RunRecord]) -> str:
    groups = dict(sorted(group_by_method(records).items(), key=lambda group: _rank(group[0])))
    for method, runs in groups.items():
        seeds = sorted(run.seed for run in runs)
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"the runs of {method!r} on {experiment} have seeds {seeds}; name each seed once")
    papers = {year: numbers for paper, year in YEARS.items() if (numbers := published_of(experiment, paper))}
    quantities = [one for one in QUANTITIES if all(one.metric in record.metrics for record in records)]
    scales = {one.metric: _scale_of(one, papers) for one in quantities}
    header = ["method", "source", "seeds"]
    for one in quantities:
        unit = scales[one.metric]
        header += [f"{one.heading} ({unit})" if unit else one.heading, *(["ratio"] if one.is_cost else [])]
    rows = [tuple(header)]
    plain = _plain_runs(groups)
    for method, runs in groups.items():
        rows.append(
            (method, "here", _listed(sorted(run.seed for run in runs)), *_cells(runs, plain, quantities, scales))
        )
        published_method = method.partition("@")[0]
        for year, numbers in papers.items():
            rows.append(("", year, MISSING, *_published_cells(numbers, published_method, quantities)))
    return "\n".join([experiment, *_ruled(rows, left=3), *_notes(experiment, records, papers)])


def _rank(method: str) -> tuple[int, str]:
    """Where a method stands in a table: in the order of the regularizers, without random end times first."""
    regularizer = method.partition("@")[0].partition("+")[0]
    known = regularizer in REGULARIZERS
    return (REGULARIZERS.index(regularizer) if known else len(REGULARIZERS), method)


def _scale_of(quantity: Quantity, papers: Mapping[str, Mapping[tuple[str, str], Published]]) -> str:
    """The unit that a paper prints a loss in; none for all else."""
    units = {one.unit for numbers in papers.values() for one in numbers.values() if one.metric == quantity.metric}
    return next(iter(units)) if "loss" in quantity.metric and units else ""


def _cells(
    runs: Sequence[RunRecord],
    plain: Sequence[RunRecord],
    quantities: Sequence[Quantity],
    scales: Mapping[str, str],
) -> list[str]:
    cells = []
    for one in quantities:
        digits = 2 if scales[one.metric] else one.digits
        text = _spread(runs, one.metric, digits, 1.0 / UNITS[scales[one.metric]])
        cells.append(f"{text} {one.unit}".rstrip())
        if one.is_cost:
            cells.append(f"{mean_of(runs, one.metric) / mean_of(plain, one.metric):.2f}" if plain else MISSING)
    return cells


def _published_cells(
    numbers: Mapping[tuple[str, str], Published], method: str, quantities: Sequence[Quantity]
) -> list[str]:
    cells = []
    for one in quantities:
        number = numbers.get((method, one.metric))
        cells.append(MISSING if number is None else _printed(number, one.digits))
        if one.is_cost:
            ratio = ratio_to_none(numbers, method, one.metric)
            cells.append(MISSING if ratio is None else f"{ratio:.2f}")
    return cells


def _printed(number: Published, digits: int) -> str:
    scaled = number.unit == "1e-3"
    digits = 2 if scaled else digits
    unit = number.unit if number.unit in ("h", "s", "s/batch") else ""
    return f"{number.mean:.{digits}f} ± {number.std:.{digits}f} {unit}".rstrip()


def _notes(experiment: str, records: Sequence[RunRecord], papers: Mapping[str, object]) -> list[str]:
    notes = [f"here: {_settings(records)}"]
    if papers:
        notes.append(
            f"{', '.join(papers)}: published, here rounded, from other machines; a ratio is to the same source's none"
        )
    if papers and experiment in STANDS_FOR:
        notes.append(
            f"the papers have no {experiment}: their numbers are those of {STANDS_FOR[experiment]}, on all of MNIST"
        )
    return notes


def _settings(records: Sequence[RunRecord]) -> str:
    """What the runs were made with, where all were made with the same."""
    names = ("data", "epochs", "iterations", "optimizer", "method", "precision", "rtol", "atol")
    told = []
    for name in names:
        values = {record.config[name] for record in records if name in record.config}
        if values == {"auto"}:
            continue  # says nothing
        if len(values) == 1:
            told.append(_setting(name, values.pop()))
        elif values:
            told.append(f"{name} {', '.join(sorted(map(str, values)))}")
    return f"mean ± sample standard deviation over the seeds; {', '.join(told)}"


def _setting(name: str, value: object) -> str:
    if name in ("epochs", "iterations"):
        return f"{value} {name}"
    return f"{name} {value:g}" if isinstance(value, float) else str(value)


def _plain_runs(groups: Mapping[str, Sequence[RunRecord]]) -> Sequence[RunRecord]:
    """The runs without a regularizer, if there are any: of several kinds those with the least besides."""
    plain = {method: runs for method, runs in groups.items() if method.partition("@")[0].partition("+")[0] == "none"}
    return plain[min(plain, key=lambda method: method.count("+"))] if plain else []


def _spread(records: Sequence[RunRecord], metric: str, digits: int, factor: float) -> str:
    if not all(metric in record.metrics for record in records):  # of an earlier version
        return MISSING
    values = [factor * record.metrics[metric] for record in records]
    # The sample standard deviation, as in the papers' tables; one run has none.
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def _ruled(rows: Sequence[tuple[str, ...]], *, left: int = 1) -> list[str]:
    """The rows as lines of equal length with rules, `left` columns written to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:], rule]


def _caption(record: RunRecord, seeds: Sequence[int]) -> str:
    config = record.config
    return (
        f"mean ± standard deviation over seeds {_listed(seeds)}; {config['epochs']} epochs, {config['optimizer']}, "
        f"{config['method']}, {config['precision']}, rtol {config['rtol']:g}, atol {config['atol']:g};\n"
        f"NFE, end error and prediction: one batch of {EVALUATION_IMAGES} images, predictions timed one model at a "
        "time;\nend error: of the final states, root mean square in units of the tolerance"
    )


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
