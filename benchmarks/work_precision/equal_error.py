"""What a library pays for an error: the cheapest of its settings that reaches it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Solved:
    """One setting at one tolerance, and what came of it.

    Args:
        library, setting, method: names.
        tolerance: rtol and atol, or a step's length.
        error: relative to the solution, dimensionless.
        evaluations: of f.
    """

    library: str
    setting: str
    method: str
    tolerance: float
    error: float
    evaluations: int

    @property
    def key(self) -> tuple[str, str, float]:
        """What it is told apart by."""
        return self.library, self.setting, self.tolerance


def reaching(solves: Iterable[Solved], library: str, target: float) -> list[Solved]:
    """Solves of a library whose error is at most the target, the fewest evaluations first."""
    found = [one for one in solves if one.library == library and one.error <= target]
    return sorted(found, key=lambda one: (one.evaluations, one.error))


def cheapest(solves: Iterable[Solved], library: str, target: float) -> list[Solved]:
    """Of each method of a library the solve that reaches the target with fewest evaluations; the fewest first."""
    by_method: dict[str, Solved] = {}
    for one in reaching(solves, library, target):
        by_method.setdefault(one.method, one)
    return list(by_method.values())


def worth_timing(solves: Sequence[Solved], targets: Iterable[float], methods: int) -> list[Solved]:
    """For each library and target the cheapest solves of so many methods, each once.

    Args:
        methods: evaluations of different methods do not cost the same: how many methods are tried by the clock.
    """
    chosen: dict[tuple[str, str, float], Solved] = {}
    for target in targets:
        for library in dict.fromkeys(one.library for one in solves):
            for one in cheapest(solves, library, target)[:methods]:
                chosen[one.key] = one
    return list(chosen.values())


def fastest(
    solves: Iterable[Solved], seconds: Mapping[tuple[str, str, float], Sequence[float]], library: str, target: float
) -> Solved | None:
    """Of the cheapest solves of each method the one with the least median time; None if none of them was timed."""
    timed = [one for one in cheapest(solves, library, target) if seconds.get(one.key)]
    return min(timed, key=lambda one: statistics.median(seconds[one.key]), default=None)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; of a single value, itself."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
