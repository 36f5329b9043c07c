"""The stochastic classifier of digits, trained for real on an epoch or two."""

from dataclasses import replace

import pytest
import torch

from pyndereg.experiments import classification, digits_sde, image_sde, naming
from pyndereg.experiments.image_sde import SDEClassifier
from pyndereg.experiments.sde_config import DigitsSDEConfig

QUICK = DigitsSDEConfig(epochs=1, state=8, hidden=8, trajectories=2)


@pytest.fixture(autouse=True)
def few_evaluations(monkeypatch):
    monkeypatch.setattr(image_sde, "EVALUATION_IMAGES", 16)
    monkeypatch.setattr(classification, "PREDICTION_REPEATS", 1)


def test_the_sizes_are_the_published_ones_but_for_the_pixels():
    shapes = [tuple(value.shape) for value in SDEClassifier(DigitsSDEConfig(), 64).parameters() if value.ndim == 2]
    assert shapes == [(32, 64), (64, 32), (32, 64), (32, 32), (10, 32)]


def test_training_takes_one_trajectory_and_evaluation_averages_several_along_fixed_paths():
    model, images = SDEClassifier(QUICK, 64), torch.rand(3, 64, dtype=torch.float64)
    logits, solution = model.train()(images)
    assert (logits.shape, solution.y1.shape) == ((3, 10), (3, 8))
    assert not torch.equal(model(images)[0], logits)
    logits, solution = model.eval()(images)
    assert (logits.shape, solution.y1.shape) == ((3, 10), (2, 3, 8))
    assert torch.equal(model(images)[0], logits)
    torch.testing.assert_close(logits, model.readout(solution.y1).mean(dim=0), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("regularizer", ["none", "error", "stiffness", "local-unbiased", "local-biased"])
def test_a_record_holds_the_run_under_each_regularizer(regularizer):
    config = replace(QUICK, regularizer=regularizer, batch_size=700)
    record = digits_sde.run(config)
    assert DigitsSDEConfig.from_json(record.config) == config
    assert record.experiment == "digits-sde"
    assert set(record.metrics) == {"train_accuracy", "test_accuracy", "nfe", "training_seconds", "prediction_seconds"}
    assert (record.curves["penalty"][0] > 0.0) == (regularizer != "none")
    assert sum(record.steps_after.dt) == pytest.approx(1.0, abs=1e-12)
    assert naming.default_output("digits-sde", config).as_posix() == f"runs/digits-sde-{regularizer}-seed0.json"


def test_a_model_learns_to_read_digits_and_its_errors_can_be_kept_small():
    config = DigitsSDEConfig(epochs=2, trajectories=2)
    plain, regularized = (digits_sde.run(one) for one in (config, replace(config, regularizer="error")))
    assert plain.metrics["test_accuracy"] > 75.0
    assert regularized.metrics["nfe"] < plain.metrics["nfe"]


def test_a_part_for_testing_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match=r"test_fraction is 1\.0; pass a number above 0 and below 1"):
        DigitsSDEConfig(test_fraction=1.0)
