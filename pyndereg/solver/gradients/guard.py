"""Finds what a right-hand side begins to depend on after its first evaluation."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.gradients.graph import foreign_to
from pyndereg.solver.gradients.watch import random_states, restore_random_states, watched

# Of the evaluations whose graphs have as many nodes as one that was looked at, every so-manieth is looked at, too.
EVERY = 7
# After so many looks in this rhythm, it is this number squared.
MANY = 20


class Guard:
    """Looks at the graph of an evaluation that has another number of nodes than those before it, and of some others.

    It looks at every `EVERY`th one at first, and later more rarely; so that a long solve pays little for it.

    Args:
        known: ids of the leaves that a graph may lead to.
        looks_at_all: look at every evaluation: f finds tensors in ways that cannot be followed.
    """

    def __init__(self, known: set[int], *, looks_at_all: bool) -> None:
        self._known, self._every = known, 1 if looks_at_all else EVERY
        self._counts: set[int] = set()
        self._since = self._looks = 0

    def skips(self, first: int) -> bool:
        """Whether an evaluation need not be looked at, since it is of a kind that was.

        Args:
            first: `torch.autograd._get_sequence_nr()` before it.
        """
        self._since += 1
        return self._since < self._every and torch.autograd._get_sequence_nr() - first in self._counts

    def check(self, evaluate: Callable[[], Tensor], slope: Tensor, arguments: tuple[Tensor, ...], first: int) -> None:
        """Look at one evaluation.

        Args:
            evaluate: makes it again, where only a second look tells a leaf that f made from one that it found.
            slope: its result.
            arguments: what it was given.
            first: `torch.autograd._get_sequence_nr()` before it.
        Raises:
            GradientRefused: it depends on a tensor that does not receive its gradient.
        """
        count = torch.autograd._get_sequence_nr() - first
        self._since = 0
        self._looks += 1
        if self._looks == MANY:
            self._every *= self._every
        if foreign_to(slope, arguments, self._known, first):
            first = torch.autograd._get_sequence_nr()
            states = random_states(slope.device)
            again, seen = watched(evaluate, arguments)
            restore_random_states(states, slope.device)
            foreign = foreign_to(again, arguments, self._known | seen.made.keys(), first)
            if foreign:
                raise GradientRefused(
                    f"f depends on a tensor of shape {tuple(foreign[0].shape)} that requires a gradient and that it "
                    "did not use at t0, so its gradient would be lost; list it in params=, or detach it"
                )
        self._counts.add(count)
