"""A path of the Brownian motion for Julia, which asks for its increments by a C callback."""

import ctypes
import itertools
from collections.abc import Iterator
from ctypes import CFUNCTYPE, c_double, c_int, c_int64, c_void_p
from typing import ClassVar

import torch
from torch import Tensor

from pyndereg.engines.julia.convert import tensor_at
from pyndereg.ivp.sde import BrownianMotion
from pyndereg.solver.stochastic.integration import Increments


class HostNoise:
    """Writes increments of a path into Julia's memory.

    Args:
        path: of the Brownian motion.
        interval: ends of the solve, in the problem's time units.
        shape: of an increment as Julia gets it: the state's, along whose last axis scalar noise is repeated, or the
            noise's own where the noise is general.
        dtype: of the state.

    Attributes:
        token: its number among the paths alive.
        error: what the path raised, if it did.
        asked: the increments that were last asked for from each time on, if they are to be kept. Those of an accepted
            step come after those of the attempts that were rejected.
    """

    alive: ClassVar[dict[int, "HostNoise"]] = {}
    _tokens: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(
        self, path: BrownianMotion, interval: tuple[float, float], shape: torch.Size, dtype: torch.dtype, *, keep: bool
    ) -> None:
        self._path, self._interval, self._shape, self._dtype, self._keep = path, interval, shape, dtype, keep
        self._views: dict[int, Tensor] = {}
        self.asked: dict[float, Increments] = {}
        self.error: BaseException | None = None
        self.token = next(self._tokens)

    def __enter__(self) -> "HostNoise":
        self.alive[self.token] = self
        self.error = None
        self.asked = {}
        return self

    def __exit__(self, *_: object) -> None:
        del self.alive[self.token]
        self._views.clear()

    def increments(self, s: float, t: float, dW: int, dZ: int) -> None:
        """Write the increment and the area from s to t to two addresses."""
        found = self._path.increments(s, min(t, self._interval[1]))
        for where, part in zip((dW, dZ), found, strict=True):
            self._view(where).copy_(part)
        if self._keep:
            self.asked[s] = tuple(found)  # type: ignore[assignment]

    def _view(self, where: int) -> Tensor:
        view = self._views.get(where)
        if view is None:
            flat = tensor_at(where, self._shape.numel(), self._dtype)
            view = self._views[where] = flat.view(self._shape)
        return view


@CFUNCTYPE(c_int, c_int64, c_double, c_double, c_void_p, c_void_p)
def increments_callback(token: int, s: float, t: float, dW: int, dZ: int) -> int:
    """`increments` of NDERegEngine.CallbackPath: 0, or 1 if it raised."""
    noise = HostNoise.alive[token]
    try:
        noise.increments(s, t, dW, dZ)
    except BaseException as error:
        noise.error = error
        return 1
    return 0


INCREMENTS_ADDRESS = ctypes.cast(increments_callback, c_void_p).value
