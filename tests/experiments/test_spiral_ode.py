"""The neural ODE on the spiral: its data, its model, its settings, and short fits."""

import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyndereg.experiments import spiral_ode, trajectory
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.settings import json_values
from pyndereg.experiments.spiral_ode import PRESETS, TIMES, build, spiral, train_spiral
from pyndereg.experiments.spiral_ode_config import SpiralODEConfig
from pyndereg.experiments.train import TrainingDiverged
from pyndereg.ivp import Backprop, SolveWarning

SHORT = SpiralODEConfig(iterations=3, hidden=8, rtol=1e-4, atol=1e-4)
REGULARIZERS = ("none", "error", "stiffness", "both", "local-unbiased", "local-biased", "taylor", "rnode")


class Killed(Exception):
    """A run that ends in the middle."""


@pytest.fixture(autouse=True)
def one_prediction(monkeypatch):
    monkeypatch.setattr(trajectory, "PREDICTION_REPEATS", 1)


def curves_but_times(record):
    return {name: values for name, values in record.curves.items() if name != "training_seconds"}


def test_the_data_solve_the_published_equation():
    def field(u):
        return np.array([-0.1 * u[0] ** 3 - 2.0 * u[1] ** 3, 2.0 * u[0] ** 3 - 0.1 * u[1] ** 3])

    # The classical method in small steps, written out.
    u, substeps = np.array([2.0, 0.0]), 50
    dt = 1.5 / (29 * substeps)
    data = spiral(TIMES)
    assert data.shape == (30, 2)
    for expected in data[1:].tolist():
        for _ in range(substeps):
            k1 = field(u)
            k2 = field(u + dt / 2 * k1)
            k3 = field(u + dt / 2 * k2)
            k4 = field(u + dt * k3)
            u = u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        assert u == pytest.approx(expected, abs=1e-6)


def test_the_vector_field_sees_the_cubes():
    field = build(SHORT).model.field
    first, second = field.net[1], field.net[3]
    u, t = torch.rand(5, 2, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    expected = torch.tanh(u**3 @ first.weight.T + first.bias) @ second.weight.T + second.bias
    assert (first.weight.shape, second.weight.shape) == ((8, 2), (2, 8))
    torch.testing.assert_close(field(t, u), expected, rtol=1e-12, atol=1e-14)


def test_the_loss_is_the_sum_of_squared_differences_from_the_data():
    fit = build(SHORT)
    assert fit.distance(spiral(TIMES)).item() == 0.0
    assert fit.distance(spiral(TIMES) + 0.5).item() == pytest.approx(30 * 2 * 0.25, rel=1e-12)


def test_the_settings_of_the_diffeqflux_paper_are_its_own():
    config = PRESETS["paper-c"]
    published = {
        "method": "tsit5",
        "rtol": 1e-7,
        "atol": 1e-9,
        "optimizer": "adam",
        "learning_rate": 0.1,
        "learning_rate_schedule": "constant",
        "iterations": 1000,
        "hidden": 50,
        "regularizer": "none",
        "steer": False,
        "precision": "float32",
    }
    assert {name: getattr(config, name) for name in published} == published
    assert (len(TIMES), TIMES[0], TIMES[-1]) == (30, 0.0, 1.5)
    assert spiral_ode.START == (2.0, 0.0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_that_can_be_solved(name):
    fit = build(PRESETS[name])
    # The published tolerance lies below what float32 resolves.
    told = pytest.warns(SolveWarning, match="float32 resolves about") if name == "paper-c" else contextlib.nullcontext()
    with told:
        states, _ = trajectory.solve_in_evaluation(fit.model, fit.start)
    assert states.shape == (30, 2)
    assert PRESETS["quick"] == SpiralODEConfig()


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_a_record_holds_the_run_under_each_regularizer(regularizer):
    config = replace(SHORT, regularizer=regularizer, seed=3)
    record = spiral_ode.run(config)
    assert SpiralODEConfig.from_json(record.config) == config
    assert (record.experiment, record.seed, record.epochs) == ("spiral-ode", 3, 3)
    assert set(record.metrics) == {"loss", "nfe", "training_seconds", "prediction_seconds"}
    assert all(value > 0.0 for value in record.metrics.values())
    assert (min(record.curves["penalty"]) > 0.0) == (regularizer != "none")
    assert set(record.trajectories) == {"t"} | {
        f"{of} {place}" for of in ("data", "before", "after") for place in (1, 2)
    }


def test_the_portrait_holds_the_data_at_its_own_times_and_nothing_between():
    _, record = train_spiral(SHORT)
    columns = record.trajectories
    assert len(columns["t"]) == 4 * 29 + 1
    assert columns["t"][::4] == pytest.approx(TIMES, abs=1e-15)
    assert [columns["data 1"][::4], columns["data 2"][::4]] == [tuple(column) for column in spiral(TIMES).T.tolist()]
    assert all(math.isnan(value) == (place % 4 != 0) for place, value in enumerate(columns["data 1"]))
    assert (columns["before 1"][0], columns["after 2"][0]) == (2.0, 0.0)
    assert columns["before 1"] != columns["after 1"]


def test_the_steps_of_the_record_are_those_whose_evaluations_are_counted():
    _, record = train_spiral(SHORT)
    # Six evaluations per step that was tried, two for the first step's length.
    assert record.metrics["nfe"] >= 6 * len(record.steps_after.t) + 2
    assert record.steps_after.t[0] == 0.0
    assert record.steps_after.t[-1] + record.steps_after.dt[-1] == pytest.approx(1.5, abs=1e-12)


@pytest.mark.parametrize("regularizer", ["both", "local-unbiased"])
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(tmp_path, regularizer):
    config = replace(SHORT, iterations=5, regularizer=regularizer, steer=True, learning_rate_schedule="cosine")
    _, whole = train_spiral(config)

    reports = []

    def die(report):
        reports.append(report)
        if len(reports) == 2:
            raise Killed

    with pytest.raises(Killed):
        train_spiral(config, checkpoint=Checkpoint(tmp_path / "state", json_values(config)), report=die)
    _, resumed = train_spiral(config, checkpoint=Checkpoint(tmp_path / "state", json_values(config), resume=True))
    assert curves_but_times(resumed) == curves_but_times(whole)
    assert (resumed.steps_before, resumed.steps_after) == (whole.steps_before, whole.steps_after)
    assert resumed.trajectories["after 1"] == whole.trajectories["after 1"]
    assert resumed.metrics["loss"] == whole.metrics["loss"]


def test_equal_seeds_give_equal_curves_and_another_seed_other_ones():
    _, one = train_spiral(SHORT)
    torch.manual_seed(5)
    _, same = train_spiral(SHORT)
    _, other = train_spiral(replace(SHORT, seed=1))
    assert curves_but_times(one) == curves_but_times(same)
    assert curves_but_times(one) != curves_but_times(other)


def test_the_weight_of_a_penalty_changes_from_iteration_to_iteration():
    _, record = train_spiral(replace(SHORT, iterations=4, regularizer="error", error_weight=(16.0, 1.0)))
    assert record.curves["error_weight"] == pytest.approx((16.0, 8.0, 4.0, 2.0), rel=1e-12)


@pytest.mark.parametrize(("name", "value"), [("epochs", 2), ("batch_size", 7), ("weights_change", "epoch")])
def test_settings_of_passes_and_batches_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}, but every iteration sees the whole"):
        SpiralODEConfig(**{name: value})


def test_an_unchosen_gradient_keeps_the_graph():
    assert build(SHORT).model.options["gradient"] == Backprop()


def test_a_fit_whose_loss_is_no_number_stops():
    fit = replace(build(SHORT), distance=lambda states: states.sum() * math.nan)
    with pytest.raises(TrainingDiverged, match="training diverged in iteration 1"):
        trajectory.train(fit, 3)


def test_iterations_are_reported_with_loss_and_cost():
    reports = []
    train_spiral(SHORT, report=reports.append)
    assert [report.title for report in reports] == ["none, seed 0"] * 3
    assert reports[-1].standing == f"loss {reports[-1].loss:.4g}, NFE {reports[-1].nfe}"


def test_a_fit_comes_closer_to_the_data():
    _, record = train_spiral(replace(SHORT, iterations=30, hidden=20, learning_rate=0.05))
    assert record.metrics["loss"] < 0.5 * record.curves["loss"][0]


def test_the_summary_of_a_record_is_one_line():
    record = spiral_ode.run(SHORT)
    metrics = record.metrics
    assert trajectory.summary(record).startswith(f"loss {metrics['loss']:.4g}, NFE {metrics['nfe']:.0f}, training ")
    assert "\n" not in trajectory.summary(record)
