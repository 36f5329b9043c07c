"""The norm that a solve was asked for, on the states that its solver works on."""

import math
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused
from pyndereg.ivp.norm import LargestOfSamples, NormFunction
from pyndereg.ivp.norm import Norm as NormValue
from pyndereg.ivp.state import StateLayout
from pyndereg.solver.norms import RMS, Norm


def chosen_norm(norm: NormValue | NormFunction | None, layout: StateLayout) -> Norm:
    """The norm that a value of `norm=` stands for.

    Args:
        norm: the value; None for the root mean square over the whole state.
        layout: of the state, without the tensors that do not control steps.
    Raises:
        TypeError, ValueError: the state has no samples, or a function is no norm; see `UsersNorm`.
    """
    if norm is None:
        return RMS
    if isinstance(norm, NormValue):
        return LargestRootMeanSquare(layout) if isinstance(norm, LargestOfSamples) else RMS
    return UsersNorm(norm, layout)


class LargestRootMeanSquare:
    """The largest root mean square over samples; see `Norm`.

    Args:
        layout: of the state, whose tensors' first axes are the batch.
    Raises:
        ValueError: they are of different sizes, or a tensor has none.
    """

    def __init__(self, layout: StateLayout) -> None:
        shapes = [tuple(shape) for shape in layout.shapes]
        self._samples = shapes[0][0] if shapes[0] else 0
        if self._samples == 0 or any(shape[:1] != (self._samples,) for shape in shapes):
            raise ValueError(
                f"norm is LargestOfSamples(), and y0 has tensors of shapes {', '.join(map(str, shapes))}; give each a "
                "first axis of one size, the batch, or put those without one last and pass uncontrolled="
            )
        self._sizes = [shape.numel() for shape in layout.shapes]

    def of(self, x: Tensor) -> Tensor:
        """See `Norm`."""
        return self._of_samples(x.reshape(1, -1)).amax()

    def of_parts(self, scaled: Tensor, error: Tensor, others: Tensor) -> Tensor:
        """See `Norm`; the parts are the samples."""
        return self._of_samples(torch.cat([scaled[None], others]))

    def check(self) -> None:
        """It is always itself."""

    def _of_samples(self, x: Tensor) -> Tensor:
        """Root mean square of each sample. Shape (vectors, size) -> (vectors, samples)."""
        rows, samples = len(x), self._samples
        parts = [part.reshape(rows, samples, -1) for part in x.split(self._sizes, dim=1)]
        own = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        return torch.linalg.vector_norm(own, dim=2) * own.shape[2] ** -0.5


class UsersNorm:
    """A function of the user's, on states in the user's shapes; see `Norm`. The host waits for its values.

    Args:
        function: from a scaled error to its norm.
        layout: of the state.
    Raises:
        TypeError, ValueError: it returns no number >= 0, one that does not depend on its argument by a graph, or one
            that depends on a tensor that asks for a gradient of its own.
    """

    def __init__(self, function: NormFunction, layout: StateLayout) -> None:
        self._function, self._layout = function, layout
        self._known = self.of(self._example()).item()
        if torch.is_grad_enabled():
            self.of(self._example().requires_grad_())

    def of(self, x: Tensor) -> Tensor:
        """See `Norm`."""
        x = x.reshape(-1).to(self._layout.dtype)
        state = self._layout.unflatten(x)
        # Copies, which may be kept or written into: x may lie in memory that every step uses.
        own = tuple(part.clone() for part in state) if isinstance(state, tuple) else state.clone()
        return self._checked(self._function(own), x)

    def of_parts(self, scaled: Tensor, error: Tensor, others: Tensor) -> Tensor:
        """See `Norm`; the state is one part."""
        return torch.stack([error, *map(self.of, others)])[:, None]

    def check(self) -> None:
        """See `Norm`."""
        with torch.no_grad():
            found = self.of(self._example()).item()
        if abs(found - self._known) > math.sqrt(torch.finfo(self._layout.dtype).eps) * abs(self._known):
            raise GradientRefused(
                f"norm is no longer what it was in the solve, {found:.6g} in place of {self._known:.6g} for the same "
                "argument; call backward before what it uses changes, and let it draw no random numbers"
            )

    def _example(self) -> Tensor:
        """A state to try the function on. Shape (size,)."""
        return torch.linspace(0.5, 1.5, self._layout.size, dtype=self._layout.dtype, device=self._layout.device)

    def _checked(self, value: Any, x: Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            raise TypeError(
                f"norm returned a {type(value).__name__}; return a tensor of shape (), computed from the scaled error"
            )
        if value.shape != () or not value.is_floating_point() or value.device != x.device:
            raise ValueError(
                f"norm returned shape {tuple(value.shape)}, {value.dtype} on {value.device}; return one number, shape "
                f"(), {x.dtype} on {x.device}"
            )
        if torch.is_grad_enabled() and value.requires_grad != x.requires_grad:
            raise ValueError(
                "norm depends on a tensor that asks for a gradient, which a norm does not hand on; pass it detached"
                if value.requires_grad
                else "norm returned a tensor without the graph that leads to the scaled error, so that it has no "
                "gradient; compute it by torch's functions, without detach(), or solve under torch.no_grad()"
            )
        number = value.item()
        if number < 0 or (math.isnan(number) and bool(x.isfinite().all())):
            of = "" if number < 0 else " of a finite scaled error"
            raise ValueError(
                f"norm returned {number:g}{of}; return a number >= 0, e.g. torch.linalg.vector_norm(error)"
            )
        return value.to(x.dtype)
