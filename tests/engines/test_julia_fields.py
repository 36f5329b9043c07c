"""Right-hand sides of the julia engine: networks of its own, torch functions called back, Julia functions."""

from pathlib import Path

import pytest
import torch
from torch import nn

import pyndereg as nde
from pyndereg import fields
from pyndereg.julia_runtime import JuliaError
from tests.equations import FLOAT64, decay, van_der_pol
from tests.sentences import check_sentence

pytestmark = pytest.mark.julia

JULIA_FILE = str(Path(__file__).parent / "right_hand_sides.jl")


def modules():
    """A few modules with a native counterpart, on states of three features."""
    torch.manual_seed(0)
    shared = nn.Linear(3, 3)
    return {
        "time-dependent": fields.TimeConcatMLP(3, 7, activation=torch.nn.functional.softplus),
        "autonomous": fields.Autonomous(nn.Sequential(fields.Power(3), nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))),
        "time at the input": fields.TimeConcat(nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3, bias=False))),
        "residual and normalized": fields.Autonomous(
            nn.Sequential(fields.Residual(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3), nn.SiLU())), nn.Sigmoid())
        ),
        "shared": fields.Autonomous(nn.Sequential(shared, nn.ELU(), shared)),
    }


def everything(problem, params, **options):
    """A solve's outputs, and the gradients of all of them."""
    found = nde.solve(problem, saveat=[0.2, 0.9], rtol=1e-7, atol=1e-7, **options)
    outputs = (found.y1, found.y, found.steps.scaled_error, found.steps.stiffness, found(0.4))
    total = sum(
        (output * torch.linspace(0.5, 1.0, output.numel(), dtype=output.dtype).view(output.shape)).sum()
        for output in outputs[:2]
    )
    total = total + 1e-2 * outputs[2].sum() + 1e-2 * outputs[3].mean() + outputs[4].sum()
    return found, torch.autograd.grad(total, (problem.y0, *params))


@pytest.mark.parametrize("name", modules())
def test_a_network_gives_the_same_solution_natively_called_back_and_in_torch(name):
    module = modules()[name].double()
    y0 = torch.linspace(-1.0, 1.0, 6, dtype=FLOAT64).view(2, 3).requires_grad_()
    problem = nde.ODEProblem(module, y0)
    params = [param for param in module.parameters() if param.requires_grad]
    one, gradients = everything(problem, params, engine="embedded")
    for field in ("native", "callback"):
        other, found = everything(problem, params, engine="julia", field=field)
        # The controller's power function is approximate: the steps differ by about five digits.
        assert (other.stats.accepted, other.stats.rejected) == (one.stats.accepted, one.stats.rejected)
        assert other.stats.nfe == one.stats.nfe + 1
        torch.testing.assert_close(other.y, one.y, rtol=1e-6, atol=1e-7)
        for mine, theirs in zip(found, gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("field", ["native", "callback"])
def test_frozen_parameters_get_no_gradient_and_the_native_field_is_the_default(field):
    module = fields.TimeConcatMLP(2, 4)
    module.hidden_layer.weight.requires_grad_(False)
    y0 = torch.ones(3, 2)
    nde.solve(nde.ODEProblem(module, y0), engine="julia", field=field).y1.sum().backward()
    assert module.hidden_layer.weight.grad is None
    assert module.output_layer.weight.grad.abs().sum() > 0
    with torch.no_grad():
        chosen, default = (
            nde.solve(nde.ODEProblem(module, y0), engine="julia", **options).y1 for options in ({"field": "native"}, {})
        )
    assert torch.equal(chosen, default)


def test_a_native_field_that_there_is_not_is_refused_with_the_reason():
    y0 = torch.ones(2)
    for f, found in (
        (decay, "the Python function decay"),
        (fields.Autonomous(nn.Sequential(nn.BatchNorm1d(2))), "BatchNorm1d"),
    ):
        with pytest.raises(ValueError, match=r"\w") as raised:
            nde.solve(nde.ODEProblem(f, y0), engine="julia", field="native")
        check_sentence(raised.value, found, "callback")
        assert f(torch.tensor(0.0), torch.ones(2, 2)).shape == (2, 2)


def test_what_only_the_julia_engine_has_is_refused_by_the_embedded_one():
    y0 = torch.ones(2, dtype=FLOAT64)
    f = nde.julia.function(name="decay!", path=JULIA_FILE)
    for problem, options, found in (
        (nde.ODEProblem(f, y0), {}, "decay!"),
        (nde.ODEProblem(decay, y0), {"method": nde.julia.method("Rodas5P")}, "Rodas5P"),
        (nde.ODEProblem(decay, y0), {"field": "callback"}, "'callback'"),
        (nde.ODEProblem(decay, y0), {"gradient": nde.GaussAdjoint(vjp="zygote")}, "GaussAdjoint"),
        (nde.ODEProblem(decay, y0), {"gradient": nde.julia.sensealg("TrackerAdjoint")}, "TrackerAdjoint"),
    ):
        with pytest.raises(ValueError, match="engine='julia'") as raised:
            nde.solve(problem, **options)
        check_sentence(raised.value, found)
    with pytest.raises(TypeError, match="engine='julia'"):
        f(0.0, y0)


# --- Julia functions


def test_a_julia_function_is_solved_in_any_shape_and_precision():
    f = nde.julia.function(name="decay!", path=JULIA_FILE)
    for dtype in (torch.float32, FLOAT64):
        y0 = torch.linspace(1.0, 2.0, 6, dtype=dtype).view(3, 2)
        found = nde.solve(nde.ODEProblem(f, y0), engine="julia")
        torch.testing.assert_close(found.y1, y0 * torch.exp(torch.tensor(-1.0, dtype=dtype)), rtol=1e-5, atol=0)


def test_a_julia_function_that_is_not_there_or_fails_is_one_sentence():
    y0 = torch.ones(2, dtype=FLOAT64)
    for options, found in (
        ({"name": "decay!", "path": "/nowhere/file.jl"}, "/nowhere/file.jl"),
        ({"name": "growth!", "path": JULIA_FILE}, "growth!"),
        ({"name": "f!", "module": "NoSuchModule"}, "NoSuchModule"),
    ):
        with pytest.raises(ValueError, match=r"\w") as raised:
            nde.solve(nde.ODEProblem(nde.julia.function(**options), y0), engine="julia")
        check_sentence(raised.value, found)
    with pytest.raises(JuliaError, match="something is wrong here") as failed:
        nde.solve(nde.ODEProblem(nde.julia.function(name="broken!", path=JULIA_FILE), y0), engine="julia")
    assert "right_hand_sides.jl" in failed.value.trace
    with pytest.raises(ValueError, match="neither module nor path"):
        nde.julia.function(name="f!")


# --- torch functions


def test_what_f_raises_is_raised_as_it_is():
    class Mine(Exception):
        pass

    def f(t, y):
        if float(t) > 0.5:
            raise Mine("at last")
        return -y

    with pytest.raises(Mine, match="at last") as raised:
        nde.solve(nde.ODEProblem(f, torch.ones(2)), engine="julia")
    assert raised.traceback[-1].name == "f"
    assert nde.solve(nde.ODEProblem(decay, torch.ones(2)), engine="julia").status.succeeded


def test_f_may_keep_its_argument():
    kept = []

    def f(t, y):
        kept.append((y, y.clone()))
        return -y

    nde.solve(nde.ODEProblem(f, torch.ones(50)), engine="julia", rtol=1e-8)
    nde.solve(nde.ODEProblem(f, torch.ones(50)), engine="julia", rtol=1e-8)
    assert all(torch.equal(mine, copy) for mine, copy in kept)


def test_f_sees_the_caller_s_autocast():
    seen = []

    def f(t, y):
        seen.append(torch.is_autocast_enabled("cpu"))
        return -y

    with torch.autocast("cpu", dtype=torch.bfloat16):
        nde.solve(nde.ODEProblem(f, torch.ones(2)), engine="julia")
    assert set(seen) == {True}


# --- methods


@pytest.mark.parametrize("name", ["Rodas5P", "FBDF"])
@pytest.mark.parametrize("field", ["callback", "julia"])
def test_a_stiff_method_takes_few_steps_where_an_explicit_one_takes_many(name, field):
    f = (
        (lambda t, y: -1e4 * (y - torch.cos(t)))
        if field == "callback"
        else nde.julia.function(name="stiff!", path=JULIA_FILE)
    )
    problem = nde.ODEProblem(f, torch.zeros(1, dtype=FLOAT64), 0.0, 1.0)
    found = nde.solve(problem, nde.julia.method(name), rtol=1e-5, atol=1e-5, engine="julia", saveat=[0.5])
    assert found.stats.accepted < 200
    assert found.y1.item() == pytest.approx(0.5403, abs=1e-3)
    assert bool((found.steps.scaled_error <= 1).all())


def test_a_switching_method_estimates_stiffness_itself():
    problem = nde.ODEProblem(van_der_pol, torch.tensor([2.0, 0.0], dtype=FLOAT64), 0.0, 5.0)
    found = nde.solve(problem, nde.julia.method("AutoTsit5", stiff="Rosenbrock23"), engine="julia")
    plain = nde.solve(problem, "tsit5", engine="julia", stiffness="max")
    assert not bool(found.steps.stiffness.isnan().any())
    assert found.steps.stiffness[0].item() == pytest.approx(plain.steps.stiffness[0].item(), rel=1e-6)


def test_an_algorithm_that_there_is_not_or_that_does_not_take_an_option_is_refused():
    problem = nde.ODEProblem(decay, torch.ones(2))
    for method, found in ((nde.julia.method("Tsit55"), "Tsit55"), (nde.julia.method("Tsit5", speed=3), "speed = 3")):
        with pytest.raises(ValueError, match=found) as raised:
            nde.solve(problem, method, engine="julia")
        check_sentence(raised.value)


def test_steps_of_other_explicit_methods_have_gradients_too():
    y0 = torch.tensor([1.0, -0.5], dtype=FLOAT64, requires_grad=True)
    problem = nde.ODEProblem(van_der_pol, y0, 0.0, 1.0)
    for name in ("BS5", "Vern6", "OwrenZen5"):
        found = nde.solve(problem, nde.julia.method(name), rtol=1e-9, atol=1e-9, engine="julia")
        reference = nde.solve(problem, "vern9", rtol=1e-11, atol=1e-11)
        mine, theirs = (torch.autograd.grad(solution.y1.sum(), y0)[0] for solution in (found, reference))
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_tensors_on_another_device_are_refused():
    with pytest.raises(ValueError, match="solves on the CPU") as raised:
        nde.solve(nde.ODEProblem(decay, torch.ones(2, device="cuda")), engine="julia")
    check_sentence(raised.value, "cuda", "CUDA.jl", "engine='embedded'")
