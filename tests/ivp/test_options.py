"""Choices are values: what they accept, and one sentence for each thing that they refuse."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch

from pyndereg.ivp import Backprop, DiscreteAdjoint, SaveAt, SolveOptions
from tests.sentences import check_sentence


def refused(error, make, *parts):
    with pytest.raises(error) as raised:
        make()
    check_sentence(raised.value, *parts)


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", [-1e-6, math.nan, math.inf, "1e-6", None, True, torch.ones(2), 1e-6j])
def test_a_tolerance_that_is_no_positive_number_is_refused(name, value):
    refused(ValueError, lambda: SolveOptions(**{name: value}), f"{name} is {value!r}", "positive number")


@pytest.mark.parametrize("value", [0, -5, 1.5, math.inf, "9", True, None])
def test_a_limit_on_steps_that_is_no_positive_whole_number_is_refused(value):
    refused(ValueError, lambda: SolveOptions(max_steps=value), f"max_steps is {value!r}", "positive whole number")


@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf, "0.1"])
def test_a_step_length_that_is_not_positive_is_refused(value):
    refused(ValueError, lambda: SolveOptions(dt=value), f"dt is {value!r}", "positive step length")


def test_an_unknown_definition_of_stiffness_is_refused():
    refused(ValueError, lambda: SolveOptions(stiffness="mean"), "stiffness is 'mean'", "'rms', 'max'")


@pytest.mark.parametrize("value", ["adjoint", None, Backprop, DiscreteAdjoint])
def test_a_gradient_that_is_no_value_is_refused(value):
    refused(TypeError, lambda: SolveOptions(gradient=value), "gradient is", "DiscreteAdjoint()")


def test_saveat_has_to_be_a_value():
    refused(TypeError, lambda: SolveOptions(saveat=[0.5]), "saveat is a list", "SaveAt(...)")


@pytest.mark.parametrize("value", [0, -2, 1.5, "3"])
def test_a_number_of_checkpoints_that_is_not_positive_is_refused(value):
    refused(ValueError, lambda: DiscreteAdjoint(checkpoints=value), f"checkpoints is {value!r}", "positive number")


@pytest.mark.parametrize("value", [-1, 1.5, "1 GiB", None])
def test_an_allowance_that_is_no_number_of_bytes_is_refused(value):
    refused(ValueError, lambda: DiscreteAdjoint(allowance=value), f"allowance is {value!r}", "number of bytes")


def test_values_are_frozen_and_equal_by_content():
    assert SaveAt([0.5, 1]) == SaveAt(torch.tensor([0.5, 1.0]))
    assert hash(SaveAt([0.5])) == hash(SaveAt((0.5,)))
    assert DiscreteAdjoint(3) == DiscreteAdjoint(checkpoints=3) != DiscreteAdjoint()
    assert DiscreteAdjoint() == DiscreteAdjoint(allowance=0) != DiscreteAdjoint(allowance=1)
    with pytest.raises(FrozenInstanceError):
        SaveAt().dense = True


def test_save_times_and_every_step_exclude_each_other():
    refused(ValueError, lambda: SaveAt([0.5], every_step=True), "both times and every_step=True", "choose one")


@pytest.mark.parametrize(("times", "shape"), [([], "(0,)"), (torch.zeros(2, 2), "(2, 2)"), (0.5, "()")])
def test_save_times_are_a_sequence_with_at_least_one_number(times, shape):
    refused(ValueError, lambda: SaveAt(times), f"shape {shape}", "non-empty sequence")


@pytest.mark.parametrize("times", ["abc", ["a"], [None], {0.5}])
def test_save_times_that_are_no_numbers_are_refused(times):
    refused(TypeError, lambda: SaveAt(times), f"save times are {times!r}", "sequence of numbers")


def test_save_times_have_no_gradient():
    refused(ValueError, lambda: SaveAt(torch.tensor([0.5], requires_grad=True)), "gradient", "detach()")


@pytest.mark.parametrize("times", [[0.1, 0.5], (0.1, 0.5), torch.tensor([0.1, 0.5], dtype=torch.float64)])
def test_save_times_may_be_any_sequence(times):
    assert SaveAt(times).checked_times(0.0, 1.0) == (0.1, 0.5)


def test_save_times_are_passed_in_the_direction_of_integration():
    assert SaveAt([1.0, 0.5, 0.0]).checked_times(1.0, 0.0) == (1.0, 0.5, 0.0)
    assert SaveAt().checked_times(0.0, 1.0) == ()


@pytest.mark.parametrize(
    ("times", "t0", "t1", "found"),
    [
        ([0.5, 0.5], 0.0, 1.0, "from 0.5 to 0.5"),
        ([0.1, 0.7, 0.3], 0.0, 1.0, "from 0.7 to 0.3"),
        ([0.2, 0.4], 1.0, 0.0, "from 0.2 to 0.4"),
    ],
)
def test_save_times_that_do_not_advance_are_refused(times, t0, t1, found):
    refused(
        ValueError, lambda: SaveAt(times).checked_times(t0, t1), found, f"from t0={t0} to t1={t1}", "without repeats"
    )


@pytest.mark.parametrize("outside", [-1e-12, 1.0 + 1e-12, math.nan, math.inf])
def test_save_times_outside_the_interval_are_refused(outside):
    refused(ValueError, lambda: SaveAt([0.5, outside]).checked_times(0.0, 1.0), f"{outside}", "[0.0, 1.0]", "inside")
