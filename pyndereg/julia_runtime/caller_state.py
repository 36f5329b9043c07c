"""What torch keeps per thread, carried from the caller's thread to the one that runs Julia.

A field called back from Julia runs torch there, and has to meet what its caller set: gradient and inference mode,
autocast, default device, number of threads, CUDA device and stream. Nearly every call has a thread's defaults, for
which capturing and comparing is all the work.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

AUTOCAST_DEVICES = ("cpu", "cuda")


class CallerState(NamedTuple):
    """The thread-local settings of torch; every field is None or a default where torch is not loaded."""

    grad: bool = True
    inference: bool = False
    autocast: tuple[tuple[str, Any, bool], ...] = ()  # (device type, dtype, cache enabled) of the enabled ones
    threads: int | None = None
    device: Any = None
    stream: Any = None


def capture() -> CallerState:
    """The calling thread's settings. Costs about 1 µs; imports nothing."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_device"):  # not loaded, or only half
        return CallerState()
    autocast = tuple(
        (kind, torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled())
        for kind in AUTOCAST_DEVICES
        if torch.is_autocast_enabled(kind)
    )
    return CallerState(
        grad=torch.is_grad_enabled(),
        inference=torch.is_inference_mode_enabled(),
        autocast=autocast,
        threads=torch.get_num_threads(),
        device=_default_device(torch),
        stream=torch.cuda.current_stream() if torch.cuda.is_initialized() else None,
    )


def run_under(state: CallerState, function: Callable[[Any], Any], argument: Any) -> Any:
    """function(argument) with this thread's settings made equal to `state` for as long as it runs."""
    here = capture()
    if here == state:
        return function(argument)
    torch: Any = sys.modules["torch"]
    with ExitStack() as stack:
        if state.inference != here.inference:
            stack.enter_context(torch.inference_mode(state.inference))
        if state.grad != torch.is_grad_enabled():
            stack.enter_context(torch.set_grad_enabled(state.grad))
        for kind, dtype, cache in state.autocast:
            stack.enter_context(torch.autocast(kind, dtype=dtype, cache_enabled=cache))
        if state.threads != here.threads:
            torch.set_num_threads(state.threads)
        if state.device is not None:
            stack.enter_context(torch.device(state.device))
        if state.stream is not None and state.stream != here.stream:
            stack.enter_context(torch.cuda.stream(state.stream))  # sets the stream's device, too
        return function(argument)


def _default_device(torch: Any) -> Any:
    """The default device, None for the CPU that every thread begins with.

    It lives on the stack of function modes; asking for it when that is empty would cost more than all the rest.
    """
    if torch._C._len_torch_function_stack() == 0:
        return None
    device = torch.get_default_device()
    return None if device.type == "cpu" else device
