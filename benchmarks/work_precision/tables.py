"""The tables: what every library pays for an error, what it takes at one tolerance, and how that grows."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.work_precision.report import OURS, PEERS, AtTolerance, Best, Report

PRECISIONS = ("float32", "float64")
PASSES = {"forward": "forward", "both": "with gradient"}
WHERE = ("problem", "precision", "pass")


@dataclass(frozen=True)
class Table:
    """A table, and sentences that say what its entries are.

    Args:
        name: of the place in a page where it belongs.
        legend: what the entries are.
        header, rows: its cells.
    """

    name: str
    legend: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def text(self) -> str:
        """For a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([self.legend, *(line.rstrip() for line in padded)])

    def markdown(self) -> str:
        """For a page."""
        rows = [self.header, ("---",) * len(self.header), *self.rows]
        return "\n".join([self.legend, "", *("| " + " | ".join(row) + " |" for row in rows)])


def tables(report: Report) -> list[Table]:
    """Those that have rows; the one to read first comes last, where a terminal shows it."""
    found = [
        table
        for targets in sorted({report.targets(problem) for problem in timed(report)}, key=len)
        for table in (equal_error(report, targets), compared(report, targets))
    ]
    return [table for table in (growth(report), equal_tolerance(report), *found) if table.rows]


def timed(report: Report) -> list[str]:
    """All problems that were timed at equal error."""
    return list(dict.fromkeys(name for one in PRECISIONS for name in report.problems("equal error", one)))


def equal_error(report: Report, targets: Sequence[float]) -> Table:
    """What every library pays for an error."""
    rows = []
    for problem, precision, passes in places(report, "equal error", targets):
        for library in report.libraries("equal error", problem, precision):
            best = [report.best(problem, precision, passes, library, target) for target in targets]
            where = (report.title(problem), precision, PASSES[passes])
            rows.append((*where, library, *(cost(one) for one in best)))
    legend = (
        "Equal error, relative to the solution. Evaluations: median milliseconds [quartiles] / those of the bare "
        "evaluations; - where no setting reaches the error."
    )
    return Table(f"equal-error-{kind(targets)}", legend, (*WHERE, "library", *(f"{one:g}" for one in targets)), rows)


def compared(report: Report, targets: Sequence[float]) -> Table:
    """Ours over the main peer's, at equal error."""
    rows = []
    for problem, precision, passes in places(report, "equal error", targets):
        entries = []
        for target in targets:
            mine, peer = (of_first(report, problem, precision, passes, names, target) for names in ((OURS,), PEERS))
            if mine is None or peer is None:
                entries.append("-")
            else:
                entries.append(f"{mine.fewest / peer.fewest:.2f} {mine.quartiles[1] / peer.quartiles[1]:.2f}")
        rows.append((report.title(problem), precision, PASSES[passes], *entries))
    peer = "torchsde" if kind(targets) == "sde" else "torchdiffeq"
    legend = f"Equal error: evaluations and time of pyndereg over those of {peer}, each with its best setting."
    return Table(f"compared-{kind(targets)}", legend, (*WHERE, *(f"{one:g}" for one in targets)), rows)


def equal_tolerance(report: Report) -> Table:
    """The models' defaults and those of others at one tolerance."""
    rows = []
    for problem, precision, passes in places(report, "equal tolerance"):
        found = report.at_tolerance("equal tolerance", problem, precision, passes)
        for tolerance in dict.fromkeys(tolerance for _, tolerance in found):
            peer = next((found[name, tolerance] for name in PEERS if (name, tolerance) in found), None)
            for (library, one), row in found.items():
                if one == tolerance:
                    where = (report.title(problem), precision, PASSES[passes], f"{tolerance:g}")
                    rows.append((*where, library, *entries_of(row), against(row, peer)))
    legend = "Equal tolerance, defaults: what people try. Errors differ, so that these are no measure of efficiency."
    header = (*WHERE, "tolerance", "library", "error", "evaluations", "ms [quartiles]", "bare", "time / peer's")
    return Table("equal-tolerance", legend, header, rows)


def growth(report: Report) -> Table:
    """Defaults at 1e-5, as batch, width and number of steps grow."""
    rows = []
    for problem, precision, passes in places(report, "growth"):
        found = report.at_tolerance("growth", problem, precision, passes)
        for (library, _), row in found.items():
            peer = next((found[key] for key in found if key[0] in PEERS), None)
            where = (report.title(problem), precision, PASSES[passes])
            rows.append((*where, library, *entries_of(row), against(row, peer)))
    legend = "Growth with batch, width and steps: defaults at tolerance 1e-5."
    header = (*WHERE, "library", "error", "evaluations", "ms [quartiles]", "bare", "time / peer's")
    return Table("growth", legend, header, rows)


def places(report: Report, part: str, targets: Sequence[float] | None = None) -> list[tuple[str, str, str]]:
    """Problem, precision and pass of each row; of problems with these targets only."""
    names = dict.fromkeys(name for precision in PRECISIONS for name in report.problems(part, precision))
    return [
        (problem, precision, passes)
        for problem in names
        if targets is None or report.targets(problem) == tuple(targets)
        for precision in PRECISIONS
        if problem in report.problems(part, precision)
        for passes in report.passes(part, problem, precision)
    ]


def of_first(
    report: Report, problem: str, precision: str, passes: str, libraries: Sequence[str], target: float
) -> Best | None:
    """The best of the first library that reaches the target."""
    found = (report.best(problem, precision, passes, library, target) for library in libraries)
    return next((one for one in found if one is not None), None)


def kind(targets: Sequence[float]) -> str:
    return "sde" if targets[0] > 0.05 else "ode"


def cost(best: Best | None) -> str:
    if best is None:
        return "-"
    return f"{best.solved.evaluations}: {spread(best.quartiles)} / {milliseconds(best.floor)}"


def entries_of(row: AtTolerance) -> tuple[str, ...]:
    return f"{row.error:.1e}", str(row.evaluations), spread(row.quartiles), milliseconds(row.floor)


def against(row: AtTolerance, peer: AtTolerance | None) -> str:
    return "-" if peer is None else f"{row.quartiles[1] / peer.quartiles[1]:.2f}"


def spread(quartiles: tuple[float, float, float]) -> str:
    low, middle, high = map(milliseconds, quartiles)
    return f"{middle} [{low}, {high}]"


def milliseconds(seconds: float) -> str:
    """Three digits."""
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
