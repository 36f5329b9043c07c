"""Torch functions that Julia calls back, and their vector-Jacobian products, on tensors over Julia's memory."""

import ctypes
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, c_double, c_int, c_int64, c_void_p
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyndereg.engines.julia.convert import tensor_at
from pyndereg.ivp import StateLayout
from pyndereg.solver.field import Field
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.gradients.sums import as_real, shaped_like

# A token names a field in its low half and, in its high half, the tape of an evaluation that will be pulled back.
TAPE_SHIFT = 32
FIELD_MASK = (1 << TAPE_SHIFT) - 1
# References to a tensor that only the dictionary, the local variable and the count itself hold.
OWN_REFERENCES = 3


class TorchField:
    """The right-hand side of a problem, its drift or its diffusion, for Julia.

    Views of Julia's arrays are kept for the length of one call into Julia, so that an evaluation costs little beyond f.

    Args:
        field: checks and calls f.
        layout: of the state.
        captured: f as it was at the solve, by which gradients are made; None without gradients.
        index: of its copy there.
        start: t0, y0 and what f returned there, for Julia's first evaluation; None if that is not known.
        with_time: whether t receives a gradient.
        shape: of what f returns; by default the state's.

    Attributes:
        token: its number among the fields alive.
        error: what f raised, if it did.
        used: for each tensor that receives a gradient, whether f ever depended on it.
    """

    alive: ClassVar[dict[int, "TorchField"]] = {}
    _tokens: ClassVar[Iterator[int]] = itertools.count(1)
    _free_tokens: ClassVar[deque[int]] = deque()

    def __init__(
        self,
        field: Field,
        layout: StateLayout,
        captured: Captured | None,
        *,
        index: int,
        start: tuple[float, Tensor, Tensor] | None,
        with_time: bool,
        shape: torch.Size | None = None,
    ) -> None:
        self._field, self._with_time = field, with_time
        self._copy = None if captured is None else captured.fields[index]
        self._params = () if captured is None else captured.targets
        self.used = [False] * len(self._params)
        self._start = start
        self._shape, self._dtype = layout.solver_shape, layout.dtype
        self._slope_shape = shape or self._shape
        self._views: dict[int, Tensor] = {}
        self._gradients: dict[int, list[Tensor]] = {}
        self._tapes: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.error: BaseException | None = None
        # Julia keeps an object per token, so they are used again.
        self.token = self._free_tokens.popleft() if self._free_tokens else next(self._tokens)

    def __del__(self) -> None:
        self._free_tokens.append(self.token)

    def __enter__(self) -> "TorchField":
        self.alive[self.token] = self
        self.error = None
        return self

    def __exit__(self, *_: object) -> None:
        del self.alive[self.token]
        self._views.clear()
        self._gradients.clear()
        self._tapes.clear()

    def settle(self) -> None:
        """The forward solve is over: from now on f is what it was then, and nothing of the user's is held."""
        self._start = None
        if self._copy is not None:
            self._field = self._copy

    def evaluate(self, tape: int, t: float, u: int, du: int) -> None:
        """f at (t, u), into du; with a tape, its graph is kept for `pullback`."""
        if tape:
            y, time, slope = self._tapes[tape] = self._with_graph(t, u)
            self._view(du, self._slope_shape).copy_(slope.detach())
            return
        y = self._view(u)
        time = torch.full((), t, dtype=self._dtype, device="cpu")
        slope = self._field(time, y) if self._start is None else self._first(time, y)
        self._view(du, self._slope_shape).copy_(slope)
        if slope is y:
            del slope
        if sys.getrefcount(y) > OWN_REFERENCES:
            # f kept its argument, whose memory Julia will use again: leave it a copy of its own.
            y.set_(y.clone())  # type: ignore[arg-type]
            del self._views[u]

    def pullback(self, tape: int, t: float, u: int, cotangent: int, gu: int, gp: int | None, gt: int) -> None:
        """The vector-Jacobian products of f at (t, u): overwrites gu and gt, adds to gp."""
        y, time, slope = self._tapes.pop(tape, None) or self._with_graph(t, u)
        state = self._view(gu)
        if not slope.requires_grad:
            state.zero_()
            return
        inputs = [y, *(self._params if gp else ()), *((time,) if self._with_time else ())]
        gradients = torch.autograd.grad(slope, inputs, self._view(cotangent), allow_unused=True)
        if gradients[0] is None:
            state.zero_()
        else:
            state.copy_(gradients[0])
        if gp:
            for k, (total, part) in enumerate(zip(self._parameter_views(gp), gradients[1:], strict=False)):
                if part is not None:
                    total += part
                    self.used[k] = True
        if self._with_time and gradients[-1] is not None:
            c_double.from_address(gt).value = gradients[-1].item()

    def _with_graph(self, t: float, u: int) -> tuple[Tensor, Tensor, Tensor]:
        y = self._view(u).clone().requires_grad_()
        time = torch.full((), t, dtype=self._dtype, requires_grad=self._with_time, device="cpu")
        with torch.enable_grad():
            return y, time, self._field(time, y)

    def _first(self, time: Tensor, y: Tensor) -> Tensor:
        """Julia's first evaluation: that at the start is known."""
        assert self._start is not None
        (t0, y0, slope), self._start = self._start, None
        return slope if time.item() == t0 and torch.equal(y.view(-1), y0) else self._field(time, y)

    def _view(self, where: int, shape: torch.Size | None = None) -> Tensor:
        """Julia's array at an address, of the state's shape unless another one is given."""
        view = self._views.get(where)
        if view is None:
            shape = shape or self._shape
            view = self._views[where] = tensor_at(where, shape.numel(), self._dtype).view(shape)
        return view

    def _parameter_views(self, where: int) -> list[Tensor]:
        views = self._gradients.get(where)
        if views is None:
            sizes = [as_real(param).numel() for param in self._params]
            parts = tensor_at(where, sum(sizes), self._dtype).split(sizes)
            views = [shaped_like(param, part) for part, param in zip(parts, self._params, strict=True)]
            self._gradients[where] = views
        return views


def _guarded(token: int, call: Callable[..., None], *arguments: Any) -> int:
    """0, or 1 if it raised: nothing may be thrown through Julia's frames."""
    field = TorchField.alive[token & FIELD_MASK]
    try:
        call(field, token >> TAPE_SHIFT, *arguments)
    except BaseException as error:
        field.error = error
        return 1
    return 0


@CFUNCTYPE(c_int, c_int64, c_double, c_void_p, c_void_p)
def evaluate_callback(token: int, t: float, u: int, du: int) -> int:
    """`evaluate` of NDERegEngine.CallbackField."""
    return _guarded(token, TorchField.evaluate, t, u, du)


@CFUNCTYPE(c_int, c_int64, c_double, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
def pullback_callback(token: int, t: float, u: int, cotangent: int, gu: int, gp: int | None, gt: int) -> int:
    """`pullback` of NDERegEngine.CallbackField."""
    return _guarded(token, TorchField.pullback, t, u, cotangent, gu, gp, gt)


EVALUATE_ADDRESS, PULLBACK_ADDRESS = (
    ctypes.cast(callback, c_void_p).value for callback in (evaluate_callback, pullback_callback)
)
