"""What a field's autograd graph reaches: within its own evaluation, and beyond it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused

# The node of a leaf.
AccumulateGrad: type = torch._C._functions.AccumulateGrad  # type: ignore[attr-defined]
# (outputs, cotangents, retain_graph, create_graph, inputs, allow_unused, accumulate_grad=)
run_backward: Callable[..., tuple[Tensor | None, ...]] = torch.autograd.Variable._execution_engine.run_backward


@dataclass(frozen=True)
class Reached:
    """What the graph of one evaluation reaches.

    Attributes:
        leaves: by their ids.
        nodes_of_leaves: where their gradients are summed up, by their ids.
        arguments: ids of the arguments that are no leaves and that it depends on.
        nodes: how many operations it has, copies aside.
        operations: these and the copies.
    """

    leaves: dict[int, Tensor]
    nodes_of_leaves: dict[int, Any]
    arguments: frozenset[int]
    nodes: int
    operations: tuple[Any, ...]

    def besides(self, arguments: Iterable[Tensor], known: Collection[int]) -> list[Tensor]:
        """The leaves that are neither among the arguments nor, by their ids, among those that are known."""
        given = {id(argument) for argument in arguments}
        return [leaf for key, leaf in self.leaves.items() if key not in given and key not in known]

    def named(self, names: Mapping[int, int]) -> frozenset[int]:
        """The names of what was reached, of those that have one, by their ids."""
        return frozenset(names[key] for key in (*self.leaves, *self.arguments) if key in names)


def reached_from(root: Tensor, arguments: Iterable[Tensor], first: int) -> Reached:
    """What an evaluation depends on.

    Args:
        root: result of the evaluation, with its graph.
        arguments: what it was given, and other tensors; the graph behind them is not followed.
        first: `torch.autograd._get_sequence_nr()` before it.
    Raises:
        GradientRefused: it depends on an older computed tensor, which only its own graph knows.
    """
    if root.grad_fn is None:
        return Reached({id(root): root} if root.requires_grad else {}, {}, frozenset(), 0, ())
    ends = {(argument.grad_fn, argument.output_nr): id(argument) for argument in arguments}
    leaves: dict[int, Tensor] = {}
    nodes_of_leaves: dict[int, Any] = {}
    ended: set[int] = set()
    visited: set[Any] = set()
    pending: list[tuple[Any, int]] = [(root.grad_fn, root.output_nr)]
    nodes = 0
    operations: list[Any] = []
    while pending:
        edge = pending.pop()
        node: Any = edge[0]
        if node is None or node in visited:
            continue
        if edge in ends:
            ended.add(ends[edge])
            continue
        visited.add(node)
        if type(node) is AccumulateGrad:
            leaf = node.variable
            leaves[id(leaf)], nodes_of_leaves[id(leaf)] = leaf, node
        elif node._sequence_nr() < first:
            raise GradientRefused(
                f"f depends on a tensor that was computed before this evaluation (by {node.name()}) and reaches it in "
                "a way that cannot be followed, so its gradient would be lost; compute it before the solve and let f "
                "find it as an attribute or in a closure, or detach it"
            )
        else:
            nodes += type(node).__name__ != "CloneBackward0"
            operations.append(node)
            pending.extend(node.next_functions)
    return Reached(leaves, nodes_of_leaves, frozenset(ended), nodes, tuple(operations))


def gradients_of(
    outputs: Sequence[Tensor] | Tensor,
    inputs: Sequence[Any],
    cotangents: Sequence[Tensor] | Tensor,
    *,
    retain_graph: bool = False,
) -> tuple[Tensor | None, ...]:
    """`torch.autograd.grad` of evaluations of f; None for an input that they do not depend on.

    It calls the engine itself: what `torch.autograd.grad` looks at before, which takes as long as a small layer, holds
    for every stage of a solve alike.

    Args:
        outputs: slopes.
        inputs: tensors, or edges of the graph.
        cotangents: of the shapes and dtypes of the outputs.
        retain_graph: keep the graph for a further call.
    Raises:
        GradientRefused: the graph has a part that only `backward()` can differentiate.
    """
    if isinstance(outputs, Tensor):
        outputs, cotangents = (outputs,), (cotangents,)  # type: ignore[assignment]
    try:
        return run_backward(
            tuple(outputs), tuple(cotangents), retain_graph, False, tuple(inputs), True, accumulate_grad=False
        )
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        raise GradientRefused(
            "f calls torch.utils.checkpoint with use_reentrant=True, whose graph cannot be differentiated with respect "
            "to chosen tensors; pass use_reentrant=False"
        ) from error
