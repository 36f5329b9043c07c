"""Peak memory of one solve with its gradient on the shape of the papers' MNIST experiment, ours and two others'.

    python -m benchmarks.bench_memory [--problem mnist] [--tolerance 1e-7]

Printed is by how much the peak resident set of a fresh process grows over one forward and backward pass, above that of
one evaluation.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import pyndereg as nde
from benchmarks.work_precision.libraries import Solve, TorchLibrary, quiet, run
from benchmarks.work_precision.peers import Torchdiffeq, Torchode
from benchmarks.work_precision.problems import ROOT, Problem, make_problem
from benchmarks.work_precision.settings import Setting


def of_ours(gradient: nde.Backprop | nde.DiscreteAdjoint | None) -> Callable[[Problem, float], Solve]:
    def solver(problem: Problem, tolerance: float) -> Solve:
        def solve(y0: Tensor) -> Tensor:
            equation = nde.ODEProblem(problem.field, y0, problem.times[0], problem.times[-1])
            y1 = nde.solve(equation, "dp5", rtol=tolerance, atol=tolerance, gradient=gradient).y1
            assert isinstance(y1, Tensor)
            return y1[None]

        return solve

    return solver


def of_peer(library: type[TorchLibrary]) -> Callable[[Problem, float], Solve]:
    def solver(problem: Problem, tolerance: float) -> Solve:
        return library().solver(problem, Setting(library.__name__, "dopri5"), tolerance, problem.field)

    return solver


SOLVERS = {
    "torchdiffeq dopri5": of_peer(Torchdiffeq),
    "torchode dopri5": of_peer(Torchode),
    "pyndereg dp5 Backprop": of_ours(nde.Backprop()),
    "pyndereg dp5, default gradient": of_ours(None),
    "pyndereg dp5 DiscreteAdjoint": of_ours(nde.DiscreteAdjoint()),
}


def peak_resident_set() -> float:
    """Peak resident set of this process in MB, from Linux' own account (getrusage's starts at the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def growth(name: str, problem: Problem, tolerance: float) -> float:
    """By how much the peak grows over one solve with its gradient, in MB."""
    with torch.no_grad():
        problem.field(torch.zeros(()), problem.y0)
    before = peak_resident_set()
    run(SOLVERS[name](problem, tolerance), problem, "both")
    return peak_resident_set() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="mnist")
    parser.add_argument("--tolerance", type=float, default=1e-7)
    parser.add_argument("--one", choices=SOLVERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quiet()
    if arguments.one:
        print(growth(arguments.one, make_problem(arguments.problem), arguments.tolerance))
        return
    for name in SOLVERS:
        command = [sys.executable, "-m", "benchmarks.bench_memory", *sys.argv[1:], "--one", name]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        print(f"{name:32s} {float(ended.stdout):8.0f} MB", flush=True)


if __name__ == "__main__":
    main()
