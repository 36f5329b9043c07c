"""What was written down, as tables: printed, or in Markdown."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.work_precision.equal_error import Solved, fastest, quartiles, reaching

OURS = "pyndereg"
# What ours are compared with: of ordinary and of stochastic equations.
PEERS = ("torchdiffeq", "torchsde")


@dataclass(frozen=True)
class Best:
    """The cheapest way of a library to an error.

    Args:
        target: the error, relative to the solution.
        solved: the fastest solve that reaches it.
        fewest: evaluations of the one that takes fewest.
        quartiles: of its time, seconds.
        floor: time of its evaluations alone, seconds.
    """

    target: float
    solved: Solved
    fewest: int
    quartiles: tuple[float, float, float]
    floor: float


@dataclass(frozen=True)
class AtTolerance:
    """A solve at a tolerance: error relative to the solution, evaluations, its seconds and those of f alone."""

    error: float
    evaluations: int
    quartiles: tuple[float, float, float]
    floor: float


class Report:
    """Records of one or more runs; of a measurement that was repeated, the last one counts."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        self.runs: list[dict[str, Any]] = []
        self.solves: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.times: dict[tuple[Any, ...], dict[str, Any]] = {}
        for record in records:
            if record["record"] == "run":
                self.runs.append(record)
                continue
            key = tuple(record[name] for name in ("part", "problem", "precision", "library", "setting", "tolerance"))
            if record["record"] == "solve":
                self.solves[key] = record
            else:
                self.times[(*key, record["passes"])] = record

    @classmethod
    def read(cls, path: Path) -> "Report":
        """The records of a file."""
        return cls(json.loads(line) for line in path.read_text().splitlines())

    def left_out(self) -> dict[str, str]:
        """Libraries that the last run could not have, and why."""
        return self.runs[-1]["left_out"] if self.runs else {}

    def machine(self) -> str:
        """What the last run was made with, in a sentence."""
        run = self.runs[-1]
        versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        return f"Measured with {versions}, on one thread ({run['machine']})."

    def problems(self, part: str, precision: str) -> list[str]:
        """Those that were timed, in the order in which they were."""
        keys = (key for key in self.times if key[0] == part and key[2] == precision)
        return list(dict.fromkeys(key[1] for key in keys))

    def passes(self, part: str, problem: str, precision: str) -> list[str]:
        """Those that were timed, in the order in which they were."""
        return list(dict.fromkeys(key[6] for key in self.times if key[:3] == (part, problem, precision)))

    def title(self, problem: str) -> str:
        """Its name for a reader."""
        return next(record["title"] for key, record in self.solves.items() if key[1] == problem)

    def targets(self, problem: str) -> tuple[float, ...]:
        """Errors that the last run with it asked for."""
        return tuple(next(run["targets"][problem] for run in reversed(self.runs) if problem in run["targets"]))

    def libraries(self, part: str, problem: str, precision: str) -> list[str]:
        """Those that solved it, in order."""
        return list(dict.fromkeys(key[3] for key in self.solves if key[:3] == (part, problem, precision)))

    def at_tolerance(
        self, part: str, problem: str, precision: str, passes: str
    ) -> dict[tuple[str, float], AtTolerance]:
        """What was timed, by library and tolerance."""
        found = {}
        for key, record in self.times.items():
            if key[:3] == (part, problem, precision) and key[6] == passes and record["seconds"]:
                solve = self.solves[key[:6]]
                floor = statistics.median(record["floor"]) * solve["evaluations"]
                row = AtTolerance(solve["error"], solve["evaluations"], quartiles(record["seconds"]), floor)
                found[key[3], key[5]] = row
        return found

    def best(self, problem: str, precision: str, passes: str, library: str, target: float) -> Best | None:
        """The cheapest way of a library to an error; None if there is none."""
        where = ("equal error", problem, precision)
        solves = [
            Solved(key[3], key[4], record["method"], key[5], record.get("error", float("inf")), record["evaluations"])
            for key, record in self.solves.items()
            if key[:3] == where
        ]
        timed = {
            key[3:6]: record["seconds"] for key, record in self.times.items() if key[:3] == where and key[6] == passes
        }
        found = fastest(solves, timed, library, target)
        if found is None:
            return None
        floor = statistics.median(self.times[(*where, *found.key, passes)]["floor"])
        fewest = reaching(solves, library, target)[0].evaluations
        return Best(target, found, fewest, quartiles(timed[found.key]), floor * found.evaluations)
