"""A run that is killed goes on from its last epoch, and ends as if nothing had happened."""

import os
import random
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from pyndereg import cli, results
from pyndereg.experiments import classification, digits_ode
from pyndereg.experiments.checkpoint import Checkpoint, checkpoint_path
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.loop import run_epochs
from pyndereg.experiments.settings import json_values

CONFIG = {"epochs": 3}


class Interrupted(Exception):
    pass


def parts_of(model):
    return {"model": model, "optimizer": torch.optim.Adam(model.parameters(), lr=0.1)}


def trained(path, *, until=4, resume=False, epochs=4):
    """Curves and weights of a small training that draws random numbers, stopped before epoch `until`."""
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    parts = parts_of(model)

    def epoch(number):
        if number == until:
            raise Interrupted
        loss = model(torch.randn(8, 2)).square().mean()
        parts["optimizer"].zero_grad()
        loss.backward()
        parts["optimizer"].step()
        return {"loss": loss.item(), "training_seconds": 1.0}

    checkpoint = Checkpoint(path, CONFIG, resume=resume)
    curves = run_epochs(epochs, epoch, parts=parts, checkpoint=checkpoint)
    return curves, model.state_dict()


def test_a_run_that_goes_on_ends_with_the_numbers_of_one_that_was_never_interrupted(tmp_path):
    whole_curves, whole = trained(tmp_path / "whole")
    for until in (0, 1, 3):
        path = tmp_path / f"broken{until}"
        with pytest.raises(Interrupted):
            trained(path, until=until)
        torch.manual_seed(99)
        curves, weights = trained(path, resume=True)
        assert curves == whole_curves
        assert all(torch.equal(weights[name], whole[name]) for name in whole)


def test_restored_epochs_are_reported_too(tmp_path):
    with pytest.raises(Interrupted):
        trained(tmp_path / "state", until=2)
    told = []
    model = nn.Linear(2, 1)
    checkpoint = Checkpoint(tmp_path / "state", CONFIG, resume=True)
    row = {"loss": 0.0, "training_seconds": 2.0}
    curves = run_epochs(3, lambda _: dict(row), parts=parts_of(model), checkpoint=checkpoint, report=told.append)
    assert [one["loss"] for one in told] == list(curves["loss"])
    assert curves["training_seconds"] == (1.0, 2.0, 4.0)


def test_an_unfinished_run_is_not_overwritten_unasked(tmp_path):
    with pytest.raises(Interrupted):
        trained(tmp_path / "state", until=1)
    with pytest.raises(FileExistsError, match=r"holds an unfinished run; go on with --resume, or begin again with"):
        Checkpoint(tmp_path / "state", CONFIG)


def test_settings_of_another_run_are_refused_by_name(tmp_path):
    with pytest.raises(Interrupted):
        trained(tmp_path / "state", until=1)
    with pytest.raises(ValueError, match=r"is of a run with epochs 3, not 5; resume with the settings of that run"):
        Checkpoint(tmp_path / "state", {"epochs": 5}, resume=True)


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(ValueError, match=r"state is no checkpoint, or damaged; begin again with --overwrite"):
        Checkpoint(tmp_path / "state", CONFIG, resume=True)


def test_a_file_of_torch_that_is_no_checkpoint_is_named(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "state")
    with pytest.raises(ValueError, match=r"state is no checkpoint of a run"):
        Checkpoint(tmp_path / "state", CONFIG, resume=True)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(classification, "PREDICTION_REPEATS", 1)
    return DigitsODEConfig(
        epochs=2, rtol=1e-3, atol=1e-3, hidden=8, regularizer="local-unbiased", steer=True, first_step="remembered"
    )


def options(config):
    named = {"epochs": 2, "rtol": 1e-3, "atol": 1e-3, "hidden": 8, "regularizer": config.regularizer}
    return [word for name, value in named.items() for word in (f"--{name}", str(value))] + [
        "--steer",
        "--first-step",
        config.first_step,
    ]


def test_an_interrupted_command_says_where_it_can_go_on_and_does_so(quick, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run.json"
    command = ["run", "digits-ode", *options(quick), "--output", str(path)]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda *arguments: (save(*arguments), interrupted()))
    assert cli.main(command) == cli.EXIT_INTERRUPTED
    assert f"interrupted; the epochs so far are in {checkpoint_path(path)}, from where --resume goes on" in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(Checkpoint, "save", save)
    assert cli.main([*command, "--resume"]) == 0
    record = results.read(path)
    assert not checkpoint_path(path).exists()
    _, whole = digits_ode.train_classifier(quick)
    assert same_numbers(record, whole)

    capsys.readouterr()
    assert cli.main([*command, "--resume"]) == 0
    assert capsys.readouterr().out.startswith("finished already, test accuracy")
    assert cli.main([*command, "--resume", "--seed", "3"]) == cli.EXIT_ERROR
    assert "was made with other settings" in capsys.readouterr().err


def same_numbers(one, other):
    """Whether two records agree in everything but times."""

    def without_seconds(values):
        return {name: value for name, value in values.items() if not name.endswith("seconds")}

    return all(
        without_seconds(getattr(one, part)) == without_seconds(getattr(other, part)) for part in ("curves", "metrics")
    ) and all(getattr(one, part) == getattr(other, part) for part in ("config", "steps_before", "steps_after"))


@pytest.mark.slow
def test_a_run_that_is_killed_at_ten_random_moments_ends_bit_identical(tmp_path):
    config = DigitsODEConfig(epochs=12, regularizer="both", steer=True, first_step="remembered", seed=3)
    path = tmp_path / "run.json"
    command = [sys.executable, "-m", "pyndereg.cli", "run", "digits-ode", "--epochs", "12", "--regularizer", "both"]
    command += ["--steer", "--first-step", "remembered", "--seed", "3", "--output", str(path), "--resume"]
    started = time.perf_counter()
    subprocess.run([*command[:3], "--version"], check=True, capture_output=True)
    start_up = time.perf_counter() - started
    _, whole = digits_ode.train_classifier(config)
    length = time.perf_counter() - started - start_up
    moments = random.Random(0)
    kept = []
    for _ in range(10):
        process = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(start_up + moments.uniform(0.0, 0.3) * length)
        process.kill()
        process.wait()
        unfinished = checkpoint_path(path)
        if unfinished.exists():
            state = torch.load(unfinished, weights_only=True)
            assert state["config"] == json_values(config)
            kept.append(len(state["rows"]))
    assert kept == sorted(kept)
    assert kept
    finished = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True)
    assert "test accuracy" in finished.stdout
    assert same_numbers(results.read(path), whole)
    assert not list(tmp_path.glob(".*"))
