"""The settings around a solve that a right-hand side can see, for the backward pass to put back."""

import contextvars
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from pyndereg.solver.gradients.watch import Exchange, Watch

Result = TypeVar("Result")


@dataclass(frozen=True)
class Surroundings:
    """Autocast, context variables, default device and torch function modes at a solve.

    Attributes:
        autocast: device types for which autocast was on, with its dtype.
        context: the context variables.
        device: the default device, if one was set.
        dtype: the default dtype.
        modes: the user's torch function modes, the outermost first; autograd calls a backward pass without any.
    """

    autocast: tuple[tuple[str, torch.dtype], ...]
    context: contextvars.Context
    device: torch.device | None
    dtype: torch.dtype
    modes: tuple[TorchFunctionMode, ...] = ()

    @staticmethod
    def now(device: torch.device) -> "Surroundings":
        """Those at hand, for a state on a device."""
        kinds = ("cpu",) if device.type == "cpu" else ("cpu", device.type)
        autocast = tuple((kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind))
        modes = _get_current_function_mode_stack()
        default = next((mode.device for mode in reversed(modes) if isinstance(mode, DeviceContext)), None)
        users = tuple(mode for mode in modes if not isinstance(mode, DeviceContext | Watch | Exchange))
        return Surroundings(autocast, contextvars.copy_context(), default, torch.get_default_dtype(), users)

    @contextmanager
    def of_field(self) -> Iterator[None]:
        """Autocast as f is to be called under; its cache of weights would join the graphs of different calls."""
        with ExitStack() as stack:
            for kind, dtype in self.autocast:
                stack.enter_context(torch.autocast(kind, dtype, cache_enabled=False))
            yield

    @contextmanager
    def of_solver(self) -> Iterator[None]:
        """Autocast off, for the solver's own sums."""
        with ExitStack() as stack:
            for kind, dtype in self.autocast:
                stack.enter_context(torch.autocast(kind, dtype, enabled=False))
            yield

    def put_back(self, function: Callable[[], Result]) -> Result:
        """function() in these surroundings, autocast off."""
        return self.context.copy().run(self._inside, function)

    def _inside(self, function: Callable[[], Result]) -> Result:
        with ExitStack() as stack:
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            if self.device is not None:
                stack.enter_context(self.device)
            stack.enter_context(_no_cached_parametrizations())
            if torch.get_default_dtype() != self.dtype:
                stack.callback(torch.set_default_dtype, torch.get_default_dtype())
                torch.set_default_dtype(self.dtype)
            present = _get_current_function_mode_stack()
            for mode in self.modes:
                if all(mode is not other for other in present):
                    stack.enter_context(mode)
            return function()


@contextmanager
def _no_cached_parametrizations() -> Iterator[None]:
    """Weights that `torch.nn.utils.parametrize.cached` keeps belong to the user's modules, not to copies of them."""
    before = parametrize._cache_enabled
    if before:
        parametrize._cache_enabled = 0
    try:
        yield
    finally:
        if before:
            parametrize._cache_enabled = before
