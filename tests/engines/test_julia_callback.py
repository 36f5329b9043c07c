"""Right-hand sides as Julia calls them back: the forward solve sees f, the backward pass f as it was at the solve."""

import pytest
import torch

import pyndereg as nde
from pyndereg.engines.julia.fields import julia_field
from pyndereg.ivp import SolveOptions
from tests.equations import FLOAT64

Y0 = torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=FLOAT64)
T0 = 0.25


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor([0.5, 1.5], dtype=FLOAT64))
        self.unused = torch.nn.Parameter(torch.ones(3, dtype=FLOAT64))
        self.force, self.calls = 1.0, 0

    def forward(self, t, y):
        self.calls += 1
        return self.force * torch.sin(self.rate * y)


def begun(f, params=()):
    problem = nde.ODEProblem(f, Y0.clone(), T0, 1.0, params)
    field = julia_field(problem, problem.layout, SolveOptions(field="callback"), with_time=False)
    assert field.torch_field is not None
    return field


def evaluate(field, t, y):
    slope = torch.full_like(y, float("nan"))
    with field.torch_field as called:
        called.evaluate(0, t, y.data_ptr(), slope.data_ptr())
    return slope


def pull(field, t, y, cotangent):
    """What Julia asks of a pullback: the cotangent of the state, and the gradients of the inputs."""
    gu, gp, gt = torch.empty_like(y), torch.zeros_like(field.p), torch.zeros((), dtype=FLOAT64)
    with field.torch_field as called:
        called.pullback(0, t, y.data_ptr(), cotangent.data_ptr(), gu.data_ptr(), gp.data_ptr(), gt.data_ptr())
    return gu, field.gradients(gp)


def test_the_first_evaluation_of_a_solve_is_the_one_that_was_looked_at():
    f = Field()
    field = begun(f)
    assert f.calls == 1
    y = Y0.clone()
    torch.testing.assert_close(evaluate(field, T0, y), torch.sin(f.rate.detach() * Y0))
    assert f.calls == 1
    evaluate(field, 0.5, y)
    assert f.calls == 2


def test_an_evaluation_elsewhere_is_made_even_if_it_is_the_first():
    f = Field()
    field = begun(f)
    torch.testing.assert_close(evaluate(field, T0, 2 * Y0), torch.sin(f.rate.detach() * 2 * Y0))
    assert f.calls == 2


def test_the_backward_pass_differentiates_what_was_solved_and_leaves_unused_parameters_out():
    f = Field()
    field = begun(f)
    assert [id(x) for x in field.inputs] == [id(f.rate), id(f.unused)]
    field.settle()
    f.force = 7.0
    y, cotangent = Y0.clone(), torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=FLOAT64)
    gu, (rate, unused) = pull(field, T0, y, cotangent)
    slope = cotangent * torch.cos(f.rate.detach() * Y0)
    torch.testing.assert_close(gu, slope * f.rate.detach())
    torch.testing.assert_close(rate, (slope * Y0).sum(0))
    assert unused is None


def test_tensors_that_nobody_declared_are_inputs_wherever_f_finds_them():
    rate = torch.tensor([0.5, 1.5], dtype=FLOAT64, requires_grad=True)
    computed = 2.0 * rate
    field = begun(lambda t, y: -computed * y)
    assert [id(x) for x in field.inputs] == [id(computed)]
    field.settle()
    gu, (gradient,) = pull(field, T0, Y0.clone(), torch.ones_like(Y0))
    torch.testing.assert_close(gu, -computed.detach().expand(2, 2))
    torch.testing.assert_close(gradient, -Y0.sum(0))


def test_complex_parameters_cross_as_pairs_of_numbers():
    weight = torch.nn.Parameter(torch.tensor([0.3 + 0.2j, 0.1 - 0.4j], dtype=torch.complex128))
    field = begun(lambda t, y: (weight * y).real + (weight * y).imag, [weight])
    assert field.p.numel() == 4
    field.settle()
    _, (gradient,) = pull(field, T0, Y0.clone(), torch.ones_like(Y0))
    torch.testing.assert_close(gradient, torch.complex(Y0.sum(0), Y0.sum(0)))


def test_an_f_that_is_another_function_each_time_is_refused_before_the_solve():
    dropout, weight = torch.nn.Dropout(0.5), torch.ones(2, dtype=FLOAT64, requires_grad=True)
    with pytest.raises(nde.GradientRefused, match=r"draws random numbers in each evaluation, and .*engine='julia'"):
        begun(lambda t, y: dropout(weight * y))


def test_after_the_forward_solve_nothing_of_the_user_s_is_held():
    f = Field()
    field = begun(f)
    field.settle()
    assert field.torch_field._field.function is not f
