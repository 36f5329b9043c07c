"""What a field's autograd graph reaches."""

from collections.abc import Iterable

from torch import Tensor


def undeclared_leaf(root: Tensor, declared: Iterable[Tensor]) -> Tensor | None:
    """A tensor that `root` depends on and that asks for a gradient, but is not among those declared; None if all are.

    Args:
        root: result of one evaluation of f, with its graph.
        declared: tensors that receive gradients. The graph behind one of them is not followed.
    """
    declared = tuple(declared)
    known = {id(tensor) for tensor in declared}
    visited = {tensor.grad_fn for tensor in declared if tensor.grad_fn is not None}
    if root.requires_grad and root.grad_fn is None:
        return None if id(root) in known else root
    pending = [root.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            return leaf
        pending.extend(successor for successor, _ in node.next_functions)
    return None
