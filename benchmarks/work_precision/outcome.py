"""What one solve gave: its error and its counts, or why there is none."""

from dataclasses import dataclass

# A solve that takes more evaluations than this is given up.
MOST_EVALUATIONS = 5_000


class GaveUp(Exception):
    """A solve took more evaluations than anyone would wait for."""


@dataclass(frozen=True)
class Outcome:
    """One solve of one setting at one tolerance.

    Args:
        error: relative to the solution, dimensionless; infinite where the solve failed.
        evaluations: of f.
        accepted, rejected: steps, where the library tells.
        failure: why it failed; empty where it did not.
    """

    error: float = float("inf")
    evaluations: int = 0
    accepted: int | None = None
    rejected: int | None = None
    failure: str = ""
