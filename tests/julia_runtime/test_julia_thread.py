"""The hand-over between threads, with a bridge that is no Julia."""

import contextvars
import ctypes
import os
import signal
import threading
import time

import pytest
import torch

from pyndereg.julia_runtime.errors import JuliaUnavailable
from pyndereg.julia_runtime.julia_thread import JuliaThread


class Bridge:
    def __init__(self, address):
        self.flag = ctypes.c_int32.from_address(address)

    def loop(self):
        """A solve: looks at the flag at every step."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.flag.value:
                raise ArithmeticError("stopped on request")
            time.sleep(0.001)


@pytest.fixture
def thread():
    opened = JuliaThread(Bridge, lambda error: error)
    opened.open()
    return opened


@pytest.fixture
def interruptible():
    """Ctrl-C means what it means at a prompt, even if these tests were started with it ignored, in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_every_call_runs_on_the_same_thread_whoever_makes_it(thread):
    idents = []
    callers = [
        threading.Thread(target=lambda: idents.append(thread.call(lambda bridge: threading.get_ident())))
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(idents) == 4
    assert len({*idents}) == 1
    assert idents[0] != threading.get_ident()


def test_a_call_returns_its_functions_value_and_raises_its_exception(thread):
    assert thread.call(lambda bridge: 3) == 3
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda bridge: 1 / 0)
    assert thread.call(lambda bridge: 4) == 4


def test_a_callback_may_call_again(thread):
    assert thread.call(lambda bridge: thread.call(lambda bridge: 5)) == 5


def test_what_a_failing_function_held_is_let_go_on_the_julia_thread(thread):
    freed = []

    class Wrapper:
        def __del__(self):
            freed.append(threading.get_ident())

    def fail(bridge):
        wrapper = Wrapper()
        raise ValueError("mine", id(wrapper))

    with pytest.raises(ValueError, match="mine"):
        thread.call(fail)
    assert freed == [thread.call(lambda bridge: threading.get_ident())]


def test_nothing_is_kept_after_a_call(thread):
    freed = []

    class Tensor:
        def __del__(self):
            freed.append(True)

    tensor = Tensor()
    thread.call(lambda bridge, tensor=tensor: None)
    thread.call(lambda bridge: None)  # by now the first call has been left behind
    del tensor
    assert freed == [True]


def test_torchs_settings_and_context_variables_hold_during_a_call(thread):
    variable = contextvars.ContextVar("variable", default=0)

    def settings(bridge):
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
            torch.empty(0).device.type,
            torch.get_num_threads(),
            variable.get(),
        )

    plain = (True, False, False, "cpu", torch.get_num_threads(), 0)
    assert thread.call(settings) == plain
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
        token = variable.set(7)
        assert thread.call(settings) == (False, False, torch.bfloat16, "meta", torch.get_num_threads(), 7)
        variable.reset(token)
    with torch.inference_mode():
        assert thread.call(settings)[1]
    assert thread.call(settings) == plain


def test_the_number_of_torchs_threads_follows_the_caller(thread):
    thread.call(lambda bridge: torch.get_num_threads())
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert thread.call(lambda bridge: torch.get_num_threads()) == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_stops_the_call_and_the_next_one_works(thread):
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        thread.call(lambda bridge: bridge.loop())
    timer.join()
    assert thread.cancel_flag.value == 0
    assert thread.call(lambda bridge: bridge.flag.value) == 0


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_of_a_call_that_waits_for_its_turn_leaves_the_running_one_alone(thread):
    outcome = []
    running = threading.Event()
    release = threading.Event()
    busy = threading.Thread(
        target=lambda: outcome.append(thread.call(lambda bridge: running.set() or release.wait(30)))
    )
    busy.start()
    running.wait()
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        thread.call(lambda bridge: outcome.append("ran"))
    timer.join()
    assert thread.cancel_flag.value == 0
    release.set()
    busy.join()
    assert thread.call(lambda bridge: 1) == 1
    assert outcome == [True]


def test_a_fork_is_told_that_julia_does_not_survive_it(thread, monkeypatch):
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(JuliaUnavailable, match=rf"process {parent}.*is a fork.*spawn"):
        thread.call(lambda bridge: 1)


def test_after_the_last_call_every_other_is_refused(thread):
    ended = []
    failures = []

    def solve():
        try:
            thread.call(lambda bridge: bridge.loop())
        except ArithmeticError as error:
            failures.append(str(error))

    solving = threading.Thread(target=solve)
    solving.start()
    time.sleep(0.1)
    thread.close(lambda bridge: ended.append(threading.get_ident()))
    solving.join()
    assert failures == ["stopped on request"]
    assert ended != [threading.get_ident()]
    with pytest.raises(JuliaUnavailable, match="Python is exiting"):
        thread.call(lambda bridge: 1)


def test_a_bridge_that_cannot_be_opened_says_why_every_time():
    def refuse(address):
        raise JuliaUnavailable("There is no Julia.")

    closed = JuliaThread(refuse, lambda error: error)
    for _ in range(2):
        with pytest.raises(JuliaUnavailable, match="no Julia"):
            closed.open()
    closed.close(lambda bridge: None)
