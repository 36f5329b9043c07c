"""What a field's autograd graph reaches beyond its own evaluation."""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused

# The node of a leaf.
AccumulateGrad: type = torch._C._functions.AccumulateGrad  # type: ignore[attr-defined]


def foreign_to(root: Tensor, arguments: Iterable[Tensor], known: Collection[int], first: int) -> list[Tensor]:
    """The leaves that an evaluation depends on besides its arguments and those that are known.

    Args:
        root: result of the evaluation, with its graph.
        arguments: what it was given; the graph behind them is not followed.
        known: ids of further leaves that it may depend on.
        first: `torch.autograd._get_sequence_nr()` before it.
    Raises:
        GradientRefused: it depends on an older computed tensor, which only its own graph knows.
    """
    arguments = tuple(arguments)
    given = {id(argument) for argument in arguments}
    if root.grad_fn is None:
        return [root] if root.requires_grad and id(root) not in given and id(root) not in known else []
    visited: set[Any] = {None, *[argument.grad_fn for argument in arguments]}
    found: dict[int, Tensor] = {}
    pending: list[Any] = [root.grad_fn]
    while pending:
        node = pending.pop()
        if node in visited:
            continue
        visited.add(node)
        if type(node) is AccumulateGrad:
            leaf = node.variable
            if id(leaf) not in given and id(leaf) not in known:
                found[id(leaf)] = leaf
        elif node._sequence_nr() < first:
            raise GradientRefused(
                f"f depends on a tensor that was computed before this evaluation (by {node.name()}) and reaches it in "
                "a way that cannot be followed, so its gradient would be lost; compute it before the solve and let f "
                "find it as an attribute or in a closure, list it in params=, or detach it"
            )
        else:
            for successor, _ in node.next_functions:
                pending.append(successor)
    return list(found.values())
