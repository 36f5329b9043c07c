"""Step lengths from filtered errors, against the formula."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.ivp.control import FILTERS
from pyndereg.solver.filters import FilterController

ORDER, SAFETY = 5, 0.9
TARGET = SAFETY**ORDER
ERRORS = (0.7, 0.2, 0.95, 0.4, 0.55, 0.01, 0.6)


def controller(name, **options):
    beta, alpha = FILTERS[name].as_floats
    return FilterController(ORDER, beta, alpha, SAFETY, **options)


def lengths_by_formula(name, errors, dt):
    """The logarithm of the formula, over whole histories rather than from state to state."""
    beta, alpha = FILTERS[name].as_floats
    lengths = [dt]
    for n in range(len(errors)):
        change = 0.0
        for i in range(3):
            if n - i >= 0:
                change -= beta[i] / ORDER * math.log(errors[n - i] / TARGET)
        for i in range(2):
            if n - i >= 1:
                change -= alpha[i] * math.log(lengths[n - i] / lengths[n - i - 1])
        lengths.append(lengths[-1] * math.exp(change))
    return lengths


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_takes_the_lengths_of_its_formula(name):
    control, dt, found = controller(name), 0.1, [0.1]
    for error in ERRORS:
        dt, control = control.after_acceptance(dt, error)
        found.append(dt)
    assert found == pytest.approx(lengths_by_formula(name, ERRORS, 0.1), rel=1e-12)


@pytest.mark.parametrize("name", FILTERS)
def test_where_the_error_is_a_power_of_the_length_steps_settle_at_the_error_aimed_at(name):
    control, dt = controller(name), 0.4
    for _ in range(100):
        dt, control = control.after_acceptance(dt, dt**ORDER)
    assert dt**ORDER == pytest.approx(TARGET, rel=1e-6)


def test_lengths_are_those_of_the_steps_that_were_taken():
    # A step that was cut to a tenth: its ratio counts, not the one that was proposed.
    proposed, control = controller("H211b").after_acceptance(0.1, 0.5)
    assert proposed > 0.1
    found, _ = control.after_acceptance(0.01, 0.5)
    by_hand = (0.5 / TARGET) ** -0.05 * (0.5 / TARGET) ** -0.05 * 0.1**-0.25
    assert found == pytest.approx(0.01 * by_hand, rel=1e-12)


@pytest.mark.parametrize("name", FILTERS)
def test_a_rejected_step_is_tried_again_by_integral_control_and_the_memory_stays(name):
    _, control = controller(name).after_acceptance(0.1, 0.5)
    assert control.after_rejection(0.1, 3.0) == (pytest.approx(0.1 * 0.9 * 3.0**-0.2, rel=1e-14), control)
    assert control.after_rejection(1.0, 1e30) == (0.2, control)
    assert control.after_rejection(1.0, math.nan) == (0.2, control)
    assert control.after_rejection(1.0, math.inf) == (0.2, control)


def test_growth_is_kept_within_its_limits_of_which_the_first_step_has_one_of_its_own():
    control = controller("PI34", grow=3.0, grow_first=50.0)
    dt, control = control.after_acceptance(0.1, 1e-60)
    assert dt == pytest.approx(5.0)
    dt, control = control.after_acceptance(dt, 0.0)
    assert dt == pytest.approx(15.0)
    # What is remembered of an error of 0 is the floor: the law would otherwise shrink without bound.
    assert control.errors == pytest.approx((1e-4 / TARGET, 1e-4 / TARGET))
    shrinking = FilterController(ORDER, (1.0, 0.0, 0.0), shrink=0.5)
    assert shrinking.after_acceptance(0.1, 1e9)[0] == pytest.approx(0.05)


def test_a_settled_filter_has_one_error_and_no_ratio():
    _, control = controller("H321").after_acceptance(0.1, 0.5)
    settled = control.settled(0.8)
    assert (settled.errors, settled.lengths, settled.first) == ((pytest.approx(0.8 / TARGET), 1.0), (), False)
    _, second = settled.after_acceptance(0.3, 0.2)
    assert second.errors == pytest.approx((0.2 / TARGET, 0.8 / TARGET))


def optimal_step_size(last_step, error_ratio, order, safety=0.9, ifactor=10.0, dfactor=0.2):
    """The rule of torchdiffeq 0.2.5, in its own words."""
    if error_ratio == 0:
        return last_step * ifactor
    if error_ratio < 1:
        dfactor = 1.0
    return last_step * min(ifactor, max(safety / error_ratio ** (1 / order), dfactor))


@pytest.mark.parametrize("error", [0.0, 1e-300, 1e-8, 0.1, 0.59, 0.6, 0.999, 1.0, 1.001, 5.0, 1e4, 1e300])
@pytest.mark.parametrize("order", [3, 5])
def test_integral_control_is_torchdiffeqs(error, order):
    control = FilterController(order, keeps_length=True)
    ask = control.after_acceptance if control.accepts(error) else control.after_rejection
    assert ask(0.3, error)[0] == pytest.approx(optimal_step_size(0.3, error, order), rel=1e-14)


@given(
    name=st.sampled_from(sorted(FILTERS)),
    errors=st.lists(st.floats(min_value=0.0) | st.just(math.nan), max_size=30),
    order=st.sampled_from([2.0, 2.5, 3, 5, 9]),
)
def test_whatever_the_errors_lengths_stay_positive_and_within_the_factors(name, errors, order):
    beta, alpha = FILTERS[name].as_floats
    control, dt = FilterController(order, beta, alpha), 1.0
    for error in errors:
        before = dt
        ask = control.after_acceptance if control.accepts(error) else control.after_rejection
        dt, control = ask(dt, error)
        assert 0.2 * before * (1 - 1e-12) <= dt <= 10 * before * (1 + 1e-12)
