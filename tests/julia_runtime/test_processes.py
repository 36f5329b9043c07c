"""Starting, interrupting and ending Julia beside torch, each in a fresh process.

What these trials showed on Linux with Julia 1.10.8, juliacall 0.9.34 and torch 2.13.0 (CPU), and what follows from it:

    torch before Julia, Julia before torch     both work; juliacall's warning is not passed on
    one thread, with or without handle_signals works
    two threads, handle_signals=no             crashes at a garbage collection; refused
    two threads, handle_signals=yes            works; Ctrl-C works once Python's handler is put back
    juliacall imported by another thread       hangs at a garbage collection; refused
    fork                                       the child cannot use Julia; refused there, the parent goes on
    Python ends while Julia works              clean once Julia's exit hook runs on its own thread
"""

import itertools

import pytest

from tests.julia_runtime.processes import run_script

pytestmark = [pytest.mark.julia, pytest.mark.usefixtures("julia")]

CALLBACK = """
import ctypes
function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda i: len(str(i)))
address = ctypes.cast(function, ctypes.c_void_p).value
"""
NATIVE = "lambda bridge: bridge.spin._jl_call_nogil(60)"
CALLING_BACK = "lambda bridge: bridge.callbacks._jl_call_nogil(address, 60)"

TRIAL = """
import multiprocessing, sys
{first}
import torch
from pyndereg import julia_runtime

def in_child():
    try:
        print("child", julia_runtime.start().call(lambda bridge: bridge.add(1, 2)), flush=True)
    except julia_runtime.JuliaUnavailable as error:
        print("child", error, flush=True)

if __name__ == "__main__":
    try:
        runtime = julia_runtime.start()
    except julia_runtime.JuliaUnavailable as error:
        print("refused", error)
        sys.exit()
    for _ in range(3):
        torch.ones(300, 300).mm(torch.ones(300, 300)).sum().item()
        runtime.call(lambda bridge: bridge.work(200))
    for raising in (lambda bridge: bridge.fail("mine"), lambda bridge: 1 / 0):
        try:
            runtime.call(raising)
        except (julia_runtime.JuliaError, ArithmeticError):
            pass
    try:
        torch.ones(2) + torch.ones(3)
    except RuntimeError:
        pass
    if {method!r}:
        child = multiprocessing.get_context({method!r}).Process(target=in_child)
        child.start()
        child.join()
        print("child ended with", child.exitcode)
    print("worked", runtime.call(lambda bridge: bridge.add(1, 2)))
"""
FIRST = {
    "torch": "import torch",
    "julia": "from pyndereg import julia_runtime; julia_runtime.start() if __name__ == '__main__' else None",
    "juliacall": "import juliacall",
}


def check_trial(folder, first, method, variables):
    ended = run_script(TRIAL.format(first=FIRST[first], method=method), folder, **variables)
    assert ended.returncode == 0, (variables, ended.stdout, ended.stderr)
    assert "torch was imported" not in ended.stderr
    crashes = (
        variables.get("PYTHON_JULIACALL_HANDLE_SIGNALS") == "no" and variables.get("PYTHON_JULIACALL_THREADS") == "2"
    )
    if first == "juliacall" or (crashes and first == "torch"):
        assert ended.stdout.startswith("refused "), ended.stdout
        return
    assert "worked 3" in ended.stdout, (ended.stdout, ended.stderr)
    if method:
        assert "child ended with 0" in ended.stdout
        assert ("does not survive a fork" if method == "fork" else "child 3") in ended.stdout, ended.stdout


@pytest.mark.parametrize(("first", "method"), [("torch", "fork"), ("julia", "spawn"), ("juliacall", "")])
def test_julia_beside_torch_works_or_says_why_not(first, method, tmp_path):
    check_trial(tmp_path, first, method, {})


COMBINATIONS = [
    (first, threads, signals, method)
    for first, threads, signals, method in itertools.product(
        ("torch", "julia"), (None, "1", "2"), (None, "yes", "no"), ("", "fork", "spawn")
    )
    if not (first == "julia" and threads == "2" and signals == "no")
]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "threads", "signals", "method"), COMBINATIONS)
def test_fifty_fresh_processes_end_without_a_crash(first, threads, signals, method, tmp_path):
    variables = {"PYTHON_JULIACALL_THREADS": threads, "PYTHON_JULIACALL_HANDLE_SIGNALS": signals}
    check_trial(tmp_path, first, method, {name: value for name, value in variables.items() if value is not None})


def test_there_are_fifty_of_them():
    assert len(COMBINATIONS) >= 50


@pytest.mark.parametrize("signals", ["yes", "no"])
@pytest.mark.parametrize("solve", [NATIVE, CALLING_BACK])
def test_ctrl_c_stops_a_solve_and_leaves_julia_usable(solve, signals, tmp_path):
    script = f"""
import os, signal, threading, time
import torch
from pyndereg import julia_runtime
{CALLBACK}
runtime = julia_runtime.start()
for interrupts in (1, 3):
    def interrupt():
        time.sleep(0.5)
        for _ in range(interrupts):
            os.kill(os.getpid(), signal.SIGINT)
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        runtime.call({solve})
    except KeyboardInterrupt:
        print("interrupted")
    sender.join()
print("worked", runtime.call(lambda bridge: bridge.add(1, 2)))
"""
    ended = run_script(script, tmp_path, PYTHON_JULIACALL_HANDLE_SIGNALS=signals, seconds=50)
    assert ended.stdout.split() == ["interrupted", "interrupted", "worked", "3"], (ended.stdout, ended.stderr)
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit(7)", 7),
        ("raise ValueError('mine')", 1),
        (f"in_background({NATIVE}); sys.exit(7)", 7),
        (f"in_background({CALLING_BACK}); sys.exit(7)", 7),
        ("in_background(lambda bridge: (bridge.set_cancel_flag(0), bridge.spin._jl_call_nogil(3))); sys.exit(7)", 7),
    ],
)
def test_python_ends_with_its_own_exit_code_whatever_julia_does(ending, code, tmp_path):
    script = f"""
import sys, threading, time
import torch
from pyndereg import julia_runtime
{CALLBACK}
runtime = julia_runtime.start()

def in_background(function):
    def solve():
        try:
            runtime.call(function)
        except julia_runtime.JuliaError:
            pass
    threading.Thread(target=solve, daemon=True).start()
    time.sleep(0.5)

runtime.call(lambda bridge: bridge.work(10))
{ending}
"""
    ended = run_script(script, tmp_path, seconds=50)
    assert ended.returncode == code, ended.stderr


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_python_may_end_while_julia_starts(seconds, tmp_path):
    script = f"""
import contextlib, sys, threading, time
from pyndereg import julia_runtime

def start():
    with contextlib.suppress(julia_runtime.JuliaUnavailable):
        julia_runtime.start()

threading.Thread(target=start, daemon=True).start()
time.sleep({seconds})
sys.exit(7)
"""
    assert run_script(script, tmp_path, seconds=100).returncode == 7


def test_importing_pyndereg_starts_julia_only_where_the_environment_asks_for_it_and_then_before_torch(tmp_path):
    script = """
import os, sys
import pyndereg
assert ("juliacall" in sys.modules) == ("PYNDEREG_ENGINE" in os.environ)
if "juliacall" in sys.modules:
    assert list(sys.modules).index("juliacall") < list(sys.modules).index("torch")
    assert pyndereg.julia_runtime.start().call(lambda bridge: bridge.add(1, 2)) == 3
"""
    for variables in ({}, {"PYNDEREG_ENGINE": "julia"}):
        ended = run_script(script, tmp_path, **variables)
        assert ended.returncode == 0, ended.stderr


def test_a_julia_exception_becomes_one_sentence_with_julias_trace_attached(tmp_path):
    script = r"""
from pyndereg import julia_runtime
try:
    julia_runtime.start().call(lambda bridge: bridge.fail("first\nsecond"))
except julia_runtime.JuliaError as error:
    assert str(error) == "first second", error
    assert "Stacktrace" in error.trace
    assert "NDERegEngine.jl" in error.trace
else:
    raise SystemExit(1)
"""
    ended = run_script(script, tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_julia_gets_its_settings_and_torchs_number_of_blas_threads_unless_the_user_named_one(tmp_path):
    script = """
import torch
torch.set_num_threads(1)
from pyndereg import julia_runtime
from pyndereg.julia_runtime import startup
facts = julia_runtime.start().call(lambda bridge: startup.facts())
print(facts["handle_signals"], facts["blas_threads"])
"""
    assert run_script(script, tmp_path).stdout.split() == ["yes", "1"]
    assert run_script(script, tmp_path, OPENBLAS_NUM_THREADS="2").stdout.split() == ["yes", "2"]
    assert run_script(script, tmp_path, PYTHON_JULIACALL_HANDLE_SIGNALS="no").stdout.split() == ["no", "1"]


def test_the_julia_package_is_not_in_main(tmp_path):
    script = """
import sys
from pyndereg import julia_runtime
def names(bridge):
    juliacall = sys.modules["juliacall"]
    return [str(name) for name in juliacall.Base.names(juliacall.Main, all=True)]
print("NDERegEngine" in julia_runtime.start().call(names))
"""
    ended = run_script(script, tmp_path)
    assert ended.stdout.split() == ["False"], ended.stderr
