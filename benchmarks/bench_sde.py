"""pyndereg beside torchsde on the neural spiral with noise, in one run.

    python benchmarks/bench_sde.py [--cases em milstein adaptive-loose adaptive-tight] [--repeats 7]

100 trajectories of a 2-50-2 drift on y^3 and the diffusion 0.2 y over [0, 1], saved at 30 times, in float32 on one
thread. Every library takes the same problem with the same weights and initial states, at one step length or at
rtol = atol; every solve draws a path of its own. Repeats are interleaved: repeat r of every library comes before repeat
r + 1 of any. Printed are medians, the median over repeats of this library's time divided by that of the case's first
torchsde in the same repeat, the strong error, and counts: evaluations of drift and diffusion, accepted and rejected
steps. "fwd+bwd" differentiates mean(y(t1)^2) with respect to all parameters. Like is to be compared with like: our
`Backprop` with torchsde's `sdeint`, which backpropagate through their steps, and our `BacksolveAdjoint` with its
`sdeint_adjoint`, which solve state and adjoint backwards; both of these rows have ratios to the latter. torchsde has no
counterpart of `DiscreteAdjoint`, as exact as `Backprop` without its memory, for these methods. The "bare loop" is f, g
and the Euler-Maruyama formula in a Python loop under autograd, with given noise: what a library can save is the rest.

torchsde's path is faster if it is told the step length beforehand, which it is ("default path": it is not). Both
libraries mean different things by a tolerance: torchsde compares a step with two halves of it, and the embedded error
estimates of `sosri` and `sriw1` are more careful. So adaptive solves are compared at one tolerance and, with "at",
at one where the strong error is no larger: the root mean square over all trajectories of what a library's y(t1) is off
a solution on the same path by 4096 steps of `sriw1`, the median of three paths.
"""

import argparse
import math
import statistics
from dataclasses import dataclass
from typing import Any

import torch
import torchsde
from interleaved import Case, interleaved
from spiral_sde import SharedPath, fitted_spiral
from torch import Tensor

import pyndereg as nde

DT = 0.01
TOLERANCES = {"adaptive-loose": 1e-1, "adaptive-tight": 1e-2}
# At these sosri's strong error is at most that of torchsde's srk.
MATCHING = {"adaptive-loose": 2.0, "adaptive-tight": 0.8}
FINE_STEPS = 4096


def make_case(name: str) -> Case:
    """The problem of that name."""
    torch.manual_seed(0)
    y0 = torch.tensor([2.0, 0.0]).repeat(100, 1)
    return Case(name, fitted_spiral(), y0, torch.linspace(0, 1, 30), TOLERANCES.get(name, float("nan")), 1)


@dataclass(frozen=True)
class Ours:
    """A solve by pyndereg, of a case's tolerance unless another is named."""

    method: str
    gradient: nde.Backprop | nde.DiscreteAdjoint | nde.BacksolveAdjoint
    tolerance: float | None = None

    def solve(self, case: Case, y0: Tensor, path: nde.BrownianPath | None = None) -> nde.Solution:
        field: Any = case.field
        problem = nde.SDEProblem(field.f, field.g, y0, params=tuple(field.parameters()), brownian=path)
        tolerance = self.tolerance or case.tolerance
        options: Any = {"rtol": tolerance, "atol": tolerance} if case.name in TOLERANCES else {"dt": DT}
        return nde.solve(problem, self.method, saveat=case.t.tolist(), gradient=self.gradient, **options)

    def on(self, path: nde.BrownianPath, case: Case) -> Tensor:
        y1: Any = self.solve(case, case.y0, path).y1
        return y1

    def __call__(self, case: Case, y0: Tensor) -> tuple[Tensor, str]:
        solution: Any = self.solve(case, y0)
        stats = solution.stats
        return solution.y[-1], f"{stats.nfe:5d} {stats.diffusion_nfe:5d} {stats.accepted:5d} {stats.rejected:4d}"


@dataclass(frozen=True)
class Torchsde:
    """A solve by torchsde; with a hint, its path is built for steps of length DT; by its adjoint, if asked for."""

    method: str
    hint: bool = True
    adjoint: bool = False

    def solve(self, case: Case, y0: Tensor, bm: Any) -> Tensor:
        adaptive = case.name in TOLERANCES
        options: Any = {"adaptive": True, "rtol": case.tolerance, "atol": case.tolerance} if adaptive else {}
        sdeint: Any = torchsde.sdeint_adjoint if self.adjoint else torchsde.sdeint
        y: Any = sdeint(case.field, y0, case.t, bm=bm, method=self.method, dt=DT, **options)
        return y[-1]

    def on(self, path: nde.BrownianPath, case: Case) -> Tensor:
        return self.solve(case, case.y0, SharedPath(path))

    def __call__(self, case: Case, y0: Tensor) -> tuple[Tensor, str]:
        field: Any = case.field
        field.evaluations.update(f=0, g=0)
        area = "space-time" if self.method == "srk" else "none"
        bm = torchsde.BrownianInterval(0.0, 1.0, tuple(y0.shape), dt=DT, levy_area_approximation=area)
        y1 = self.solve(case, y0, bm if self.hint else None)
        return y1, f"{field.evaluations['f']:5d} {field.evaluations['g']:5d}"


@dataclass(frozen=True)
class BareLoop:
    """Euler-Maruyama without a library: no path, no checks, no save points."""

    def on(self, path: nde.BrownianPath, case: Case) -> Tensor:
        steps = round(1 / DT)
        return self._steps(case, case.y0, path.on_grid([i / steps for i in range(steps + 1)]).dW)

    def __call__(self, case: Case, y0: Tensor) -> tuple[Tensor, str]:
        return self._steps(case, y0, math.sqrt(DT) * torch.randn(round(1 / DT), *y0.shape)), ""

    def _steps(self, case: Case, y: Tensor, noise: Tensor) -> Tensor:
        field: Any = case.field
        for i, dW in enumerate(noise.unbind()):
            t = torch.full((), i * DT)
            y = torch.add(y, field.f(t, y), alpha=DT) + field.g(t, y) * dW
        return y


Row = Ours | Torchsde | BareLoop


def solvers(case: str) -> dict[str, Row]:
    """Everything that solves a case; the first is what the others are compared with, but see `reference`."""
    gradients = {"Backprop": nde.Backprop(), "DiscreteAdjoint": nde.DiscreteAdjoint()}
    if case not in TOLERANCES:
        peer = {"em": "euler"}.get(case, case)
        peers = {f"torchsde {peer}": Torchsde(peer), f"torchsde {peer}, default path": Torchsde(peer, hint=False)}
        rows: dict[str, Row] = {
            **peers,
            **{f"pyndereg {case} {name}": Ours(case, gradients[name]) for name in gradients},
        }
        rows[f"torchsde {peer}, adjoint"] = Torchsde(peer, adjoint=True)
        rows[f"pyndereg {case} BacksolveAdjoint"] = Ours(case, nde.BacksolveAdjoint())
        return rows | ({"bare loop": BareLoop()} if case == "em" else {})
    rows: dict[str, Row] = {f"torchsde {method}": Torchsde(method) for method in ("srk", "milstein")}
    rows["torchsde srk, default path"] = Torchsde("srk", hint=False)
    rows |= {f"pyndereg {method} Backprop": Ours(method, gradients["Backprop"]) for method in ("sriw1", "sosri")}
    tolerance = MATCHING[case]
    for name, gradient in gradients.items():
        rows[f"pyndereg sosri at {tolerance:g} {name}"] = Ours("sosri", gradient, tolerance)
    return rows


def reference(row: str, rows: dict[str, Row]) -> str:
    """What a row is compared with: the first one, or torchsde's adjoint for what solves backwards."""
    backward = [name for name in rows if name.endswith(", adjoint")]
    return backward[0] if row in backward or row.endswith("BacksolveAdjoint") else next(iter(rows))


def strong_errors(rows: dict[str, Row], case: Case) -> dict[str, float]:
    """Root mean square over all trajectories of the error at t1, the median of three paths."""
    errors: dict[str, list[float]] = {name: [] for name in rows}
    field: Any = case.field
    for seed in range(3):
        path = nde.BrownianPath(0.0, 1.0, case.y0.shape, seed=seed, cells=FINE_STEPS, dtype=case.y0.dtype)
        problem = nde.SDEProblem(field.f, field.g, case.y0, brownian=path)
        with torch.no_grad():
            fine: Any = nde.solve(problem, "sriw1", dt=1 / FINE_STEPS, adaptive=False).y1
            for name, solver in rows.items():
                errors[name].append((solver.on(path, case) - fine).square().mean().sqrt().item())
    return {name: statistics.median(found) for name, found in errors.items()}


def bench(case: Case, repeats: int) -> None:
    torch.set_num_threads(case.threads)
    rows = solvers(case.name)
    steps = f"rtol = atol = {case.tolerance:g}" if case.name in TOLERANCES else f"dt = {DT:g}"
    print(f"\ncase {case.name}: state {tuple(case.y0.shape)} {case.y0.dtype}, {steps}, ", end="")
    print(f"{len(case.t)} save points, {case.threads} thread, {repeats} interleaved repeats")
    print(f"{'':38s} {'forward':>11s} {'ratio':>6s} {'fwd+bwd':>11s} {'ratio':>6s}   error     f     g   acc  rej")
    errors = strong_errors(rows, case)
    times, counts = interleaved(rows, case, repeats)
    for name in rows:
        row = f"{name:38s}"
        for kind in ("forward", "both"):
            peer = times[reference(name, rows), kind]
            ratio = statistics.median(a / b for a, b in zip(times[name, kind], peer, strict=True))
            row += f" {statistics.median(times[name, kind]) * 1e3:8.2f} ms {ratio:6.2f}"
        print(f"{row} {errors[name]:7.2g} {counts[name]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["em", "milstein", *TOLERANCES])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, torchsde {torchsde.__version__}")
    for name in arguments.cases:
        bench(make_case(name), arguments.repeats)


if __name__ == "__main__":
    main()
