"""Step controls compared by evaluations at equal error, on twenty problems.

    python benchmarks/bench_control.py [--method tsit5] [--start search remembered] [--figure control.png]

Every control solves every problem at rtol = atol from 3e-3 to 1e-8. The error of a solve is the largest, over the ends
of its steps, of the root-mean-square distance to a solution by vern9 at 1e-13, in units of the solution's root mean
square. Evaluations at equal error: the logarithm of the evaluations is fitted by a parabola in that of the error, for
each control and problem, and read off at half decades of error that all of them reach. Printed are evaluations relative
to those of PI(), by geometric means over the errors: of each kind of problem, of all, and the worst problem's; then
those at equal tolerance, where errors differ, and how many steps were rejected.

"search": the first step is searched for; "remembered": it is the one that `Remembered()` has come to.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from control_problems import Problem, make_problems

import pyndereg as nde
from pyndereg.ivp.control import PI, PID, I

TOLERANCES = tuple(10.0 ** (-k / 4) for k in range(10, 33, 3))
# A solve with a larger error, relative to the solution, is none: an orbit may have come too close to the centre.
MEANINGLESS = 0.3
KINDS = ("smooth", "oscillating", "mildly stiff", "network")

CONTROLS: dict[str, nde.control.Control] = {
    "PI()": PI(),
    "PI(safety=0.8)": PI(safety=0.8),
    "PI(start=free)": PI(start="free"),
    "PI(start=free, safety=0.8)": PI(start="free", safety=0.8),
    "I()": I(),
    "I(safety=0.8)": I(safety=0.8),
    "I(start=free, grow_first=1e4)": I(start="free", grow_first=1e4),
    "PID(PI42)": PID("PI42"),
    "PID(PI34)": PID("PI34"),
    "PID(PI34, safety=0.8)": PID("PI34", safety=0.8),
    "PID(PC47)": PID("PC47"),
    "PID(PC47, safety=0.8)": PID("PC47", safety=0.8),
    "PID(H211b)": PID("H211b"),
    "PID(H211PI)": PID("H211PI"),
    "PID(H211PI, start=own)": PID("H211PI", start="own"),
    "PID(H312PID)": PID("H312PID"),
    "PID(H0321)": PID("H0321"),
    "PID(H321)": PID("H321"),
    "PID(H321, safety=0.8)": PID("H321", safety=0.8),
}
SHOWN = {"PI()", "I()", "PID(PI34)", "PID(H211PI)", "PID(PC47)"}


@dataclass(frozen=True)
class Curve:
    """Errors and evaluations of one control on one problem, a point for each tolerance."""

    tolerances: np.ndarray
    errors: np.ndarray
    evaluations: np.ndarray
    rejected: int

    def at(self, log_errors: np.ndarray) -> np.ndarray:
        """The logarithm of the evaluations at these logarithms of errors."""
        fit = np.polyfit(np.log10(self.errors), np.log10(self.evaluations), 2)
        return np.polyval(fit, log_errors)


def remembered_length(problem: nde.ODEProblem, method: str, tolerance: float) -> float | None:
    """What `Remembered()` comes to; its solves are cut short, as only their first steps count."""
    first_step = nde.Remembered()
    for _ in range(6):
        nde.solve(
            problem,
            method,
            rtol=tolerance,
            atol=tolerance,
            first_step=first_step,
            max_steps=12,
            raise_on_failure=False,
        )
    return first_step.length


class Study:
    """One problem with its reference solution."""

    def __init__(self, problem: Problem, method: str) -> None:
        self.problem, self.method = problem, method
        print(f"solving {problem.name}", file=sys.stderr, flush=True)
        self.reference = nde.solve(
            problem.problem, "vern9", rtol=1e-13, atol=1e-13, saveat=nde.SaveAt(every_step=True, dense=True)
        )
        self.size = self.reference.y.square().mean().sqrt().item()
        self.lengths = {tol: remembered_length(problem.problem, method, tol) for tol in TOLERANCES}

    def curve(self, control: nde.control.Control, start: str) -> Curve:
        points, rejected = [], 0
        for tolerance in TOLERANCES:
            solution = nde.solve(
                self.problem.problem,
                self.method,
                rtol=tolerance,
                atol=tolerance,
                saveat=nde.SaveAt(every_step=True),
                control=control,
                first_step=self.lengths[tolerance] if start == "remembered" else None,
                max_steps=20_000,
                raise_on_failure=False,
            )
            error = self._error(solution) if solution.status.succeeded else math.inf
            if error > MEANINGLESS:
                continue
            points.append((tolerance, error, float(solution.stats.nfe)))
            rejected += solution.stats.rejected
        return Curve(*np.array(points).T, rejected=rejected)

    def _error(self, solution: nde.Solution) -> float:
        exact = self.reference(solution.t)
        distance = (solution.y - exact).flatten(1).square().mean(1).sqrt().max().item()
        return distance / self.size


def common_errors(curves: Iterable[Curve]) -> np.ndarray:
    """Logarithms of errors that all curves reach, half decades from 1e-2 on; not those of rounding."""
    curves = list(curves)
    most = min(math.log10(curve.errors.max()) for curve in curves)
    least = max(math.log10(curve.errors.min()) for curve in curves)
    levels = [level for level in np.arange(-2.0, -11.0, -0.5) if least <= level <= most]
    return np.array(levels or [(most + least) / 2])


def relative(curves: dict[str, Curve]) -> dict[str, float]:
    """Evaluations relative to PI()'s, a geometric mean over errors."""
    levels = common_errors(curves.values())
    usual = curves["PI()"].at(levels)
    return {name: float(10 ** np.mean(curve.at(levels) - usual)) for name, curve in curves.items()}


def at_equal_tolerance(curve: Curve, usual: Curve) -> float:
    """Evaluations relative to the usual ones, a geometric mean over the tolerances at which both solve the problem."""
    _, own, others = np.intersect1d(curve.tolerances, usual.tolerances, return_indices=True)
    return mean(curve.evaluations[own] / usual.evaluations[others])


def mean(ratios: Iterable[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def print_table(problems: Sequence[Problem], results: dict[str, dict[str, Curve]]) -> None:
    ratios = {name: relative(curves) for name, curves in results.items()}
    kinds = dict.fromkeys(problem.kind for problem in problems)
    print(
        f"{'':32s}"
        + "".join(f"{kind:>14s}" for kind in kinds)
        + f"{'all':>8s}{'worst':>24s}{'same tol.':>11s}{'rejected':>10s}"
    )
    controls = next(iter(results.values()))
    for control in controls:
        row = f"{control:32s}"
        for kind in kinds:
            row += f"{mean([ratios[p.name][control] for p in problems if p.kind == kind]):14.3f}"
        worst = max(problems, key=lambda p: ratios[p.name][control]).name
        rejected = sum(curves[control].rejected for curves in results.values())
        row += f"{mean([ratios[p.name][control] for p in problems]):8.3f}{worst:>17s} {ratios[worst][control]:6.3f}"
        same = mean(at_equal_tolerance(curves[control], curves["PI()"]) for curves in results.values())
        print(f"{row}{same:11.3f}{rejected:10d}")
    print("\nnetworks" + " " * 24 + "".join(f"{p.name:>14s}" for p in problems if p.kind == "network"))
    for control in controls:
        print(f"{control:32s}" + "".join(f"{ratios[p.name][control]:14.3f}" for p in problems if p.kind == "network"))


def draw(path: str, results: dict[str, dict[str, Curve]]) -> None:
    """Evaluations against error, a panel for each problem."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 (an extra, for the figure only)

    figure, axes = plt.subplots(4, 5, figsize=(16, 12), sharex=True)
    for axis, (name, curves) in zip(axes.flat, results.items(), strict=False):
        for control in sorted(SHOWN & curves.keys()):
            axis.loglog(curves[control].errors, curves[control].evaluations, ".-", label=control, linewidth=0.8)
        axis.set_title(name, fontsize=9)
    axes[0, 0].legend(fontsize=7)
    figure.supxlabel("error, relative to the solution")
    figure.supylabel("evaluations of f")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


@torch.no_grad()
def solve_all(studies: Sequence[Study], start: str, controls: Iterable[str]) -> dict[str, dict[str, Curve]]:
    results = {}
    for study in studies:
        print(f"{start}: {study.problem.name}", file=sys.stderr, flush=True)
        results[study.problem.name] = {name: study.curve(CONTROLS[name], start) for name in controls}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--start", nargs="+", choices=("search", "remembered"), default=["search", "remembered"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of problems")
    parser.add_argument("--controls", nargs="+", choices=CONTROLS, default=list(CONTROLS), help="which, besides PI()")
    parser.add_argument("--figure", help="a file for the figure of the last start, which needs the plots extra")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problems = [problem for problem in make_problems() if problem.kind in arguments.kinds]
    studies = [Study(problem, arguments.method) for problem in problems]
    for start in arguments.start:
        print(f"\n{arguments.method}, first step: {start}; evaluations at equal error, relative to PI()")
        results = solve_all(studies, start, dict.fromkeys(["PI()", *arguments.controls]))
        print_table(problems, results)
        if arguments.figure:
            draw(arguments.figure, results)


if __name__ == "__main__":
    main()
