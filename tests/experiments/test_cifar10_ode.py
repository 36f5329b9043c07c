"""The convolutional classifier: batch normalization inside a vector field, settings as published, whole runs."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from pyndereg.experiments import cifar10_ode, classification, naming
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.cifar10_config import Cifar10ODEConfig
from pyndereg.experiments.cifar10_ode import PRESETS, ConvolutionalClassifier
from pyndereg.experiments.convolutional_field import ConvolutionalField, FieldNorm, TimeConv2d
from pyndereg.experiments.regularization import penalty_terms
from pyndereg.experiments.settings import json_values

TINY = Cifar10ODEConfig(
    hidden=2, epochs=2, batch_size=8, patches_per_region=5, rtol=1e-2, atol=1e-2, threads=1, precision="float64"
)
PUBLISHED = {
    "data": "cifar10",
    "hidden": 64,
    "method": "tsit5",
    "first_step": "search",
    "steps": 0,
    "rtol": 1e-4,
    "atol": 1e-4,
    "precision": "float32",
    "engine": "embedded",
    "field": "auto",
    "batch_size": 32,
    "epochs": 21,
    "updates": 31_250,
    "drop_last": True,
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "learning_rate_schedule": "cosine",
    "learning_rate_end": 1e-4,
    "regularizer": "local-unbiased",
    "local_weight": (2.5, 2.5),
    "local_gradient": "published",
    "weights_change": "update",
    "gradient": "interpolating",
    "steer": False,
    "seed": 0,
}
# What the paper has no word on, or what says where a run takes place.
OURS = {
    "threads", "device", "data_dir", "split_seed", "patches_per_region", "learning_rate_decay", "steer_halfwidth",
    "error_weight", "stiffness_weight", "both_weight", "kinetic_weight", "jacobian_weight", "taylor_order",
    "taylor_weight", "aggregates",
}  # fmt: skip


def images(count=3, side=6, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, side, side, dtype=torch.float64, generator=generator)


def field_of(seed=0):
    torch.manual_seed(seed)
    return ConvolutionalField(2, 3).double()


def classifier(seed=0, **changes):
    torch.manual_seed(seed)
    return ConvolutionalClassifier(replace(TINY, **changes))


def running_statistics(model):
    return [value.clone() for name, value in model.named_buffers() if name.endswith(("running_mean", "running_var"))]


def agree(one, other, **tolerances):
    return all(torch.allclose(x, y, **tolerances) for x, y in zip(one, other, strict=True))


def test_time_is_one_more_channel_of_every_convolution():
    torch.manual_seed(0)
    convolution, x, t = TimeConv2d(2, 4).double(), images(), torch.tensor(0.3, dtype=torch.float64)
    joined = torch.cat([x, t.expand(3, 1, 6, 6)], dim=1)
    weight = torch.cat([convolution.weight, convolution.time_weight], dim=1)
    torch.testing.assert_close(convolution(t, x), functional.conv2d(joined, weight, padding=1), rtol=1e-12, atol=1e-12)


def test_in_training_mode_the_field_normalizes_with_the_statistics_of_its_batch_and_changes_nothing():
    field, x, t = field_of().train(), images(), torch.tensor(0.3, dtype=torch.float64)
    before = running_statistics(field)
    slope = field(t, x)
    for convolution, norm in zip((field.first, field.second), field.norms, strict=True):
        x = convolution(t, x)
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        x = (x - mean) / (x.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + norm.eps).sqrt()
        x = functional.gelu(x, approximate="tanh")
    torch.testing.assert_close(slope, field.last(t, x), rtol=1e-12, atol=1e-12)
    assert agree(before, running_statistics(field), rtol=0.0, atol=0.0)


def test_in_evaluation_mode_the_field_treats_every_image_alone():
    field, x, t = field_of().eval(), images(), torch.tensor(0.3, dtype=torch.float64)
    alone = torch.cat([field(t, image[None]) for image in x])
    torch.testing.assert_close(field(t, x), alone, rtol=1e-12, atol=1e-12)


def test_moved_statistics_are_those_of_batch_normalization_at_the_evaluations_that_count():
    ours, plain = FieldNorm(2).double().train(), nn.BatchNorm2d(2).double().train()
    ours(images(seed=9))
    ours.observe()
    for seed in range(3):
        ours(images(seed=seed))
    for seed in range(2):
        plain(images(seed=seed))
    ours.move_statistics(2)
    assert agree(running_statistics(ours), running_statistics(plain), rtol=1e-12)
    ours.move_statistics(1)
    assert agree(running_statistics(ours), running_statistics(plain), rtol=1e-12)


@pytest.mark.parametrize("gradient", ["backprop", "discrete", "interpolating", "backsolve"])
@pytest.mark.parametrize("regularizer", ["none", "local-biased", "rnode"])
def test_running_statistics_move_with_the_forward_solve_alone(gradient, regularizer):
    x = images(4, side=32, channels=3)
    plain = classifier().train()
    _, solution = plain(x)
    model = classifier(gradient=gradient, regularizer=regularizer).train()
    assert not agree(running_statistics(plain), running_statistics(model))
    logits, made = model(x)
    after_forward = running_statistics(model)
    assert agree(running_statistics(plain), after_forward, rtol=1e-10)
    (logits.sum() + sum(made.penalties)).backward()
    assert agree(after_forward, running_statistics(model), rtol=0.0, atol=0.0)
    assert made.stats.nfe - made.stats.local_nfe == solution.stats.nfe


def gradients(loss_of, **changes):
    model = classifier(**changes).train()
    loss_of(*model(images(4, side=32, channels=3))).backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize(
    "loss_of",
    [lambda logits, _: logits.square().sum(), lambda logits, made: logits.sum() + made.steps.scaled_error.sum()],
    ids=["logits", "error estimates"],
)
def test_taking_the_steps_again_gives_the_gradient_of_the_graph_through_the_batch_statistics(loss_of):
    assert agree(
        gradients(loss_of, gradient="discrete"), gradients(loss_of, gradient="backprop"), rtol=1e-9, atol=1e-11
    )


def test_the_adjoint_equation_gives_that_gradient_up_to_the_tolerance():
    def square(logits, _):
        return logits.square().mean()

    exact = gradients(square, gradient="backprop", rtol=1e-7, atol=1e-7)
    assert agree(gradients(square, gradient="interpolating", rtol=1e-7, atol=1e-7), exact, rtol=1e-5, atol=1e-6)


def test_predictions_move_nothing():
    model = classifier().eval()
    before = running_statistics(model)
    logits, _ = model(images(2, side=32, channels=3))
    assert logits.shape == (2, 10)
    assert agree(before, running_statistics(model), rtol=0.0, atol=0.0)


def test_the_preset_is_the_published_settings_field_by_field():
    config = PRESETS["paper-b"]
    assert {name: getattr(config, name) for name in PUBLISHED} == PUBLISHED
    assert {one.name for one in fields(config)} - OURS == set(PUBLISHED)
    assert set(PRESETS) == {"quick", "remembered", "paper-b"}
    assert cifar10_ode.image_ode.plan_of(config).total_updates(50_000) == 31_250
    (local,) = penalty_terms(config)
    assert [local.weight(position) for position in (0.0, 20.0)] == [2.5, 2.5]


def test_the_published_network_has_the_published_layers():
    model = cifar10_ode.build(PRESETS["paper-b"])

    def count(part):
        return sum(value.numel() for value in part.parameters())

    assert count(model.field) == 9 * (9 * 64 + 65 * 64 + 65 * 8) + 2 * (64 + 64)
    assert count(model.augment) + count(model.norm) == 9 * 3 * 5 + 5 + 2 * 8
    assert count(model.reduce) + count(model.readout) == 9 * 8 + 1 + 1024 * 10 + 10
    assert count(model) == count(model.node) + 140 + 16 + 73 + 10_250


@pytest.fixture
def few_predictions(monkeypatch):
    monkeypatch.setattr(classification, "PREDICTION_REPEATS", 1)
    monkeypatch.setattr(cifar10_ode, "EVALUATION_IMAGES", 8)


@pytest.mark.usefixtures("few_predictions")
@pytest.mark.parametrize("regularizer", ["none", "error", "local-unbiased"])
def test_a_run_on_the_stand_in_is_recorded(regularizer):
    config = replace(TINY, epochs=1, regularizer=regularizer)
    record = cifar10_ode.run(config)
    assert Cifar10ODEConfig.from_json(record.config) == config
    assert (record.experiment, record.config["data"]) == ("cifar10-ode", "photograph-patches")
    assert (record.curves["penalty"][0] > 0.0) == (regularizer != "none")
    assert {"train_accuracy", "test_accuracy", "nfe", "prediction_seconds"} <= set(record.metrics)


class Interrupted(Exception):
    pass


@pytest.mark.usefixtures("few_predictions")
def test_a_run_that_goes_on_ends_with_the_numbers_of_one_that_was_never_interrupted(tmp_path, monkeypatch):
    config = replace(TINY, regularizer="local-unbiased")
    whole_model, whole = cifar10_ode.train_classifier(config)
    save = Checkpoint.save

    def save_and_stop(*arguments):
        save(*arguments)
        raise Interrupted

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)
    with pytest.raises(Interrupted):
        cifar10_ode.train_classifier(config, checkpoint=Checkpoint(tmp_path / "state", json_values(config)))
    monkeypatch.setattr(Checkpoint, "save", save)
    checkpoint = Checkpoint(tmp_path / "state", json_values(config), resume=True)
    model, record = cifar10_ode.train_classifier(config, checkpoint=checkpoint)
    assert {name: values for name, values in record.curves.items() if name != "training_seconds"} == {
        name: values for name, values in whole.curves.items() if name != "training_seconds"
    }
    assert record.steps_after == whole.steps_after
    ended, expected = model.state_dict(), whole_model.state_dict()
    assert all(torch.equal(ended[name], expected[name]) for name in expected)


def test_the_stand_in_is_normalized_like_the_photographs_it_stands_for():
    patches = cifar10_ode.images_of(TINY)
    assert patches.train_images.shape == (40, 3, 32, 32)
    assert patches.test_images.shape == (10, 3, 32, 32)
    assert patches.train_images.min() < -0.5


def test_cifar10_is_looked_for_where_the_configuration_says(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        cifar10_ode.run(replace(PRESETS["paper-b"], data_dir=str(tmp_path)))


def test_the_title_names_regularizer_and_gradient():
    assert naming.title(PRESETS["paper-b"]) == "local-unbiased@interpolating, seed 0"


def test_the_statistics_of_a_batch_do_not_depend_on_what_lay_in_memory(monkeypatch):
    def filled_with_nan(like, *shape, **options):
        return like.new_full(shape, float("nan"), **options)

    monkeypatch.setattr(torch.Tensor, "new_empty", filled_with_nan)
    norm = FieldNorm(3).train()
    norm.observe()
    norm(torch.rand(4, 3, 5, 5))
    norm.move_statistics(1)
    assert norm.running_mean.isfinite().all()
    assert norm.running_var.isfinite().all()
