"""Weights over training, by hand."""

import math

import pytest

from pyndereg.regularizers import Constant, Exponential
from tests.sentences import check_sentence


def test_a_constant_weight_stays():
    assert [Constant(0.5)(step) for step in (0, 1, 1000)] == [0.5, 0.5, 0.5]
    assert Constant(0.0)(3) == 0.0


def test_an_exponential_weight_goes_from_its_start_to_its_stop_by_equal_factors():
    weight = Exponential(100.0, 10.0, steps=75)
    assert weight(0) == pytest.approx(100.0, rel=1e-14)
    assert weight(75) == pytest.approx(10.0, rel=1e-14)
    assert weight(37.5) == pytest.approx(math.sqrt(1000.0), rel=1e-14)
    factors = [weight(step + 1) / weight(step) for step in range(75)]
    assert factors == pytest.approx([0.1 ** (1 / 75)] * 75, rel=1e-12)


def test_an_exponential_weight_may_grow_and_goes_on_after_its_last_step():
    weight = Exponential(1.0, 4.0, steps=2)
    assert [weight(step) for step in (0, 1, 2, 3)] == pytest.approx([1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_constant_weight_that_is_no_weight_is_refused(value):
    with pytest.raises(ValueError, match="finite weight") as raised:
        Constant(value)
    check_sentence(raised.value, f"value is {value}", ">= 0")


@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_exponential_ends_that_are_no_weights_are_refused(start, stop):
    with pytest.raises(ValueError, match="finite weights") as raised:
        Exponential(start, stop, 10)
    check_sentence(raised.value, f"{start} and {stop}", "> 0")


@pytest.mark.parametrize("steps", [0, -3])
def test_an_exponential_weight_needs_a_step(steps):
    with pytest.raises(ValueError, match="positive number of steps") as raised:
        Exponential(2.0, 1.0, steps)
    check_sentence(raised.value, f"steps is {steps}")
