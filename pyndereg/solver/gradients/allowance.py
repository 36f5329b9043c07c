"""How many bytes the graphs of a solve hold, and how many more of them an allowance has room for."""

from collections.abc import Collection, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

# What an operation of a graph takes besides the contents of tensors: its node, its edges, the headers of its tensors.
# Measured as the growth of a process with torch 2.13: 1,100 to 1,200 bytes, and about as much for each evaluation.
BYTES_PER_OPERATION = 1280

# The attributes of each kind of nodes that hold tensors.
NAMES_OF_SAVED: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()


class Room:
    """What is left of an allowance for the graphs of steps.

    Every evaluation of f is taken to hold as much as the first one; a step whose evaluations are made of more
    operations, in proportion more.

    Args:
        allowance: bytes.
        tensors: bytes that tensors of the first evaluation hold; see `bytes_held`.
        operations: of which it was made; see `operations_so_far`.
        evaluations: of one step at most.
    """

    def __init__(self, allowance: int, tensors: int, operations: int, evaluations: int) -> None:
        self._evaluation = tensors + BYTES_PER_OPERATION * (operations + 1)
        self._operations = max(operations, 1)
        self._left = allowance - self._evaluation
        self._step = self._evaluation * evaluations  # the largest one so far

    @property
    def has_a_place(self) -> bool:
        """Whether one more step fits."""
        return self._step <= self._left

    def take(self, evaluations: int, operations: int) -> bool:
        """Give a place to a step that was taken; whether there was one. Without one, no further step gets any."""
        step = self._evaluation * max(evaluations, -(-operations // self._operations))
        self._step = max(self._step, step)
        fits = step <= self._left
        self._left = self._left - step if fits else 0
        return fits


def operations_so_far() -> int:
    """How many nodes autograd has made in this thread."""
    return torch.autograd._get_sequence_nr()


def bytes_held(slope: Tensor, state: Tensor, shared: Collection[Tensor]) -> int:
    """What tensors of one evaluation hold: state, slope, and what its operations saved, each memory once.

    What torch's hooks on saved tensors packed is not counted (`torch.utils.checkpoint`, `save_on_cpu`), nor what
    operations keep without autograd knowing of it. The graph is read rather than observed by such hooks, which f might
    not be allowed to run under: `torch.func` has none.

    Args:
        slope: its result, with the graph, which ends at leaves.
        state: what it was given.
        shared: tensors that it found; their memory would be held without it.
    """
    known = {_memory(x)[0] for x in shared}
    held = dict(_memory(x) for x in (slope, state, *_saved_in(slope)))
    return sum(size for where, size in held.items() if where not in known)


def _memory(x: Tensor) -> tuple[int, int]:
    """Where a tensor's memory lies and how many bytes it has."""
    if x.layout is not torch.strided:
        return id(x), x.element_size() * (x._nnz() if x.is_sparse else x.numel())
    storage = x.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def _saved_in(root: Tensor) -> Iterator[Tensor]:
    visited: set[Any] = set()
    pending: list[Any] = [root.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        pending.extend(following for following, _ in node.next_functions)
        for name in _names_of_saved(type(node)):
            raw = getattr(node, name)
            for saved in raw if isinstance(raw, tuple | list) else (raw,):
                if saved is not None and saved.unpack_hook is None and isinstance(saved.data, Tensor):
                    yield saved.data


def _names_of_saved(kind: type) -> tuple[str, ...]:
    names = NAMES_OF_SAVED.get(kind)
    if names is None:
        names = NAMES_OF_SAVED[kind] = tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))
    return names
