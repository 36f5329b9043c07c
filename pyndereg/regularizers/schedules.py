"""Weights of penalties over training."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """One weight throughout.

    Args:
        value: the weight, dimensionless, >= 0.
    """

    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"value is {self.value}; pass a finite weight >= 0")

    def __call__(self, step: float) -> float:
        """The weight at a step of training."""
        return self.value


@dataclass(frozen=True)
class Exponential:
    """A weight that goes from `start` to `stop` in `steps`, by equal factors: start * (stop / start)^(step / steps).

    Args:
        start, stop: first weight, and the weight after `steps`; both > 0.
        steps: epochs or iterations, whatever the schedule is called with.
    Source: [@pal2021opening], settings of the experiments.
    """

    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(weight) and weight > 0 for weight in (self.start, self.stop)):
            raise ValueError(f"start and stop are {self.start} and {self.stop}; pass finite weights > 0")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; pass a positive number of steps")

    def __call__(self, step: float) -> float:
        """The weight at a step of training, counted from 0."""
        return self.start * math.exp(-math.log(self.start / self.stop) * step / self.steps)
