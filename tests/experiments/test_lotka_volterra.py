"""The Lotka-Volterra equations: their settings, their gradients, and their fit."""

from dataclasses import replace

import pytest
import torch

from pyndereg.experiments import lotka_volterra, trajectory
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.lotka_volterra import (
    PARAMETERS,
    PRESETS,
    LotkaVolterra,
    build,
    penalty_terms,
    train_lotka_volterra,
)
from pyndereg.experiments.lotka_volterra_config import LotkaVolterraConfig
from pyndereg.experiments.naming import method_name
from pyndereg.experiments.settings import json_values
from pyndereg.ivp import ForwardSensitivity, GaussAdjoint

SHORT = LotkaVolterraConfig(iterations=3)
COLUMNS = {"t"} | {f"{of} {place}" for of in ("data", "before", "after") for place in (1, 2)}


class Killed(Exception):
    """A run that ends in the middle."""


@pytest.fixture(autouse=True)
def one_prediction(monkeypatch):
    monkeypatch.setattr(trajectory, "PREDICTION_REPEATS", 1)


def curves_but_times(record):
    return {name: values for name, values in record.curves.items() if name != "training_seconds"}


def first_gradient(config):
    fit = build(config)
    fit.model.train()
    states, _ = fit.model(fit.start)
    fit.distance(states).backward()
    (rates,) = fit.model.parameters()
    return rates.grad


def test_the_equations_are_the_published_ones():
    rates = LotkaVolterra(torch.tensor([2.0, 3.0, 5.0, 7.0], dtype=torch.float64))
    dy = rates(torch.zeros(()), torch.tensor([0.5, 2.0], dtype=torch.float64))
    assert dy.tolist() == pytest.approx([2.0 * 0.5 - 3.0 * 0.5 * 2.0, -5.0 * 2.0 + 7.0 * 0.5 * 2.0], rel=1e-15)


@pytest.mark.parametrize("name", ["quick", "paper-c"])
def test_the_settings_of_both_presets_are_the_published_ones(name):
    config = PRESETS[name]
    published = {
        "method": "tsit5",
        "rtol": 1e-3,
        "atol": 1e-6,
        "learning_rate": 0.1,
        "iterations": 100,
        "regularizer": "none",
        "precision": "float64",
    }
    assert {field: getattr(config, field) for field in published} == published
    fit = build(config)
    assert isinstance(fit.optimizer, torch.optim.Adam)
    (rates,) = fit.model.parameters()
    assert rates.tolist() == [2.2, 1.0, 2.0, 0.4]
    assert fit.start.tolist() == [1.0, 1.0]
    assert (fit.model.t0, fit.model.t1) == (0.0, 10.0)
    assert fit.model.saveat.times == pytest.approx([0.1 * place for place in range(101)], abs=1e-12)


def test_the_loss_sums_the_squared_distance_of_the_prey_from_one():
    states = torch.tensor([[1.0, 9.0], [3.0, 9.0], [0.0, 9.0]], dtype=torch.float64)
    assert build(SHORT).distance(states).item() == 5.0


@pytest.mark.parametrize(
    "gradient",
    ["discrete", "forward", "interpolating", "interpolating-checkpointing", "backsolve", "quadrature", "gauss"],
)
def test_every_gradient_agrees_with_that_of_the_graph(gradient):
    tight = replace(SHORT, rtol=1e-7, atol=1e-7)
    expected = first_gradient(replace(tight, gradient="backprop"))
    # Errors of both solves grow some thousandfold along three orbits: at a tolerance of 1e-9 they agree to 1e-5.
    tolerance = 1e-10 if gradient in ("discrete", "forward") else 1e-3
    torch.testing.assert_close(first_gradient(replace(tight, gradient=gradient)), expected, rtol=tolerance, atol=0.0)


@pytest.mark.parametrize(("name", "gradient"), [("forward", ForwardSensitivity()), ("gauss", GaussAdjoint())])
def test_a_gradient_reaches_the_model_and_the_name_of_the_run(name, gradient):
    config = replace(SHORT, gradient=name)
    assert build(config).model.options["gradient"] == gradient
    assert method_name(config) == f"none@{name}"
    assert method_name(SHORT) == "none"


@pytest.mark.parametrize("gradient", ["forward", "gauss"])
def test_a_regularizer_made_of_the_steps_is_refused_with_a_gradient_that_has_none(gradient):
    with pytest.raises(ValueError, match=f"which the gradient '{gradient}' cannot see"):
        LotkaVolterraConfig(regularizer="error", gradient=gradient)


def test_a_fit_comes_closer_to_the_target():
    _, record = train_lotka_volterra(replace(SHORT, iterations=20))
    assert record.metrics["loss"] < 0.01 * record.curves["loss"][0]


@pytest.mark.slow
def test_the_published_training_drives_the_populations_to_one():
    _, record = train_lotka_volterra(PRESETS["quick"])
    assert record.curves["loss"][0] > 1000.0
    assert record.metrics["loss"] < 0.5
    metrics, after = record.metrics, record.trajectories
    # They rest at (delta / gamma, alpha / beta).
    assert metrics["delta"] / metrics["gamma"] == pytest.approx(1.0, abs=0.1)
    assert metrics["alpha"] / metrics["beta"] == pytest.approx(1.0, abs=0.1)
    for place in (1, 2):
        assert after[f"after {place}"] == pytest.approx(after[f"data {place}"], abs=0.2)


@pytest.mark.parametrize("regularizer", ["none", "error", "stiffness"])
def test_a_record_holds_the_run_under_each_regularizer(regularizer):
    config = replace(SHORT, regularizer=regularizer, seed=2)
    record = lotka_volterra.run(config)
    assert LotkaVolterraConfig.from_json(record.config) == config
    assert (record.experiment, record.seed, record.epochs) == ("lotka-volterra", 2, 3)
    assert set(record.metrics) == {"loss", "nfe", "training_seconds", "prediction_seconds", *PARAMETERS}
    assert (min(record.curves["penalty"]) > 0.0) == (regularizer != "none")
    assert set(record.trajectories) == COLUMNS
    assert len(record.trajectories["t"]) == 101
    assert record.trajectories["before 1"][0] == record.trajectories["after 2"][0] == 1.0


def test_a_penalty_has_the_weight_of_its_name():
    (term,) = penalty_terms(replace(SHORT, regularizer="stiffness", stiffness_weight=(4.0, 1.0)))
    assert (term.name, term.weight(0.0), term.weight(1.0)) == ("stiffness", 4.0, pytest.approx(1.0))
    assert penalty_terms(SHORT) == ()


def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(tmp_path):
    config = replace(SHORT, iterations=5, regularizer="error")
    _, whole = train_lotka_volterra(config)
    reports = []

    def die(report):
        reports.append(report)
        if len(reports) == 2:
            raise Killed

    with pytest.raises(Killed):
        train_lotka_volterra(config, checkpoint=Checkpoint(tmp_path / "state", json_values(config)), report=die)
    unfinished = Checkpoint(tmp_path / "state", json_values(config), resume=True)
    _, resumed = train_lotka_volterra(config, checkpoint=unfinished)
    assert curves_but_times(resumed) == curves_but_times(whole)
    assert [resumed.metrics[name] for name in PARAMETERS] == [whole.metrics[name] for name in PARAMETERS]
    assert resumed.steps_after == whole.steps_after


@pytest.mark.julia
def test_the_julia_engine_takes_the_same_first_step_of_training():
    _, embedded = train_lotka_volterra(replace(SHORT, iterations=2))
    _, julia = train_lotka_volterra(replace(SHORT, iterations=2, engine="julia"))
    assert julia.curves["loss"] == pytest.approx(embedded.curves["loss"], rel=1e-6)
