"""The command line: arguments to an experiment, a table or a figure."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, get_args, get_type_hints

from pyndereg import plotting, results
from pyndereg.experiments import (
    cifar10_ode,
    classification,
    comparison,
    digits_ode,
    digits_sde,
    latent_ode,
    lotka_volterra,
    mnist_ode,
    mnist_sde,
    naming,
    spiral_ode,
    spiral_sde,
    trajectory,
)
from pyndereg.experiments.checkpoint import Checkpoint, checkpoint_path
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.published import published_points
from pyndereg.experiments.settings import AnyConfig, Config, json_values
from pyndereg.experiments.table import papers_table
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
    comparison.RunsFailed,
    JuliaUnavailable,
    JuliaError,
)
EXIT_MISSING = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

# Plain as everybody solves it; with a remembered first step; regularized; and two to compare with: training with a
# single step that nothing controls, and another library.
DEMO_METHODS = ("none", "none+remembered", "error+remembered", "none+1-step", "torchdiffeq")
DEMO = DigitsODEConfig(rtol=1e-5, atol=1e-5)
DEMO_FIGURE = "digits-ode.png"
COMPARED_METHODS = ("none", "none+steer", "error", "stiffness", "local-unbiased", "local-biased", "taylor", "rnode")


@dataclass(frozen=True)
class Experiment:
    """What `pyndereg run` can run.

    Args:
        module: with EXPERIMENT, its name; PRESETS, configurations under names, among them quick; and the function run.
        summary: the record of a finished run in one line.
        help: what is trained.
    """

    module: ModuleType
    summary: Callable[[results.RunRecord], str]
    help: str


EXPERIMENTS = (
    Experiment(digits_ode, classification.summary, "a neural ODE classifier of handwritten digits of 64 pixels"),
    Experiment(digits_sde, classification.summary, "a neural SDE classifier of handwritten digits of 64 pixels"),
    Experiment(mnist_ode, classification.summary, "a neural ODE classifier of MNIST"),
    Experiment(mnist_sde, classification.summary, "a neural SDE classifier of MNIST"),
    Experiment(cifar10_ode, classification.summary, "a convolutional neural ODE classifier of CIFAR-10"),
    Experiment(latent_ode, latent_ode.summary, "a latent ODE of irregular series"),
    Experiment(spiral_ode, trajectory.summary, "a neural ODE on a trajectory of a spiral"),
    Experiment(spiral_sde, spiral_sde.summary, "a neural SDE on the moments of a stochastic spiral"),
    Experiment(lotka_volterra, trajectory.summary, "the four parameters of the Lotka–Volterra equations"),
)


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
    except KeyboardInterrupt as interrupt:
        print(f"pyndereg: {interrupt or 'interrupted; no record was written'}", file=sys.stderr)
        return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    parser = OneSentenceParser(
        prog="pyndereg", description="Neural differential equations that learn to be easy to solve."
    )
    parser.add_argument("--version", action="version", version=f"pyndereg {results.installed_versions()['pyndereg']}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=OneSentenceParser)
    _add_run(commands)
    _add_compare(commands)
    _add_demo(commands)
    _add_table(commands)
    _add_plot(commands)
    _add_julia(commands)
    return parser


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="train one model and write its record")
    experiments = run.add_subparsers(metavar="EXPERIMENT", required=True, parser_class=OneSentenceParser)
    for experiment in EXPERIMENTS:
        name, help_, presets = experiment.module.EXPERIMENT, experiment.help, experiment.module.PRESETS
        parser = experiments.add_parser(name, help=help_, description=f"Train {help_} and write its record.")
        parser.add_argument(
            "--preset",
            choices=presets,
            default="quick",
            help="settings to start from: quick (minutes on a processor; the defaults below), or those of the papers",
        )
        # An option that is not given leaves the preset's value.
        add_settings(parser, presets["quick"], default=argparse.SUPPRESS)
        parser.add_argument("--output", type=Path, metavar="PATH", help="record (default: runs/<name of the run>.json)")
        earlier = parser.add_mutually_exclusive_group()
        _add_overwrite(earlier)
        earlier.add_argument(
            "--resume", action="store_true", help="go on with a run that was interrupted, from its last epoch"
        )
        parser.set_defaults(command=_run, experiment=experiment)


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="train a grid of methods and seeds; print the papers' table",
        description="Train every method with every seed, write one record per run, and print one table.",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        default=COMPARED_METHODS,
        help="regularizers, each optionally with +steer (random end times), +remembered (the first step's length, with "
        "weights to match) or such as +4-steps (equal steps), then optionally with @ and a gradient, such as "
        f"local-unbiased@interpolating; torchdiffeq (default: {' '.join(COMPARED_METHODS)})",
    )
    _add_comparison(parser, but=("regularizer", "steer", "first_step", "steps", "seed"))
    parser.set_defaults(command=_compare)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="train a plain, a remembering and a regularized model side by side; print a table, draw a figure",
        description=f"Train {', '.join(DEMO_METHODS)} side by side, print one table and draw one figure.",
    )
    _add_comparison(parser, but=("regularizer", "first_step", "steps", "seed"), base=DEMO)
    parser.set_defaults(command=_demo)


def _add_comparison(
    parser: argparse.ArgumentParser, *, but: Sequence[str], base: DigitsODEConfig = digits_ode.QUICK
) -> None:
    """What every command that trains several runs can be told, all but some of the settings, with those of a base."""
    parser.add_argument(
        "--output-dir", type=Path, metavar="FOLDER", help="results (default: the first free runs/<command>-N)"
    )
    add_settings(parser, base, but=but)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument(
        "--workers", type=int, default=min(2, os.cpu_count() or 1), help="runs trained at a time (default: %(default)s)"
    )
    earlier = parser.add_mutually_exclusive_group()
    _add_overwrite(earlier)
    earlier.add_argument("--resume", action="store_true", help="keep the finished runs in the folder, train the others")


def _add_plot(commands: Any) -> None:
    parser = commands.add_parser("plot", help="draw a figure from records")
    parser.add_argument(
        "records", type=Path, nargs="+", metavar="RECORD", help="records written by run, compare or demo"
    )
    parser.add_argument(
        "--kind",
        choices=plotting.KINDS,
        help="what to draw (default: what the records hold most of: a comparison, or trajectories)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FIGURE", help=".png, .svg or .pdf")
    _add_overwrite(parser)
    parser.set_defaults(command=_plot)


def _add_table(commands: Any) -> None:
    parser = commands.add_parser("table", help="print the papers' tables from records, beside the published numbers")
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD", help="records written by run or compare")
    parser.set_defaults(command=_table)


def _add_julia(commands: Any) -> None:
    meaning = "report what the julia engine needs and what is missing; install nothing"
    commands.add_parser("doctor", help=meaning, description=f"{meaning.capitalize()}.").set_defaults(command=_doctor)
    julia = commands.add_parser("julia", help="set up the julia engine")
    actions = julia.add_subparsers(metavar="ACTION", required=True, parser_class=OneSentenceParser)
    meaning = "install Julia and its packages, and compile them ahead of the first use"
    actions.add_parser("install", help=meaning, description=f"{meaning.capitalize()}.").set_defaults(command=_install)


def _add_overwrite(parser: Any) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace files of an earlier run")


def add_settings(
    parser: argparse.ArgumentParser, config: Config, *, but: Sequence[str] = (), default: Any = None
) -> None:
    """Turn every field of a configuration into an option, `but` some that the command decides itself.

    An option that is not given has the field's value, or `default` if there is one.
    """
    hints = get_type_hints(type(config))
    for setting in fields(config):
        if setting.name not in but:
            add_setting(parser, setting, hints[setting.name], getattr(config, setting.name), default)


def add_setting(
    parser: argparse.ArgumentParser, setting: Field, annotation: Any, value: Any, default: Any = None
) -> None:
    """Turn one field of a configuration into one option: its name, choices, value if it is not given, and meaning."""
    option = f"--{setting.name.replace('_', '-')}"
    meaning = f"{setting.metadata['meaning']} (default: {_shown(value)})"
    default = value if default is None else default
    if annotation is bool:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default, help=meaning)
    elif isinstance(value, tuple):
        parser.add_argument(option, type=float, nargs=2, metavar=("START", "STOP"), default=default, help=meaning)
    elif get_args(annotation):
        # The configuration refuses other choices, and can say why.
        choices = f"{{{','.join(get_args(annotation))}}}"
        parser.add_argument(option, metavar=choices, default=default, help=meaning)
    else:
        metavar = {int: "N", float: "X", str: "NAME"}[annotation]
        parser.add_argument(option, type=annotation, metavar=metavar, default=default, help=meaning)


def _shown(default: Any) -> str:
    return " ".join(f"{value:g}" for value in default) if isinstance(default, tuple) else str(default)


def _run(chosen: argparse.Namespace) -> None:
    experiment: Experiment = chosen.experiment
    module = experiment.module
    config = preset_with(module.PRESETS[chosen.preset], chosen)
    path = chosen.output or naming.default_output(module.EXPERIMENT, config)
    unfinished = checkpoint_path(path)
    if chosen.resume and path.exists():
        record = results.read(path)
        if dict(record.config) != json_values(config):
            raise ValueError(f"{path} was made with other settings; resume with those, or name another --output")
        print(f"finished already, {experiment.summary(record)}: {path}")
        unfinished.unlink(missing_ok=True)
        return
    results.check_destination(path, overwrite=chosen.overwrite)
    if chosen.overwrite:
        unfinished.unlink(missing_ok=True)
    checkpoint = Checkpoint(unfinished, json_values(config), resume=chosen.resume)
    try:
        record = module.run(config, checkpoint=checkpoint)
    except KeyboardInterrupt:
        kept = f"the epochs so far are in {unfinished}, from where --resume goes on" if unfinished.exists() else ""
        raise KeyboardInterrupt(f"interrupted; {kept or 'no record was written'}") from None
    results.write(record, path, overwrite=chosen.overwrite)
    checkpoint.remove()
    print(f"{experiment.summary(record)}: {path}")


def preset_with(preset: AnyConfig, chosen: argparse.Namespace) -> AnyConfig:
    """A preset, with the options that were given in place of its own values."""
    names = {setting.name for setting in fields(preset)}
    given = {name: value for name, value in vars(chosen).items() if name in names}
    return type(preset).from_json(json_values(preset) | given)


def _compare(chosen: argparse.Namespace) -> None:
    folder = _folder_of(chosen, "compare")
    compared = _comparison(chosen, chosen.methods, folder, digits_ode.QUICK)
    print(f"{compared.table}\nrecords and table: {folder}")
    compared.raise_failures()


def _demo(chosen: argparse.Namespace) -> None:
    folder = _folder_of(chosen, "demo")
    figure_path, overwrite = folder / DEMO_FIGURE, chosen.overwrite or chosen.resume
    plotting.check_figure_path(figure_path, overwrite=overwrite)
    compared = _comparison(chosen, DEMO_METHODS, folder, DEMO)
    plotting.save(plotting.plot_comparison(compared.records), figure_path, overwrite=overwrite)
    print(f"{compared.table}\nfigure: {figure_path}")
    compared.raise_failures()


def _folder_of(chosen: argparse.Namespace, command: str) -> Path:
    if chosen.resume and chosen.output_dir is None:
        raise ValueError("--resume has no folder to go on in; name that of the earlier comparison with --output-dir")
    return chosen.output_dir or first_free_folder(Path("runs"), command)


def _comparison(
    chosen: argparse.Namespace, methods: Sequence[str], folder: Path, base: DigitsODEConfig
) -> comparison.Comparison:
    return comparison.compare(
        preset_with(base, chosen),
        methods,
        chosen.seeds,
        folder,
        workers=chosen.workers,
        overwrite=chosen.overwrite,
        resume=chosen.resume,
    )


def _plot(chosen: argparse.Namespace) -> None:
    plotting.check_figure_path(chosen.output, overwrite=chosen.overwrite)
    records = [results.read(path) for path in chosen.records]
    figure = plotting.plot(records, chosen.kind, published=published_points(records[0].experiment))
    plotting.save(figure, chosen.output, overwrite=chosen.overwrite)
    print(f"figure: {chosen.output}")


def _table(chosen: argparse.Namespace) -> None:
    print(papers_table([results.read(path) for path in chosen.records]))


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
