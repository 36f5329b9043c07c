"""Start Julia on the thread that will own it, check what it got, and load our Julia package: imports juliacall.

What was tried, in fresh processes, with juliacall 0.9.34, Julia 1.10.8 and torch 2.13.0: see `SETTINGS` and
`tests/julia_runtime/test_processes.py`, which tries it again.
"""

import atexit
import ctypes
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyndereg.julia_runtime.errors import JuliaError, JuliaUnavailable
from pyndereg.julia_runtime.installation import PACKAGE, PACKAGE_FOLDER, in_one_line, setting
from pyndereg.julia_runtime.interrupts import kept_for_python
from pyndereg.julia_runtime.progress import announced

# What juliacall is told where the user has said nothing.
SETTINGS = {
    # With Julia's handlers its garbage collector can stop several threads; without them more than one thread crashes.
    # Julia blocks Ctrl-C only in the thread that starts it, which here is not the one in which Python handles it.
    "handle_signals": "yes",
    # The extension would call Julia from IPython's thread.
    "autoload_ipython_extension": "no",
}
TORCH_FIRST = "torch was imported before juliacall"
LINEAR_ALGEBRA = "37e2e46d-f89d-539d-b4ee-838fcccc9c8e"
BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
FOREIGN_START = (
    "juliacall was imported before pyndereg started Julia, so that Julia belongs to another thread; "
    "call pyndereg.julia_runtime.start() before importing juliacall, or set PYNDEREG_ENGINE=julia."
)
STARTING = "Julia starts and loads its packages; the first time it compiles them, which takes minutes"


def open_bridge(cancel_flag: int) -> Any:
    """Start Julia in this thread and load our package.

    Args:
        cancel_flag: address of the int32 that tells a running solve to stop.
    Returns:
        juliacall's wrapper of the Julia module NDERegEngine.Bridge.
    Raises:
        JuliaUnavailable: Julia runs already in another thread, does not start, or does not load the package.
    """
    if "juliacall" in sys.modules:
        raise JuliaUnavailable(FOREIGN_START)
    for name, value in SETTINGS.items():
        if setting(name) is None:
            os.environ[f"PYTHON_JULIACALL_{name.upper()}"] = value
    with announced(STARTING), kept_for_python():
        juliacall = import_juliacall()
        verify(juliacall)
        bridge = load_package(juliacall)
    bridge.set_cancel_flag(cancel_flag)
    return bridge


def import_juliacall() -> Any:
    """Import juliacall, which starts Julia, without its warning about torch: the trials show no need of it."""
    with warnings.catch_warnings(), without_its_exit_hook():
        warnings.filterwarnings("ignore", message=TORCH_FIRST)
        try:
            return importlib.import_module("juliacall")
        except Exception as error:
            raise JuliaUnavailable(f"Julia did not start: {in_one_line(error)}; see `pyndereg doctor`.") from error


def verify(juliacall: Any) -> None:
    """Check that Julia took the settings.

    Raises:
        JuliaUnavailable: several threads without Julia's signal handlers, which crashes at a garbage collection.
    """
    threads = int(juliacall.Base.Threads.maxthreadid())
    if threads > 1 and not int(juliacall.Base.JLOptions().handle_signals):
        raise JuliaUnavailable(
            f"Julia has {threads} threads and PYTHON_JULIACALL_HANDLE_SIGNALS is {setting('handle_signals')!r}, which "
            "crashes in Julia's garbage collection; unset it or PYTHON_JULIACALL_THREADS."
        )


def load_package(juliacall: Any) -> Any:
    """The module NDERegEngine.Bridge; Julia's Main gets no name of it."""
    base = juliacall.Base
    if base.identify_package(PACKAGE) is None:
        base.push_b(base.LOAD_PATH, str(PACKAGE_FOLDER.resolve()))
    package = base.identify_package(PACKAGE)
    if package is None:
        raise JuliaUnavailable(f"{PACKAGE_FOLDER} holds no Julia package {PACKAGE}; install pyndereg again.")
    try:
        return base.require._jl_call_nogil(package).Bridge
    except juliacall.JuliaError as error:
        failure = as_ours(error)
        raise JuliaUnavailable(
            f"The Julia package {PACKAGE} does not load: {failure}; see `pyndereg doctor`."
        ) from failure


def match_blas_threads(threads: int) -> None:
    """Give Julia's BLAS as many threads as torch has, unless the user named a number for it. On the Julia thread."""
    if blas_threads_named_by_user() is None:
        linear_algebra().BLAS.set_num_threads(threads)


def blas_threads_named_by_user() -> str | None:
    """The environment variable by which the user chose the number of threads of Julia's BLAS, if any."""
    return next((name for name in BLAS_VARIABLES if name in os.environ), None)


def facts() -> dict[str, str]:
    """What Julia says about itself: version, threads, signal handlers, BLAS and its threads. On the Julia thread."""
    base = sys.modules["juliacall"].Base
    blas = linear_algebra().BLAS
    return {
        "version": str(base.VERSION),
        "threads": str(int(base.Threads.maxthreadid())),
        "handle_signals": "yes" if int(base.JLOptions().handle_signals) else "no",
        "blas": str(base.string(blas.get_config())),
        "blas_threads": str(int(blas.get_num_threads())),
    }


def linear_algebra() -> Any:
    """Julia's LinearAlgebra. On the Julia thread."""
    base = sys.modules["juliacall"].Base
    return base.require(base.PkgId(base.UUID(LINEAR_ALGEBRA), "LinearAlgebra"))


def as_ours(error: BaseException) -> BaseException:
    """A Julia exception as a `JuliaError`, any other exception as it is. On the Julia thread."""
    juliacall: Any = sys.modules.get("juliacall")
    if juliacall is None or not isinstance(error, juliacall.JuliaError):
        return error
    trace = str(error)
    message = str(juliacall.Base.sprint(juliacall.Base.showerror, error.args[0]))
    return JuliaError(" ".join(message.split()), trace)


def end() -> None:
    """Run Julia's exit hooks. On the Julia thread, as the last call."""
    hook = sys.modules["juliacall"].CONFIG["lib"].jl_atexit_hook
    hook.argtypes = [ctypes.c_int]
    hook.restype = None
    hook(0)


@contextmanager
def without_its_exit_hook() -> Iterator[None]:
    """Keep juliacall from registering its exit hook: it would end Julia on the main thread, and in a fork, too."""
    register = atexit.register

    def register_others(function: Callable[..., object], *args: Any, **kwargs: Any) -> Callable[..., object]:
        ours = getattr(function, "__module__", None) == "juliacall"
        return function if ours else register(function, *args, **kwargs)

    atexit.register = register_others
    try:
        yield
    finally:
        atexit.register = register
