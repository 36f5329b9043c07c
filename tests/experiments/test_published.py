"""The papers' numbers: as printed, and in agreement with what the papers say about them."""

import pytest

from pyndereg.experiments.published import (
    LOCALLY,
    OPENING,
    PUBLISHED,
    TABLES,
    UNITS,
    published_of,
    published_points,
    ratio_to_none,
)


@pytest.mark.parametrize(
    ("paper", "experiment", "method", "metric", "mean", "std", "unit"),
    [
        (OPENING, "mnist-ode", "none", "nfe", 253.0, 3.46, ""),
        (OPENING, "mnist-ode", "error", "test_accuracy", 97.32, 0.06, "%"),
        (OPENING, "mnist-ode", "stiffness+steer", "training_seconds", 1.55, 0.27, "h"),
        (OPENING, "physionet-latent-ode", "both", "test_loss", 3.56, 0.03, "1e-3"),
        (OPENING, "physionet-latent-ode", "stiffness", "train_loss", 3.52, 1.44, "1e-3"),
        (OPENING, "spiral-sde", "error", "training_seconds", 173.43, 4.18, "s"),
        (OPENING, "mnist-sde", "error", "nfe", 184.67, 2.31, ""),
        (OPENING, "spiral-ode", "both", "nfe", 676.2, 68.20, ""),
        (LOCALLY, "mnist-ode", "local-biased", "nfe", 182.849, 1.578, ""),
        (LOCALLY, "mnist-sde", "local-unbiased", "prediction_seconds", 0.39, 0.10, "s/batch"),
        (LOCALLY, "physionet-latent-ode", "none", "nfe", 758.0, 25.87, ""),
        (LOCALLY, "cifar10-ode", "local-biased", "training_seconds", 0.555, 0.008, "s/batch"),
        (LOCALLY, "cifar10-multiscale-ode", "none", "train_accuracy", 92.807, 12.458, "%"),
    ],
)
def test_numbers_are_those_of_the_tables(paper, experiment, method, metric, mean, std, unit):
    one = published_of(experiment, paper)[method, metric]
    assert (one.mean, one.std, one.unit) == (mean, std, unit)


@pytest.mark.parametrize(
    ("experiment", "method", "ratio"),
    [
        ("mnist-ode", "local-unbiased", 0.619),
        ("mnist-ode", "local-biased", 0.602),
        ("mnist-sde", "local-unbiased", 0.729),
        ("mnist-sde", "local-biased", 0.733),
        ("physionet-latent-ode", "local-unbiased", 0.556),
        ("physionet-latent-ode", "local-biased", 0.610),
        ("cifar10-ode", "local-unbiased", 0.772),
        ("cifar10-ode", "local-biased", 0.705),
    ],
)
def test_the_ratios_that_the_2023_captions_state_follow_from_its_tables(experiment, method, ratio):
    found = ratio_to_none(published_of(experiment, LOCALLY), method, "nfe")
    # The captions cut 0.5567 to 0.556 and 0.6108 to 0.610, where others are rounded.
    assert found == pytest.approx(ratio, abs=1e-3)


def test_the_2021_caption_on_training_time_follows_from_its_table():
    # Error regularization speeds training by 16.33 %.
    assert ratio_to_none(published_of("mnist-ode", OPENING), "error", "training_seconds") == pytest.approx(
        0.8367, abs=5e-5
    )


def test_no_number_is_there_twice_and_all_have_units():
    keys = [(one.paper, one.experiment, one.method, one.metric) for one in PUBLISHED]
    assert len(set(keys)) == len(keys) == sum(len(table.rows) * len(table.columns) for table in TABLES)
    assert {one.unit for one in PUBLISHED} <= set(UNITS)
    assert all(one.std >= 0.0 and one.mean > 0.0 for one in PUBLISHED)


def test_every_table_has_the_plain_model_to_which_others_are_relative():
    assert all("none" in table.rows for table in TABLES)
    assert all(table.paper in (OPENING, LOCALLY) for table in TABLES)


def test_values_are_in_the_units_of_run_records():
    assert published_of("mnist-ode", OPENING)["none", "training_seconds"].value == pytest.approx(0.98 * 3600.0)
    assert published_of("physionet-latent-ode", LOCALLY)["none", "test_loss"].value == pytest.approx(3.41e-3)


def test_a_ratio_needs_both_numbers():
    assert ratio_to_none(published_of("mnist-ode", LOCALLY), "error", "nfe") is None
    assert ratio_to_none(published_of("lotka-volterra", OPENING), "error", "nfe") is None


def test_points_for_a_figure_carry_the_labels_of_the_runs_and_say_where_they_are_from():
    points = {(point.label, point.source): (point.nfe, point.quality) for point in published_points("mnist-ode")}
    assert points["error + STEER", "2021"] == (197.0, 97.61)
    assert points["local-biased", "2023"] == (182.849, 97.488)
    assert {point.source for point in published_points("digits-ode")} == {"MNIST 2021", "MNIST 2023"}
    losses = {point.label: point.quality for point in published_points("physionet-latent-ode")}
    assert losses["both"] == pytest.approx(3.56e-3)
    assert published_points("lotka-volterra") == ()
    assert published_points("spiral-ode") == ()  # the paper states its cost alone
