"""One thread that owns Julia, and the hand-over of calls to it from every other thread.

Only the thread that started Julia may call into it: the Julia runtime of another thread's making waits for it
in its garbage collection. The thread is a daemon of its own rather than the main thread, because autograd calls
backward from its workers while the main thread waits, and because Ctrl-C reaches a main thread that only waits.
"""

import contextvars
import ctypes
import os
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from pyndereg.julia_runtime.caller_state import CallerState, capture, run_under
from pyndereg.julia_runtime.errors import JuliaUnavailable
from pyndereg.julia_runtime.interrupts import hand_back, take_notice_only

Result = TypeVar("Result")

FORKED = (
    "Julia was started in process {parent}, of which this process {child} is a fork, and does not survive a fork; "
    'start workers with the "spawn" or "forkserver" method, or start Julia only in the workers.'
)
EXITING = "Julia cannot be called while Python is exiting; finish solves before the program ends."


class Job:
    """One function to run on the Julia thread: what it needs, and then how it ended."""

    __slots__ = ("context", "done", "error", "finished", "function", "result", "state", "withdrawn")

    def __init__(self, function: Callable[[Any], Any], state: CallerState) -> None:
        self.function = function
        self.state = state
        self.context = contextvars.copy_context()
        self.result: Any = None
        self.error: BaseException | None = None
        self.finished = False
        self.withdrawn = False
        self.done = threading.Lock()
        self.done.acquire()


class JuliaThread:
    """A daemon thread that opens a bridge to Julia and then runs functions of it, one at a time, in order.

    Args:
        open_bridge: called first, on the thread, with the address of the cancel flag; returns the bridge.
        translate: turns what a function raised into what its caller gets; called on the thread.
    """

    def __init__(self, open_bridge: Callable[[int], Any], translate: Callable[[BaseException], BaseException]) -> None:
        self.cancel_flag = ctypes.c_int32(0)  # Julia reads it at every step and throws where it is not zero
        self._open_bridge = open_bridge
        self._translate = translate
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._opened = threading.Event()
        self._opening_error: BaseException | None = None
        self._guard = threading.Lock()  # of _running, _last and cancel_flag
        self._running: Job | None = None
        self._last: Job | None = None
        self._process = os.getpid()
        self._own = threading.local()  # .bridge, on the thread itself
        self._thread = threading.Thread(target=self._serve, name="pyndereg-julia", daemon=True)

    def open(self) -> None:
        """Start the thread if it is not running, and wait until it has opened the bridge.

        Raises:
            Exception: what `open_bridge` raised. An interrupt ends the wait, not the start.
        """
        if self._thread.ident is None:
            self._thread.start()
        self._opened.wait()
        if self._opening_error is not None:
            raise self._opening_error

    def call(self, function: Callable[[Any], Result]) -> Result:
        """function(bridge), run on the Julia thread with this thread's torch settings and context variables.

        Args:
            function: returns plain Python values: nothing of Julia's may be freed by another thread.
        Raises:
            JuliaUnavailable: this process is a fork of the one that started Julia, or Python is exiting.
            KeyboardInterrupt: Ctrl-C while waiting; Julia was told to stop and has stopped.
            Exception: what `function` raised, translated.
        """
        if os.getpid() != self._process:
            raise JuliaUnavailable(FORKED.format(parent=self._process, child=os.getpid()))
        if threading.get_ident() == self._thread.ident:
            return function(self._own.bridge)  # a callback calls back
        job = Job(function, capture())
        self._jobs.put(job)
        interruption = self._wait(job)
        if interruption is not None:
            raise interruption
        if job.error is not None:
            try:
                raise job.error
            finally:
                del job  # its error's traceback holds this frame: break the circle
        return job.result

    def close(self, function: Callable[[Any], object]) -> None:
        """Stop what runs, run `function(bridge)` as the last call, wait for it and refuse every later one.

        Does nothing in a fork, and where Julia did not start. Waits without a bound, because Python cannot end
        without a crash while Julia is at work; what Julia is compiling cannot be stopped.
        """
        if os.getpid() != self._process or self._thread.ident is None:
            return
        job = Job(function, CallerState())
        with self._guard:
            self._last = job
            self.cancel_flag.value = 1
        self._opened.wait()
        if self._opening_error is None:
            self._jobs.put(job)
            _until_finished(job)

    def _wait(self, job: Job) -> BaseException | None:
        """Wait for the job; an interrupt cancels it and the wait goes on. Returns the interrupt."""
        interruption: BaseException | None = None
        try:
            try:
                _until_finished(job)
                return None
            except BaseException as signalled:  # whatever a signal handler raises
                interruption = signalled
                handler = take_notice_only()
        except BaseException:  # a second one that was already on its way
            handler = take_notice_only()
        self._cancel(job)
        _until_finished(job)
        hand_back(handler)
        return interruption

    def _cancel(self, job: Job) -> None:
        with self._guard:
            if self._running is job:
                self.cancel_flag.value = 1
            else:
                job.withdrawn = job.finished = True  # it has not begun, or has ended

    def _serve(self) -> None:
        # The bridge lives in this frame, which no other thread ever clears.
        try:
            bridge = self._own.bridge = self._open_bridge(ctypes.addressof(self.cancel_flag))
        except BaseException as error:
            self._opening_error = self._outgoing(error)
            return
        finally:
            self._opened.set()
        while True:
            self._run(self._jobs.get(), bridge)

    def _run(self, job: Job, bridge: Any) -> None:
        with self._guard:
            if job.withdrawn:
                return
            self._running = job
        try:
            if self._last is not None and self._last is not job:
                raise JuliaUnavailable(EXITING)
            job.result = job.context.run(run_under, job.state, job.function, bridge)
        except BaseException as error:
            job.error = self._outgoing(error)
        with self._guard:
            self._running = None
            self.cancel_flag.value = int(self._last is not None)
            job.finished = True
            job.done.release()

    def _outgoing(self, error: BaseException) -> BaseException:
        """The error as its caller gets it, without the variables of its frames: Julia objects may be among them."""
        translated = self._translate(error)
        seen, waiting = set(), [error, translated]
        while waiting:
            one = waiting.pop()
            if one is not None and id(one) not in seen:
                seen.add(id(one))
                traceback.clear_frames(one.__traceback__)
                waiting += [one.__cause__, one.__context__]
        return translated


def _until_finished(job: Job) -> None:
    while not job.finished:
        job.done.acquire()
