"""Evaluations and errors of float64, float32 and a field in bfloat16, over methods and tolerances, in one run.

    python benchmarks/bench_precision.py [--dims 8 64 512] [--methods bs3 dp5 tsit5 vern7] [--overhead]

Networks of the papers' shape, 32 samples, t from 0 to 1, rtol = atol. An entry is "evaluations error": the root mean
square of the deviation of y(1) from a solve by vern9 at 1e-12 in float64. "--overhead" prints what telling rounding
from errors costs a solve: medians of interleaved repeats of the same steps, told and not told.
"""

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import pyndereg as nde
from pyndereg.engines.embedded import forward

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-9)
PRECISIONS = ("float64", "float32", "bfloat16")
Field = Callable[[Tensor, Tensor], Tensor]


def network(dim: int) -> nde.fields.TimeConcatMLP:
    """A network as wide as its state or 100, with weights scaled to those of a trained one."""
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(dim, max(dim, 100)).requires_grad_(False)
    for param in field.parameters():
        param.mul_(1.5)
    return field


def in_half(field: Field) -> Field:
    """The same, computed in bfloat16."""

    def slope(t: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return field(t, y).float()

    return slope


def solved(field: Field, y0: Tensor, method: str, tolerance: float, dt_max: float | None = None) -> nde.Solution:
    """One solve, whether it warns or runs out of steps."""
    options = {"rtol": tolerance, "atol": tolerance, "dt_max": dt_max, "max_steps": 2000, "raise_on_failure": False}
    return nde.solve(nde.ODEProblem(field, y0), method, **options)


def end_of(solution: nde.Solution) -> Tensor:
    """The final state, which is one tensor."""
    assert isinstance(solution.y1, Tensor)
    return solution.y1


def table(dims: Sequence[int], methods: Sequence[str]) -> None:
    """Print a row for each network, method and precision."""
    print(f"{'':24}" + "".join(f"{tolerance:>15.0e}" for tolerance in TOLERANCES))
    for dim in dims:
        field, y0 = network(dim), torch.randn(32, dim, generator=torch.Generator().manual_seed(1))
        double = copy.deepcopy(field).double()
        fields = {"float64": double, "float32": field, "bfloat16": in_half(field)}
        exact = end_of(solved(double, y0.double(), "vern9", 1e-12))
        for method in methods:
            for precision in PRECISIONS:
                entries = []
                for tolerance in TOLERANCES:
                    start = y0.double() if precision == "float64" else y0
                    found = solved(fields[precision], start, method, tolerance)
                    error = (end_of(found) - exact).square().mean().sqrt().item()
                    entries.append(f"{found.stats.nfe:>7} {error:.1e}")
                print(f"{dim:>4} {method:6} {precision:10}  " + "".join(entries), flush=True)


def overhead(dims: Sequence[int], repeats: int = 41) -> None:
    """Print the time of a step of tsit5 in float32 at 1e-5, where rounding is told, over that where it is not."""
    told = forward.resolution_of
    for dim in dims:
        field, y0 = network(dim), torch.randn(32, dim, generator=torch.Generator().manual_seed(1))
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(repeats):
            for tells in (True, False):
                forward.resolution_of = told if tells else lambda *_, **__: None
                begin = time.perf_counter()
                found = solved(field, y0, "tsit5", 1e-5, dt_max=0.01)  # so that both take the same steps
                attempts = found.stats.accepted + found.stats.rejected
                times[tells].append((time.perf_counter() - begin) / attempts)
        forward.resolution_of = told
        ratio = statistics.median(one / other for one, other in zip(times[True], times[False], strict=True))
        print(f"{dim:>4}: {1e6 * statistics.median(times[False]):.0f} us a step, told {ratio:.3f} of that")


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--methods", nargs="+", default=["bs3", "dp5", "tsit5", "vern7"])
    parser.add_argument("--overhead", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", nde.SolveWarning)
    if arguments.overhead:
        overhead(arguments.dims)
    else:
        table(arguments.dims, arguments.methods)


if __name__ == "__main__":
    main()
