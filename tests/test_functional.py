"""The plain functions: tensors in, tensors out, the same numbers as `solve`."""

import pytest
import torch

import pyndereg as nde
from pyndereg.functional import (
    ODEResult,
    odesolve_backprop,
    odesolve_continuous_adjoint,
    odesolve_discrete_adjoint,
)
from tests.equations import FLOAT64, Oscillator, mixing

FUNCTIONS = {
    "backprop": (odesolve_backprop, {}, nde.Backprop()),
    "adjoint": (odesolve_discrete_adjoint, {}, nde.DiscreteAdjoint()),
    "checkpoints": (odesolve_discrete_adjoint, {"checkpoints": 2}, nde.DiscreteAdjoint(2)),
}

functions = pytest.mark.parametrize(("function", "extra", "gradient"), FUNCTIONS.values(), ids=FUNCTIONS)


def y0():
    return torch.tensor([[2.0, 0.0], [0.5, 1.0]], dtype=FLOAT64, requires_grad=True)


@functions
def test_the_result_holds_what_a_solution_holds(function, extra, gradient):
    field = Oscillator()
    options = {"method": "dp5", "rtol": 1e-4, "atol": 1e-5, "saveat": [0.25, 0.5]}
    found = function(field, y0(), 0.0, 2.0, **options, **extra)
    expected = nde.solve(nde.ODEProblem(field, y0(), 0.0, 2.0), gradient=gradient, **options)
    assert isinstance(found, ODEResult)
    assert found._fields == ("y1", "y", "dt", "scaled_error", "stiffness")
    steps = expected.steps
    for one, other in zip(found, (expected.y1, expected.y, steps.dt, steps.scaled_error, steps.stiffness), strict=True):
        assert torch.equal(one, other)


@functions
def test_the_result_unpacks_and_its_gradients_are_those_of_the_solution(function, extra, gradient):
    field, start = Oscillator(), y0()
    y1, y, dt, scaled_error, stiffness = function(field, start, 0.0, 2.0, saveat=[0.25], **extra)
    loss = y1.sum() + y.sum() + (scaled_error * dt).sum() + stiffness.max()
    found = torch.autograd.grad(loss, (start, *field.parameters()))
    solution = nde.solve(nde.ODEProblem(field, start, 0.0, 2.0), saveat=[0.25], gradient=gradient)
    steps = solution.steps
    loss = solution.y1.sum() + solution.y.sum() + (steps.scaled_error * steps.dt).sum() + steps.stiffness.max()
    expected = torch.autograd.grad(loss, (start, *field.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@functions
def test_gradients_reach_listed_tensors_and_both_times(function, extra, gradient):
    weights = (torch.eye(3, dtype=FLOAT64) * 0.5).requires_grad_()
    start = torch.tensor([0.4, -0.7, 1.1], dtype=FLOAT64, requires_grad=True)
    times = [torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.1, 1.7)]

    def outputs(start, weights, t0, t1):
        found = function(
            mixing(weights), start, t0, t1, (weights,), dt=0.6, adaptive=False, rtol=0.01, atol=0.01, **extra
        )
        return found.y1, found.scaled_error, found.stiffness

    assert torch.autograd.gradcheck(outputs, (start, weights, *times))


@functions
def test_failures_and_bad_input_are_those_of_solve(function, extra, gradient):
    with pytest.raises(nde.SolveFailed):
        function(Oscillator(), y0(), 0.0, 2.0, max_steps=2, **extra)
    with pytest.raises(TypeError, match="unknown option 'max_step'"):
        function(Oscillator(), y0(), 0.0, 2.0, max_step=2, **extra)
    with pytest.raises(ValueError, match="t0 and t1 are both"):
        function(Oscillator(), y0(), 1.0, 1.0, **extra)


def test_fewer_checkpoints_cost_more_evaluations_in_the_backward_pass():
    def backward_calls(checkpoints):
        field, calls = Oscillator(), []
        field.register_forward_hook(lambda *_: calls.append(1))
        found = odesolve_discrete_adjoint(field, y0(), 0.0, 2.0, checkpoints=checkpoints)
        del calls[:]
        found.y1.sum().backward()
        return len(calls)

    assert backward_calls(2) > 1.5 * backward_calls(None)


def test_checkpoints_belong_to_the_adjoint_alone():
    with pytest.raises(TypeError, match="unknown option 'checkpoints'"):
        odesolve_backprop(Oscillator(), y0(), 0.0, 1.0, checkpoints=2)


@pytest.mark.parametrize(
    "adjoint", [None, nde.BacksolveAdjoint(rtol=1e-9), nde.GaussAdjoint(), nde.ForwardSensitivity()]
)
def test_a_continuous_adjoint_gives_the_gradients_of_solve_with_it(adjoint):
    field, start = Oscillator(), y0()
    chosen = {} if adjoint is None else {"adjoint": adjoint}
    found = odesolve_continuous_adjoint(field, start, 0.0, 2.0, saveat=[0.25], rtol=1e-8, **chosen)
    gradient = adjoint or nde.InterpolatingAdjoint()
    solution = nde.solve(nde.ODEProblem(field, start, 0.0, 2.0), saveat=[0.25], rtol=1e-8, gradient=gradient)
    assert torch.equal(found.scaled_error, solution.steps.scaled_error)
    inputs = (start, *field.parameters())
    pairs = zip(*(torch.autograd.grad(x.y1.sum() + x.y.sum(), inputs) for x in (found, solution)), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    with pytest.raises(RuntimeError, match="has no gradient"):
        torch.autograd.grad(found.stiffness.sum(), start)
