"""Random points of a solution, drawn while it is computed."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from pyndereg.ivp.state import State


@dataclass(frozen=True, eq=False)
class Sample:
    """A point of a solution.

    Attributes:
        t: time, in the problem's time units.
        y: the state there, differentiable like the solution. Shape (*state).
    """

    t: float
    y: State


class Sampler(Protocol):
    """Chooses one point of a solution from its accepted steps, as they come. Used for one solve."""

    def choose(self, t: float, t_end: float) -> float | None:
        """Told of each accepted step, from t to t_end, in time order.

        Returns:
            The fraction of this step, in [0, 1], at which the chosen point lies; None if an earlier choice stays.
        """
        ...


class UniformTime:
    """A time drawn uniformly from the interval: an unbiased estimator of integrals over time.

    Args:
        t0, t1: ends of the interval, in the problem's time units.
        generator: source of randomness, on the CPU; None for torch's own.
    """

    def __init__(self, t0: float, t1: float, generator: torch.Generator | None) -> None:
        self._t = t0 + (t1 - t0) * uniform(generator)
        self._chosen = False

    def choose(self, t: float, t_end: float) -> float | None:
        """See `Sampler`."""
        if self._chosen or (self._t - t_end) * math.copysign(1.0, t_end - t) > 0:
            return None
        self._chosen = True
        return (self._t - t) / (t_end - t)


class UniformStep:
    """The start of a step drawn uniformly from the accepted ones: steps crowd where the equation is hard.

    The number of steps is only known at the end, so each step replaces the choice with probability 1 / (steps so far).

    Args:
        generator: source of randomness, on the CPU; None for torch's own.
    Source: [@vitter1985random], algorithm R for one item.
    """

    def __init__(self, generator: torch.Generator | None) -> None:
        self._generator = generator
        self._steps = 0

    def choose(self, t: float, t_end: float) -> float | None:
        """See `Sampler`."""
        self._steps += 1
        return 0.0 if uniform(self._generator) * self._steps < 1.0 else None


def uniform(generator: torch.Generator | None) -> float:
    """One number from [0, 1)."""
    return torch.rand((), generator=generator, dtype=torch.float64, device="cpu").item()
