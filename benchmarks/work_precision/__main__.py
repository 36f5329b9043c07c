"""Everything in one command: work-precision, equal tolerance, growth; one table, one picture.

    python -m benchmarks.work_precision [--quick] [--problems mnist network-64x32] [--precisions float32]
                                        [--passes forward] [--libraries pyndereg torchdiffeq] [--parts growth]
                                        [--repeats 9] [--budget 12] [--out runs/bench/results.jsonl]
    python -m benchmarks.work_precision --show [--markdown docs/performance.md] [--out ...]

Every solve begins from the same numbers and runs on one thread. Errors are root mean squares over all save times,
against vern9 at 1e-12 in float64, relative to the solution's. At equal error, every setting of a library
(`settings.py`) solves at tolerances from 1e-1 to 1e-9; for each error the cheapest solves that reach it are timed, in
turns: round r of everything comes before round r + 1 of anything. Records are appended to a file as they come; a
measurement that is repeated counts in the place of the former one. "--show" makes table and picture of them again.
"""

import argparse
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.work_precision import settings, stochastic
from benchmarks.work_precision.environments import JAX, TORCHDYN, Missing
from benchmarks.work_precision.libraries import PASSES, Library, Model, Pyndereg, quiet
from benchmarks.work_precision.measure import Bench, Effort, Log
from benchmarks.work_precision.pages import insert
from benchmarks.work_precision.peers import Torchdiffeq, Torchode
from benchmarks.work_precision.picture import draw
from benchmarks.work_precision.problems import PRECISIONS, RUNS, TARGETS, make_problem
from benchmarks.work_precision.report import Report
from benchmarks.work_precision.tables import tables
from benchmarks.work_precision.workers import Worker

PARTS = ("equal-error", "equal-tolerance", "growth")
PROBLEMS = (
    "mnist",
    "network-8x32",
    "network-64x32",
    "network-256x32",
    "network-512x32",
    "network-64x2048",
    "network-256x2048",
    "lotka-volterra",
    "convolution",
    "latent",
    "digits-before",
    "digits-after",
    "digits-regularized",
    stochastic.NAME,
)
GROWING = (
    *(f"network-64x{batch}" for batch in (8, 128, 1024)),
    *(f"network-{width}x32" for width in (16, 128, 512)),
    *(f"network-8x32-to{end}" for end in (2, 8, 32)),
)
TOLERANCES = (1e-3, 1e-5, 1e-7)
QUICK_PROBLEMS = ("network-8x32", "network-256x32", "lotka-volterra", stochastic.NAME)
QUICK_GROWING = ("network-64x8", "network-64x1024")
QUICK_EFFORT = Effort(repeats=3, budget=4.0, least=0.02, light_only=True)

SOURCES: Mapping[str, Callable[[], Library]] = {
    "pyndereg": Pyndereg,
    "pyndereg, searched start": Pyndereg,
    "pyndereg model": Model,
    "torchdiffeq": Torchdiffeq,
    "torchode": Torchode,
    "torchdyn": lambda: Worker(TORCHDYN, "torchdyn_worker.py"),
    "diffrax": lambda: Worker(JAX, "diffrax_worker.py"),
}
STOCHASTIC_SOURCES: Mapping[str, Callable[[], Library]] = {
    "pyndereg": stochastic.PynderegSDE,
    "pyndereg model": stochastic.ModelSDE,
    "torchsde": stochastic.Torchsde,
}


def available(
    sources: Mapping[str, Callable[[], Library]], wanted: Sequence[str]
) -> tuple[dict[str, Library], dict[str, str]]:
    """The libraries that can be had, and why the others cannot."""
    libraries, left_out = {}, {}
    for name, source in sources.items():
        if name not in wanted:
            continue
        try:
            libraries[name] = source()
        except (ImportError, Missing, OSError) as reason:
            left_out[name] = str(reason)
            print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)
    return libraries, left_out


def measure(arguments: argparse.Namespace) -> None:
    """Run what is asked for, problem by problem."""
    quiet()
    log = Log(arguments.out)
    effort = QUICK_EFFORT if arguments.quick else Effort(arguments.repeats, arguments.budget, arguments.least)
    libraries, left_out = available(SOURCES, arguments.libraries)
    noisy, left_out_too = available(STOCHASTIC_SOURCES, arguments.libraries)
    versions = {name: found for one in (*libraries.values(), *noisy.values()) for name, found in one.versions().items()}
    targets = {name: stochastic.SDE_TARGETS if name == stochastic.NAME else TARGETS for name in arguments.problems}
    log.write(
        record="run",
        versions=versions,
        left_out={**left_out, **left_out_too},
        targets=targets,
        machine=f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        arguments=sys.argv[1:],
    )
    print(", ".join(f"{name} {version}" for name, version in versions.items()), file=sys.stderr, flush=True)
    try:
        measure_all(
            arguments, Bench(libraries, log, effort, arguments.passes), Bench(noisy, log, effort, arguments.passes)
        )
    finally:
        close(libraries.values())


def measure_all(arguments: argparse.Namespace, bench: Bench, noisy_bench: Bench) -> None:
    """Problem by problem, so that what another process has compiled serves both comparisons."""
    for name in arguments.problems:
        for precision in arguments.precisions:
            if name == stochastic.NAME:
                stochastic_parts(noisy_bench, precision, arguments.parts)
            else:
                parts(bench, name, precision, arguments)
    if "growth" in arguments.parts:
        for name in arguments.growing:
            bench.equal_tolerance("growth", make_problem(name), settings.DEFAULTS, (1e-5,))


def close(libraries: Iterable[Library]) -> None:
    """Let the processes end that were started."""
    for library in libraries:
        if isinstance(library, Worker):
            library.close()


def parts(bench: Bench, name: str, precision: str, arguments: argparse.Namespace) -> None:
    """Both comparisons on one problem, unless a run of everything leaves this precision out."""
    problem = make_problem(name, precision)
    if precision not in problem.precisions and not arguments.all_precisions:
        return
    if "equal-error" in arguments.parts:
        bench.equal_error(problem, settings.SETTINGS, TARGETS)
    if "equal-tolerance" in arguments.parts:
        bench.equal_tolerance("equal tolerance", problem, settings.DEFAULTS[:2], TOLERANCES)


def stochastic_parts(bench: Bench, precision: str, chosen: Sequence[str]) -> None:
    """Both comparisons on the stochastic problem."""
    problem = stochastic.make_stochastic(precision)
    if "equal-error" in chosen:
        bench.equal_error(problem, settings.SDE, stochastic.SDE_TARGETS)
    if "equal-tolerance" in chosen:
        bench.equal_tolerance("equal tolerance", problem, settings.SDE_DEFAULTS, stochastic.SDE_TOLERANCES)


def show(arguments: argparse.Namespace) -> None:
    """Print the tables, write them beside the records, and draw."""
    report = Report.read(arguments.out)
    found = tables(report)
    print("\n\n".join(table.text() for table in found))
    for name, reason in report.left_out().items():
        print(f"{name} is left out: {reason}")
    beside = arguments.out.with_suffix(".md")
    beside.write_text("\n\n".join(table.markdown() for table in found) + "\n")
    pictures = []
    for precision in arguments.precisions:
        for passes in arguments.passes:
            if report.problems("equal error", precision):
                pictures.append(arguments.out.with_name(f"{arguments.out.stem}-{precision}-{passes}.png"))
                draw(report, pictures[-1], precision, passes)
    print(f"\nwrote {beside}" + "".join(f", {path}" for path in pictures))
    if arguments.markdown:
        print(f"{arguments.markdown} has {', '.join(insert(arguments.markdown, found, report.machine()))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four problems in float32, in about ten minutes")
    parser.add_argument("--problems", nargs="+", help=f"of {', '.join(PROBLEMS)}; or network-STATESxBATCH")
    parser.add_argument("--growing", nargs="*", help="problems of the part about growth")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument("--all-precisions", action="store_true", help="float64 of the largest problems as well")
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument("--libraries", nargs="+", default=list({**SOURCES, **STOCHASTIC_SOURCES}))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=Effort.repeats, help="rounds of timing, at most")
    parser.add_argument("--budget", type=float, default=Effort.budget, help="seconds of a group of timings")
    parser.add_argument("--least", type=float, default=Effort.least, help="seconds of solves within a round")
    parser.add_argument("--out", type=Path, default=RUNS / "results.jsonl", help="records, which are appended")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parser.add_argument("--markdown", type=Path, help="a page to put the tables into")
    arguments = parser.parse_args()
    arguments.problems = arguments.problems or list(QUICK_PROBLEMS if arguments.quick else PROBLEMS)
    arguments.precisions = arguments.precisions or (["float32"] if arguments.quick else list(PRECISIONS))
    if arguments.growing is None:
        arguments.growing = list(QUICK_GROWING if arguments.quick else GROWING)
    if not arguments.show:
        measure(arguments)
    show(arguments)


if __name__ == "__main__":
    main()
