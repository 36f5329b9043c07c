"""Penalties by hand, from records that are written down; and the gradients that they send into a network."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.ivp import StepRecord
from pyndereg.regularizers import error_estimate, stiffness_estimate
from tests.equations import FLOAT64
from tests.sentences import check_sentence

ERROR = (0.5, 0.1, 0.8)
STIFFNESS = (2.0, 6.0, 3.0)
DT = (0.25, -0.5, 0.125)


def record(scaled_error=ERROR, stiffness=STIFFNESS, dt=DT):
    tensors = [torch.tensor(values, dtype=FLOAT64) for values in (dt, scaled_error, stiffness)]
    return StepRecord(torch.zeros(len(dt), dtype=FLOAT64), *tensors)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.5 * 0.25 + 0.1 * 0.5 + 0.8 * 0.125),
        ({"aggregate": "mean"}, (0.5 * 0.25 + 0.1 * 0.5 + 0.8 * 0.125) / 3),
        ({"aggregate": "max"}, 0.125),
        ({"weight_by_dt": False}, 1.4),
        ({"weight_by_dt": False, "aggregate": "mean"}, 1.4 / 3),
        ({"weight_by_dt": False, "aggregate": "max"}, 0.8),
        ({"squared": True}, 0.25 * 0.25 + 0.01 * 0.5 + 0.64 * 0.125),
        ({"squared": True, "weight_by_dt": False}, 0.9),
        ({"aggregate": "mean", "count_start": True}, (0.5 * 0.25 + 0.1 * 0.5 + 0.8 * 0.125) / 4),
        ({"aggregate": "mean", "count_start": True, "weight_by_dt": False}, 1.4 / 4),
        ({"aggregate": "sum", "count_start": True}, 0.5 * 0.25 + 0.1 * 0.5 + 0.8 * 0.125),
    ],
)
def test_the_error_estimate_by_hand(options, expected):
    found = error_estimate(record(), **options)
    assert found.item() == pytest.approx(expected, rel=1e-14)
    assert found.shape == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2.0 * 0.25 + 6.0 * 0.5 + 3.0 * 0.125),
        ({"aggregate": "mean"}, (2.0 * 0.25 + 6.0 * 0.5 + 3.0 * 0.125) / 3),
        ({"aggregate": "max"}, 3.0),
        ({"weight_by_dt": False, "aggregate": "max"}, 6.0),
        ({"weight_by_dt": False, "squared": True}, 49.0),
        ({"stability_size": 2.0}, (2.0 * 0.25 + 6.0 * 0.5 + 3.0 * 0.125) / 2),
        ({"stability_size": 2.0, "weight_by_dt": False, "squared": True}, 49.0 / 4),
        ({"aggregate": "mean", "count_start": True}, (2.0 * 0.25 + 6.0 * 0.5 + 3.0 * 0.125) / 4),
        ({"aggregate": "mean", "count_start": True, "weight_by_dt": False}, (1.0 + 11.0) / 4),
        (
            {"aggregate": "sum", "count_start": True, "weight_by_dt": False, "squared": True, "stability_size": 2.0},
            (1.0 + 49.0) / 4,
        ),
    ],
)
def test_the_stiffness_estimate_by_hand(options, expected):
    found = stiffness_estimate(record(), **options)
    assert found.item() == pytest.approx(expected, rel=1e-14)
    assert found.shape == ()


def test_the_published_code_s_stiffness_starts_from_one():
    options = {"aggregate": "max", "weight_by_dt": False, "count_start": True, "stability_size": 3.5068}
    assert stiffness_estimate(record(), **options).item() == pytest.approx(6.0 / 3.5068, rel=1e-14)
    gentle = record(stiffness=(0.1, 0.2, 0.3))
    assert stiffness_estimate(gentle, **options).item() == pytest.approx(1.0 / 3.5068, rel=1e-14)


@pytest.mark.parametrize("penalty", [error_estimate, stiffness_estimate])
def test_an_unknown_aggregate_is_refused(penalty):
    with pytest.raises(ValueError, match="aggregate is 'median'") as raised:
        penalty(record(), "median")
    check_sentence(raised.value, "'sum', 'mean', 'max'")


@pytest.mark.parametrize("penalty", [error_estimate, stiffness_estimate])
def test_a_record_without_steps_is_refused(penalty):
    with pytest.raises(ValueError, match="holds no step") as raised:
        penalty(record((), (), ()))
    check_sentence(raised.value, "at least one")


@pytest.mark.parametrize(
    ("penalty", "method", "kind"), [(error_estimate, "rk4", "error"), (stiffness_estimate, "bs3", "stiffness")]
)
def test_a_method_without_the_estimate_is_refused_with_those_that_have_it(penalty, method, kind):
    steps = nde.solve(nde.ODEProblem(lambda t, y: -y, torch.ones(2)), method, dt=0.25).steps
    with pytest.raises(ValueError, match=f"no {kind} estimate") as raised:
        penalty(steps)
    check_sentence(raised.value, "tsit5")


@pytest.mark.parametrize("penalty", [error_estimate, stiffness_estimate])
def test_a_penalty_is_positive_and_small_where_the_equation_is_easy(penalty):
    def of(rate):
        problem = nde.ODEProblem(lambda t, y: -rate * y, torch.ones(2, dtype=FLOAT64))
        return penalty(nde.solve(problem, dt=0.25, adaptive=False).steps).item()

    assert 0 < of(0.5) < of(2.0)


@pytest.mark.parametrize("penalty", [error_estimate, stiffness_estimate])
@pytest.mark.parametrize("aggregate", ["sum", "mean", "max"])
def test_all_gradients_send_the_same_gradient_of_a_penalty_into_the_parameters(penalty, aggregate):
    field = nde.fields.TimeConcatMLP(3, 6).double()
    y0 = torch.linspace(-2.0, 2.0, 12, dtype=FLOAT64).view(4, 3)
    found = []
    for gradient in (None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(2)):
        steps = nde.solve(nde.ODEProblem(field, y0), rtol=1e-3, atol=1e-3, gradient=gradient).steps
        found.append(torch.autograd.grad(penalty(steps, aggregate), tuple(field.parameters())))
        assert all(bool(grad.any()) for grad in found[-1])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("penalty", [error_estimate, stiffness_estimate])
def test_the_gradient_of_a_penalty_is_that_of_finite_differences(penalty):
    y0 = torch.tensor([1.0, -0.5], dtype=FLOAT64)

    def of(rate, angle):
        def rotation(t, y):
            return torch.stack([-rate * y[0] ** 3 - angle * y[1], angle * y[0] - rate * y[1]])

        problem = nde.ODEProblem(rotation, y0, params=(rate, angle))
        return penalty(nde.solve(problem, dt=0.5, adaptive=False, rtol=1e-2, atol=1e-2).steps)

    values = (torch.tensor(x, dtype=FLOAT64, requires_grad=True) for x in (0.7, 2.0))
    assert torch.autograd.gradcheck(of, tuple(values))


def test_minimizing_the_error_estimate_makes_a_solve_cheaper():
    torch.manual_seed(2)
    model = nde.NeuralODE(nde.fields.TimeConcatMLP(2, 16), rtol=1e-6, atol=1e-6)
    for param in model.parameters():
        torch.nn.init.normal_(param, std=1.5)
    y0 = torch.randn(16, 2)
    before = model(y0)[1].stats.nfe
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        penalty = error_estimate(model(y0)[1].steps)
        penalty.backward()
        optimizer.step()
    assert math.isfinite(penalty.item())
    assert model(y0)[1].stats.nfe < 0.8 * before
