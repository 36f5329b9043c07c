"""Finds what a right-hand side depends on otherwise than its first evaluation showed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.gradients.graph import Reached, reached_from
from pyndereg.solver.gradients.watch import random_states, restore_random_states, watched

# Of the evaluations whose graphs have as many nodes as one that was looked at, every so-manieth is looked at, too.
EVERY = 7
# After so many looks in this rhythm, it is this number squared.
MANY = 20


@dataclass(frozen=True)
class StartGraph:
    """What the first evaluation of a right-hand side showed, for a copy of it to be compared with.

    Attributes:
        t: when it was; it asked for a gradient if the graph reached it.
        may_differ: whether the evaluation that is compared may be at another time; then it is not.
        inputs: ids of the tensors that its graph led to.
        nodes: how many operations its graph had; None if that is not compared.
        names: of these tensors by the ids of those that a copy has in their place.
    """

    t: Tensor
    inputs: frozenset[int]
    nodes: int | None
    names: Mapping[int, int]
    may_differ: bool = False

    def compare(self, t: Tensor, reached: Reached) -> None:
        """Compare with the evaluation of a copy at the same point.

        Raises:
            GradientRefused: it depends on other tensors, or otherwise.
        """
        if self.may_differ and t.item() != self.t.item():
            return
        counts = self.nodes is not None and t.requires_grad == self.t.requires_grad
        if reached.named(self.names) != self.inputs or (counts and reached.nodes != self.nodes):
            raise GradientRefused(
                "f, computed again at t0, depends on its tensors in another way than in the solve: it remembers what "
                "it computed, or asks which tensor or module it was given rather than for its values; pass "
                "gradient=Backprop()"
            )


class Guard:
    """Looks at the graph of an evaluation that has another number of nodes than those before it, and of some others.

    It looks at every `EVERY`th one at first, and later more rarely, so that a long solve pays little for it.

    Args:
        known: ids of the leaves that a graph may lead to.
        originals: ids of the tensors that others stand for here.
        looks_at_all: look at every evaluation: f finds tensors in ways that cannot be followed.
        start: what the first evaluation showed; None if that is not compared.
    """

    def __init__(
        self,
        known: set[int],
        *,
        originals: Collection[int] = (),
        looks_at_all: bool,
        start: StartGraph | None = None,
    ) -> None:
        self._known, self._every = known, 1 if looks_at_all else EVERY
        self._originals, self._start, self._expects_start = originals, start, False
        self._counts: set[int] = set()
        self._since = self._looks = 0

    def expect_start(self) -> None:
        """The next evaluation with a graph is that of the start."""
        self._expects_start = self._start is not None

    def skips(self, first: int) -> bool:
        """Whether an evaluation need not be looked at, since it is of a kind that was.

        Args:
            first: `torch.autograd._get_sequence_nr()` before it.
        """
        self._since += 1
        if self._since >= self._every or self._expects_start:
            return False
        return torch.autograd._get_sequence_nr() - first in self._counts

    def check(self, evaluate: Callable[[], Tensor], slope: Tensor, arguments: tuple[Tensor, ...], first: int) -> None:
        """Look at one evaluation.

        Args:
            evaluate: makes it again, where only a second look tells a leaf that f made from one that it found.
            slope: its result.
            arguments: what it was given, its time last.
            first: `torch.autograd._get_sequence_nr()` before it.
        Raises:
            GradientRefused: it depends on a tensor that does not receive its gradient.
        """
        count = torch.autograd._get_sequence_nr() - first
        self._since = 0
        self._looks += 1
        if self._looks == MANY:
            self._every *= self._every
        reached = reached_from(slope, arguments, first)
        if reached.besides(arguments, self._known):
            first = torch.autograd._get_sequence_nr()
            states = random_states(slope.device)
            again, seen = watched(evaluate, arguments)
            restore_random_states(states, slope.device)
            foreign = reached_from(again, arguments, first).besides(arguments, self._known | seen.made.keys())
            if foreign:
                self._refuse(foreign[0])
        if self._expects_start and self._start is not None:
            self._expects_start = False
            self._start.compare(arguments[-1], reached)
        self._counts.add(count)

    def _refuse(self, leaf: Tensor) -> None:
        if id(leaf) in self._originals:
            raise GradientRefused(
                f"f reaches a tensor of shape {tuple(leaf.shape)} in two ways, one of which cannot be followed (an "
                "object that is neither a module nor called, say), so a part of its gradient would be lost; let f "
                "reach it in one way, or pass gradient=Backprop()"
            )
        raise GradientRefused(
            f"f depends on a tensor of shape {tuple(leaf.shape)} that requires a gradient and that it did not use at "
            "t0, so its gradient would be lost; list it in params=, or detach it"
        )
