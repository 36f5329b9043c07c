"""pyndereg beside torchdiffeq and torchode on three neural and plain ODEs, in one run.

    python benchmarks/bench_ode.py [--cases a-tight a-loose b c] [--repeats 7] [--memory]

Every library takes the same problem with the same weights and initial states, at rtol = atol. Repeats are interleaved:
repeat r of every library comes before repeat r + 1 of any. Printed are medians, the median over repeats of this
library's time divided by torchdiffeq's in the same repeat, and counts. "fwd+bwd" differentiates mean(y(t1)^2) with
respect to all parameters (case c: the initial state), by each library's backpropagation through its steps.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import torch
import torchdiffeq
import torchode
from interleaved import Case, LotkaVolterra, Solver, forward_backward, interleaved, solve_torchdiffeq
from torch import Tensor, nn

import pyndereg as nde


class Classifier(nn.Module):
    """W2 [tanh(W1 [tanh y; t] + b1); t] + b2 on (512, 784): the shape of the papers' MNIST experiment."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(785, 100)
        self.second = nn.Linear(101, 784)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        column = t.reshape(-1, 1).expand(y.shape[0], 1)
        h = torch.tanh(self.first(torch.cat([torch.tanh(y), column], 1)))
        return self.second(torch.cat([h, column], 1))


class Spiral(nn.Module):
    """A 2-50-2 network on y^3."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y**3)


def make_case(name: str) -> Case:
    """The problem of that name; networks are scaled up to the stiffness of trained ones (30 and 50 steps of dopri5)."""
    torch.manual_seed(0)
    if name.startswith("a"):
        field = Classifier()
        with torch.no_grad():
            field.second.weight.mul_(20)
        tolerance = 1.4e-8 if name == "a-tight" else 1e-4
        return Case(name, field, torch.rand(512, 784), torch.tensor([0.0, 1.0]), tolerance, 2)
    if name == "b":
        field = Spiral()
        with torch.no_grad():
            field.net[2].weight.mul_(40)
        y0 = torch.tensor([2.0, 0.0]) + 0.3 * torch.randn(32, 2)
        return Case(name, field, y0, torch.linspace(0, 1.5, 30), 1e-6, 1)
    y0 = torch.ones(2, dtype=torch.float64)
    return Case(name, LotkaVolterra(), y0, torch.tensor([0.0, 10.0], dtype=torch.float64), 1e-8, 1)


def solve_pyndereg(gradient: nde.Backprop | nde.DiscreteAdjoint, method: str) -> Solver:
    def run(case: Case, y0: Tensor) -> tuple[Tensor, str]:
        problem = nde.ODEProblem(case.field, y0, case.t[0].item(), case.t[-1].item())
        saveat = case.t.tolist() if len(case.t) > 2 else None
        solution = nde.solve(
            problem, method, rtol=case.tolerance, atol=case.tolerance, saveat=saveat, gradient=gradient
        )
        stats = solution.stats
        return solution.y[-1], f"{stats.nfe:5d} {stats.accepted:5d} {stats.rejected:4d}"

    return run


class Counting(nn.Module):
    """Counts evaluations, for libraries that do not."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field, self.evaluations, self.accepted, self.rejected = field, 0, 0, 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations += 1
        return self.field(t, y)

    def callback_accept_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.accepted += 1

    def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.rejected += 1


def count_torchdiffeq(case: Case) -> str:
    counting = Counting(case.field)
    with torch.no_grad():
        torchdiffeq.odeint(counting, case.y0, case.t, rtol=case.tolerance, atol=case.tolerance, method="dopri5")
    return f"{counting.evaluations:5d} {counting.accepted:5d} {counting.rejected:4d}"


def solve_torchode(case: Case, y0: Tensor) -> tuple[Tensor, str]:
    batch = y0 if y0.ndim == 2 else y0[None]
    term = torchode.ODETerm(case.field)
    controller = torchode.IntegralController(atol=case.tolerance, rtol=case.tolerance, term=term)
    solver = torchode.AutoDiffAdjoint(torchode.Dopri5(term=term), controller)
    t = case.t.to(y0.dtype).expand(batch.shape[0], -1)
    solution = solver.solve(torchode.InitialValueProblem(y0=batch, t_eval=t))
    stats = solution.stats
    accepted, steps = int(stats["n_accepted"].max()), int(stats["n_steps"].max())
    return solution.ys[:, -1], f"{int(stats['n_f_evals'].max()):5d} {accepted:5d} {steps - accepted:4d}"


SOLVERS: dict[str, Solver] = {
    "torchdiffeq dopri5": solve_torchdiffeq,
    "torchode dopri5": solve_torchode,
    "pyndereg dp5 Backprop": solve_pyndereg(nde.Backprop(), "dp5"),
    "pyndereg dp5 DiscreteAdjoint": solve_pyndereg(nde.DiscreteAdjoint(), "dp5"),
    "pyndereg tsit5 Backprop": solve_pyndereg(nde.Backprop(), "tsit5"),
    "pyndereg tsit5 DiscreteAdjoint": solve_pyndereg(nde.DiscreteAdjoint(), "tsit5"),
}


def bench(case: Case, repeats: int) -> None:
    torch.set_num_threads(case.threads)
    print(
        f"\ncase {case.name}: state {tuple(case.y0.shape)} {case.y0.dtype}, rtol = atol = {case.tolerance:g}, ", end=""
    )
    print(f"{len(case.t)} save points, {case.threads} threads, {repeats} interleaved repeats")
    print(f"{'':32s} {'forward':>11s} {'ratio':>6s} {'fwd+bwd':>11s} {'ratio':>6s}   nfe   acc  rej")
    times, counts = interleaved(SOLVERS, case, repeats)
    counts["torchdiffeq dopri5"] = count_torchdiffeq(case)
    for name in SOLVERS:
        row = f"{name:32s}"
        for kind in ("forward", "both"):
            reference = times["torchdiffeq dopri5", kind]
            ratio = statistics.median(a / b for a, b in zip(times[name, kind], reference, strict=True))
            row += f" {statistics.median(times[name, kind]) * 1e3:8.2f} ms {ratio:6.2f}"
        print(f"{row} {counts[name]}", flush=True)


def peak_memory(name: str, case_name: str) -> float:
    """Growth of the peak resident set over one forward + backward, in MB, in a fresh process."""
    command = [sys.executable, __file__, "--peak", name, "--cases", case_name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak_resident_set() -> float:
    """Peak resident set of this process in MB, from Linux' own account (getrusage's starts at the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def print_peak(name: str, case: Case) -> None:
    torch.set_num_threads(case.threads)
    with torch.no_grad():
        case.field(case.t[0], case.y0)
    before = peak_resident_set()
    forward_backward(SOLVERS[name], case)
    print(peak_resident_set() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["a-tight", "a-loose", "b", "c"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help="measure the peak memory of case a-tight as well")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments.peak, make_case(arguments.cases[0]))
        return
    print(f"torch {torch.__version__}, torchdiffeq {torchdiffeq.__version__}, torchode {torchode.__version__}")
    for name in arguments.cases:
        bench(make_case(name), arguments.repeats)
    if arguments.memory:
        print("\npeak memory of forward + backward above that of one evaluation, case a-tight, a fresh process each")
        for name in SOLVERS:
            print(f"{name:32s} {peak_memory(name, 'a-tight'):8.0f} MB", flush=True)


if __name__ == "__main__":
    main()
