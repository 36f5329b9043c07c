"""The state of a problem: one tensor of any shape, or a tuple of tensors."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyndereg.torch_modes import refuse_transforms

State = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class StateLayout:
    """How a state lies in the one flat vector that a solver works on.

    Attributes:
        shapes: shape of each tensor of the state.
        is_tuple: whether the user's state is a tuple.
        dtype, device: those of every tensor of the state.
    """

    shapes: tuple[torch.Size, ...]
    is_tuple: bool
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(y: State) -> "StateLayout":
        """The layout of a checked state."""
        tensors = y if isinstance(y, tuple) else (y,)
        shapes = tuple(tensor.shape for tensor in tensors)
        return StateLayout(shapes, isinstance(y, tuple), tensors[0].dtype, tensors[0].device)

    @cached_property
    def size(self) -> int:
        """Number of elements of the whole state."""
        return sum(shape.numel() for shape in self.shapes)

    @cached_property
    def solver_shape(self) -> torch.Size:
        """Shape in which the state is handed about inside a solver: its own if it is one tensor, else flat."""
        return torch.Size((self.size,)) if self.is_tuple else self.shapes[0]

    def controlled(self, uncontrolled: int) -> "StateLayout":
        """The layout of the state without its last `uncontrolled` tensors.

        Raises:
            ValueError: no tensor is left.
        """
        kept = len(self.shapes) - uncontrolled
        if kept < 1:
            raise ValueError(
                f"uncontrolled is {uncontrolled}, and the state has {len(self.shapes)} tensors; leave at least "
                "one that controls the steps"
            )
        return self if uncontrolled == 0 else replace(self, shapes=self.shapes[:kept])

    def flatten(self, y: State) -> Tensor:
        """The state as one vector. Shape (size,)."""
        if isinstance(y, tuple):
            return torch.cat([tensor.reshape(-1) for tensor in y])
        return y.reshape(-1)

    def unflatten(self, vector: Tensor) -> State:
        """The state that a vector holds; leading axes (times, say) are kept. Shape (..., size) -> (..., *shape)."""
        if not self.is_tuple:
            return vector.reshape(vector.shape[:-1] + self.shapes[0])
        parts = vector.split([shape.numel() for shape in self.shapes], dim=-1)
        return tuple(part.reshape(vector.shape[:-1] + shape) for part, shape in zip(parts, self.shapes, strict=True))

    def result(self, vector: Tensor) -> State:
        """As `unflatten`, for a user, who may change it in place: the tensors of a tuple share no memory."""
        state = self.unflatten(vector)
        return tuple(part.clone() for part in state) if isinstance(state, tuple) else state


def check_state(y: Any, name: str) -> State:
    """Return `y` if it can be the state of a problem.

    Raises:
        TypeError: it is neither a tensor nor a non-empty tuple of tensors, or one is not dense, or not of float32 or
            float64.
        ValueError: it is empty, mixes dtypes or devices, or holds NaN or infinity.
    """
    refuse_transforms()
    tensors = y if isinstance(y, tuple) else (y,)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} holds a {type(tensor).__name__}; pass a torch.Tensor or a tuple of them")
        if tensor.dtype not in (torch.float32, torch.float64):
            remedy = f"torch.view_as_real({name})" if tensor.is_complex() else f"{name}.to(torch.float32)"
            raise TypeError(f"{name} has dtype {tensor.dtype}; pass float32 or float64, e.g. {remedy}")
        if tensor.layout != torch.strided or tensor.is_nested:
            kind = "nested" if tensor.is_nested else str(tensor.layout)
            raise TypeError(f"{name} is a {kind} tensor; pass a dense one, e.g. {name}.to_dense()")
        if (tensor.dtype, tensor.device) != (tensors[0].dtype, tensors[0].device):
            raise ValueError(
                f"{name} mixes {tensors[0].dtype} on {tensors[0].device} with {tensor.dtype} on {tensor.device}; "
                "convert all its tensors to one dtype and device"
            )
    if sum(tensor.numel() for tensor in tensors) == 0:
        raise ValueError(f"{name} is empty; pass at least one number")
    if tensors[0].is_meta:
        raise TypeError(f"{name} is on the meta device, which holds no numbers; pass it on another device")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise ValueError(f"{name} holds NaN or infinity; pass a finite state")
    return y
