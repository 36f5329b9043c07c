"""The classifier of digits, trained for real on a few epochs."""

from dataclasses import replace

import pytest
import torch

from pyndereg.experiments import classification, digits_ode
from pyndereg.experiments.comparison import with_method
from pyndereg.experiments.digits_ode import EXPERIMENT, build, train_classifier
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.image_data import digits_of
from pyndereg.experiments.naming import method_name, record_name, title
from pyndereg.experiments.placement import check_device
from pyndereg.ivp import (
    Backprop,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    QuadratureAdjoint,
)
from pyndereg.results import RunRecord

QUICK = DigitsODEConfig(epochs=1, rtol=1e-4, atol=1e-4, hidden=32)


def record_of(config) -> RunRecord:
    return train_classifier(config)[1]


def without_times(record):
    return {name: values for name, values in record.curves.items() if name != "training_seconds"}


def test_the_vector_field_is_two_tanh_layers_that_see_the_time():
    model = build(QUICK)
    shapes = sorted(tuple(value.shape) for value in model.node.field.parameters())
    assert shapes == sorted([(32, 64), (32,), (32,), (64, 32), (64,), (64,)])
    field = model.node.field
    x, t = torch.rand(5, 64, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    first, second = field.hidden_layer, field.output_layer
    hidden = torch.tanh(x @ first.weight.T + t * first.time_weight + first.bias)
    expected = torch.tanh(hidden @ second.weight.T + t * second.time_weight + second.bias)
    torch.testing.assert_close(field(t, x), expected, rtol=1e-12, atol=1e-14)


def test_equal_seeds_give_equal_curves_and_steps_to_the_last_bit():
    config = replace(QUICK, regularizer="both", steer=True, seed=4)
    torch.manual_seed(1)
    one = record_of(config)
    torch.manual_seed(2)
    other = record_of(config)
    assert without_times(one) == without_times(other)
    assert (one.steps_before, one.steps_after) == (other.steps_before, other.steps_after)


def test_a_remembered_start_takes_fewer_evaluations_and_is_a_solution_still():
    searched, remembered = (record_of(with_method(QUICK, method)) for method in ("none", "none+remembered"))
    assert remembered.metrics["nfe"] < searched.metrics["nfe"]
    assert searched.metrics["end_error"] < 0.1
    assert 0.1 < remembered.metrics["end_error"] < 10.0
    assert remembered.steps_before.dt[0] == searched.steps_before.dt[0]  # nothing was remembered yet


def test_a_single_equal_step_is_counted_and_its_error_told():
    record = record_of(replace(QUICK, steps=1))
    assert record.metrics["nfe"] == 7.0
    assert record.steps_after.dt == (1.0,)
    assert record.metrics["end_error"] > 1.0


def test_torchdiffeq_trains_the_same_model():
    config = with_method(QUICK, "torchdiffeq")
    images = digits_of(QUICK).train_images[:8]
    torch.manual_seed(0)
    ours = build(QUICK).eval()
    torch.manual_seed(0)
    theirs = build(config).eval()
    logits, solution = theirs(images)
    torch.testing.assert_close(logits, ours(images)[0], rtol=1e-3, atol=1e-3)
    assert solution.stats.nfe == 2 + 6 * (solution.stats.accepted + solution.stats.rejected)
    assert solution.steps.t[0] == 0.0
    assert bool(solution.steps.scaled_error.isnan().all())
    record = record_of(config)
    assert record.curves["test_accuracy"] == pytest.approx(record_of(QUICK).curves["test_accuracy"], abs=3.0)
    with pytest.raises(NotImplementedError, match="torchdiffeq hands out no dense output"):
        solution(0.5)


def test_what_torchdiffeq_has_not_is_refused():
    for changes, sentence in {
        "engine": ({"engine": "torchdiffeq"}, "choose 'torchdiffeq' and 'dopri5' together"),
        "method": ({"method": "dopri5"}, "the embedded engine calls this method dp5"),
        "penalty": ({"engine": "torchdiffeq", "method": "dopri5", "regularizer": "error"}, "^regularizer is 'error'"),
        "steps": ({"engine": "torchdiffeq", "method": "dopri5", "steps": 3}, "^steps is 3, which engine 'torchdiffeq'"),
    }.values():
        with pytest.raises(ValueError, match=sentence):
            replace(QUICK, **changes)


def test_another_seed_starts_from_other_weights_but_the_same_images():
    one, other = record_of(QUICK), record_of(replace(QUICK, seed=1))
    assert one.steps_before != other.steps_before
    assert one.config["split_seed"] == other.config["split_seed"]


def test_a_record_holds_the_configuration_that_gives_the_same_run():
    record = record_of(replace(QUICK, regularizer="error", seed=2))
    assert DigitsODEConfig.from_json(record.config) == replace(QUICK, regularizer="error", seed=2)
    assert (record.experiment, record.seed, record.device) == ("digits-ode", 2, "cpu")
    assert set(record.versions) == {"pyndereg", "torch", "numpy", "python"}


def test_final_metrics_are_the_last_values_of_the_curves_and_the_steps_cover_the_interval():
    record = record_of(replace(QUICK, epochs=2))
    for name in ("nfe", "test_accuracy", "training_seconds"):
        assert record.metrics[name] == record.curves[name][-1]
    for trace in (record.steps_before, record.steps_after):
        assert trace.t[0] == 0.0
        assert sum(trace.dt) == pytest.approx(1.0, abs=1e-12)
        assert max(trace.scaled_error) <= 1.0
    # Tsit5 reuses its last stage: 6 evaluations per attempted step, one at the start, one for the first step's length.
    assert (record.metrics["nfe"] - 2) % 6 == 0


def test_a_model_learns_to_read_digits():
    record = record_of(replace(QUICK, epochs=4))
    assert record.curves["train_loss"][-1] < 0.5 * record.curves["train_loss"][0]
    assert record.metrics["test_accuracy"] > 85.0


def test_a_model_regularized_by_its_errors_needs_fewer_evaluations_than_a_plain_one():
    plain = record_of(DigitsODEConfig(epochs=3))
    regularized = record_of(DigitsODEConfig(epochs=3, regularizer="error", error_weight=(200.0, 100.0)))
    assert regularized.steps_before == plain.steps_before
    assert regularized.metrics["nfe"] <= 0.8 * plain.metrics["nfe"]


def test_a_model_regularized_by_stiffness_becomes_less_stiff_than_a_plain_one():
    plain = record_of(DigitsODEConfig(epochs=3))
    regularized = record_of(DigitsODEConfig(epochs=3, regularizer="stiffness"))
    assert max(regularized.steps_after.stiffness) < 0.8 * max(plain.steps_after.stiffness)


@pytest.mark.parametrize(
    ("engine", "name", "gradient"),
    [
        ("embedded", "auto", Backprop()),
        ("julia", "auto", DiscreteAdjoint()),
        ("embedded", "discrete", DiscreteAdjoint()),
        ("embedded", "backprop", Backprop()),
        ("embedded", "interpolating", InterpolatingAdjoint()),
        ("julia", "interpolating", InterpolatingAdjoint()),
        ("embedded", "interpolating-checkpointing", InterpolatingAdjoint(checkpointing=True)),
        ("embedded", "backsolve", BacksolveAdjoint()),
        ("embedded", "quadrature", QuadratureAdjoint()),
        ("embedded", "gauss", GaussAdjoint()),
    ],
)
def test_each_gradient_reaches_the_model(engine, name, gradient):
    config = replace(QUICK, engine=engine, gradient=name)
    assert build(config).node.options["gradient"] == gradient


def test_the_penalties_of_training_solves_cost_nothing_in_evaluation():
    model = build(replace(QUICK, regularizer="local-unbiased"))
    images = torch.rand(3, 64, dtype=torch.float64)
    assert len(model.train()(images)[1].penalties) == 1
    assert model.eval()(images)[1].penalties == ()


def test_the_train_accuracy_is_that_of_the_trained_model():
    config = replace(QUICK, seed=1)
    model, record = train_classifier(config)
    images = digits_of(config)
    found = model(images.train_images)[0].argmax(dim=1) == images.train_labels
    assert record.metrics["train_accuracy"] == pytest.approx(100.0 * found.double().mean().item(), rel=1e-12)


def test_the_two_gradients_train_alike():
    backprop, discrete = record_of(QUICK), record_of(replace(QUICK, gradient="discrete"))
    assert backprop.curves["train_loss"] == pytest.approx(discrete.curves["train_loss"], rel=1e-9)


@pytest.mark.parametrize(
    "gradient", ["interpolating", "interpolating-checkpointing", "backsolve", "quadrature", "gauss"]
)
def test_the_continuous_adjoints_train_alike_with_a_local_regularizer(gradient):
    config = replace(QUICK, regularizer="local-biased")
    discrete, continuous = (
        record_of(replace(config, gradient="discrete")),
        record_of(replace(config, gradient=gradient)),
    )
    # The solver's tolerance is 1e-4; what the gradients differ by adds up over the updates.
    assert continuous.curves["train_loss"] == pytest.approx(discrete.curves["train_loss"], rel=1e-4)
    assert continuous.curves["penalty"] == pytest.approx(discrete.curves["penalty"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.julia
@pytest.mark.usefixtures("julia")
@pytest.mark.parametrize("field", ["native", "callback"])
def test_the_julia_engine_trains_to_the_embedded_engines_numbers(field):
    config = replace(QUICK, epochs=2, regularizer="both")
    embedded, julia = record_of(config), record_of(replace(config, engine="julia", field=field))
    # Step lengths differ by the digits of the approximate power function in OrdinaryDiffEq's controllers.
    for name in ("train_loss", "test_accuracy"):
        assert julia.curves[name] == pytest.approx(embedded.curves[name], rel=1e-6)
    # OrdinaryDiffEq evaluates the slope at the start twice.
    assert julia.metrics["nfe"] == embedded.metrics["nfe"] + 1


def test_sampled_end_times_change_training_but_not_the_evaluation_interval():
    plain, sampled = record_of(QUICK), record_of(replace(QUICK, steer=True))
    assert sampled.steps_before == plain.steps_before
    assert sampled.curves["train_loss"] != plain.curves["train_loss"]
    assert sum(sampled.steps_after.dt) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("values", [{"precision": "float32"}, {"optimizer": "adam", "learning_rate": 3e-3}])
def test_the_other_choices_train_too(values):
    record = record_of(replace(QUICK, **values))
    assert record.metrics["test_accuracy"] > 40.0


def test_the_precision_is_that_of_weights_and_states():
    for precision, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        model = build(replace(QUICK, precision=precision))
        assert {value.dtype for value in model.parameters()} == {dtype}
        logits, solution = model(torch.rand(2, 64, dtype=dtype))
        assert logits.dtype == solution.y1.dtype == dtype


def test_a_finished_run_has_its_prediction_time(monkeypatch):
    monkeypatch.setattr(classification, "PREDICTION_REPEATS", 2)
    record = digits_ode.run(QUICK)
    assert record.metrics["prediction_seconds"] > 0.0
    measured = {"train_accuracy", "test_accuracy", "nfe", "end_error", "training_seconds", "prediction_seconds"}
    assert set(record.metrics) == measured


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_a_device_that_cannot_be_used_is_named(name):
    with pytest.raises(ValueError, match=f"device is '{name}', which cannot be used .*; pass cpu"):
        check_device(name)


def test_a_method_without_an_error_estimate_cannot_be_regularized_by_it():
    with pytest.raises(ValueError, match="no stiffness estimate"):
        record_of(replace(QUICK, regularizer="stiffness", method="bs3"))


def test_a_run_and_its_record_are_named_after_regularizer_random_end_times_gradient_and_seed():
    config = replace(QUICK, regularizer="local-biased", steer=True, gradient="discrete", seed=7)
    assert method_name(config) == "local-biased+steer@discrete"
    assert title(config) == "local-biased+steer@discrete, seed 7"
    assert record_name(EXPERIMENT, config) == "digits-ode-local-biased-steer-discrete-seed7.json"
    assert (title(QUICK), record_name(EXPERIMENT, QUICK)) == ("none, seed 0", "digits-ode-none-seed0.json")
