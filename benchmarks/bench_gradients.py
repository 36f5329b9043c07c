"""The default gradient beside those that keep all graphs of a solve and none of them: time and memory.

    python benchmarks/bench_gradients.py [--repeats 9] [--sizes 1 2 3 4 5 6]

Times are medians of the processor time of one forward and backward pass of a network, on one thread, in turns whose
order is reversed every time; memory is the most that live tensors take in both passes, parameters aside. The allowance
is that of the default, 1 GiB; the last row shows the second largest size with an eighth of what its graphs take.
"""

import argparse
import gc
import statistics
import time
from dataclasses import dataclass

import torch
from storages import Storages
from torch import nn

import pyndereg as nde

Gradient = nde.Backprop | nde.DiscreteAdjoint | None
MIB = 2**20


@dataclass(frozen=True)
class Size:
    """A network on (batch, states) in float32, and how it is solved."""

    name: str
    states: int
    hidden: int
    batch: int
    tolerance: float
    first_step: float | str = "search"

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return nde.fields.TimeConcatMLP(self.states, hidden=self.hidden)

    def y0(self) -> torch.Tensor:
        return torch.randn(self.batch, self.states, generator=torch.Generator().manual_seed(1))


SIZES = (
    Size("8 states, batch 32, one step", 8, 32, 32, 1e-3, 1.0),
    Size("8 states, batch 32", 8, 32, 32, 1e-5),
    Size("64 states, batch 128", 64, 100, 128, 1e-5),
    Size("784 states, batch 128", 784, 100, 128, 1e-4),
    Size("512 states, batch 512", 512, 512, 512, 1e-4),
    Size("512 states, batch 2048", 512, 512, 2048, 1e-4),
)


def passes(field: nn.Module, y0: torch.Tensor, size: Size, gradient: Gradient) -> nde.Solution:
    """One forward and one backward pass."""
    options = {"rtol": size.tolerance, "atol": size.tolerance, "first_step": size.first_step}
    solution = nde.solve(nde.ODEProblem(field, y0), gradient=gradient, **options)
    torch.autograd.grad(solution.y1.square().mean(), tuple(field.parameters()))
    return solution


def memory(size: Size, gradient: Gradient) -> float:
    """The most bytes of live tensors."""
    field, y0 = size.network(), size.y0()
    gc.collect()
    with Storages() as storages:
        passes(field, y0, size, gradient)
    return storages.most


def seconds(size: Size, gradients: dict[str, Gradient], repeats: int) -> tuple[dict[str, float], int]:
    """Medians by gradient, and the evaluations of a solve."""
    field, y0 = size.network(), size.y0()
    taken: dict[str, list[float]] = {name: [] for name in gradients}
    evaluations = 0
    for repeat in range(repeats + 1):
        names = list(gradients)
        for name in names if repeat % 2 else reversed(names):
            gc.collect()
            started = time.process_time()
            solution = passes(field, y0, size, gradients[name])
            if repeat > 0:  # the first one warms up
                taken[name].append(time.process_time() - started)
            evaluations = solution.stats.nfe
            del solution
    return {name: statistics.median(times) for name, times in taken.items()}, evaluations


def report(name: str, size: Size, ours: Gradient, repeats: int) -> None:
    gradients: dict[str, Gradient] = {
        "Backprop": nde.Backprop(),
        "DiscreteAdjoint": nde.DiscreteAdjoint(),
        "ours": ours,
    }
    times, evaluations = seconds(size, gradients, repeats)
    peaks = {which: memory(size, gradient) / MIB for which, gradient in gradients.items()}
    better = min(times["Backprop"], times["DiscreteAdjoint"])
    print(
        f"{name:42s} {evaluations:4d}"
        + "".join(f" {1e3 * times[which]:9.2f}" for which in gradients)
        + f" {times['ours'] / better:6.3f}"
        + "".join(f" {peaks[which]:8.2f}" for which in gradients),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':42s} {'':4s} {'milliseconds, forward and backward':>36s} {'peak of tensors, MiB':>27s}")
    names = (
        f"{'Backprop':>9s} {'Discrete':>9s} {'ours':>9s} {'ratio':>6s} {'Backprop':>8s} {'Discrete':>8s} {'ours':>8s}"
    )
    print(f"{'':42s} {'nfe':>4s} {names}")
    for number in chosen.sizes:
        size = SIZES[number - 1]
        # Small solves are over in no time: the machine's own restlessness takes more repeats to average out.
        report(size.name, size, None, chosen.repeats * (20 if number <= 2 else 5 if number <= 4 else 1))
    size = SIZES[4]
    allowance = int(memory(size, nde.Backprop()) / 8)
    name = f"{size.name}, allowance {allowance / MIB:.0f} MiB"
    report(name, size, nde.DiscreteAdjoint(allowance=allowance), chosen.repeats)


if __name__ == "__main__":
    main()
