"""Norms of states in any unit, and tolerances of which one is zero."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.solver.norms import absolute_tolerance, scaled_error, size_of
from pyndereg.solver.stiffness import rms_ratio
from tests.equations import FLOAT64

FLOAT32 = torch.float32


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_the_root_mean_square_of_float32_numbers_is_right_where_their_squares_are_not_float32_numbers(size):
    assert size_of(torch.tensor([3.0 * size, 4.0 * size])) == pytest.approx(math.sqrt(12.5) * size, rel=1e-6)


@pytest.mark.parametrize("unit", [1e-28, 1e-20, 1e15])
def test_the_stiffness_and_its_gradient_do_not_depend_on_the_unit_of_a_float32_state(unit):
    scale = torch.tensor(7.0, requires_grad=True)
    states = torch.tensor([3e-5, -4e-5]) * unit
    estimate = rms_ratio(scale * states, states)
    (gradient,) = torch.autograd.grad(estimate, scale)
    assert (estimate.item(), gradient.item()) == pytest.approx((7.0, 1.0), rel=1e-6)
    assert estimate.dtype == FLOAT32


@pytest.mark.parametrize("unit", [1e-22, 1e18])
@pytest.mark.parametrize("method", ["tsit5", "vern7"])
def test_a_solve_s_stiffness_penalty_and_its_gradient_are_the_same_in_any_unit(method, unit):
    rate = torch.tensor(3.0, requires_grad=True)
    problem = nde.ODEProblem(lambda t, y: -rate * y, torch.tensor([1.0, 2.0]) * unit, params=[rate])
    found = nde.solve(problem, method, rtol=1e-4, atol=1e-6 * unit)
    penalty = nde.regularizers.stiffness_estimate(found.steps)
    penalty.backward()
    assert (penalty.item(), rate.grad.item()) == pytest.approx((3.0, 1.0), rel=1e-2)


@pytest.mark.parametrize("unit", [1e-15, 1e-9, 1e15])
def test_a_float32_solve_is_the_same_in_any_unit_of_time(unit):
    found = nde.solve(nde.ODEProblem(lambda t, y: -y / unit, torch.ones(3), t1=2.0 * unit), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.y1, torch.full((3,), math.exp(-2.0)), rtol=1e-4, atol=0.0)


def test_a_solve_that_starts_at_rest_at_zero_works_in_femtoseconds():
    unit = 1e-15
    found = nde.solve(nde.ODEProblem(lambda t, y: (1.0 - y) / unit, torch.zeros(2), t1=3.0 * unit))
    torch.testing.assert_close(found.y1, torch.full((2,), 1.0 - math.exp(-3.0)), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_an_element_whose_error_and_tolerance_are_both_zero_has_no_error(dtype):
    atol = absolute_tolerance(0.0, dtype, torch.device("cpu"))
    error = torch.tensor([0.0, 2e-6], dtype=dtype, requires_grad=True)
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    found = scaled_error(error, ends, ends, 1e-6, atol)
    assert found.item() == pytest.approx(2.0 / math.sqrt(2.0), rel=1e-5)
    (gradient,) = torch.autograd.grad(found, error)
    assert gradient.isfinite().all()


def test_an_error_where_the_tolerance_is_zero_is_not_accepted():
    atol = absolute_tolerance(0.0, FLOAT64, torch.device("cpu"))
    zeros = torch.zeros(2, dtype=FLOAT64)
    assert not scaled_error(torch.tensor([0.0, 1e-12], dtype=FLOAT64), zeros, zeros, 1e-6, atol).item() <= 1.0


def test_a_tolerance_that_is_not_zero_is_the_number_itself():
    assert absolute_tolerance(1e-9, FLOAT64, torch.device("cpu")).item() == 1e-9
