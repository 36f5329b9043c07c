"""Every gradient of a solve side by side: memory that it keeps for each step, time, and how exact it is.

    python benchmarks/bench_adjoints.py [--repeats 3] [--steps 10 20 40]

Memory is that of live tensors after the forward solve, and the most of it in the backward pass, in states per accepted
step: the slope of a straight line through solves of different numbers of equal steps. Times are those of one forward
and backward pass of a network, adaptive, in turns with torchdiffeq's `odeint_adjoint` as the peer.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable

import torch
import torchdiffeq
from storages import Storages
from torch import Tensor, nn

import pyndereg as nde

GRADIENTS = {
    "Backprop": nde.Backprop(),
    "DiscreteAdjoint": nde.DiscreteAdjoint(),
    "DiscreteAdjoint(checkpoints=4)": nde.DiscreteAdjoint(checkpoints=4),
    "InterpolatingAdjoint": nde.InterpolatingAdjoint(),
    "InterpolatingAdjoint(checkpointing=True)": nde.InterpolatingAdjoint(checkpointing=True),
    "GaussAdjoint": nde.GaussAdjoint(),
    "QuadratureAdjoint": nde.QuadratureAdjoint(),
    "BacksolveAdjoint": nde.BacksolveAdjoint(),
}
BATCH, DIM = 128, 64


def network(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(DIM, hidden=100).double()
    with torch.no_grad():
        for param in field.parameters():
            param.mul_(scale)
    return field


def memory(gradient: nde.Backprop, steps: int) -> tuple[float, float]:
    """Bytes alive after a forward solve of so many steps, and the most of the backward pass."""
    field = network()
    y0 = torch.randn(BATCH, DIM, dtype=torch.float64, requires_grad=True)
    gc.collect()
    with Storages() as storages:
        problem = nde.ODEProblem(field, y0)
        found = nde.solve(problem, dt=1.0 / steps, adaptive=False, gradient=gradient)
        loss = found.y1.square().mean()
        gc.collect()
        after_forward = storages.alive
        loss.backward()
        return after_forward, storages.most


def slopes(gradient: nde.Backprop, counts: list[int]) -> list[float]:
    """Growth of both with the number of steps, in states per step."""
    state = BATCH * DIM * 8
    measured = [memory(gradient, steps) for steps in counts]
    mean = statistics.fmean(counts)
    spread = sum((count - mean) ** 2 for count in counts)
    return [
        sum((count - mean) * row[kind] for count, row in zip(counts, measured, strict=True)) / spread / state
        for kind in (0, 1)
    ]


def ours(gradient: nde.Backprop, tolerance: float) -> Callable[[nn.Module, Tensor], Tensor]:
    def run(field: nn.Module, y0: Tensor) -> Tensor:
        return nde.solve(nde.ODEProblem(field, y0), "dp5", rtol=tolerance, atol=tolerance, gradient=gradient).y1

    return run


def peer(tolerance: float) -> Callable[[nn.Module, Tensor], Tensor]:
    def run(field: nn.Module, y0: Tensor) -> Tensor:
        times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        options = {"method": "dopri5", "rtol": tolerance, "atol": tolerance}
        return torchdiffeq.odeint_adjoint(field, y0, times, adjoint_options={"norm": "seminorm"}, **options)[-1]

    return run


def gradient_of(solve: Callable[[nn.Module, Tensor], Tensor], field: nn.Module, y0: Tensor) -> Tensor:
    """The gradient of one forward and backward pass, all parameters in one vector."""
    found = torch.autograd.grad(solve(field, y0).square().mean(), tuple(field.parameters()))
    return torch.cat([part.reshape(-1) for part in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20, 40, 80])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    tolerance = 1e-6
    field, y0 = network(2.5), torch.randn(BATCH, DIM, dtype=torch.float64)
    exact = gradient_of(ours(nde.DiscreteAdjoint(), 1e-12), field, y0)
    solvers = {name: ours(gradient, tolerance) for name, gradient in GRADIENTS.items()}
    solvers["torchdiffeq odeint_adjoint (seminorm)"] = peer(tolerance)
    seconds: dict[str, list[float]] = {name: [] for name in solvers}
    errors = {}
    for repeat in range(chosen.repeats + 1):
        for name, solve in solvers.items():
            gc.collect()
            started = time.perf_counter()
            found = gradient_of(solve, field, y0)
            if repeat > 0:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
            errors[name] = ((found - exact).norm() / exact.norm()).item()
    print(
        f"a network on ({BATCH}, {DIM}) float64, 1 thread; time: dp5, tolerance {tolerance:g}, "
        f"{chosen.repeats} repeats in turns"
    )
    print(f"memory: tsit5, {', '.join(map(str, chosen.steps))} equal steps, in states per step")
    print(f"{'':42s} {'kept':>6s} {'peak':>6s} {'fwd+bwd ms':>11s} {'gradient error':>15s}")
    for name in solvers:
        kept = slopes(GRADIENTS[name], chosen.steps) if name in GRADIENTS else None
        columns = f"{kept[0]:6.2f} {kept[1]:6.2f}" if kept is not None else f"{'':6s} {'':6s}"
        print(f"{name:42s} {columns} {1e3 * statistics.median(seconds[name]):11.1f} {errors[name]:15.1e}")


if __name__ == "__main__":
    main()
