"""The command line: what a person types, and what they see."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields

import pytest

from pyndereg import cli, results
from pyndereg.experiments.image_config import DigitsODEConfig

QUICK = ["--epochs", "1", "--rtol", "1e-3", "--atol", "1e-3", "--hidden", "16"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def few_timed_predictions(monkeypatch):
    monkeypatch.setattr(cli.classification, "PREDICTION_REPEATS", 2)
    monkeypatch.setattr(cli.spiral_sde, "PREDICTION_REPEATS", 2)


@pytest.fixture(scope="module")
def two_records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    paths = [str(folder / f"{name}.json") for name in ("none", "error")]
    for name, path in zip(("none", "error"), paths, strict=True):
        assert cli.main(["run", "digits-ode", "--regularizer", name, *QUICK, "--output", path]) == 0
    return paths


def error_of(arguments, capsys):
    """The one line that a failing command leaves on standard error, and nothing on standard output."""
    try:
        code = cli.main(arguments)
    except SystemExit as left:
        code = left.code
    shown = capsys.readouterr()
    assert code == 2
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line


def run_without(module, *arguments):
    """The command in a process of its own in which a module is not installed."""
    program = f"import sys; sys.modules[{module!r}] = None; from pyndereg.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.strip() == f"pyndereg {results.installed_versions()['pyndereg']}"


def test_a_run_writes_its_record_where_it_says_and_reports_the_final_metrics(capsys, folder):
    assert cli.main(["run", "digits-ode", "--regularizer", "error", "--seed", "3", *QUICK]) == 0
    record = results.read(folder / "runs" / "digits-ode-error-seed3.json")
    shown = capsys.readouterr().out
    assert f"test accuracy {record.metrics['test_accuracy']:.2f} %, NFE {record.metrics['nfe']:.0f}" in shown
    assert "runs/digits-ode-error-seed3.json" in shown


def test_the_spiral_is_run_recorded_and_drawn(capsys, folder):
    quick = ["--iterations", "2", "--trajectories", "4", "--data-trajectories", "20", "--hidden", "4"]
    assert cli.main(["run", "spiral-sde", "--regularizer", "error", "--seed", "5", *quick]) == 0
    record = results.read(folder / "runs" / "spiral-sde-error-seed5.json")
    shown = capsys.readouterr().out
    assert f"loss {record.metrics['loss']:.4f}, NFE {record.metrics['nfe']:.1f}" in shown
    assert cli.main(["plot", "runs/spiral-sde-error-seed5.json", "--output", "bands.svg"]) == 0
    text = (folder / "bands.svg").read_text()
    assert all(word in text for word in ("error, seed 5", "model after training", "data", "time t"))


def test_the_stochastic_digits_are_run_recorded_and_drawn(capsys, folder):
    quick = ["--epochs", "1", "--state", "4", "--hidden", "4", "--trajectories", "2"]
    assert cli.main(["run", "digits-sde", *quick, "--error-weight", "3", "2"]) == 0
    record = results.read(folder / "runs" / "digits-sde-none-seed0.json")
    assert record.config["error_weight"] == [3.0, 2.0]
    assert f"test accuracy {record.metrics['test_accuracy']:.2f} %" in capsys.readouterr().out
    assert cli.main(["plot", "runs/digits-sde-none-seed0.json", "--output", "digits.svg"]) == 0
    assert "NFE" in (folder / "digits.svg").read_text()


def test_every_field_of_the_configuration_can_be_set(folder):
    chosen = {
        "regularizer": "both",
        "steer": True,
        "steer_halfwidth": 0.25,
        "seed": 5,
        "epochs": 1,
        "batch_size": 700,
        "hidden": 8,
        "method": "dp5",
        "rtol": 1e-3,
        "atol": 2e-3,
        "first_step": "remembered",
        "steps": 0,
        "precision": "float32",
        "engine": "embedded",
        "field": "auto",
        "gradient": "discrete",
        "optimizer": "adam",
        "learning_rate": 0.01,
        "learning_rate_schedule": "cosine",
        "learning_rate_decay": 1e-4,
        "learning_rate_end": 1e-3,
        "weights_change": "update",
        "last_activation": "linear",
        "drop_last": True,
        "updates": 1,
        "both_weight": (5.0, 4.0),
        "error_weight": (4.0, 2.0),
        "stiffness_weight": (0.4, 0.2),
        "local_weight": (0.5, 0.3),
        "local_gradient": "solution",
        "taylor_order": 2,
        "taylor_weight": (0.02, 0.01),
        "kinetic_weight": (0.2, 0.1),
        "jacobian_weight": (0.3, 0.2),
        "aggregates": "paper",
        "test_fraction": 0.3,
        "split_seed": 9,
        "threads": 2,
        "device": "cpu",
    }
    defaults = DigitsODEConfig()
    # Another device and the other engine are not on every machine; equal steps do not begin with a remembered one.
    only_one = ("device", "engine", "field", "steps")
    assert set(chosen) == {setting.name for setting in fields(DigitsODEConfig)}
    assert all(value != getattr(defaults, name) for name, value in chosen.items() if name not in only_one)
    arguments = ["run", "digits-ode", "--output", "all.json"]
    for name, value in chosen.items():
        values = [] if value is True else value if isinstance(value, tuple) else [value]
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    assert cli.main(arguments) == 0
    record = results.read(folder / "all.json")
    assert DigitsODEConfig.from_json(record.config) == DigitsODEConfig(**chosen)


def test_a_record_is_kept_unless_overwriting_is_asked_for_and_nothing_is_trained_in_vain(capsys, folder, monkeypatch):
    (folder / "a.json").write_text("precious")
    arguments = ["run", "digits-ode", *QUICK, "--output", "a.json"]
    with monkeypatch.context() as patched:
        patched.setattr(cli.digits_ode, "run", lambda *_, **__: pytest.fail("training began"))
        assert error_of(arguments, capsys) == (
            "pyndereg: a.json exists already; name another file, or ask for it to be overwritten (--overwrite)"
        )
    assert (folder / "a.json").read_text() == "precious"
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert results.read(folder / "a.json").seed == 0


def test_a_figure_is_drawn_from_records(capsys, folder, two_records):
    assert cli.main(["plot", *two_records, "--output", "figures/f.svg"]) == 0
    assert "figures/f.svg" in capsys.readouterr().out
    text = (folder / "figures" / "f.svg").read_text()
    assert all(word in text for word in ("<svg", "none", "error", "step length dt"))


def test_the_demo_prints_one_table_and_leaves_records_and_a_figure(capsys, folder):
    assert cli.main(["demo", *QUICK, "--seeds", "0"]) == 0
    shown = capsys.readouterr()
    rows = [line.split()[0] for line in shown.out.splitlines() if line.strip()]
    assert rows[0] == "method"
    methods = ["none", "none+remembered", "error+remembered", "none+1-step", "torchdiffeq"]
    assert [row for row in rows if row in methods] == methods
    assert sorted(path.name for path in (folder / "runs" / "demo-1").iterdir()) == [
        "comparison.txt",
        "digits-ode-error-remembered-seed0.json",
        "digits-ode-error-remembered-seed0.npz",
        "digits-ode-none-1-step-seed0.json",
        "digits-ode-none-1-step-seed0.npz",
        "digits-ode-none-remembered-seed0.json",
        "digits-ode-none-remembered-seed0.npz",
        "digits-ode-none-seed0.json",
        "digits-ode-none-seed0.npz",
        "digits-ode-torchdiffeq-seed0.json",
        "digits-ode-torchdiffeq-seed0.npz",
        "digits-ode.png",
    ]
    assert "runs/demo-1/digits-ode.png" in shown.out
    assert all(f"trained {name}, seed 0" in shown.err for name in methods)


def test_a_comparison_prints_the_table_that_it_leaves_with_a_record_per_run_and_goes_on_from_there(capsys, folder):
    quick = [*QUICK, "--hidden", "4", "--seeds", "0", "--output-dir", "c"]
    assert cli.main(["compare", "--methods", "none", "local-unbiased+steer@discrete", *quick]) == 0
    shown = capsys.readouterr()
    table = (folder / "c" / "comparison.txt").read_text()
    assert shown.out == f"{table}records and table: c\n"
    header, _, none, local, *_ = table.splitlines()
    assert header.startswith("method ")
    assert (none.split()[0], local.split()[0]) == ("none", "local-unbiased+steer@discrete")
    names = ["digits-ode-local-unbiased-steer-discrete-seed0", "digits-ode-none-seed0"]
    assert sorted(path.stem for path in (folder / "c").glob("*.json")) == names

    assert cli.main(["compare", "--methods", "none", "error", *quick, "--resume"]) == 0
    shown = capsys.readouterr()
    assert "trained error, seed 0" in shown.err
    assert "trained none" not in shown.err
    assert [line.split()[0] for line in shown.out.splitlines()[2:4]] == ["none", "error"]


def test_a_run_that_fails_is_told_in_one_sentence_after_the_table_of_the_others(capsys, folder):
    arguments = ["compare", "--methods", "none", "stiffness", *QUICK, "--seeds", "0", "--output-dir", "c"]
    assert cli.main([*arguments, "--stiffness-weight", "1.7e308", "1.7e308", "--aggregates", "paper"]) == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines()[2].startswith("none ")
    *_, last = shown.err.splitlines()
    assert last.startswith("pyndereg: 1 of 2 runs failed: stiffness, seed 0: ")
    assert [path.name for path in (folder / "c").glob("*.json")] == ["digits-ode-none-seed0.json"]


def test_a_demo_without_a_folder_takes_the_first_that_is_free(folder):
    assert cli.first_free_folder(folder, "demo") == folder / "demo-1"
    (folder / "demo-1").mkdir()
    (folder / "demo-2").mkdir()
    assert cli.first_free_folder(folder, "demo") == folder / "demo-3"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "the following arguments are required: EXPERIMENT"),
        (["run", "digits-ode", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["run", "digits-ode", "--regularizer", "jacobian"], "regularizer is 'jacobian'; choose one of none, error"),
        (["run", "digits-ode", "--gradient", "forward"], "is for up to about a hundred parameters"),
        (["run", "digits-ode", "--regularizer", "error", "--gradient", "gauss"], "the gradient 'gauss' cannot see"),
        (["run", "digits-ode", "--epochs", "0"], "epochs is 0; pass at least 1"),
        (["run", "digits-ode", "--rtol", "-1"], "rtol is -1.0; pass a number above 0"),
        (["run", "digits-ode", "--error-weight", "30"], "argument --error-weight: expected 2 arguments"),
        (["run", "digits-ode", "--method", "magic"], "magic"),
        (["run", "digits-ode", "--device", "abacus"], "device is 'abacus', which cannot be used"),
        (["run", "digits-ode", "--steer", "--steer-halfwidth", "2"], "b is 2.0"),
        (["run", "digits-ode", "--test-fraction", "0.0001"], "test_size"),
        (["demo", "--seeds", "1", "1"], "seeds are [1, 1]; pass at least one, each once"),
        (["demo", "--workers", "0"], "workers is 0; pass at least 1"),
        (["demo", "--epochs", "0"], "epochs is 0; pass at least 1"),
        (["demo", "--resume"], "--resume has no folder to go on in"),
        (["compare", "--methods", "magic"], "regularizer is 'magic'; choose one of none, error"),
        (["compare", "--methods", "none", "none"], "methods are none, none; pass at least one, each once"),
        (["compare", "--gradient", "gauss", "--methods", "none", "error"], "the gradient 'gauss' cannot see"),
        (["compare", "--overwrite", "--resume"], "not allowed with argument"),
        (["run", "spiral-sde", "--trajectories", "1"], "trajectories is 1; pass at least 2"),
        (["run", "spiral-sde", "--regularizer", "taylor"], "regularizer is 'taylor'; choose one of none, error"),
        (["run", "spiral-sde", "--method", "em", "--iterations", "1"], "method 'em' has no error estimate"),
        (["run", "digits-sde", "--device", "abacus"], "device is 'abacus', which cannot be used"),
        (["plot", "none.json", "--output", "f.png"], "none.json does not exist; name a run record"),
        (["plot", "none.json", "--output", "f.jpg"], "suffix '.jpg'; choose one of .png, .svg, .pdf"),
        (["plot", "none.json"], "the following arguments are required: --output"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence_and_exit_code_2(arguments, sentence, capsys):
    assert sentence in error_of(arguments, capsys)


def test_a_foreign_file_is_named(capsys, folder):
    (folder / "notes.json").write_text("[]")
    line = error_of(["plot", "notes.json", "--output", "f.png"], capsys)
    assert line == "pyndereg: notes.json is JSON but not a run record; name one written by `pyndereg run`"


def test_an_interrupted_demo_ends_at_once_with_one_line_and_leaves_no_record_and_no_process(folder):
    arguments = [sys.executable, "-m", "pyndereg.cli", "demo", "--epochs", "100000", "--output-dir", "d"]
    # A group of its own, so that the interrupt reaches the demo and its workers as Ctrl-C on a terminal does.
    # Where the tests themselves run in the background, interrupts are ignored, and children would inherit that.
    demo = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (folder / "d").exists():
        time.sleep(0.05)
    time.sleep(1.0)  # the workers are starting, where an interrupt would make them print what they were importing
    os.killpg(demo.pid, signal.SIGINT)
    try:
        out, err = demo.communicate(timeout=120)  # returns only when no process holds the pipes any more
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
    assert (demo.returncode, out) == (130, "")
    assert err.splitlines() == ["pyndereg: interrupted; no record was written"]
    assert list((folder / "d").iterdir()) == []


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("sklearn", ["run", "digits-ode", "--epochs", "1"], "experiments"),
        ("tqdm", ["run", "digits-ode", "--epochs", "1"], "experiments"),
        ("matplotlib", ["plot", "a.json", "--output", "f.png"], "plots"),
        ("matplotlib", ["demo"], "plots"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(module, arguments, extra):
    ended = run_without(module, *arguments)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("pyndereg: ")
    assert f'pip install "pyndereg[{extra}]"' in line


def test_the_command_is_installed_and_answers_without_any_extra():
    ended = run_without("matplotlib", "--version")
    assert (ended.returncode, ended.stderr) == (0, "")
