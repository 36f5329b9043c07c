"""Ctrl-C belongs to Python, before, while and after Julia starts."""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = "pyndereg: Julia was told to stop; what it is compiling, it finishes first.\n"
ROOM_FOR_A_SIGACTION = 1024  # bytes; glibc's has 152


@contextmanager
def kept_for_python() -> Iterator[None]:
    """Put Python's own handler of Ctrl-C back when the body ends.

    Julia, started with handlers of its own (juliacall's handle_signals), replaces the process's handler of SIGINT by
    one that does nothing, and blocks SIGINT in the thread that starts it. The other threads go on receiving it, so
    that Ctrl-C works again as soon as the handler is back.
    """
    library: Any = ctypes.CDLL(None) if sys.platform != "win32" else None
    saved = ctypes.create_string_buffer(ROOM_FOR_A_SIGACTION)
    if library is not None:
        library.sigaction(int(signal.SIGINT), None, saved)
    try:
        yield
    finally:
        if library is not None:
            library.sigaction(int(signal.SIGINT), saved, None)


def take_notice_only() -> Any:
    """Let every further Ctrl-C print a line and raise nothing. Returns what `hand_back` needs."""
    if threading.current_thread() is not threading.main_thread():
        return None  # only the main thread has signal handlers
    return signal.signal(signal.SIGINT, _notice)


def hand_back(handler: Any) -> None:
    """Undo `take_notice_only`."""
    if handler is not None:
        signal.signal(signal.SIGINT, handler)


def _notice(number: int, frame: FrameType | None) -> None:
    sys.stderr.write(STOPPING)
