"""The one Julia of this process."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, final

from pyndereg.julia_runtime import startup
from pyndereg.julia_runtime.errors import JuliaUnavailable
from pyndereg.julia_runtime.install import prepare
from pyndereg.julia_runtime.julia_thread import FORKED, JuliaThread
from pyndereg.julia_runtime.progress import announced

Result = TypeVar("Result")

ENDING: Final = "Python ends as soon as Julia has finished what it is compiling; Ctrl-C ends it at once"
INTERRUPTED: Final = 130  # the exit code of a process that Ctrl-C has ended


@final
class Runtime:
    """Julia, started. Get it from `start`."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.ready = False  # Julia runs, and its BLAS has been given torch's number of threads
        self._thread = JuliaThread(startup.open_bridge, startup.as_ours)
        atexit.register(self._end)

    def open(self) -> None:
        """Wait until Julia runs and has loaded our package; every thread may call it, any number of times."""
        self._thread.open()
        torch: Any = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "get_num_threads"):  # not where Julia starts before torch
            threads = torch.get_num_threads()
            self._thread.call(lambda bridge: startup.match_blas_threads(threads))
            self.ready = True

    def call(self, function: Callable[[Any], Result]) -> Result:
        """function(bridge), run on the thread that started Julia; see `JuliaThread.call`.

        Args:
            function: gets juliacall's wrapper of the Julia module NDERegEngine.Bridge; returns plain Python values.
        Raises:
            JuliaError: an exception in Julia.
            JuliaUnavailable: this process is a fork of the one that started Julia, or Python is exiting.
            KeyboardInterrupt: Ctrl-C while waiting; Julia was told to stop and has stopped.
        """
        return self._thread.call(function)

    def _end(self) -> None:
        try:
            with announced(ENDING):
                self._thread.close(lambda bridge: startup.end())
        except KeyboardInterrupt:
            sys.stderr.flush()
            os._exit(INTERRUPTED)  # Julia is at work: there is no cleaner way out


_runtime: Runtime | None = None
_lock = threading.Lock()


def start() -> Runtime:
    """The Julia of this process, started if it is not running; later calls return the same.

    Raises:
        JuliaUnavailable: Julia cannot be started here, in one sentence with the remedy.
    """
    global _runtime
    if _runtime is None:
        with _lock:
            if _runtime is None:
                prepare()
                _runtime = Runtime()
    if _runtime.process != os.getpid():
        raise JuliaUnavailable(FORKED.format(parent=_runtime.process, child=os.getpid()))
    if not _runtime.ready:
        _runtime.open()
    return _runtime


def _after_fork_in_child() -> None:
    """A lock that another thread held at the fork would never be released here."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
