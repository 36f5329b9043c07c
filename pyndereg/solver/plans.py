"""Steps that are known before they are taken, so that no error has to be waited for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

# A last step shorter than this, in units of the others, is the rounding of dt or of an end of the interval.
SLIVER = 1e-6
# More steps than anybody takes.
COUNTLESS = 2**53

# Start, signed length and end of a step, in the problem's time units.
PlannedStep = tuple[float, float, float]


class Plan(ABC):
    """Knows all steps of an interval beforehand."""

    adaptive = False

    @abstractmethod
    def steps(self, t0: float, t1: float, dt: float) -> Iterator[PlannedStep]:
        """The steps from t0 to t1, the last of which ends exactly there.

        Args:
            t0, t1: ends of the interval, in the problem's time units.
            dt: length of the first step, > 0, for a plan that has none of its own.
        """


@dataclass(frozen=True)
class FixedStep(Plan):
    """Steps of one length from t0 + i dt to t0 + (i + 1) dt; only the last one is cut to end at t1.

    Products, not sums: a sum of 1/N would not reach t1 in N steps.

    Attributes:
        dt: the length, > 0, in the problem's time units.
    """

    dt: float

    def steps(self, t0: float, t1: float, dt: float) -> Iterator[PlannedStep]:
        """See `Plan`."""
        signed, last = math.copysign(self.dt, t1 - t0), step_count(t0, t1, self.dt) - 1
        for i in range(last):
            yield t0 + i * signed, signed, t0 + (i + 1) * signed
        yield t0 + last * signed, (t1 - t0) - last * signed, t1


@dataclass(frozen=True)
class GridSteps(Plan):
    """Steps between neighbours of a grid, and the ends of what is solved.

    Attributes:
        times: the grid, strictly monotone, in the problem's time units.
    """

    times: tuple[float, ...]

    def steps(self, t0: float, t1: float, dt: float) -> Iterator[PlannedStep]:
        """See `Plan`; in either direction, from and to any times."""
        low, high = min(t0, t1), max(t0, t1)
        inside = sorted((t for t in self.times if low < t < high), reverse=t1 < t0)
        for start, end in pairwise((t0, *inside, t1)):
            yield start, end - start, end


@dataclass(frozen=True)
class Schedule(Plan):
    """The steps of an earlier solve, taken again.

    Attributes:
        dts: their lengths, > 0, in the problem's time units.
        starts: where they began; None where each began at the sum of those before it.
    """

    dts: tuple[float, ...]
    starts: tuple[float, ...] | None = None

    def steps(self, t0: float, t1: float, dt: float) -> Iterator[PlannedStep]:
        """See `Plan`; from the start of the earlier solve to where it ended."""
        t, last = t0, len(self.dts) - 1
        for i, length in enumerate(self.dts):
            signed = math.copysign(length, t1 - t0)
            following = t + signed if self.starts is None or i == last else self.starts[i + 1]
            yield t, signed, t1 if i == last else following
            t = following


@dataclass(frozen=True)
class OneStep(Plan):
    """A single step, of the length that a search for the first step found.

    Attributes:
        longest: what it does not exceed, > 0, in the problem's time units.
    """

    longest: float = math.inf

    def steps(self, t0: float, t1: float, dt: float) -> Iterator[PlannedStep]:
        """See `Plan`; it ends where its length ends, at t1 at the latest."""
        length = min(dt, self.longest, abs(t1 - t0))
        signed = math.copysign(length, t1 - t0)
        yield t0, signed, t1 if length == abs(t1 - t0) else t0 + signed


def step_count(t0: float, t1: float, dt: float) -> int:
    """How many steps of length dt > 0 lead from t0 to t1, the last of which may be shorter.

    A quotient that is a whole number but for rounding is that number.
    """
    quotient = abs(t1 - t0) / dt
    if quotient >= COUNTLESS:
        return COUNTLESS
    nearest = round(quotient)
    rounding = max(SLIVER, 4 * math.ulp(quotient))
    return max(1, nearest if abs(quotient - nearest) <= rounding else math.ceil(quotient))
