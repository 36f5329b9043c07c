"""The scaled norm and the stiffness estimates against numbers worked out by hand."""

import math

import pytest
import torch

from pyndereg.solver.norms import rms, scaled_error
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES, max_ratio, rms_ratio


def tensor(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def test_the_root_mean_square_divides_by_the_number_of_all_elements():
    assert rms(tensor(3.0, 4.0)).item() == pytest.approx(math.sqrt(12.5), rel=1e-15)
    assert rms(torch.full((2, 3, 4), -2.0, dtype=torch.float64)).item() == pytest.approx(2.0, rel=1e-15)


def test_each_error_is_measured_by_the_larger_of_both_ends_of_its_step():
    error, y0, y1 = tensor(0.3, -0.5), tensor(1.0, -4.0), tensor(-2.0, 3.0)
    found = scaled_error(error, y0, y1, 0.1, tensor(0.05).squeeze())
    assert found.item() == pytest.approx(math.sqrt(((0.3 / 0.25) ** 2 + (0.5 / 0.45) ** 2) / 2), rel=1e-14)
    assert found.shape == ()


def test_the_rms_stiffness_is_the_ratio_of_root_mean_squares():
    assert rms_ratio(tensor(3.0, 4.0), tensor(1.0, 0.0)).item() == pytest.approx(5.0, rel=1e-14)


def test_the_max_stiffness_is_the_largest_element_wise_ratio():
    assert max_ratio(tensor(3.0, -4.0, 1.0), tensor(1.0, 0.5, -2.0)).item() == pytest.approx(8.0, rel=1e-14)


def test_elements_that_do_not_differ_are_passed_over_by_the_max_stiffness():
    assert max_ratio(tensor(3.0, 4.0), tensor(1.5, 0.0)).item() == pytest.approx(2.0, rel=1e-14)


@pytest.mark.parametrize("name", sorted(STIFFNESS_ESTIMATES))
def test_equal_stages_give_a_stiffness_of_zero_and_a_finite_gradient(name):
    slopes, states = tensor(0.0, 0.0).requires_grad_(), tensor(0.0, 0.0).requires_grad_()
    estimate = STIFFNESS_ESTIMATES[name](slopes, states)
    assert estimate.item() == 0.0
    gradients = torch.autograd.grad(estimate, (slopes, states), allow_unused=True, materialize_grads=True)
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", sorted(STIFFNESS_ESTIMATES))
def test_the_gradient_of_a_stiffness_estimate_is_that_of_finite_differences(name):
    slopes, states = tensor(3.0, -4.0, 0.7).requires_grad_(), tensor(0.5, 1.0, -0.4).requires_grad_()
    assert torch.autograd.gradcheck(STIFFNESS_ESTIMATES[name], (slopes, states))
