"""The command line: arguments to an experiment, a table or a figure."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from pyndereg import plotting, results
from pyndereg.experiments import demo, digits_ode
from pyndereg.experiments.config import DigitsODEConfig
from pyndereg.experiments.train import TrainingDiverged
from pyndereg.ivp.errors import SolveFailed
from pyndereg.julia_runtime import JuliaError, JuliaUnavailable, doctor, install

# What a user can cause and put right: told in one sentence. Anything else is a defect and keeps its traceback.
USER_ERRORS = (
    ValueError,
    TypeError,
    OSError,
    ModuleNotFoundError,
    TrainingDiverged,
    SolveFailed,
    JuliaUnavailable,
    JuliaError,
)
EXIT_MISSING = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class OneSentenceParser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the usage text before it."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave with exit code 2."""
        self.exit(EXIT_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words after the program's name; None: those of this process.
    Returns:
        Exit code: 0, 1 for a report of something missing, 2 for an error that the user can put right, 130 after Ctrl-C.
    """
    chosen = build_parser().parse_args(arguments)
    try:
        return chosen.command(chosen) or 0
    except USER_ERRORS as error:
        print(f"pyndereg: {_sentence(error)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("pyndereg: interrupted; no record was written", file=sys.stderr)
        return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = OneSentenceParser(
        prog="pyndereg", description="Neural differential equations that learn to be easy to solve."
    )
    parser.add_argument("--version", action="version", version=f"pyndereg {results.installed_versions()['pyndereg']}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=OneSentenceParser)
    _add_run(commands)
    _add_demo(commands)
    _add_plot(commands)
    _add_julia(commands)
    return parser


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="train one model and write its record")
    experiments = run.add_subparsers(metavar="EXPERIMENT", required=True, parser_class=OneSentenceParser)
    digits = experiments.add_parser(
        digits_ode.EXPERIMENT,
        help="a neural ODE classifier of handwritten digits",
        description="Train a neural ODE classifier of handwritten digits and write its record.",
    )
    add_settings(digits)
    digits.add_argument("--output", type=Path, metavar="PATH", help="record (default: runs/<name of the run>.json)")
    _add_overwrite(digits)
    digits.set_defaults(command=_run_digits)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="train none, error and stiffness side by side; print a table, draw a figure",
        description="Train none, error and stiffness side by side, print one table and draw one figure.",
    )
    parser.add_argument(
        "--output-dir", type=Path, metavar="FOLDER", help="records and figure (default: the first free runs/demo-N)"
    )
    add_settings(parser, but=("regularizer", "seed"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument(
        "--workers", type=int, default=min(2, os.cpu_count() or 1), help="runs trained at a time (default: %(default)s)"
    )
    _add_overwrite(parser)
    parser.set_defaults(command=_demo)


def _add_plot(commands: Any) -> None:
    parser = commands.add_parser("plot", help="draw a figure from records")
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD", help="records written by run or demo")
    parser.add_argument("--output", type=Path, required=True, metavar="FIGURE", help=".png, .svg or .pdf")
    _add_overwrite(parser)
    parser.set_defaults(command=_plot)


def _add_julia(commands: Any) -> None:
    meaning = "report what the julia engine needs and what is missing; install nothing"
    commands.add_parser("doctor", help=meaning, description=f"{meaning.capitalize()}.").set_defaults(command=_doctor)
    julia = commands.add_parser("julia", help="set up the julia engine")
    actions = julia.add_subparsers(metavar="ACTION", required=True, parser_class=OneSentenceParser)
    meaning = "install Julia and its packages, and compile them ahead of the first use"
    actions.add_parser("install", help=meaning, description=f"{meaning.capitalize()}.").set_defaults(command=_install)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace files of an earlier run")


def add_settings(parser: argparse.ArgumentParser, *, but: Sequence[str] = ()) -> None:
    """Turn every field of the configuration into an option, `but` some that the command decides itself."""
    hints = get_type_hints(DigitsODEConfig)
    for setting in fields(DigitsODEConfig):
        if setting.name not in but:
            add_setting(parser, setting, hints[setting.name])


def config_of(chosen: argparse.Namespace) -> DigitsODEConfig:
    """The configuration that the options say; a field without an option has its default."""
    names = {setting.name for setting in fields(DigitsODEConfig)}
    return DigitsODEConfig.from_json({name: value for name, value in vars(chosen).items() if name in names})


def add_setting(parser: argparse.ArgumentParser, setting: Field, annotation: Any) -> None:
    """Turn one field of a configuration into one option: its name, choices, default and meaning."""
    option = f"--{setting.name.replace('_', '-')}"
    meaning = f"{setting.metadata['meaning']} (default: {_shown(setting.default)})"
    if annotation is bool:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=setting.default, help=meaning)
    elif isinstance(setting.default, tuple):
        parser.add_argument(
            option, type=float, nargs=2, metavar=("START", "STOP"), default=setting.default, help=meaning
        )
    elif get_args(annotation):
        parser.add_argument(option, choices=get_args(annotation), default=setting.default, help=meaning)
    else:
        metavar = {int: "N", float: "X", str: "NAME"}[annotation]
        parser.add_argument(option, type=annotation, metavar=metavar, default=setting.default, help=meaning)


def _shown(default: Any) -> str:
    return " ".join(f"{value:g}" for value in default) if isinstance(default, tuple) else str(default)


def _run_digits(chosen: argparse.Namespace) -> None:
    config = config_of(chosen)
    path = chosen.output or digits_ode.default_output(config)
    results.check_destination(path, overwrite=chosen.overwrite)
    record = digits_ode.run(config)
    results.write(record, path, overwrite=chosen.overwrite)
    metrics = record.metrics
    print(
        f"test accuracy {metrics['test_accuracy']:.2f} %, NFE {metrics['nfe']:.0f}, training "
        f"{metrics['training_seconds']:.1f} s, prediction {1e3 * metrics['prediction_seconds']:.2f} ms: {path}"
    )


def _demo(chosen: argparse.Namespace) -> None:
    folder = chosen.output_dir or first_free_folder(Path("runs"), "demo")
    figure_path = folder / demo.FIGURE_NAME
    plotting.check_figure_path(figure_path, overwrite=chosen.overwrite)
    records = demo.compare(config_of(chosen), chosen.seeds, folder, workers=chosen.workers, overwrite=chosen.overwrite)
    plotting.save(plotting.plot_comparison(records), figure_path, overwrite=chosen.overwrite)
    print(demo.format_table(records))
    print(f"figure: {figure_path}")


def _plot(chosen: argparse.Namespace) -> None:
    plotting.check_figure_path(chosen.output, overwrite=chosen.overwrite)
    records = [results.read(path) for path in chosen.records]
    plotting.save(plotting.plot_comparison(records), chosen.output, overwrite=chosen.overwrite)
    print(f"figure: {chosen.output}")


def _doctor(chosen: argparse.Namespace) -> int:
    findings = doctor.examine()
    print(doctor.as_text(findings))
    return 0 if doctor.is_well(findings) else EXIT_MISSING


def _install(chosen: argparse.Namespace) -> None:
    located = install.install()
    print(f"Julia is ready: {located.executable}, project {located.project}")


def first_free_folder(parent: Path, name: str) -> Path:
    """The first of parent/name-1, parent/name-2, ... that does not exist, so that a new run disturbs no earlier one."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _sentence(error: BaseException) -> str:
    """An error in one line; a missing file of the operating system's own errors is named."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
