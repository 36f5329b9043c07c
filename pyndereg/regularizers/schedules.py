"""Weights of penalties over training."""

import math
from dataclasses import dataclass

from pyndereg.numbers import real, whole


@dataclass(frozen=True)
class Constant:
    """One weight throughout.

    Args:
        value: the weight, dimensionless, >= 0.
    """

    value: float

    def __post_init__(self) -> None:
        value = real(self.value, "value")
        if value is None or not 0 <= value < math.inf:
            raise ValueError(f"value is {self.value}; pass a finite weight >= 0")
        object.__setattr__(self, "value", value)

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
        start, stop, steps = (real(getattr(self, name), name) for name in ("start", "stop", "steps"))
        if start is None or stop is None or not (0 < start < math.inf and 0 < stop < math.inf):
            raise ValueError(f"start and stop are {self.start} and {self.stop}; pass finite weights > 0")
        if steps is None or not 1 <= steps < math.inf:
            raise ValueError(f"steps is {self.steps}; pass a positive number of steps")
        for name, number in (("start", start), ("stop", stop), ("steps", whole(self.steps) or steps)):
            object.__setattr__(self, name, number)

    def __call__(self, step: float) -> float:
        """The weight at a step of training, counted from 0."""
        return self.start * math.exp(-math.log(self.start / self.stop) * step / self.steps)
