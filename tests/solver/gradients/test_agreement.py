"""What counts as the same state, computed again."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.solver.gradients.agreement import Agreement
from tests.sentences import check_sentence

EPS = torch.finfo(torch.float64).eps


def agreement(coarsest=0.0):
    return Agreement(torch.float64, coarsest)


def state(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_equal_states_agree_and_so_does_nothing():
    found = agreement()
    found.check()
    found.compare(0.0, state(1.0, 2.0), state(1.0, 2.0), state(0.0, 0.0))
    found.check()


@pytest.mark.parametrize(("factor", "agrees"), [(0.9, True), (1.1, False)])
def test_a_step_may_differ_by_256_roundoffs_in_units_of_what_it_moves(factor, agrees):
    found, moved, dt = agreement(), 3.0, 0.1
    off = factor * 256 * EPS * moved * dt
    found.compare(0.5, state(off, 0.0), state(0.0, 0.0), state(moved, -1.0), -dt)
    if agrees:
        found.check()
        return
    with pytest.raises(nde.GradientRefused):
        found.check()


def test_a_state_may_differ_in_its_last_places():
    found = agreement()
    found.compare(0.0, state(1.0 + 15 * EPS), state(1.0), state(0.0))
    found.check()
    found.compare(0.0, state(1.0 + 40 * EPS), state(1.0), state(0.0))
    with pytest.raises(nde.GradientRefused):
        found.check()


def test_half_precision_inside_f_widens_what_is_allowed():
    half = torch.finfo(torch.bfloat16).eps
    for coarsest, agrees in ((half, True), (0.0, False)):
        found = agreement(coarsest)
        found.compare(0.0, state(0.5 * math.sqrt(half)), state(0.0), state(1.0))
        if agrees:
            found.check()
        else:
            with pytest.raises(nde.GradientRefused):
                found.check()


def test_the_sentence_names_the_time_of_the_worst_pair_and_how_far_it_is_off():
    found = agreement()
    for t, off in ((0.25, 0.1), (0.5, 0.3), (0.75, 0.2)):
        found.compare(t, state(off), state(0.0), state(1.0))
    with pytest.raises(nde.GradientRefused) as raised:
        found.check()
    check_sentence(raised.value, "t=0.5", "0.3", "Backprop()")


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_state_that_is_no_number_where_it_was_one_does_not_agree(wrong):
    found = agreement()
    found.compare(0.0, state(wrong), state(1.0), state(1.0))
    with pytest.raises(nde.GradientRefused):
        found.check()


@pytest.mark.parametrize(("rtol", "factor", "agrees"), [(1e-6, 1.01, True), (1e-6, 1.05, False), (1e-13, 1.05, True)])
def test_errors_of_steps_may_differ_by_a_fiftieth_and_rounding(rtol, factor, agrees):
    kept = state(0.5, math.nan, 0.1)
    if agrees:
        agreement().check_errors(kept * factor, kept, state(1.0), rtol, 0.0)
        return
    with pytest.raises(nde.GradientRefused) as raised:
        agreement().check_errors(kept * factor, kept, state(1.0), rtol, 0.0)
    check_sentence(raised.value, "step 0", "SaveAt(dense=True)")
