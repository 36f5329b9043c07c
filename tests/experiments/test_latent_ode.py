"""The latent ODE of irregular series: its settings, its model, and a short training."""

import math
from dataclasses import replace

import pytest
import torch

from pyndereg.experiments import latent_ode
from pyndereg.experiments.latent_config import LatentODEConfig
from pyndereg.experiments.latent_model import SeriesModel, negative_elbo, reconstruction_loss
from pyndereg.experiments.latent_ode import (
    PRESETS,
    SeriesParts,
    series_of,
    shown_series,
    train_latent_ode,
)
from pyndereg.experiments.train import TrainingDiverged
from pyndereg.models.evidence import kl_divergence, log_likelihood
from tests.sentences import check_sentence

SMALL = LatentODEConfig(
    epochs=2, batch_size=8, latent=4, hidden=6, blocks=1, encoder_state=4, encoder_hidden=6, rtol=1e-4, atol=1e-4
)


@pytest.fixture(autouse=True)
def few_predictions(monkeypatch):
    monkeypatch.setattr(latent_ode, "PREDICTION_REPEATS", 1)


def waves(count, *, seed):
    """Waves that begin within a fifth of their period, at six times, with gaps. Shape (count, 6, 2)."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.linspace(0, 1, 6, dtype=torch.float64)
    phases = 0.2 * torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)
    values = 0.5 + 0.4 * torch.sin(2 * math.pi * (times[:, None] + phases))
    gaps = torch.rand(count, 6, 2, generator=generator) < 0.3
    gaps[:, 0] = False
    return values.masked_fill(gaps, torch.nan)


def small_series():
    times = torch.linspace(0, 1, 6, dtype=torch.float64)
    return SeriesParts(times, train=waves(20, seed=0), test=waves(10, seed=1))


def without_times(record):
    return {name: values for name, values in record.curves.items() if name != "training_seconds"}


def test_equal_seeds_give_equal_curves_whatever_was_drawn_before():
    config = replace(SMALL, regularizer="error", steer=True, sample_in_evaluation=True, seed=4)
    torch.manual_seed(1)
    _, one = train_latent_ode(config, small_series())
    torch.manual_seed(2)
    _, other = train_latent_ode(config, small_series())
    assert without_times(one) == without_times(other)
    assert one.steps_after.dt == other.steps_after.dt


@pytest.mark.parametrize(
    "regularizer", ["none", "error", "stiffness", "both", "local-unbiased", "local-biased", "taylor", "rnode"]
)
def test_a_record_holds_the_run_under_each_regularizer(regularizer):
    config = replace(SMALL, regularizer=regularizer, seed=3)
    _, record = train_latent_ode(config, small_series())
    assert LatentODEConfig.from_json(record.config) == config
    assert (record.experiment, record.seed, record.epochs) == ("physionet-latent-ode", 3, 2)
    assert set(record.metrics) == {"train_loss", "test_loss", "nfe", "training_seconds"}
    assert all(value > 0.0 for value in record.metrics.values())
    assert {"train_loss", "test_loss", "nfe", "penalty", "training_seconds", "kl_weight"} <= set(record.curves)
    assert (min(record.curves["penalty"]) > 0.0) == (regularizer != "none")


@pytest.mark.parametrize("gradient", ["discrete", "interpolating"])
def test_other_gradients_train_with_a_local_regularizer(gradient):
    _, record = train_latent_ode(replace(SMALL, gradient=gradient, regularizer="local-unbiased"), small_series())
    assert record.metrics["test_loss"] < record.curves["test_loss"][0]


def test_a_record_holds_test_series_and_their_reconstructions():
    series = small_series()
    model, record = train_latent_ode(SMALL, series)
    columns = record.trajectories
    assert columns["t"] == tuple(series.times.tolist())
    names = {f"{of} {place} {feature}" for of in ("data", "model") for place in range(1, 5) for feature in (1, 2)}
    assert set(columns) == {"t"} | names
    data = torch.tensor(columns["data 2 1"], dtype=torch.float64)
    torch.testing.assert_close(data, series.test[1, :, 0], rtol=0, atol=0, equal_nan=True)
    assert data.isnan().any()
    assert set(shown_series(model, series)) == set(columns)
    expected = model.eval()(series.test[:4])[0].reconstruction[1, :, 0].tolist()
    assert columns["model 2 1"] == pytest.approx(expected, rel=1e-12)


def test_training_comes_closer_to_the_series_it_has_not_seen():
    config = replace(SMALL, epochs=30, hidden=20, learning_rate=0.02)
    _, record = train_latent_ode(config, small_series())
    assert record.metrics["test_loss"] < 0.75 * record.curves["test_loss"][0]


def test_what_is_minimized_is_the_weighted_divergence_minus_the_likelihood():
    series = small_series().train
    latent, _ = SeriesModel(SMALL, small_series().times, 2)(series)
    likelihood = log_likelihood(latent.reconstruction, series, ~series.isnan()).mean()
    divergence = kl_divergence(latent.mean, latent.log_variance).mean()
    expected = 0.3 * divergence - likelihood
    torch.testing.assert_close(negative_elbo(latent, series, 0.3), expected, rtol=1e-12, atol=0)


def test_the_loss_of_many_series_is_that_of_their_batches_together():
    series = small_series()
    # Batches share their steps, so that the tolerance of the solver shows.
    model = SeriesModel(replace(SMALL, rtol=1e-10, atol=1e-10), series.times, 2)
    together = reconstruction_loss(model, series.train)
    assert reconstruction_loss(model, series.train, batch_size=7) == pytest.approx(together, rel=1e-8)


def test_the_divergence_gains_weight_by_epochs_or_by_updates():
    config = replace(SMALL, annealing_start=0)
    _, by_epoch = train_latent_ode(config, small_series())
    _, by_update = train_latent_ode(replace(config, annealing_change="update"), small_series())
    assert by_epoch.curves["kl_weight"] == pytest.approx((0.0, 0.01), rel=1e-12)
    assert by_update.curves["kl_weight"] == pytest.approx((0.0, 1 - 0.99**3), rel=1e-12)  # three updates an epoch


def test_training_stops_after_the_updates_that_were_asked_for():
    _, whole = train_latent_ode(SMALL, small_series())
    _, one_more = train_latent_ode(replace(SMALL, updates=4), small_series())
    _, one_epoch = train_latent_ode(replace(SMALL, updates=3), small_series())
    assert one_epoch.curves["test_loss"] == whole.curves["test_loss"][:1]
    assert one_more.curves["test_loss"][0] == whole.curves["test_loss"][0]
    assert one_more.curves["test_loss"][1] != whole.curves["test_loss"][1]


def test_a_batch_that_the_series_do_not_fill_is_refused_where_it_would_be_left_out():
    with pytest.raises(ValueError, match="batch_size is 32, but there are 20 series") as raised:
        train_latent_ode(replace(SMALL, batch_size=32, drop_last=True), small_series())
    check_sentence(raised.value, "smaller batch_size")


def test_a_training_whose_loss_is_no_number_stops():
    series = small_series()
    too_large_to_square = SeriesParts(series.times, 1e200 * series.train, series.test)
    with pytest.raises(TrainingDiverged, match="training diverged in epoch 1"):
        train_latent_ode(SMALL, too_large_to_square)


def test_the_quick_series_are_utterances_with_gaps():
    series = series_of(SMALL)
    assert series.train.shape == (270, 29, 12)
    assert series.test.shape == (370, 29, 12)
    assert (series.times[0], series.times[-1]) == (0.0, 1.0)
    observed = series.train[~series.train.isnan()]
    assert 0.0 <= observed.min() <= observed.max() <= 1.0
    assert series.train.isnan().all(dim=-1).any(dim=-1).all()


def test_a_run_of_the_quick_series_ends_with_a_record():
    record = latent_ode.run(replace(SMALL, epochs=1, batch_size=256))
    assert record.metrics["prediction_seconds"] > 0.0
    assert latent_ode.summary(record).startswith("test loss ")


def test_epochs_are_reported_with_loss_and_cost():
    reports = []
    train_latent_ode(SMALL, small_series(), report=reports.append)
    assert [report.title for report in reports] == ["none, seed 0"] * 2
    assert reports[-1].standing == f"test loss {1e3 * reports[-1].test_loss:.2f}e-3, NFE {reports[-1].nfe}"


def test_the_published_settings_are_those_of_the_papers():
    a, b = PRESETS["paper-a"], PRESETS["paper-b"]
    for preset in (a, b):
        assert (preset.method, preset.rtol, preset.atol, preset.precision) == ("tsit5", 1.4e-8, 1.4e-8, "float32")
        assert (preset.data, preset.used, preset.test_fraction, preset.batch_size) == ("physionet", 0.8, 0.2, 512)
        assert (preset.optimizer, preset.learning_rate, preset.epochs) == ("adamax", 0.01, 300)
        assert (preset.latent, preset.blocks, preset.recognition_hidden) == (20, 4, 50)
        assert (preset.encoder_state, preset.encoder_hidden, preset.first_deviation) == (50, 40, 1.0)
    assert (a.hidden, a.direction, a.first_spread, a.bounded) == (50, "backward", 0.0, False)
    assert (b.hidden, b.direction, b.first_spread, b.bounded) == (40, "forward", 1.0, True)
    assert (a.sample_in_evaluation, b.sample_in_evaluation) == (True, False)
    assert (a.error_weight, a.stiffness_weight, a.both_weight) == ((1000, 100), (10, 10), (10, 10))
    assert (a.taylor_order, a.taylor_weight) == (2, (0.01, 0.01))
    assert (a.annealing_change, a.annealing_start, a.learning_rate_schedule) == ("epoch", 10, "constant")
    assert (b.annealing_change, b.annealing_start, b.updates) == ("update", 100, 3000)
    assert (b.learning_rate_schedule, b.learning_rate_decay, b.weights_change) == ("inverse", 1e-5, "update")
    assert (b.local_weight, b.local_gradient, b.gradient) == ((100, 10), "published", "interpolating")


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"keep is 1\.5") as raised:
        LatentODEConfig(keep=1.5)
    check_sentence(raised.value, "at most 1")
