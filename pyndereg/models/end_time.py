"""Random end times and save times in training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pyndereg.numbers import positive


@dataclass(frozen=True)
class EndTimeSampling:
    """Random times in training: of the end, or of every save time of a series. In evaluation they stay where they are.

    Without save times, `EndTimeSampling(b)` integrates to T ~ U(t1 - b, t1 + b).

    With save times, `EndTimeSampling()` draws each of them: t_i' ~ U(t_i - h_i / 2, t_i + h_i / 2), clamped to t1, with
    h_i the smaller of the distances to the save time before (t0 before the first) and after. A save time at t0 stays.
    The intervals do not overlap, so the drawn times are strictly monotone, and only the last can pass t1, to which it
    is then clamped. On an evenly spaced series this is the published code's draw; on others that code looks at the
    distance before alone, so that its times may swap.

    Args:
        b: half width of the end's interval, in the problem's time units; 0 < b < |t1 - t0|. None for a series.
        generator: source of randomness, on the CPU; None for torch's own.
    Source: [@ghosh2020steer] section 3; b = 0.5 on an interval of length 1, and the series, in [@pal2021opening].
    """

    b: float | None = None
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.b is not None:
            what = "a finite half width > 0, or None for a series of save times"
            object.__setattr__(self, "b", positive(self.b, "b", what))

    def check_interval(self, t0: float, t1: float, *, series: bool) -> None:
        """Refuse an interval that the end could jump out of.

        Args:
            series: whether there are save times.
        Raises:
            ValueError: b is missing or not smaller than the interval's length, or there are save times beside it.
        """
        if series:
            if self.b is not None:
                raise ValueError(
                    f"b is {self.b}, which moves the end alone, but there are save times; pass EndTimeSampling()"
                )
        elif self.b is None:
            raise ValueError("b is None and there are no save times to move; pass EndTimeSampling(b), or saveat= times")
        elif self.b >= abs(t1 - t0):
            raise ValueError(f"b is {self.b}, the interval from {t0} to {t1} is {abs(t1 - t0)} long; pass a smaller b")

    def sample(self, t1: float) -> float:
        """One end time, in the problem's time units."""
        assert self.b is not None
        return t1 + self.b * self._uniform(1)[0]

    def sample_series(self, times: Sequence[float], t0: float, t1: float) -> tuple[float, ...]:
        """One series of save times, in the problem's time units.

        Args:
            times: strictly monotone from t0 to t1. Shape (times,).
        Returns:
            As many, strictly monotone in the same direction, within [t0, t1].
        """
        distances = [abs(t - before) for before, t in zip((t0, *times), times, strict=False)]
        drawn: list[float] = []
        for i, (t, number) in enumerate(zip(times, self._uniform(len(times)), strict=True)):
            moved = t + 0.5 * min(distances[i : i + 2]) * number
            moved = min(max(moved, min(t0, t1)), max(t0, t1))
            # Neighbours of a few units in the last place meet by rounding: then this one stays.
            met = bool(drawn) and (moved - drawn[-1]) * (t1 - t0) <= 0
            drawn.append(t if met else moved)
        return tuple(drawn)

    def _uniform(self, count: int) -> list[float]:
        """Numbers from [-1, 1)."""
        drawn = torch.rand(count, generator=self.generator, dtype=torch.float64, device="cpu")
        return (2.0 * drawn - 1.0).tolist()
