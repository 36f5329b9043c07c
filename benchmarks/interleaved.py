"""What the benchmarks share: a case, a peer, and times taken in turns."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torchdiffeq
from torch import Tensor, nn


class LotkaVolterra(nn.Module):
    """The predator-prey equations for states (..., 2)."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        prey, predators = y[..., 0], y[..., 1]
        return torch.stack([1.5 * prey - prey * predators, prey * predators - 3.0 * predators], -1)


@dataclass(frozen=True)
class Case:
    """One problem; `julia` is what the julia engine solves natively, where that is not the module itself."""

    name: str
    field: nn.Module
    y0: Tensor
    t: Tensor
    tolerance: float
    threads: int
    julia: object = None


Solver = Callable[[Case, Tensor], tuple[Tensor, str]]


def solve_torchdiffeq(case: Case, y0: Tensor) -> tuple[Tensor, str]:
    y = torchdiffeq.odeint(case.field, y0, case.t, rtol=case.tolerance, atol=case.tolerance, method="dopri5")
    return y[-1], ""


def forward(solver: Solver, case: Case) -> str:
    with torch.no_grad():
        return solver(case, case.y0)[1]


def forward_backward(solver: Solver, case: Case) -> str:
    params = list(case.field.parameters())
    y0 = case.y0 if params else case.y0.clone().requires_grad_()
    y1, counts = solver(case, y0)
    torch.autograd.grad(y1.square().mean(), params or [y0])
    return counts


def interleaved(
    solvers: Mapping[str, Solver], case: Case, repeats: int
) -> tuple[dict[tuple[str, str], list[float]], dict[str, str]]:
    """Seconds by solver and kind ("forward" and "both"), one for each repeat, and the solvers' counts.

    Repeat r of every solver comes before repeat r + 1 of any; one before the first warms up.
    """
    times: dict[tuple[str, str], list[float]] = {}
    counts: dict[str, str] = {}
    for repeat in range(repeats + 1):
        for name, solver in solvers.items():
            for kind, run in (("forward", forward), ("both", forward_backward)):
                gc.collect()
                inner, start = 0, time.perf_counter()
                while True:
                    counts[name] = run(solver, case)
                    inner, elapsed = inner + 1, time.perf_counter() - start
                    if elapsed > 0.3:
                        break
                if repeat > 0:
                    times.setdefault((name, kind), []).append(elapsed / inner)
    return times, counts
