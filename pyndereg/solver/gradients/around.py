"""The contexts in which a right-hand side is called."""

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor

from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.gradients.watch import Exchange, eagerly, mapped


class Around:
    """Makes the context of one call.

    Args:
        surroundings: those of the solve.
        exchanged: tensors to exchange for their aliases as they enter torch's functions, by id.
        without_graph: exchange them also where no graph is made: the aliases are what the tensors were at the solve.
    """

    def __init__(
        self, surroundings: Surroundings, exchanged: dict[int, tuple[Tensor, Tensor]], *, without_graph: bool = True
    ) -> None:
        self._surroundings, self._exchanged, self._without_graph = surroundings, exchanged, without_graph
        self.is_needed = bool(surroundings.autocast or exchanged)
        self.casts = bool(surroundings.autocast)

    def result(self, slope: Any) -> Any:
        """What f returned, exchanged where it is itself one of the tensors."""
        if not self._exchanged:
            return slope
        return mapped(lambda x: self._exchanged[id(x)][1] if id(x) in self._exchanged else x, slope)

    def __call__(self) -> AbstractContextManager[object]:
        """The context."""
        stack = ExitStack()
        if self._surroundings.autocast:
            stack.enter_context(self._surroundings.of_field())
        if self._exchanged and (self._without_graph or torch.is_grad_enabled()):
            stack.enter_context(eagerly())
            stack.enter_context(Exchange(self._exchanged))
        return stack
