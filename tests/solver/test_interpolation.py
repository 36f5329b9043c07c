"""Continuous extension: polynomials by hand, and dense output over many steps."""

import pytest
import torch

from pyndereg.ivp import StateLayout
from pyndereg.solver.interpolation import DenseOutput, extension_slopes, extension_weights, interpolate
from pyndereg.solver.tableaus import TABLEAUS
from tests.sentences import check_sentence

FLOAT64 = torch.float64
# b_1 = theta - theta^2, b_2 = 3 theta^2
WEIGHTS = torch.tensor([[1.0, -1.0], [0.0, 3.0]], dtype=FLOAT64)
THETA = torch.tensor([0.0, 0.5, 1.0], dtype=FLOAT64)


def test_weights_are_polynomials_in_the_fraction_of_the_step_without_a_constant():
    assert extension_weights(WEIGHTS, THETA, THETA).tolist() == [[0.0, 0.0], [0.25, 0.75], [0.0, 3.0]]


def test_slopes_are_the_derivatives_of_the_weights():
    assert extension_slopes(WEIGHTS, THETA, THETA).tolist() == [[1.0, 0.0], [0.0, 3.0], [-1.0, 6.0]]


def test_weights_take_the_dtype_of_the_state():
    assert extension_weights(WEIGHTS, THETA, torch.zeros(1)).dtype == torch.float32


def test_a_state_inside_a_step_is_its_start_plus_the_weighted_slopes_times_its_length():
    slopes = torch.tensor([[1.0, 2.0], [10.0, 20.0]], dtype=FLOAT64)
    weights = extension_weights(WEIGHTS, THETA[1:2], THETA)
    found = interpolate(weights, torch.tensor([5.0, 6.0], dtype=FLOAT64), slopes, -2.0)
    assert found.tolist() == [[5.0 - 2 * (0.25 + 7.5), 6.0 - 2 * (0.5 + 15.0)]]


@pytest.fixture
def dense():
    """Two steps of Euler's line: y = 1 + 2 t on [0, 1], then 3 - 4 (t - 1) on [1, 3]."""
    weights = torch.tensor([[1.0]], dtype=FLOAT64)
    return DenseOutput(
        StateLayout((torch.Size((1,)),), False, FLOAT64, torch.device("cpu")),
        weights,
        t=torch.tensor([0.0, 1.0, 3.0], dtype=FLOAT64),
        dt=torch.tensor([1.0, 2.0], dtype=FLOAT64),
        y=torch.tensor([[1.0], [3.0]], dtype=FLOAT64),
        slopes=torch.tensor([[[2.0]], [[-4.0]]], dtype=FLOAT64),
    )


def test_dense_output_takes_the_step_that_a_time_lies_in(dense):
    times = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0], dtype=FLOAT64)
    assert dense(times).squeeze(-1).tolist() == [1.0, 2.0, 3.0, -1.0, -5.0]


def test_dense_output_takes_times_of_any_shape_and_order(dense):
    times = torch.tensor([[2.0, 0.5], [3.0, 0.0]], dtype=FLOAT64)
    assert dense(times).tolist() == [[[-1.0], [2.0]], [[-5.0], [1.0]]]
    assert dense(torch.tensor(0.5, dtype=FLOAT64)).shape == (1,)
    assert dense(torch.empty(0, dtype=FLOAT64)).shape == (0, 1)


@pytest.mark.parametrize("t", [-1e-9, 3.0 + 1e-9, float("nan")])
def test_dense_output_refuses_times_at_which_the_solution_is_not_known(dense, t):
    with pytest.raises(ValueError, match="lies outside") as raised:
        dense(torch.tensor([1.0, t], dtype=FLOAT64))
    check_sentence(raised.value, "[0, 3]")


@pytest.mark.parametrize("name", sorted(TABLEAUS))
def test_the_derivative_of_every_interpolant_is_the_slope_at_the_start_of_the_step(name):
    weights = torch.tensor([[float(x) for x in row] for row in TABLEAUS[name].interpolant.weights], dtype=FLOAT64)
    at_start = extension_slopes(weights, torch.zeros(1, dtype=FLOAT64), weights)[0]
    expected = torch.zeros_like(at_start)
    expected[0] = 1.0
    torch.testing.assert_close(at_start, expected, rtol=0, atol=1e-12)
