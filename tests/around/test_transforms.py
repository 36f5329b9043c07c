"""Transforms that cannot see through a solve are refused in one sentence, and those that it does not notice go on."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap

import pyndereg as nde
from tests.sentences import check_sentence

# Torch's own, at the first dual tensor of a process.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

FIELD = nde.fields.TimeConcatMLP(2)


def loss(y0):
    return nde.NeuralODE(FIELD)(y0)[0].sum()


def stochastic_loss(y0):
    return nde.NeuralSDE(FIELD, FIELD)(y0, seed=1)[0].sum()


def dense_loss(t):
    return nde.solve(nde.ODEProblem(FIELD, torch.ones(2)))(t).sum()


TRANSFORMS = {
    "grad": lambda f, x: grad(f)(x),
    "vmap": lambda f, x: vmap(f)(x[None]),
    "jacrev": lambda f, x: jacrev(f)(x),
    "jvp": lambda f, x: jvp(f, (x,), (x,)),
    "vjp": lambda f, x: vjp(f, x),
    "per-sample gradients": lambda f, x: vmap(grad(f))(x[None]),
}


@pytest.mark.parametrize("function", [loss, stochastic_loss], ids=lambda function: function.__name__)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_of_a_function_that_solves_is_refused(name, function):
    with pytest.raises(RuntimeError, match=r"torch\.func") as raised:
        TRANSFORMS[name](function, torch.rand(3, 2))
    check_sentence(raised.value, "torch.autograd.grad")


def test_a_transform_of_parameters_is_refused():
    ode = nde.NeuralODE(nde.fields.TimeConcatMLP(2))

    def of_parameters(parameters):
        return functional_call(ode, parameters, (torch.ones(3, 2),))[0].sum()

    with pytest.raises(RuntimeError, match=r"torch\.func"):
        grad(of_parameters)(dict(ode.named_parameters()))


def test_a_transform_of_the_times_of_dense_output_is_refused():
    solution = nde.solve(nde.ODEProblem(FIELD, torch.ones(2)))
    with pytest.raises(RuntimeError, match="a call of a solution is inside") as raised:
        vmap(lambda t: solution(t).sum())(torch.rand(4))
    check_sentence(raised.value)


@pytest.mark.parametrize("of", ["state", "parameter"])
def test_forward_mode_is_refused_rather_than_losing_a_tangent(of):
    w, y0 = torch.tensor(2.0), torch.ones(2)
    with forward_ad.dual_level():
        if of == "state":
            y0 = forward_ad.make_dual(y0, torch.ones(2))
        else:
            w = forward_ad.make_dual(w, torch.ones(()))
        with pytest.raises(RuntimeError, match="forward-mode") as raised:
            nde.solve(nde.ODEProblem(lambda t, y: -w * y, y0))
    check_sentence(raised.value, "ForwardSensitivity()")


def test_parameters_that_functional_call_swaps_in_are_those_that_the_solve_uses():
    ode = nde.NeuralODE(nde.fields.TimeConcatMLP(2))
    swapped = {name: torch.zeros_like(parameter) for name, parameter in ode.named_parameters()}
    y1, _ = functional_call(ode, swapped, (torch.ones(3, 2),))
    assert torch.equal(y1, torch.ones(3, 2))


@pytest.mark.parametrize("gradient", [None, nde.Backprop(), nde.DiscreteAdjoint()], ids=str)
def test_a_right_hand_side_may_transform_inside(gradient):
    scale = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def f(t, y):
        # The slope of -scale y^2 / 2, one sample at a time.
        return vmap(grad(lambda x: -0.5 * scale * x.square().sum()))(y)

    y0 = torch.ones(3, 2, dtype=torch.float64)
    y1 = nde.solve(nde.ODEProblem(f, y0, params=[scale]), gradient=gradient).y1
    torch.testing.assert_close(y1, torch.exp(-scale).expand(3, 2), rtol=0, atol=1e-5)
    (found,) = torch.autograd.grad(y1.sum(), scale)
    torch.testing.assert_close(found, -6.0 * torch.exp(-scale.detach()), rtol=0, atol=1e-4)


def test_a_batch_of_cotangents_at_once_is_refused():
    y0 = torch.ones(2, requires_grad=True)
    y1 = nde.solve(nde.ODEProblem(FIELD, y0)).y1
    with pytest.raises(RuntimeError, match="many cotangents at once") as raised:
        torch.autograd.grad(y1, y0, torch.eye(2), is_grads_batched=True)
    check_sentence(raised.value)
