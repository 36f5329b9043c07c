"""The stochastic spiral: its data, its model, and a short fit."""

import math
from dataclasses import fields, replace

import pytest
import torch

from pyndereg.experiments import spiral_sde
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.sde_config import SpiralSDEConfig
from pyndereg.experiments.spiral_data import TIMES, Moments, spiral_moments
from pyndereg.experiments.spiral_sde import SpiralModel, data_of, evaluate, start_of, train_spiral
from pyndereg.experiments.train import TrainingDiverged
from pyndereg.ivp import Backprop, DiscreteAdjoint

QUICK = SpiralSDEConfig(iterations=2, trajectories=8, hidden=8, data_trajectories=100)


@pytest.fixture(autouse=True)
def few_solves(monkeypatch):
    monkeypatch.setattr(spiral_sde, "EVALUATION_SOLVES", 2)
    monkeypatch.setattr(spiral_sde, "PREDICTION_REPEATS", 1)


def without_times(record):
    return {name: values for name, values in record.curves.items() if name != "training_seconds"}


def test_the_moments_are_those_of_the_published_data():
    # Means of 10,000 trajectories, whose standard errors are about 0.01 at the end and less before.
    moments = spiral_moments(trajectories=10_000, seed=0)
    published = {
        0: {0: 2.0, 1: 1.9709, 2: 1.9082, 3: 1.7382, 14: -1.6592, 28: 0.4548, 29: 0.5838},
        1: {0: 0.0, 1: 0.5415, 2: 1.0502, 3: 1.4724, 6: 1.868, 28: -1.0905, 29: -0.9851},
    }
    for element, means in published.items():
        for place, value in means.items():
            assert moments.mean[place, element].item() == pytest.approx(value, abs=0.05)
    variances = {0: {1: 0.0051, 2: 0.0086, 3: 0.0075, 28: 0.9923}, 1: {1: 0.0013, 2: 0.0093, 3: 0.0218, 28: 0.5123}}
    for element, values in variances.items():
        for place, value in values.items():
            assert moments.variance[place, element].item() == pytest.approx(value, abs=0.05)


def test_the_distance_of_moments_is_the_mean_square_of_both_differences():
    one = Moments(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.5]]))
    other = Moments(torch.tensor([[0.0, 4.0]]), torch.tensor([[0.5, 1.5]]))
    assert one.distance(other).item() == pytest.approx((1.0 + 4.0) / 2 + (0.0 + 1.0) / 2, rel=1e-7)


def test_the_drift_sees_the_cubes_and_the_diffusion_is_affine():
    model = SpiralModel(QUICK)
    u, t = torch.rand(5, 2, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    first, second = (model.nsde.drift.net[place] for place in (1, 3))
    expected = torch.tanh(u**3 @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(model.nsde.drift(t, u), expected, rtol=1e-12, atol=1e-14)
    linear = model.nsde.diffusion.net
    torch.testing.assert_close(model.nsde.diffusion(t, u), u @ linear.weight.T + linear.bias, rtol=1e-12, atol=1e-14)


def test_the_states_are_those_at_the_times_of_the_data():
    states, solution = SpiralModel(QUICK)(start_of(QUICK))
    assert states.shape == (len(TIMES), QUICK.trajectories, 2)
    assert solution.t.tolist() == pytest.approx(list(TIMES), abs=1e-12)
    assert torch.equal(states[0], start_of(QUICK).expand(QUICK.trajectories, 2))


@pytest.mark.parametrize(
    ("regularizer", "method"),
    [("none", "sosri"), ("error", "sosri"), ("stiffness", "sosri2"), ("local-biased", "sosri")],
)
def test_the_method_is_the_published_one_of_the_regularizer(regularizer, method):
    assert SpiralModel(replace(QUICK, regularizer=regularizer)).nsde.options["method"] == method
    assert SpiralSDEConfig(method="sriw1", regularizer=regularizer).solver == "sriw1"


@pytest.mark.parametrize(
    ("name", "gradient"), [("auto", Backprop()), ("backprop", Backprop()), ("discrete", DiscreteAdjoint())]
)
def test_each_gradient_reaches_the_model(name, gradient):
    assert SpiralModel(replace(QUICK, gradient=name)).nsde.options["gradient"] == gradient


def test_equal_seeds_give_equal_curves_whatever_was_drawn_before():
    config = replace(QUICK, regularizer="error", seed=4)
    torch.manual_seed(1)
    _, one = train_spiral(config)
    torch.manual_seed(2)
    _, other = train_spiral(config)
    assert without_times(one) == without_times(other)
    assert (one.steps_after.dt, one.steps_after.scaled_error) == (other.steps_after.dt, other.steps_after.scaled_error)
    assert one.trajectories == other.trajectories


def test_evaluations_of_one_model_are_along_the_same_paths():
    model, data = SpiralModel(QUICK), data_of(QUICK)
    one, other = evaluate(model, start_of(QUICK), data), evaluate(model, start_of(QUICK), data)
    assert (one.loss, one.nfe) == (other.loss, other.nfe)
    assert torch.equal(one.moments.mean, other.moments.mean)


@pytest.mark.parametrize("regularizer", ["none", "error", "stiffness", "local-unbiased", "local-biased"])
def test_a_record_holds_the_run_under_each_regularizer(regularizer):
    config = replace(QUICK, regularizer=regularizer, seed=3)
    record = spiral_sde.run(config)
    assert SpiralSDEConfig.from_json(record.config) == config
    assert (record.experiment, record.seed, record.epochs) == ("spiral-sde", 3, 2)
    assert set(record.metrics) == {"loss", "nfe", "training_seconds", "prediction_seconds"}
    assert all(value > 0.0 for value in record.metrics.values())
    assert (min(record.curves["penalty"]) > 0.0) == (regularizer != "none")
    assert record.trajectories["t"] == TIMES
    assert record.trajectories["after mean 1"][0] == pytest.approx(2.0, rel=1e-12)
    assert set(record.trajectories) == {"t"} | {
        f"{of} {kind} {place}"
        for of in ("data", "before", "after")
        for kind in ("mean", "variance")
        for place in (1, 2)
    }


def test_the_learning_rate_falls_along_half_a_cosine():
    _, record = train_spiral(replace(QUICK, iterations=4, learning_rate=0.1, final_learning_rate=0.02))
    expected = [0.02 + 0.08 * (1.0 + math.cos(math.pi * done / 4)) / 2 for done in range(4)]
    assert record.curves["learning_rate"] == pytest.approx(expected, rel=1e-12)


def test_a_learning_rate_that_ends_where_it_starts_is_constant():
    _, record = train_spiral(replace(QUICK, learning_rate=0.05, final_learning_rate=0.05))
    assert record.curves["learning_rate"] == pytest.approx([0.05, 0.05], rel=1e-12)


def test_a_fit_comes_closer_to_the_data():
    _, record = train_spiral(SpiralSDEConfig(iterations=15, trajectories=20))
    assert record.metrics["loss"] < 0.75 * record.curves["loss"][0]


def test_a_heavy_weight_of_the_error_leaves_a_model_that_is_cheaper_to_solve():
    config = SpiralSDEConfig(iterations=15, trajectories=20, data_trajectories=100)
    _, plain = train_spiral(config)
    _, regularized = train_spiral(replace(config, regularizer="error", error_weight=(10.0, 10.0)))
    assert regularized.metrics["nfe"] < 0.95 * plain.metrics["nfe"]


def test_a_fit_whose_loss_is_no_number_stops():
    data = data_of(QUICK)
    with pytest.raises(TrainingDiverged, match="training diverged in iteration 1"):
        spiral_sde.fit_moments(SpiralModel(QUICK), Moments(data.mean * torch.nan, data.variance), QUICK)


def test_iterations_are_reported_with_loss_and_cost():
    reports = []
    train_spiral(QUICK, report=reports.append)
    assert [report.title for report in reports] == ["none, seed 0"] * 2
    assert reports[-1].standing == f"loss {reports[-1].loss:.4f}, NFE {reports[-1].nfe}"


def test_the_preset_of_the_paper_has_the_published_settings_field_by_field():
    published = {
        "regularizer": "none",
        "iterations": 250,
        "trajectories": 100,
        "hidden": 50,
        "method": "auto",
        "first_step": "search",
        "rtol": 0.3,
        "atol": 0.3,
        "precision": "float32",
        "optimizer": "adabelief",
        "learning_rate": 0.01,
        "final_learning_rate": 0.01,
        "largest_gradient": 0.0,
        "error_weight": (0.2, 0.2),
        "data_trajectories": 10_000,
        "seed": 5,
    }
    preset = spiral_sde.PRESETS["paper-a"]
    assert {name: getattr(preset, name) for name in published} == published
    ours = {"gradient", "engine", "stiffness_weight", "local_weight", "data_seed", "threads", "device"}
    assert {one.name for one in fields(preset)} - ours == set(published)


def test_adabelief_trains_and_goes_on_from_a_checkpoint(tmp_path):
    config = replace(QUICK, optimizer="adabelief", iterations=3)
    _, whole = train_spiral(config)
    stopped = []

    def stop(report):
        stopped.append(report)
        if len(stopped) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_spiral(config, checkpoint=Checkpoint(tmp_path / "state", {}), report=stop)
    _, resumed = train_spiral(config, checkpoint=Checkpoint(tmp_path / "state", {}, resume=True))
    assert resumed.curves["loss"] == whole.curves["loss"]
    assert resumed.curves["loss"][-1] < whole.curves["loss"][0]
    assert resumed.trajectories == whole.trajectories
