"""The first step's length, handed from one solve to the next."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyndereg.ivp.solution import Solution
from pyndereg.numbers import real

# By which factor one solve lengthens the first step of the next one at most, where its error would allow more.
GROWTH = 5.0


class Remembered(nn.Module):
    """Starts each solve with the length that the first step of the last one could have had.

    To be passed as `first_step=` to a series of solves of much the same equation, as in training; the first of them
    searches. A first step of length h and scaled error E could have had the length h min(growth, 0.9 E^(-1/p)), p the
    order of the error; one that was rejected has been shortened by the step control as any other. A search, which knows
    the state's and the slope's size only, begins so carefully that most of a short solve is spent on growing steps.

    The length belongs to `state_dict`, so that training goes on as if it had not been interrupted; it is a number
    rather than a buffer, which casts of a model would round and parallel processes would share.

    Args:
        growth: the length grows by this factor at most from one solve to the next, > 1: the error of a step says little
            about one that is much longer.
    Raises:
        ValueError: growth is not a number > 1.
    """

    def __init__(self, growth: float = GROWTH) -> None:
        super().__init__()
        factor = real(growth, "growth")
        if factor is None or not 1 < factor < math.inf:
            raise ValueError(f"growth of Remembered is {growth!r}; pass a number greater than 1, such as 5")
        self.growth = factor
        self._length: float | None = None

    @property
    def length(self) -> float | None:
        """What the next solve starts with, > 0, in the problem's time units; None if it searches."""
        return self._length

    def forget(self) -> None:
        """Let the next solve search."""
        self._length = None

    def remember(self, solution: Solution) -> None:
        """Take the length from a solution; one without an accepted step that has an error changes nothing."""
        stats = solution.stats
        if math.isfinite(stats.first_step) and not math.isnan(stats.first_growth):
            self._length = stats.first_step * min(self.growth, stats.first_growth)

    def get_extra_state(self) -> Tensor:
        """The length, NaN for none. Shape ()."""
        return torch.tensor(math.nan if self._length is None else self._length, dtype=torch.float64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Take a length that was saved. Shape ()."""
        length = float(state)
        self._length = None if math.isnan(length) else length

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any, **named: Any) -> None:
        """What was saved without a length is loaded like what was saved before the first solve."""
        state_dict.setdefault(prefix + "_extra_state", torch.tensor(math.nan, device="cpu"))
        super()._load_from_state_dict(state_dict, prefix, *others, **named)

    def extra_repr(self) -> str:
        """The limit and the length, for printing."""
        return f"growth={self.growth}, length={self._length}"


FirstStep = float | str | Remembered | None


def of_module(first_step: FirstStep, options: Mapping[str, Any]) -> FirstStep:
    """What a module keeps of its argument: for `"remembered"` a memory of its own, unless its steps begin with `dt`."""
    if isinstance(first_step, str) and first_step == "remembered":
        return Remembered() if options.get("dt") is None else None
    return first_step


def of_forward(first_step: FirstStep, *, training: bool) -> FirstStep:
    """What a module's solve starts with.

    In evaluation, and where gradients are switched off, it begins with what training remembered and leaves that as it
    is: a prediction is a function of its input and of the module's `state_dict`, whatever was predicted before.
    """
    if isinstance(first_step, Remembered) and not (training and torch.is_grad_enabled()):
        return first_step.length
    return first_step


def given_length(first_step: Any) -> Any:
    """What a solve is to start with; None for a search."""
    if isinstance(first_step, Remembered):
        return first_step.length
    return None if isinstance(first_step, str) and first_step == "search" else first_step
