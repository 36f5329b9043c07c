"""The julia engine beside the embedded one and torchdiffeq, and what the bridge between them costs.

    python benchmarks/bench_julia.py [--cases a-tight a-loose b c] [--repeats 7] [--solves 10000]

Needs Julia with the packages (`pyndereg doctor`). Repeats are interleaved: printed are medians, and
the median over repeats of torchdiffeq's time divided by this engine's in the same repeat (higher is faster). "fwd+bwd"
differentiates mean(y(t1)^2) with respect to all parameters (case c: the initial state).
"""

import argparse
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import torchdiffeq
from interleaved import Case, LotkaVolterra, Solver, interleaved, solve_torchdiffeq
from torch import Tensor, nn

import pyndereg as nde
from pyndereg import julia_runtime
from pyndereg.engines.julia import forward as forward_solve
from pyndereg.engines.julia.session import call

FOLDER = Path(__file__).parent
JULIA_FIELDS = str(FOLDER / "lotka_volterra.jl")


def make_case(name: str) -> Case:
    """The problem of that name; networks are scaled up to the stiffness of trained ones (30 and 50 steps of dopri5)."""
    torch.manual_seed(0)
    if name.startswith("a"):
        field = nde.fields.TimeConcatMLP(784, 100)
        with torch.no_grad():
            field.output_layer.weight.mul_(3)
            field.hidden_layer.weight.mul_(3)
        tolerance = 1.4e-8 if name == "a-tight" else 1e-4
        return Case(name, field, torch.rand(512, 784), torch.tensor([0.0, 1.0]), tolerance, 2)
    if name == "b":
        net = nn.Sequential(nde.fields.Power(3), nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
        with torch.no_grad():
            net[3].weight.mul_(40)
        y0 = torch.tensor([2.0, 0.0]) + 0.3 * torch.randn(32, 2)
        return Case(name, nde.fields.Autonomous(net), y0, torch.linspace(0, 1.5, 30), 1e-6, 1)
    y0 = torch.ones(2, dtype=torch.float64)
    julia = nde.julia.function(name="lotka_volterra!", path=JULIA_FIELDS)
    return Case(name, LotkaVolterra(), y0, torch.tensor([0.0, 10.0], dtype=torch.float64), 1e-8, 1, julia)


def pyndereg_solver(method: str, **options: object) -> Solver:
    def run(case: Case, y0: Tensor) -> tuple[Tensor, str]:
        f, chosen = case.field, dict(options)
        if options.get("field") == "native" and case.julia is not None:
            f = case.julia
            del chosen["field"]
        problem = nde.ODEProblem(f, y0, case.t[0].item(), case.t[-1].item())
        saveat = case.t.tolist() if len(case.t) > 2 else None
        solution = nde.solve(problem, method, rtol=case.tolerance, atol=case.tolerance, saveat=saveat, **chosen)
        stats = solution.stats
        return solution.y[-1], f"{stats.nfe:5d} {stats.accepted:5d} {stats.rejected:4d}"

    return run


SOLVERS: dict[str, Solver] = {
    "torchdiffeq dopri5": solve_torchdiffeq,
    "embedded dp5": pyndereg_solver("dp5", gradient=nde.Backprop()),
    "julia dp5 native": pyndereg_solver("dp5", engine="julia", field="native"),
    "julia tsit5 native": pyndereg_solver("tsit5", engine="julia", field="native"),
    "julia dp5 callback": pyndereg_solver("dp5", engine="julia", field="callback"),
}


def bench(case: Case, repeats: int) -> None:
    torch.set_num_threads(case.threads)
    call(
        lambda bridge: sys.modules["juliacall"].Main.seval("using LinearAlgebra; LinearAlgebra.BLAS.set_num_threads")(
            case.threads
        )
    )
    print(
        f"\ncase {case.name}: state {tuple(case.y0.shape)} {case.y0.dtype}, rtol = atol = {case.tolerance:g}, "
        f"{len(case.t)} save points, {case.threads} threads, {repeats} interleaved repeats"
    )
    print(f"{'':32s} {'forward':>13s} {'speed-up':>8s} {'fwd+bwd':>13s} {'speed-up':>8s}   nfe   acc  rej")
    times, counts = interleaved(SOLVERS, case, repeats)
    for name in SOLVERS:
        row = f"{name:32s}"
        for kind in ("forward", "both"):
            reference = times["torchdiffeq dopri5", kind]
            ratio = statistics.median(b / a for a, b in zip(times[name, kind], reference, strict=True))
            row += f" {statistics.median(times[name, kind]) * 1e3:10.3f} ms {ratio:8.2f}"
        print(f"{row} {counts[name]}", flush=True)


def seconds(function: Callable[[], object], count: int) -> float:
    """Median over five rounds of the time per call."""
    function()
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            function()
        rounds.append((time.perf_counter() - start) / count)
    return statistics.median(rounds)


def bench_bridge() -> None:
    """The bare cost of the bridge: a solve of two steps, called from Python and called inside Julia."""
    idle = nde.julia.function(name="idle!", path=JULIA_FIELDS)
    y0 = torch.ones(2, dtype=torch.float64)
    problem = nde.ODEProblem(idle, y0)
    with torch.no_grad():
        outside = seconds(lambda: nde.solve(problem, dt=0.5, adaptive=False, engine="julia"), 300)
    print(
        f"one solve of two steps     {outside * 1e6:8.1f} µs from Python, {inside(problem) * 1e6:8.1f} µs inside Julia"
    )


def inside(problem: nde.ODEProblem) -> float:
    """Seconds of the same call inside Julia, made from within the solve, while its request is alive."""
    kept: dict[str, int] = {}
    found: list[float] = []

    def address(structure: ctypes.Structure) -> int:
        kept[type(structure).__name__] = ctypes.addressof(structure)
        return kept[type(structure).__name__]

    def enter(solve: forward_solve.JuliaSolve, function: Callable[[], object]) -> None:
        function()
        main, packages = (sys.modules["juliacall"].Main, sys.modules["juliacall"].Base.loaded_modules)
        main.include(str(FOLDER / "inside.jl"))
        bridge = next(module for module in packages.values() if str(module) == "NDERegEngine").Bridge
        found.append(float(main.seconds_per_call(bridge.solve, 2000, kept["Request"], kept["Reply"])))

    spying = mock.patch.object(forward_solve, "address", address)
    timing = mock.patch.object(forward_solve.JuliaSolve, "enter", enter)
    with torch.no_grad(), spying, timing:
        nde.solve(problem, dt=0.5, adaptive=False, engine="julia")
    return found[0]


def bench_callback() -> None:
    """The cost of one callback beyond the torch call."""
    y0 = torch.ones(2, dtype=torch.float64)
    slope = torch.zeros(2, dtype=torch.float64)
    options = {"dt": 1e-3, "adaptive": False, "engine": "julia"}
    with torch.no_grad():
        native = nde.ODEProblem(nde.julia.function(name="idle!", path=JULIA_FIELDS), y0)
        called = nde.ODEProblem(lambda t, y: torch.neg(slope), y0)
        t = torch.zeros((), dtype=torch.float64)
        bare = seconds(lambda: called.f(t, y0), 20_000)
        nfe = nde.solve(called, **options).stats.nfe
        cost = seconds(lambda: nde.solve(called, **options), 3) - seconds(lambda: nde.solve(native, **options), 3)
    print(f"one callback               {cost / nfe * 1e6:8.2f} µs, the torch call alone {bare * 1e6:.2f} µs")


def resident_set() -> float:
    """Of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def bench_memory(solves: int) -> None:
    """Memory after many solves and gradients."""
    case = make_case("b")
    params = list(case.field.parameters())

    def once(field: str) -> None:
        problem = nde.ODEProblem(case.field, case.y0[:4], 0.0, 0.1)
        y1 = nde.solve(problem, rtol=1e-3, atol=1e-3, engine="julia", field=field).y1
        torch.autograd.grad(y1.square().mean(), params)

    for field in ("native", "callback"):
        for i in range(solves + 1):
            once(field)
            if i in (solves // 10, solves):
                gc.collect()
                held = call(lambda bridge: int(bridge.held()))
                print(f"{field:8s} after {i:6d} solves and gradients: {resident_set():8.1f} MB, {held} objects held")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=["a-tight", "a-loose", "b", "c"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--solves", type=int, default=10_000, help="of the memory check; 0 leaves it out")
    arguments = parser.parse_args()
    julia_runtime.start()
    print(f"torch {torch.__version__}, torchdiffeq {torchdiffeq.__version__}")
    torch.set_num_threads(1)
    bench_bridge()
    bench_callback()
    for name in arguments.cases:
        bench(make_case(name), arguments.repeats)
    if arguments.solves:
        print()
        bench_memory(arguments.solves)


if __name__ == "__main__":
    main()
