"""Configurations: every value is checked when it is made, in one sentence that names it."""

import json
from dataclasses import fields
from typing import get_args

import pytest

from pyndereg.experiments.config import GradientName
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.settings import json_values


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"regularizer": "jacobian"},
            "regularizer is 'jacobian'; choose one of none, error, stiffness, both, local-unbiased, local-biased, "
            "taylor, rnode",
        ),
        (
            {"gradient": "adjoint"},
            "gradient is 'adjoint'; choose one of auto, discrete, backprop, interpolating, "
            "interpolating-checkpointing, backsolve, quadrature, gauss",
        ),
        (
            {"gradient": "forward"},
            "gradient is 'forward', which is for up to about a hundred parameters, and this network has more; choose "
            "one of auto, .*, gauss",
        ),
        ({"epochs": 0}, "epochs is 0; pass at least 1"),
        ({"seed": -1}, "seed is -1; pass at least 0"),
        ({"rtol": 0.0}, "rtol is 0.0; pass a number above 0"),
        ({"atol": float("nan")}, "atol is nan; pass a finite number"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; pass a finite number"),
        ({"error_weight": (30.0, 0.0)}, "error_weight is 0.0; pass a number above 0"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0; pass a number above 0 and below 1"),
    ],
)
def test_a_value_outside_its_bounds_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        DigitsODEConfig(**values)


@pytest.mark.parametrize("gradient", ["interpolating", "interpolating-checkpointing", "backsolve", "gauss"])
@pytest.mark.parametrize("regularizer", ["error", "stiffness", "both"])
def test_what_is_made_of_the_steps_is_refused_with_a_gradient_that_has_none_of_them(regularizer, gradient):
    sentence = (
        f"^regularizer is '{regularizer}', which the gradient '{gradient}' cannot see, since it has none of the "
        "solver's steps; choose gradient auto, discrete, backprop, or a local regularizer$"
    )
    with pytest.raises(ValueError, match=sentence):
        DigitsODEConfig(regularizer=regularizer, gradient=gradient)


@pytest.mark.parametrize("regularizer", ["none", "local-unbiased", "local-biased", "taylor", "rnode"])
def test_every_other_regularizer_goes_with_every_gradient(regularizer):
    for gradient in get_args(GradientName):
        assert DigitsODEConfig(regularizer=regularizer, gradient=gradient).gradient == gradient


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epochs": 1.5}, "epochs is 1.5; pass a whole number"),
        ({"epochs": True}, "epochs is True; pass a whole number"),
        ({"rtol": "1e-6"}, "rtol is '1e-6'; pass a number"),
        ({"steer": "yes"}, "steer is 'yes'; pass a value of type bool"),
        ({"method": None}, "method is None; pass a value of type str"),
        ({"stiffness_weight": 0.1}, "stiffness_weight is 0.1; pass a tuple of 2 numbers"),
        ({"stiffness_weight": (0.1,)}, r"stiffness_weight is \(0.1,\); pass a tuple of 2 numbers"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        DigitsODEConfig(**values)


def test_whole_numbers_count_as_numbers():
    assert DigitsODEConfig(learning_rate=1, error_weight=(30, 3)).error_weight == (30, 3)


def test_every_field_says_what_it_means():
    assert all(setting.metadata["meaning"] for setting in fields(DigitsODEConfig))


def test_a_configuration_survives_as_json():
    config = DigitsODEConfig(regularizer="both", steer=True, error_weight=(50.0, 5.0))
    assert DigitsODEConfig.from_json(json.loads(json.dumps(json_values(config)))) == config
    assert json.loads(json.dumps(json_values(config))) == json_values(config)
