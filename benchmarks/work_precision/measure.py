"""Exploring a problem's settings, and timing them in turns; everything is written down as it comes."""

import gc
import json
import math
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.work_precision.equal_error import Solved, reaching, worth_timing
from benchmarks.work_precision.libraries import PASSES, Floor, Library
from benchmarks.work_precision.outcome import Outcome
from benchmarks.work_precision.settings import Setting

Key = TypeVar("Key", bound=Hashable)
# One evaluation of a heavy problem takes longer than this, in seconds: it is tried on fewer settings and tolerances.
HEAVY = 1e-3
# Errors that stay within this part of the least one so far are at the floor of the precision, if the tolerance is below
# what could be its floor; at looser ones they jump where a solve has few steps.
IMPROVEMENT, COULD_BE_THE_FLOOR = 0.8, 1e-6
LEAST_ROUNDS = 3
# A setting that takes so many times the evaluations of its library's cheapest to the tightest target goes no further.
TOO_MANY = 2.0
FLOOR = ("bare evaluations", "", 0.0)


class Log:
    """A file of one JSON record in each line, written as results come."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, **record: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Args:
        repeats: rounds of timing, at most.
        budget: seconds after which a group of timings begins no further round, three rounds aside.
        least: seconds that solves are repeated for within one round.
        light_only: leave out the settings that are not for every problem.
    """

    repeats: int = 9
    budget: float = 12.0
    least: float = 0.05
    light_only: bool = False


def in_turns(
    measures: Mapping[Key, Callable[[], float]], effort: Effort
) -> tuple[dict[Key, list[float]], dict[Key, str]]:
    """Seconds of each, one for every round, and why some have none.

    Round r of every one comes before round r + 1 of any, every other round in reversed order; a first round, which is
    not counted, warms up. Rounds end with the repeats or, after the third one, with the budget.
    """
    seconds: dict[Key, list[float]] = {}
    failures: dict[Key, str] = {}
    started = time.perf_counter()
    with quick_collections():
        for turn in range(effort.repeats + 1):
            if turn == 1:
                started = time.perf_counter()
            if turn > LEAST_ROUNDS and time.perf_counter() - started > effort.budget:
                break
            for key in list(measures) if turn % 2 else reversed(list(measures)):
                if key in failures:
                    continue
                gc.collect()
                try:
                    found = measures[key]()
                except Exception as failure:  # of another library, whose row then says so
                    failures[key] = f"{type(failure).__name__}: {failure}"[:200]
                    seconds.pop(key, None)
                    continue
                if turn > 0:
                    seconds.setdefault(key, []).append(found)
    return seconds, failures


@contextmanager
def quick_collections() -> Iterator[None]:
    """Collections of garbage look at what comes from now on alone."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class Bench:
    """The libraries, and what every measurement has in common.

    Args:
        libraries: by the name that settings have.
        log: takes what is found.
        effort: how long is measured.
        passes: "forward", "both".
    """

    libraries: Mapping[str, Library]
    log: Log
    effort: Effort
    passes: Sequence[str] = PASSES
    floor: Floor = field(default_factory=Floor)

    def equal_error(self, problem: Any, settings: Iterable[Setting], targets: Sequence[float]) -> None:
        """Explore all settings over their tolerances, and time those that reach a target most cheaply."""
        heavy = self.floor.measure(problem, "forward", self.effort.least) > HEAVY
        few = heavy or self.effort.light_only
        solves: dict[tuple[str, str, float], tuple[Solved, Setting]] = {}
        for setting in self._possible(settings):
            if setting.everywhere or not few:
                known = reaching([solved for solved, _ in solves.values()], setting.library, min(targets))
                most = TOO_MANY * known[0].evaluations if known else math.inf
                for tolerance, outcome in self._explore(problem, setting, min(targets), most, coarse=few):
                    solved = self._write_solve("equal error", problem, setting, tolerance, outcome)
                    solves[solved.key] = (solved, setting)
        chosen = worth_timing([solved for solved, _ in solves.values()], targets, methods=1 if few else 2)
        self._time("equal error", problem, [(solves[one.key][1], one.tolerance) for one in chosen])

    def equal_tolerance(
        self, part: str, problem: Any, settings: Iterable[Setting], tolerances: Sequence[float]
    ) -> None:
        """Solve once and time every setting at every tolerance."""
        points = []
        for setting in self._possible(settings):
            for tolerance in tolerances:
                outcome = self.libraries[setting.library].explore(problem, setting, tolerance)
                self._write_solve(part, problem, setting, tolerance, outcome)
                if not outcome.failure:
                    points.append((setting, tolerance))
        self._time(part, problem, points)

    def _possible(self, settings: Iterable[Setting]) -> list[Setting]:
        return [setting for setting in settings if setting.library in self.libraries]

    def _explore(
        self, problem: Any, setting: Setting, tightest: float, most: float, *, coarse: bool
    ) -> Iterable[tuple[float, Outcome]]:
        """Outcomes from loose to tight, until the tightest target is reached twice or errors no longer fall.

        They also end where a solve takes more evaluations than would be of interest.
        """
        least, reached, stuck = math.inf, 0, 0
        for tolerance in problem.ladder(setting, coarse=coarse):
            outcome = self.libraries[setting.library].explore(problem, setting, tolerance)
            yield tolerance, outcome
            reached += outcome.error <= tightest
            stuck = 0 if outcome.error < IMPROVEMENT * least or tolerance > COULD_BE_THE_FLOOR else stuck + 1
            least = min(least, outcome.error)
            if reached == 2 or stuck == 4 or outcome.evaluations > most:
                return

    def _write_solve(self, part: str, problem: Any, setting: Setting, tolerance: float, outcome: Outcome) -> Solved:
        row = self._row(part, problem, setting, tolerance)
        # JSON has no infinity.
        told = {name: value for name, value in asdict(outcome).items() if value != math.inf}
        self.log.write(record="solve", **row, method=setting.method, **told)
        return Solved(setting.library, setting.name, setting.method, tolerance, outcome.error, outcome.evaluations)

    def _time(self, part: str, problem: Any, points: Sequence[tuple[Setting, float]]) -> None:
        for passes in self.passes:
            print(f"{part}: {problem.title}, {problem.precision}, {passes}", file=sys.stderr, flush=True)
            seconds, failures = in_turns(self._measures(problem, points, passes), self.effort)
            for setting, tolerance in points:
                key = (setting.library, setting.name, tolerance)
                row = {**self._row(part, problem, setting, tolerance), "passes": passes, "floor": seconds[FLOOR]}
                self.log.write(record="times", **row, seconds=seconds.get(key, []), failure=failures.get(key, ""))

    def _measures(
        self, problem: Any, points: Sequence[tuple[Setting, float]], passes: str
    ) -> dict[tuple[str, str, float], Callable[[], float]]:
        """What takes one round's time of each point, and of bare evaluations."""
        least = self.effort.least
        measures = {FLOOR: partial(self.floor.measure, problem, passes, least)}
        for setting, tolerance in points:
            library = self.libraries[setting.library]
            measure = partial(library.measure, problem, setting, tolerance, passes, least)
            measures[setting.library, setting.name, tolerance] = measure
        return measures

    def _row(self, part: str, problem: Any, setting: Setting, tolerance: float) -> dict[str, Any]:
        where = {"part": part, "problem": problem.name, "title": problem.title, "precision": problem.precision}
        return {**where, "library": setting.library, "setting": setting.name, "tolerance": tolerance}
