"""An f and a state that do not fit together are told in one sentence of ours, with torch's own behind it."""

import pytest
import torch
from torch import nn

import pyndereg as nde
from tests.sentences import check_sentence

FIELD = nde.fields.TimeConcatMLP(2)


class OwnError(RuntimeError):
    """What a user's f raises for reasons of its own."""


def ode(f, y0, **options):
    return lambda: nde.solve(nde.ODEProblem(f, y0), **options)


def sde(f, g, y0):
    return lambda: nde.solve(nde.SDEProblem(f, g, y0))


def wide(t, y):
    return y @ torch.ones(5, 5)


def add_three(t, y):
    return y + torch.ones(3)


CASES = {
    "double state, float net": (ode(FIELD, torch.ones(3, 2).double()), ValueError, "parameters of f are torch.float32"),
    "float state, double net": (
        ode(nde.fields.TimeConcatMLP(2).double(), torch.ones(3, 2)),
        ValueError,
        "y0 is torch.float32 on cpu and the parameters of f are torch.float64 on cpu",
    ),
    "float state, double matrix": (
        ode(lambda t, y: y @ torch.eye(2).double(), torch.ones(3, 2)),
        ValueError,
        "y0 is torch.float32 on cpu",
    ),
    "net on another device": (ode(nde.fields.TimeConcatMLP(2).to("meta"), torch.ones(3, 2)), ValueError, "meta"),
    "diffusion of another dtype": (
        sde(FIELD, nde.fields.TimeConcatMLP(2).double(), torch.ones(3, 2)),
        ValueError,
        "parameters of g are torch.float64",
    ),
    "state too narrow": (ode(FIELD, torch.ones(3, 5)), ValueError, "f cannot take y of shape (3, 5)"),
    "matrix too wide": (ode(wide, torch.ones(3, 2)), ValueError, "shape (3, 2)"),
    "shapes that do not broadcast": (ode(add_three, torch.ones(3, 2)), ValueError, "shape (3, 2)"),
    "a tuple of shapes": (
        ode(lambda t, y: (y[0] @ y[1], y[1]), (torch.ones(3, 2), torch.ones(3))),
        ValueError,
        "shape (3, 2) and (3,)",
    ),
    "nn.Sequential": (ode(nn.Sequential(nn.Linear(2, 2)), torch.ones(3, 2)), TypeError, "nde.fields.Autonomous(net)"),
    "a function of y": (ode(lambda y: -y, torch.ones(3, 2)), TypeError, "lambda t, y: f(y)"),
    "a diffusion of y": (sde(FIELD, lambda y: y, torch.ones(3, 2)), TypeError, "g takes one argument"),
    "a function of three": (ode(lambda t, y, args: -y, torch.ones(3, 2)), TypeError, "called as f(t, y)"),
    "a tuple returned": (ode(lambda t, y: (y, y), torch.ones(3, 2)), TypeError, "f returned a tuple"),
    "a tensor returned": (ode(lambda t, y: y[0], (torch.ones(3), torch.ones(3))), TypeError, "f returned a Tensor"),
    "a list as state": (ode(FIELD, [torch.ones(3, 2)]), TypeError, "y0 holds a list"),
    "an LSTM's output as state": (ode(FIELD, (torch.ones(3), (torch.ones(3),))), TypeError, "y0 holds a tuple"),
    "whole numbers": (ode(FIELD, torch.ones(3, 2, dtype=torch.int64)), TypeError, "y0 has dtype torch.int64"),
    "half": (ode(FIELD, torch.ones(3, 2).half()), TypeError, "y0 has dtype torch.float16"),
    "complex": (ode(FIELD, torch.ones(3, 2) * 1j), TypeError, "torch.view_as_real(y0)"),
    "sparse": (ode(FIELD, torch.eye(2).to_sparse()), TypeError, "y0.to_dense()"),
    "without numbers": (ode(FIELD, torch.ones(3, 2, device="meta")), TypeError, "y0 is on the meta device"),
    "save times in words": (ode(FIELD, torch.ones(3, 2), saveat=["0.5"]), TypeError, "save times are"),
    "a module as params": (lambda: nde.ODEProblem(wide, torch.ones(3, 2), params=FIELD), TypeError, "params is a Time"),
    "no params": (lambda: nde.SDEProblem(wide, wide, torch.ones(2), params=None), TypeError, "params is a NoneType"),
}


@pytest.mark.parametrize(("solve", "kind", "part"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("grad", [False, True])
def test_what_does_not_fit_is_told_in_one_sentence(solve, kind, part, grad):
    with torch.set_grad_enabled(grad), pytest.raises(kind) as raised:
        solve()
    check_sentence(raised.value, part)


def test_the_sentence_of_torch_is_behind_ours():
    with pytest.raises(ValueError, match="cannot take y") as raised:
        ode(FIELD, torch.ones(3, 5))()
    assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize("error", [OwnError("my own reason"), RuntimeError("no such pump"), TypeError("not a valve")])
def test_what_f_raises_for_reasons_of_its_own_passes_unchanged(error):
    def f(t, y):
        raise error

    with pytest.raises(type(error)) as raised:
        ode(f, torch.ones(2))()
    assert raised.value is error


def test_an_error_that_comes_later_passes_unchanged():
    def f(t, y):
        return -y if t < 0.5 else torch.ones(2) @ torch.ones(3)

    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        ode(f, torch.ones(2))()


def test_weights_that_were_made_in_inference_mode_are_told_where_they_cannot_serve():
    with torch.inference_mode():
        field = nde.fields.TimeConcatMLP(2)
    with pytest.raises(RuntimeError, match="inference_mode") as raised:
        ode(field, torch.ones(3, 2, requires_grad=True))()
    check_sentence(raised.value, "torch.no_grad()")
    with torch.no_grad():
        assert ode(field, torch.ones(3, 2))().y1.shape == (3, 2)
