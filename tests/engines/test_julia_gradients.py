"""Every gradient of the julia engine, for every kind of right-hand side, against SciMLSensitivity's own."""

import json
from pathlib import Path

import pytest
import torch

import pyndereg as nde
from tests.equations import FLOAT64
from tests.sentences import check_sentence

pytestmark = pytest.mark.julia

HERE = Path(__file__).parent
JULIA_FILE = str(HERE / "right_hand_sides.jl")
CASES = {
    case["problem"]: case
    for case in json.loads((HERE.parent / "golden" / "gradients.json").read_text("utf-8"))["cases"]
}
ADJOINTS = {
    "discrete": nde.DiscreteAdjoint(),
    "interpolating": nde.InterpolatingAdjoint(),
    "interpolating with checkpoints": nde.InterpolatingAdjoint(checkpointing=True),
    "backsolve": nde.BacksolveAdjoint(),
    "quadrature": nde.QuadratureAdjoint(),
    "gauss": nde.GaussAdjoint(),
    "gauss-kronrod": nde.julia.sensealg("GaussKronrodAdjoint"),
}
# Through numbers other than floating-point ones, so not through Python.
GENERIC = {
    "forward": nde.ForwardSensitivity(),
    "reversediff": nde.julia.sensealg("ReverseDiffAdjoint"),
    "tracker": nde.julia.sensealg("TrackerAdjoint"),
}


def lotka_volterra(p):
    return lambda t, y: torch.stack([p[0] * y[0] - p[1] * y[0] * y[1], -p[2] * y[1] + p[3] * y[0] * y[1]])


def forced(p):
    return lambda t, y: torch.stack(
        [-p[0] * y[0] + torch.sin(p[1] * t) * y[1], -p[2] * y[1] ** 3 + torch.cos(p[3] * t)]
    )


TORCH_FIELDS = {"lotka_volterra": lotka_volterra, "forced": forced}
JULIA_NAMES = {"lotka_volterra": "lotka_volterra", "forced": "forced!"}


def gradients_of(case, problem, params, gradient, **options):
    """Gradients of the reference's loss with respect to the initial state and the parameters."""
    found = nde.solve(
        problem, "vern9", rtol=1e-12, atol=1e-12, saveat=case["saveat"], engine="julia", gradient=gradient, **options
    )
    loss = found.y1.square().sum() + found.y.sum()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-10)
    return torch.autograd.grad(loss, (problem.y0, *params))


def start(case):
    p = torch.tensor(case["p"], dtype=FLOAT64, requires_grad=True)
    return p, torch.tensor(case["y0"], dtype=FLOAT64, requires_grad=True)


def check(case, gradients):
    for found, name in zip(gradients, ("grad_y0", "grad_p"), strict=True):
        expected = torch.tensor(case[name], dtype=FLOAT64)
        assert (found - expected).norm() <= 1e-8 * expected.norm(), name


@pytest.mark.parametrize("problem", TORCH_FIELDS)
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_gradient_through_a_torch_function_is_the_reference_s(problem, adjoint):
    case = CASES[problem]
    p, y0 = start(case)
    equation = nde.ODEProblem(TORCH_FIELDS[problem](p), y0, case["t0"], case["t1"], params=(p,))
    check(case, gradients_of(case, equation, (p,), ADJOINTS[adjoint]))


@pytest.mark.slow
@pytest.mark.parametrize("problem", JULIA_NAMES)
@pytest.mark.parametrize("adjoint", ADJOINTS | GENERIC)
def test_the_gradient_through_a_julia_function_is_the_reference_s(problem, adjoint):
    case = CASES[problem]
    p, y0 = start(case)
    f = nde.julia.function(name=JULIA_NAMES[problem], path=JULIA_FILE, parameters=p)
    check(case, gradients_of(case, nde.ODEProblem(f, y0, case["t0"], case["t1"]), (p,), (ADJOINTS | GENERIC)[adjoint]))


@pytest.mark.slow
@pytest.mark.parametrize("field", ["native", "callback"])
@pytest.mark.parametrize("adjoint", ADJOINTS | GENERIC)
def test_the_gradient_through_a_network_is_the_reference_s(field, adjoint):
    if field == "callback" and adjoint in GENERIC:
        pytest.skip(f"{adjoint} needs dual or tracked numbers, which a torch function does not take")
    if adjoint == "reversediff":
        pytest.skip("SciMLSensitivity's ReverseDiffAdjoint takes states that are vectors, and this one is a matrix")
    case = CASES["network"]
    values, y0 = start(case)
    first, b1, second, b2 = values.detach().split([24, 8, 18, 2])
    first, second = first.view(3, 8), second.view(9, 2)  # Julia's columns, the last one of time
    network = nde.fields.TimeConcatMLP(2, 8, output_activation=None).double()
    params = [*network.hidden_layer.parameters(), *network.output_layer.parameters()]
    tensors = (first[:2].t(), first[2], b1, second[:8].t(), second[8], b2)
    with torch.no_grad():
        for param, value in zip(params, tensors, strict=True):
            param.copy_(value)
    problem = nde.ODEProblem(network, y0, case["t0"], case["t1"])
    gradients = gradients_of(case, problem, params, (ADJOINTS | GENERIC)[adjoint], field=field)
    w1, t1, g1, w2, t2, g2 = gradients[1:]
    flat = torch.cat([w1.t().reshape(-1), t1, g1, w2.t().reshape(-1), t2, g2])
    check(case, (gradients[0], flat))


@pytest.mark.parametrize("adjoint", ["discrete", "interpolating", "backsolve", "gauss"])
def test_the_ends_of_the_interval_have_gradients(adjoint):
    y0 = torch.tensor([1.0, -2.0], dtype=FLOAT64, requires_grad=True)
    t0, t1 = (torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.25, 1.5))
    problem = nde.ODEProblem(lambda t, y: -t * y, y0, t0, t1)
    found = nde.solve(
        problem, "vern7", rtol=1e-10, atol=1e-10, saveat=[0.5, 1.5], engine="julia", gradient=ADJOINTS[adjoint]
    )
    gradients = torch.autograd.grad(found.y.sum() + found.y1[0], (y0, t0, t1))
    inner, end = (y0.detach() * torch.exp(torch.tensor((0.25**2 - t**2) / 2, dtype=FLOAT64)) for t in (0.5, 1.5))
    expected = (
        inner / y0.detach() + end / y0.detach() * torch.tensor([2.0, 1.0], dtype=FLOAT64),
        0.25 * (inner.sum() + end.sum() + end[0]),
        -1.5 * (end.sum() + end[0]),
    )
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other.reshape(one.shape), rtol=1e-7, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Rodas5P", "FBDF"])
def test_the_end_of_robertson_s_reaction_has_gradients_by_its_rate_constants(method):
    rates = torch.tensor([0.04, 1e4, 3e7], dtype=FLOAT64)
    y0 = torch.tensor([1.0, 0.0, 0.0], dtype=FLOAT64)

    def end(p, method, tolerance):
        f = nde.julia.function(name="rober!", path=JULIA_FILE, parameters=p)
        problem = nde.ODEProblem(f, y0, 0.0, 1e11)
        options = {"rtol": tolerance, "atol": 1e-9 * tolerance, "gradient": nde.ForwardSensitivity()}
        return nde.solve(problem, nde.julia.method(method), engine="julia", **options).y1

    p = rates.clone().requires_grad_()
    found = end(p, method, 1e-11)
    # The third state is nearly 1, and what the others lose it has gained.
    jacobian = torch.stack([torch.autograd.grad(found[i], p, retain_graph=True)[0] for i in range(3)])
    torch.testing.assert_close(jacobian[2], -jacobian[0] - jacobian[1], rtol=1e-5, atol=0)
    for j in range(3):
        step = torch.zeros(3, dtype=FLOAT64)
        step[j] = 1e-3 * rates[j]
        far, above, below, near = (end(rates + k * step, "Rodas5P", 1e-13) for k in (2, 1, -1, -2))
        expected = (8 * (above - below) - (far - near)) / (12 * step[j])
        torch.testing.assert_close(jacobian[:2, j], expected[:2], rtol=1e-5, atol=0)


# --- what is refused


def test_a_continuous_adjoint_does_not_differentiate_the_steps():
    y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
    found = nde.solve(nde.ODEProblem(lambda t, y: -y, y0), engine="julia", gradient=nde.InterpolatingAdjoint())
    with pytest.raises(RuntimeError, match="no gradient") as raised:
        found.steps.scaled_error.sum().backward()
    check_sentence(raised.value, "InterpolatingAdjoint", "DiscreteAdjoint()", "Backprop()")


def test_what_a_gradient_cannot_do_is_said_before_the_solve():
    y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
    problem = nde.ODEProblem(lambda t, y: -y, y0)
    for options, found, remedy in (
        ({"gradient": nde.Backprop()}, "Backprop", "DiscreteAdjoint()"),
        ({"method": nde.julia.method("Rodas5P")}, "'Rodas5P'", "InterpolatingAdjoint()"),
        ({"gradient": nde.julia.sensealg("MagicAdjoint")}, "MagicAdjoint", "InterpolatingAdjoint"),
    ):
        with pytest.raises(ValueError, match=r"\w") as raised:
            nde.solve(problem, **{"method": "tsit5", "engine": "julia", **options}).y1.sum().backward()
        check_sentence(raised.value, found, remedy)


def test_choices_of_the_backward_solve_that_are_not_made_in_julia_are_refused():
    y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
    for adjoint, found in (
        (nde.InterpolatingAdjoint(method="dp5"), "method of InterpolatingAdjoint is 'dp5'"),
        (nde.BacksolveAdjoint(norm="state"), "norm of BacksolveAdjoint is 'state'"),
        (nde.QuadratureAdjoint(quadrature_rtol=1e-3), "quadrature_rtol of QuadratureAdjoint is 0.001"),
    ):
        with pytest.raises(ValueError, match="julia engine") as raised:
            nde.solve(nde.ODEProblem(lambda t, y: -y, y0), engine="julia", gradient=adjoint)
        check_sentence(raised.value, found, "pass None")


def test_nothing_is_kept_in_julia_after_the_backward_pass():
    from pyndereg.engines.julia.session import call  # noqa: PLC0415 (starts nothing, but belongs to this test alone)

    y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)

    def once(gradient):
        found = nde.solve(nde.ODEProblem(lambda t, y: -y, y0), engine="julia", gradient=gradient)
        torch.autograd.grad(found.y1.sum(), y0)

    for gradient in (nde.DiscreteAdjoint(), nde.InterpolatingAdjoint()):
        once(gradient)
        before = call(lambda bridge: int(bridge.held()))
        for _ in range(5):
            once(gradient)
        assert call(lambda bridge: int(bridge.held())) <= before
