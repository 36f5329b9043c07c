"""Step lengths, by hand."""

import math

import pytest
import torch

from pyndereg.solver.control import FreeStart, Limited, PIController, first_step
from pyndereg.solver.tableaus import TABLEAUS

BETA1, BETA2 = 0.14, 0.08
CONTROLLER = PIController(BETA1, BETA2)
SECOND = PIController(BETA1, BETA2, last_error=0.3, first=False)


def test_the_next_step_weighs_this_error_against_the_last_one():
    dt, controller = SECOND.after_acceptance(0.2, 0.5)
    assert dt == pytest.approx(0.2 / (0.5**BETA1 / 0.3**BETA2 / 0.9), rel=1e-14)
    assert controller.last_error == 0.5


def test_the_first_step_is_weighed_against_the_floor():
    dt, _ = CONTROLLER.after_acceptance(0.2, 0.5)
    assert dt == pytest.approx(0.2 / (0.5**BETA1 / 1e-4**BETA2 / 0.9), rel=1e-14)


def test_a_tiny_error_is_remembered_as_the_floor():
    _, controller = SECOND.after_acceptance(0.2, 1e-9)
    assert controller.last_error == 1e-4


def test_the_first_acceptance_may_grow_the_step_ten_thousandfold_later_ones_tenfold():
    grown, controller = CONTROLLER.after_acceptance(1e-6, 1e-60)
    assert grown == pytest.approx(1e-2)
    again, _ = controller.after_acceptance(1e-2, 1e-60)
    assert again == pytest.approx(0.1)


@pytest.mark.parametrize("controller", [CONTROLLER, SECOND])
def test_an_error_of_zero_grows_the_step_by_the_largest_factor(controller):
    dt, after = controller.after_acceptance(1.0, 0.0)
    assert dt == pytest.approx(10_000.0 if controller.first else 10.0)
    assert after.last_error == 1e-4
    assert not after.first


def test_the_step_after_an_accepted_one_is_at_least_a_fifth_as_long():
    dt, _ = PIController(0.14, 1.0, last_error=1e-4, first=False).after_acceptance(1.0, 1.0)
    assert dt == pytest.approx(0.2)


def test_a_rejected_step_shrinks_by_its_own_error_alone():
    dt, controller = SECOND.after_rejection(0.2, 3.0)
    assert dt == pytest.approx(0.2 / (3.0**BETA1 / 0.9), rel=1e-14)
    assert controller == SECOND


def test_a_step_is_tried_again_at_least_a_fifth_as_long():
    dt, _ = SECOND.after_rejection(1.0, 1e30)
    assert dt == pytest.approx(0.2)


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_a_fifth_as_long_at_the_next_try(error):
    dt, controller = SECOND.after_rejection(1.0, error)
    assert dt == 0.2
    assert controller == SECOND


def test_a_rejection_before_the_first_acceptance_keeps_the_generous_growth():
    _, controller = CONTROLLER.after_rejection(1.0, 5.0)
    assert controller.first


def test_errors_up_to_one_are_accepted_and_nan_is_not():
    assert CONTROLLER.accepts(1.0)
    assert not CONTROLLER.accepts(math.nextafter(1.0, 2.0))
    assert not CONTROLLER.accepts(math.nan)


def test_the_exponents_are_those_of_the_method():
    assert TABLEAUS["dp5"].controller_exponents == (0.17, 0.04)
    assert TABLEAUS["vern7"].controller_exponents == (7 / 70, 2 / 35)


@pytest.mark.parametrize(("name", "order"), [("bs3", 3), ("dp5", 5), ("tsit5", 5), ("vern7", 7), ("vern9", 9)])
def test_errors_grow_as_one_power_more_than_the_order_of_the_embedded_solution(name, order):
    assert TABLEAUS[name].error_order == TABLEAUS[name].embedded_order + 1 == order


def test_a_settled_law_weighs_an_error_against_the_last_one_only():
    settled = CONTROLLER.settled(0.5)
    assert settled == PIController(BETA1, BETA2, last_error=0.5, first=False)
    assert CONTROLLER.settled(1e-9).last_error == 1e-4


# A start that is free: integral control until a step could not have been twice as long.
START = FreeStart(CONTROLLER, error_order=5, safety=0.9, grow=1000.0)


def test_a_free_start_grows_a_step_by_what_its_error_says():
    dt, controller = START.after_acceptance(0.2, 1e-6)
    assert dt == pytest.approx(0.2 * 0.9 * 1e-6**-0.2, rel=1e-14)
    assert controller == START
    assert START.after_acceptance(0.2, 1e-60)[0] == pytest.approx(200.0)


@pytest.mark.parametrize("error", [0.03, 0.5, 1.0])
def test_a_start_ends_with_a_step_that_could_not_have_been_twice_as_long(error):
    dt, controller = START.after_acceptance(0.2, error)
    assert dt == pytest.approx(0.2 * 0.9 * error**-0.2, rel=1e-14)
    assert controller == CONTROLLER.settled(error)


def test_a_start_ends_with_an_error_of_zero_which_does_not_say_how_much_longer_a_step_could_have_been():
    dt, controller = START.after_acceptance(0.2, 0.0)
    assert (dt, controller) == (200.0, CONTROLLER.settled(0.0))


@pytest.mark.parametrize("error", [3.0, math.inf, math.nan])
def test_a_start_ends_with_a_rejection_after_which_the_law_has_no_memory_of_it(error):
    settled = CONTROLLER.settled(1.0)
    assert START.after_rejection(0.2, error) == settled.after_rejection(0.2, error)
    assert START.after_rejection(0.2, error)[1] == settled


def test_a_start_accepts_what_the_law_accepts():
    assert START.accepts(1.0)
    assert not START.accepts(math.nan)
    assert START.longest == math.inf


# Limits. After the errors of SECOND above, 0.5 asks for 0.2 / (0.5^beta1 / 0.3^beta2 / 0.9) and so on.
def test_lengths_between_the_limits_are_the_controllers():
    limited = Limited(SECOND, shortest=1e-3, longest=0.5)
    for ask in ("after_acceptance", "after_rejection"):
        dt, after = getattr(limited, ask)(0.2, 0.5)
        own, controller = getattr(SECOND, ask)(0.2, 0.5)
        assert (dt, after) == (own, Limited(controller, 1e-3, 0.5))
        assert after.longest == 0.5
    assert not limited.accepts(1.1)


@pytest.mark.parametrize("ask", ["after_acceptance", "after_rejection"])
def test_a_step_that_is_to_be_too_short_is_as_short_as_may_be_and_accepted_whatever_its_error(ask):
    dt, limited = getattr(Limited(SECOND, shortest=0.1, longest=math.inf), ask)(0.02, 1.5)
    assert dt == 0.1
    assert limited.accepts(1e30)
    assert not limited.accepts(math.nan)
    assert not limited.accepts(math.inf)
    longer, limited = limited.after_acceptance(5.0, 0.5)
    assert longer > 0.1
    assert not limited.accepts(1.1)


def test_a_step_that_may_not_be_shorter_and_is_not_finite_is_not_tried_again():
    _, limited = Limited(SECOND, shortest=0.1, longest=math.inf).after_rejection(0.02, math.nan)
    assert limited.after_rejection(0.1, math.nan) == (0.0, limited)


# The first step. With y0 = (3, 4), rtol = 0.1 and atol = 0.6 the scales are (0.9, 1.0).
Y0 = torch.tensor([3.0, 4.0], dtype=torch.float64)
RTOL, ATOL = 0.1, 0.6


def rms(*entries):
    return math.sqrt(sum(entry * entry for entry in entries) / len(entries))


def guess(field, t0=0.0, t1=10.0, order=5, y0=Y0, rtol=RTOL, atol=ATOL):
    slope0 = field(torch.tensor(t0, dtype=y0.dtype), y0)
    return first_step(field, t0, t1, y0, slope0, order, rtol, atol)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_the_first_step_follows_the_book_by_hand(direction):
    def field(t, y):
        return torch.stack([-2.0 * y[0] + t, 0.5 * y[1]])

    size = rms(3.0 / 0.9, 4.0 / 1.0)
    speed = rms(-6.0 / 0.9, 2.0 / 1.0)
    trial = 0.01 * size / speed
    step = direction * trial
    moved = (3.0 - 6.0 * step, 4.0 + 2.0 * step)
    change = rms((-2.0 * moved[0] + step + 6.0) / 0.9, (0.5 * moved[1] - 2.0) / 1.0)
    steepest = max(speed, change / trial)
    expected = min(100 * trial, 10 ** (-(2 + math.log10(steepest)) / 5))
    assert guess(field, t1=direction * 10.0) == pytest.approx(expected, rel=1e-12)


def test_the_order_of_the_method_is_the_root_that_is_taken():
    def field(t, y):
        return torch.stack([-2.0 * y[0] + t, 0.5 * y[1]])

    third, ninth = guess(field, order=3), guess(field, order=9)
    assert math.log10(third) * 3 == pytest.approx(math.log10(ninth) * 9, rel=1e-12)


def test_a_vanishing_state_is_tried_with_a_millionth():
    seen = []

    def field(t, y):
        seen.append(float(t))
        return torch.ones_like(y) * (1 + t)

    guess(field, y0=torch.zeros(2, dtype=torch.float64))
    assert seen[1] == 1e-6


def test_a_slope_that_does_not_change_gives_a_hundred_times_the_trial_step():
    trial = 0.01 * rms(3.0 / 0.9, 4.0) / rms(1.0 / 0.9, 1.0)
    assert guess(lambda t, y: torch.ones_like(y)) == pytest.approx(100 * trial, rel=1e-12)


def test_the_first_step_is_never_longer_than_the_interval_nor_than_what_time_can_resolve():
    assert guess(lambda t, y: 1e-8 * y * t, t1=0.125) <= 0.125
    assert guess(lambda t, y: -1e30 * y, t0=1e6, t1=2e6) >= math.ulp(1e6)


def test_a_slope_that_is_not_finite_at_the_start_gives_nan():
    assert math.isnan(guess(lambda t, y: y / 0.0))
    assert math.isnan(guess(lambda t, y: y * math.nan))


def test_a_slope_that_stops_being_finite_at_the_trial_step_gives_a_much_shorter_one():
    trial = 0.01 * rms(3.0 / 0.9, 4.0) / rms(3.0 / 0.9, 4.0)
    found = guess(lambda t, y: y if float(t) == 0.0 else y * math.inf)
    assert found == pytest.approx(trial * 1e-3, rel=1e-12)


def test_the_first_step_evaluates_f_once():
    calls = []

    def field(t, y):
        calls.append(float(t))
        return -y

    slope0 = field(torch.tensor(0.0), Y0)
    first_step(field, 0.0, 1.0, Y0, slope0, 5, RTOL, ATOL)
    assert len(calls) == 2
