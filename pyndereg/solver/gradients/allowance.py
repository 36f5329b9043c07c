"""How many bytes the graphs of a solve hold, and how many more of them an allowance has room for."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

# What an operation of a graph takes besides the contents of tensors: its node, its edges, the headers of its tensors.
# Measured as the growth of a process with torch 2.13: 1,100 to 1,200 bytes, and about as much for each evaluation.
BYTES_PER_OPERATION = 1280

# Whether torch tells what operations saved without unpacking it, which could compute it again; older ones do not.
CAN_WEIGH = hasattr(torch._C._autograd.SavedTensor, "unpack_hook")  # type: ignore[attr-defined]

NAMES_OF_SAVED: dict[type, tuple[str, ...]] = {}


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


def bytes_held(slope: Tensor, state: Tensor, operations: Iterable[Any], shared: Iterable[Tensor]) -> int:
    """What tensors of one evaluation hold: state, slope, and what its operations saved, each memory once.

    What torch's hooks on saved tensors packed is not counted (`torch.utils.checkpoint`, `save_on_cpu`), nor what
    operations keep without autograd knowing of it. The graph is read rather than observed by such hooks, which f might
    not be allowed to run under: `torch.func` has none.

    Args:
        slope, state: its result, and what it was given.
        operations: the nodes of its graph.
        shared: tensors that it found; their memory would be held without it.
    """
    known = {_place(x) for x in shared}
    total = 0
    for x in (slope, state, *_saved_by(operations)):
        place = _place(x)
        if place not in known:
            known.add(place)
            total += _size(x)
    return total


def _place(x: Tensor) -> int:
    """Where a tensor's memory lies."""
    return x.untyped_storage().data_ptr() if x.layout is torch.strided else id(x)


def _size(x: Tensor) -> int:
    """How many bytes it has."""
    if x.layout is torch.strided:
        return x.untyped_storage().nbytes()
    return x.element_size() * (x._nnz() if x.is_sparse else x.numel())


def _saved_by(operations: Iterable[Any]) -> Iterator[Tensor]:
    for node in operations:
        for name in _names_of_saved(type(node)):
            raw = getattr(node, name)
            for saved in raw if isinstance(raw, tuple | list) else (raw,):
                if saved is not None and saved.unpack_hook is None and isinstance(saved.data, Tensor):
                    yield saved.data


def _names_of_saved(kind: type) -> tuple[str, ...]:
    """The attributes of a kind of nodes that hold tensors."""
    if issubclass(kind, BackwardCFunction):  # of a class that the user wrote
        return ("_raw_saved_tensors",)
    names = NAMES_OF_SAVED.get(kind)
    if names is None:
        names = NAMES_OF_SAVED[kind] = tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))
    return names
