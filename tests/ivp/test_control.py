"""Step control as values: what they accept and refuse, and the laws that the named filters must obey."""

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction

import pytest
import torch

import pyndereg as nde
from pyndereg.ivp.control import FILTERS, PI, PID, Filter, I
from tests.sentences import check_sentence

# Orders of dynamics, adaptivity and the low-pass filter, which their names state, and whether their response is finite.
DIGITAL = {
    "H0211": (2, 1, 1, True),
    "H211b": (2, 1, 1, False),
    "H211PI": (2, 1, 1, False),
    "H0312": (3, 1, 2, True),
    "H312b": (3, 1, 2, False),
    "H312PID": (3, 1, 2, False),
    "H0321": (3, 2, 1, True),
    "H321": (3, 2, 1, False),
}
GAINS = {"PI42": ("0.4", "0.2"), "PI33": ("1/3", "1/3"), "PI34": ("0.3", "0.4")}


def errors_and_steps(name):
    """A(z) = (z - 1)(z^2 + alpha2 z + alpha3) and B(z) = beta1 z^2 + beta2 z + beta3, from the highest power on.

    With x = log h and a disturbance p of the error: (A + B) x = -B p, and the control error is A p / (A + B).
    """
    (b1, b2, b3), (a2, a3) = FILTERS[name].beta, FILTERS[name].alpha
    return [Fraction(1), a2 - 1, a3 - a2, -a3], [Fraction(0), b1, b2, b3]


def zeros_at(polynomial, z):
    """How often z is a root."""
    count = 0
    while len(polynomial) > 1 and sum(c * z ** (len(polynomial) - 1 - i) for i, c in enumerate(polynomial)) == 0:
        degree = len(polynomial) - 1
        polynomial = [c * (degree - i) for i, c in enumerate(polynomial[:-1])]
        count += 1
    return count


@pytest.mark.parametrize("name", DIGITAL)
def test_a_digital_filter_has_the_orders_that_its_name_states(name):
    dynamics, adaptivity, low_pass, is_finite = DIGITAL[name]
    a, b = errors_and_steps(name)
    closed = [one + other for one, other in zip(a, b, strict=True)]
    # What of A + B and B are common powers of z is delay, no dynamics.
    delays = next(i for i, (c, d) in enumerate(zip(reversed(a), reversed(b), strict=True)) if c != 0 or d != 0)
    assert 3 - delays == dynamics
    assert zeros_at(a, 1) == adaptivity
    assert zeros_at(b, -1) == low_pass
    assert (closed == [1, 0, 0, 0]) == is_finite


def test_the_filters_of_gains_are_those_of_the_names():
    for name, (integral, proportional) in GAINS.items():
        by_gains = Filter.of_gains(integral=float(Fraction(integral)), proportional=float(Fraction(proportional)))
        assert by_gains.as_floats[0] == pytest.approx(FILTERS[name].as_floats[0])
    assert set(FILTERS) == {*DIGITAL, *GAINS, "PC47"}
    # Gustafsson's predictive control has a double zero at 1, as its step ratios enter with exponent 1.
    assert zeros_at(errors_and_steps("PC47")[0], 1) == 2
    assert Filter.of_gains(integral=0.5, proportional=0.2, derivative=0.1).as_floats[0] == pytest.approx(
        (0.8, -0.4, 0.1)
    )


@pytest.mark.parametrize("name", FILTERS)
def test_a_named_filter_is_stable_by_its_roots(name):
    a, b = errors_and_steps(name)
    closed = torch.tensor([float(x + y) for x, y in zip(a, b, strict=True)], dtype=torch.float64)
    companion = torch.diag(torch.ones(2, dtype=torch.float64), -1)
    companion[0] = -closed[1:]
    assert torch.linalg.eigvals(companion).abs().max() < 1 - 1e-3


@pytest.mark.parametrize(
    "beta", [(0.0,), (-0.1,), (2.1,), (1.0, 1.5), (0.1, -0.2), (0.5, 0.5, 1.6), (), (1e300, 1e300)]
)
def test_a_filter_whose_steps_would_not_settle_is_refused(beta):
    with pytest.raises(ValueError, match="swing ever wider") as raised:
        Filter(beta)
    check_sentence(raised.value, "Filter", "'H211PI'")


@pytest.mark.parametrize("beta", [(1.0,), (1.9,), (0.7, -0.4), (Fraction(1, 18), Fraction(1, 9), Fraction(1, 18))])
def test_a_filter_whose_steps_settle_is_taken(beta):
    assert PID(Filter(beta)).coefficients.as_floats[0][: len(beta)] == pytest.approx(tuple(map(float, beta)))


@pytest.mark.parametrize(
    "beta", [(1.0, 0.0, 0.0, 0.0), ("1",), 1.0, "H211", (math.nan,), (math.inf,), (None,), (True,)]
)
def test_coefficients_that_are_none_are_refused(beta):
    with pytest.raises(ValueError, match="beta of Filter") as raised:
        Filter(beta)
    check_sentence(raised.value, "pass")
    with pytest.raises(ValueError, match="alpha of Filter"):
        Filter((1.0,), (1.0, 2.0, 3.0))


@pytest.mark.parametrize("kind", [PI, I, PID])
@pytest.mark.parametrize(
    ("name", "found"),
    [
        *(("safety", found) for found in (0.0, 1.0, -0.5, math.nan, "0.9", True, None, torch.ones(2), 1j)),
        *(("shrink", found) for found in (0.0, 1.0, 5.0, math.inf, [0.2])),
        *(("grow", found) for found in (1.0, 0.5, math.inf, math.nan, "10", False)),
        *(("grow_first", found) for found in (1, -3, math.inf)),
        *(("start", found) for found in ("fast", None, 1)),
    ],
)
def test_a_number_out_of_range_is_refused_in_a_sentence(kind, name, found):
    with pytest.raises(ValueError, match=f"{name} of {kind.__name__}") as raised:
        kind(**{name: found})
    check_sentence(raised.value, repr(found), "pass")


@pytest.mark.parametrize("found", ["H211", "pi34", ""])
def test_an_unknown_filter_is_refused_with_the_names_that_there_are(found):
    with pytest.raises(ValueError, match="filter of PID") as raised:
        PID(found)
    check_sentence(raised.value, repr(found), "H312PID")
    with pytest.raises(TypeError, match="filter of PID"):
        PID((0.7, -0.4))


def test_values_are_frozen_equal_by_content_and_take_numbers_of_any_kind():
    assert PID("H211b") == PID("H211b", safety=torch.tensor(0.9, dtype=torch.float64)) != PID("H211PI")
    assert len({PI(), PI(), I(), PID(), PID(start="own")}) == 4
    assert type(PI(grow=torch.tensor(5)).grow) is float
    with pytest.raises(FrozenInstanceError):
        PI().safety = 0.5


@pytest.mark.parametrize("found", ["PI", PI, 0.9, nde.Remembered])
def test_a_control_that_is_no_value_is_refused(found):
    with pytest.raises(TypeError, match="control is") as raised:
        nde.solve(nde.ODEProblem(lambda t, y: -y, torch.ones(1)), control=found)
    check_sentence(raised.value, "control.PI()")


@pytest.mark.parametrize("found", [0.0, -1.0, math.nan, math.inf, "short", True])
def test_a_shortest_length_that_is_none_is_refused(found):
    with pytest.raises(ValueError, match="dt_min is") as raised:
        nde.solve(nde.ODEProblem(lambda t, y: -y, torch.ones(1)), dt_min=found)
    check_sentence(raised.value, repr(found), "positive step length")


def test_a_shortest_length_above_the_longest_is_refused():
    with pytest.raises(ValueError, match="dt_min") as raised:
        nde.solve(nde.ODEProblem(lambda t, y: -y, torch.ones(1)), dt_min=0.2, dt_max=0.1)
    check_sentence(raised.value, "dt_min is 0.2", "dt_min <= dt_max")
