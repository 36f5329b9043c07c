"""The classifiers of MNIST: settings field by field as published, and a first epoch on real images."""

from dataclasses import fields, replace

import pytest
import torch

from pyndereg.experiments import classification, image_data, image_sde, mnist_ode, mnist_sde
from pyndereg.experiments.data import LabelledImages
from pyndereg.experiments.image_sde import SDEClassifier
from pyndereg.experiments.regularization import penalty_terms, sde_penalty_terms
from pyndereg.regularizers import error_estimate

# What both papers' runs share.
PUBLISHED_ODE = {
    "steer": False,
    "steer_halfwidth": 0.5,
    "batch_size": 512,
    "hidden": 100,
    "method": "tsit5",
    "first_step": "search",
    "steps": 0,
    "rtol": 1.4e-8,
    "atol": 1.4e-8,
    "precision": "float32",
    "engine": "embedded",
    "field": "auto",
    "stiffness_weight": (0.1, 0.1),
    "both_weight": (10.0, 10.0),
    "error_weight": (100.0, 10.0),
    "local_weight": (2.5, 1.0),
    "local_gradient": "published",
    "taylor_order": 3,
    "taylor_weight": (0.00302, 0.00302),
    "aggregates": "code",
    "data": "mnist",
}
PUBLISHED_SDE = {
    "batch_size": 512,
    "state": 32,
    "hidden": 64,
    "first_step": "search",
    "rtol": 0.14,
    "atol": 0.14,
    "precision": "float32",
    "learning_rate": 0.01,
    "method": "auto",
    "stiffness_weight": (0.1, 0.1),
    "local_weight": (1000.0, 1000.0),
    "data": "mnist",
}
SETTINGS = [
    (
        mnist_ode.PRESETS["paper-a"],
        PUBLISHED_ODE
        | {
            "regularizer": "none",
            "seed": 1999,
            "epochs": 75,
            "updates": 0,
            "drop_last": False,
            "last_activation": "tanh",
            "gradient": "auto",
            "optimizer": "momentum",
            "learning_rate": 0.1,
            "learning_rate_schedule": "inverse",
            "learning_rate_decay": 1e-5,
            "weights_change": "epoch",
        },
    ),
    (
        mnist_ode.PRESETS["paper-b"],
        PUBLISHED_ODE
        | {
            "regularizer": "local-unbiased",
            "seed": 0,
            "epochs": 65,
            "updates": 7500,
            "drop_last": True,
            "last_activation": "linear",
            "gradient": "interpolating",
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "learning_rate_schedule": "constant",
            "weights_change": "update",
        },
    ),
    (
        mnist_sde.PRESETS["paper-a"],
        PUBLISHED_SDE
        | {
            "regularizer": "none",
            "seed": 1999,
            "epochs": 40,
            "updates": 0,
            "drop_last": False,
            "trajectories": 10,
            "error_weight": (10.0, 10.0),
        },
    ),
    (
        mnist_sde.PRESETS["paper-b"],
        PUBLISHED_SDE
        | {
            "regularizer": "local-unbiased",
            "seed": 0,
            "epochs": 35,
            "updates": 4000,
            "drop_last": True,
            "trajectories": 1,
        },
    ),
]
# What the papers do not say, or what says where a run takes place.
OURS = {
    "threads", "device", "data_dir", "test_fraction", "split_seed", "learning_rate_end", "learning_rate_decay",
    "kinetic_weight", "jacobian_weight", "gradient", "error_weight", "engine",
}  # fmt: skip


@pytest.mark.parametrize(("config", "published"), SETTINGS, ids=["ode-a", "ode-b", "sde-a", "sde-b"])
def test_presets_are_the_published_settings_field_by_field(config, published):
    assert {name: getattr(config, name) for name in published} == published
    assert {one.name for one in fields(config)} - OURS <= set(published)


def test_weights_change_as_published():
    paper_a = replace(mnist_ode.PRESETS["paper-a"], regularizer="error")
    (error,) = penalty_terms(paper_a)
    assert [error.weight(epoch) for epoch in (0, 75)] == pytest.approx([100.0, 10.0])
    (local,) = penalty_terms(mnist_ode.PRESETS["paper-b"])
    assert local.weight(0) == 2.5
    (sde,) = sde_penalty_terms(
        replace(mnist_sde.PRESETS["paper-a"], regularizer="error"), error=error_estimate, updates=40
    )
    assert sde.weight(17) == pytest.approx(10.0)


def test_the_published_networks_have_the_published_numbers_of_parameters():
    def count(model):
        return sum(value.numel() for value in model.parameters())

    classifier = mnist_ode.build(mnist_ode.PRESETS["paper-a"])
    assert (count(classifier.node), count(classifier.readout)) == (158_568, 7_850)
    shapes = [tuple(value.shape) for value in SDEClassifier(mnist_sde.PRESETS["paper-a"], 784).parameters()]
    assert [shape for shape in shapes if len(shape) == 2] == [(32, 784), (64, 32), (32, 64), (32, 32), (10, 32)]


@pytest.mark.parametrize(("last", "bounded"), [("tanh", True), ("linear", False)])
def test_the_vector_field_ends_in_tanh_or_not(last, bounded):
    field = mnist_ode.build(mnist_ode.MnistODEConfig(last_activation=last)).node.field
    with torch.no_grad():
        slope = field(torch.tensor(0.5, dtype=torch.float64), torch.full((1, 784), 50.0, dtype=torch.float64))
    assert (slope.abs().max().item() <= 1.0) == bounded


@pytest.fixture
def few_images(monkeypatch):
    """A few hundred of the real images, so that an epoch takes seconds."""
    monkeypatch.setattr(classification, "PREDICTION_REPEATS", 1)
    monkeypatch.setattr(image_sde, "EVALUATION_IMAGES", 16)
    load = image_data.load_mnist_subset

    def some(**options):
        images = load(**options)
        return LabelledImages(
            images.train_images[:256], images.train_labels[:256], images.test_images[:64], images.test_labels[:64]
        )

    monkeypatch.setattr(image_data, "load_mnist_subset", some)


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("regularizer", ["none", "error", "local-unbiased"])
def test_an_epoch_of_the_neural_ode_on_real_images_is_recorded(regularizer):
    config = mnist_ode.MnistODEConfig(epochs=1, rtol=1e-4, atol=1e-4, regularizer=regularizer)
    record = mnist_ode.run(config)
    assert mnist_ode.MnistODEConfig.from_json(record.config) == config
    assert record.experiment == "mnist-ode"
    assert 0.0 < record.metrics["test_accuracy"] <= 100.0
    assert (record.curves["penalty"][0] > 0.0) == (regularizer != "none")


@pytest.mark.usefixtures("few_images")
def test_an_epoch_of_the_neural_sde_on_real_images_is_recorded():
    config = mnist_sde.MnistSDEConfig(epochs=1, trajectories=2, regularizer="error")
    record = mnist_sde.run(config)
    assert mnist_sde.MnistSDEConfig.from_json(record.config) == config
    assert record.experiment == "mnist-sde"


@pytest.mark.usefixtures("few_images")
def test_training_stops_after_the_updates_that_are_asked_for():
    config = mnist_ode.MnistODEConfig(epochs=2, rtol=1e-3, atol=1e-3, updates=3, batch_size=100, drop_last=True)
    _, record = mnist_ode.train_classifier(config)
    assert record.epochs == 2
    assert mnist_ode.image_ode.plan_of(config).total_updates(256) == 3


def test_all_of_mnist_is_looked_for_where_the_configuration_says(tmp_path):
    config = replace(mnist_ode.PRESETS["paper-a"], data_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        mnist_ode.run(config)
