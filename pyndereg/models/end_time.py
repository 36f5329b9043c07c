"""Random end times in training."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class EndTimeSampling:
    """Integrate to a random time T ~ U(t1 - b, t1 + b) in training, and to t1 in evaluation.

    Args:
        b: half width of the interval, in the problem's time units; 0 < b < |t1 - t0|.
        generator: source of randomness, on the CPU; None for torch's own.
    Source: [@ghosh2020steer] section 3; b = 0.5 on an interval of length 1 in [@pal2021opening].
    """

    b: float
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.b) and self.b > 0):
            raise ValueError(f"b is {self.b}; pass a finite half width > 0")

    def check_interval(self, t0: float, t1: float) -> None:
        """Refuse an interval that the end could jump out of.

        Raises:
            ValueError: b is not smaller than the interval's length.
        """
        if self.b >= abs(t1 - t0):
            raise ValueError(f"b is {self.b}, the interval from {t0} to {t1} is {abs(t1 - t0)} long; pass a smaller b")

    def sample(self, t1: float) -> float:
        """One end time, in the problem's time units."""
        return t1 + self.b * (2.0 * torch.rand((), generator=self.generator, dtype=torch.float64).item() - 1.0)
