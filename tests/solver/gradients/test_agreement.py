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


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_moves_a_state_to_no_number_hides_no_other_difference(wrong):
    found = agreement()
    found.compare(0.0, state(1.0, 2.0), state(1.0, 1.0), state(wrong, 1.0))
    with pytest.raises(nde.GradientRefused):
        found.check()


def test_what_was_no_number_agrees_with_anything_and_hides_no_other_difference():
    kept = state(math.nan, math.inf, 1.0)
    found = agreement()
    found.compare(0.0, state(3.0, 3.0, 1.0), kept, state(1.0, 1.0, 1.0))
    found.check()
    found.compare(0.0, state(math.nan, math.inf, 1.1), kept, state(1.0, 1.0, 1.0))
    with pytest.raises(nde.GradientRefused):
        found.check()


def test_a_small_element_beside_a_large_one_is_compared_for_itself():
    eps = torch.finfo(torch.float32).eps
    kept, moved = torch.tensor([1e5, 1.0]), torch.tensor([5e4, 0.7])
    for off, agrees in ((200 * eps * 0.7, True), (0.3, False)):
        found = Agreement(torch.float32, 0.0)
        found.compare(0.0, kept + torch.tensor([0.0, off]), kept, moved)
        if agrees:
            found.check()
        else:
            with pytest.raises(nde.GradientRefused):
                found.check()


@pytest.mark.parametrize(("of_the_large_one", "agrees"), [(50 * EPS, True), (0.0, False)])
def test_an_element_that_cancels_may_differ_as_much_as_the_larger_ones_that_agree(of_the_large_one, agrees):
    found = agreement()
    found.compare(0.0, state(of_the_large_one, 200 * EPS), state(0.0, 0.0), state(1.0, 1e-9))
    if agrees:
        found.check()
        return
    with pytest.raises(nde.GradientRefused):
        found.check()


def test_of_several_things_that_move_an_element_the_largest_counts():
    found = agreement()
    found.compare(0.0, state(200 * EPS, 0.0), state(0.0, 0.0), torch.stack([state(0.0, 1.0), state(-1.0, 0.0)]))
    found.check()


def test_many_pairs_are_compared_and_the_worst_of_them_is_told():
    found = agreement()
    for i in range(200):
        found.compare(float(i), state(0.5 if i == 77 else 1e-3), state(0.0), state(1.0))
    with pytest.raises(nde.GradientRefused, match=r"t=77, .* off by 0\.5 "):
        found.check()


def test_an_error_that_is_no_number_any_longer_does_not_agree():
    with pytest.raises(nde.GradientRefused):
        agreement().check_errors(state(math.nan), state(0.5), state(1.0), 1e-6, 0.0)


@pytest.mark.parametrize(("rtol", "factor", "agrees"), [(1e-6, 1.01, True), (1e-6, 1.05, False), (1e-13, 1.05, True)])
def test_errors_of_steps_may_differ_by_a_fiftieth_and_rounding(rtol, factor, agrees):
    kept = state(0.5, math.nan, 0.1)
    if agrees:
        agreement().check_errors(kept * factor, kept, state(1.0), rtol, 0.0)
        return
    with pytest.raises(nde.GradientRefused) as raised:
        agreement().check_errors(kept * factor, kept, state(1.0), rtol, 0.0)
    check_sentence(raised.value, "step 0", "SaveAt(dense=True)")
