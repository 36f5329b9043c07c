"""The adjoint equation in the embedded engine: what its backward solve costs, where it fails, what it can be told."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.ivp.errors import AdjointFailed
from pyndereg.solver.quadrature import QuadratureFailed, integrate_adaptively
from tests.engines.adjoint_contract import ADJOINTS, short
from tests.equations import FLOAT64, Counted, Oscillator, decay
from tests.sentences import check_sentence

adjoints = pytest.mark.parametrize("adjoint", ADJOINTS, ids=short)


def lorenz(t, y):
    return torch.stack([10.0 * (y[1] - y[0]), y[0] * (28.0 - y[2]) - y[1], y[0] * y[1] - 8.0 / 3.0 * y[2]])


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def test_solving_lorenz_equation_backwards_fails_and_interpolating_does_not():
    """The counter-example of [@rackauckas2019diffeqflux]: the flow contracts volumes, so its reverse expands errors."""
    times = torch.arange(1, 21) / 10.0

    def gradient_by(gradient):
        y0 = torch.tensor([1.0, 0.0, 0.0], dtype=FLOAT64, requires_grad=True)
        problem = nde.ODEProblem(lorenz, y0, 0.0, 2.0)
        found = nde.solve(problem, "vern7", rtol=1e-8, atol=1e-8, saveat=times, gradient=gradient)
        return torch.autograd.grad(found.y1.sum(), y0)[0]

    expected = gradient_by(nde.DiscreteAdjoint())
    assert relative(gradient_by(nde.InterpolatingAdjoint()), expected) < 1e-6
    assert relative(gradient_by(nde.BacksolveAdjoint(checkpointing=False)), expected) > 0.5
    assert relative(gradient_by(nde.BacksolveAdjoint()), expected) < 1e-6


def test_a_backward_solve_that_ends_early_says_where_and_what_to_do():
    # Backwards, y' = -y^3 has a pole.
    y0 = torch.full((1,), 1e4, dtype=FLOAT64, requires_grad=True)
    problem = nde.ODEProblem(lambda t, y: -(y**3), y0, 0.0, 1.0)
    found = nde.solve(problem, gradient=nde.BacksolveAdjoint(rtol=1e-3, atol=1e-3))
    with pytest.raises(AdjointFailed) as raised:
        found.y1.sum().backward()
    assert not raised.value.status.succeeded
    assert 0.0 <= raised.value.t < 0.1
    check_sentence(raised.value, "BacksolveAdjoint", "DiscreteAdjoint()")


def backward_evaluations(adjoint, *, scale=1.0):
    """Evaluations of f by a backward solve; `scale` makes the parameters' part larger, and nothing else."""
    rate = torch.tensor(0.7 / scale, dtype=FLOAT64, requires_grad=True)
    field = Counted(lambda t, y: -scale * rate * torch.sin(3.0 * t) * y)
    y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
    found = nde.solve(nde.ODEProblem(field, y0, 0.0, 4.0, params=(rate,)), gradient=adjoint)
    before = field.calls
    found.y1.sum().backward()
    return field.calls - before


@adjoints
def test_the_parameters_part_does_not_control_the_steps(adjoint):
    # What a quadrature sees is another matter.
    if isinstance(adjoint, nde.QuadratureAdjoint):
        adjoint = nde.QuadratureAdjoint(quadrature_rtol=1e-6, quadrature_atol=1e-30)
    assert backward_evaluations(adjoint) == backward_evaluations(adjoint, scale=1e6)


@pytest.mark.parametrize("kind", [nde.InterpolatingAdjoint, nde.BacksolveAdjoint])
def test_the_norm_may_see_the_parameters_part(kind):
    assert backward_evaluations(kind(norm="state"), scale=1e3) == backward_evaluations(kind(), scale=1e3)
    assert backward_evaluations(kind(norm="all"), scale=1e3) > 1.1 * backward_evaluations(kind(), scale=1e3)


@adjoints
def test_tolerances_and_method_of_the_backward_solve_can_be_chosen(adjoint):
    kind, checkpointing = type(adjoint), getattr(adjoint, "checkpointing", None)
    options = {} if checkpointing is None else {"checkpointing": checkpointing}
    usual = backward_evaluations(adjoint)
    assert backward_evaluations(kind(rtol=1e-10, atol=1e-10, **options)) > 1.5 * usual
    assert backward_evaluations(kind(rtol=1e-3, atol=1e-3, **options)) < usual
    assert backward_evaluations(kind(method="bs3", **options)) > 1.5 * usual


def test_an_adjoint_of_fixed_steps_needs_their_length():
    y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
    with pytest.raises(ValueError, match="no step length") as raised:
        nde.solve(nde.ODEProblem(decay, y0), gradient=nde.InterpolatingAdjoint(method="rk4"))
    check_sentence(raised.value, "'rk4'", "dt=")


def test_choices_that_an_adjoint_does_not_have_are_refused():
    for make, found, remedy in (
        (lambda: nde.InterpolatingAdjoint(norm="max"), "norm of InterpolatingAdjoint is 'max'", "'state' or 'all'"),
        (lambda: nde.GaussAdjoint(norm="all"), "norm of GaussAdjoint is 'all'", "'state'"),
        (lambda: nde.QuadratureAdjoint(quadrature_rtol=0.0), "quadrature_rtol of QuadratureAdjoint is 0.0", "positive"),
        (lambda: nde.BacksolveAdjoint(rtol=-1.0), "rtol of BacksolveAdjoint is -1.0", "positive"),
    ):
        with pytest.raises(ValueError, match=r"\w") as raised:
            make()
        check_sentence(raised.value, found, remedy)
    with pytest.raises(TypeError, match="method of GaussAdjoint is 5"):
        nde.GaussAdjoint(method=5)
    for asked in (True, False):
        y0 = torch.ones(2, dtype=FLOAT64, requires_grad=asked)
        with pytest.raises(ValueError, match="vjp of GaussAdjoint") as raised:
            nde.solve(nde.ODEProblem(decay, y0), gradient=nde.GaussAdjoint(vjp="zygote"))
        check_sentence(raised.value, "'zygote'", "engine='julia'")


def test_a_quadrature_is_as_exact_as_its_tolerance():
    rate = torch.tensor(0.7, dtype=FLOAT64, requires_grad=True)
    errors = []
    for tolerance in (1e-2, 1e-10):
        adjoint = nde.QuadratureAdjoint(rtol=1e-11, atol=1e-11, quadrature_rtol=tolerance, quadrature_atol=1e-30)
        y0 = torch.ones(1, dtype=FLOAT64)
        # dL/drate is the integral of 30 sin(30 t) exp(rate (cos(30 t0) - cos(30 t1))), which oscillates.
        problem = nde.ODEProblem(lambda t, y: rate * 30 * torch.sin(30 * t) * y, y0, 0.0, 1.0, params=(rate,))
        found = nde.solve(problem, "vern9", rtol=1e-11, atol=1e-11, gradient=adjoint)
        (gradient,) = torch.autograd.grad(found.y1.sum(), rate)
        moved = 1.0 - math.cos(30.0)
        errors.append(abs(gradient.item() / (moved * math.exp(0.7 * moved)) - 1.0))
    assert errors[0] <= 1e-2
    assert errors[1] <= 1e-8


def test_a_quadrature_that_cannot_be_had_says_so():
    def pole(t):
        return torch.tensor([abs(t - 0.3) ** -0.999], dtype=FLOAT64)

    with pytest.raises(QuadratureFailed, match="more than 20 parts"):
        integrate_adaptively(pole, 0.0, 1.0, rtol=1e-8, atol=0.0, max_panels=20)
    with pytest.raises(QuadratureFailed, match="not finite"):
        integrate_adaptively(lambda t: torch.tensor([math.nan]), 0.0, 1.0, rtol=1e-8, atol=0.0)


# --- forward mode


def test_forward_mode_is_the_gradient_of_the_numerical_solution_to_rounding():
    results = []
    for gradient in (nde.ForwardSensitivity(), nde.DiscreteAdjoint()):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=FLOAT64, requires_grad=True)
        found = nde.solve(
            nde.ODEProblem(field, y0, 0.0, 3.0), rtol=1e-3, atol=1e-3, saveat=[0.4, 2.2], gradient=gradient
        )
        results.append(torch.autograd.grad(found.y.sum() + found.y1.square().sum(), (y0, *field.parameters())))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_forward_mode_of_too_many_numbers_is_refused():
    y0 = torch.ones(2, dtype=FLOAT64)
    weights = torch.zeros(2000, dtype=FLOAT64, requires_grad=True)
    problem = nde.ODEProblem(lambda t, y: -y * weights.sum(), y0, params=(weights,))
    with pytest.raises(ValueError, match="2000 numbers") as raised:
        nde.solve(problem, gradient=nde.ForwardSensitivity())
    check_sentence(raised.value, "DiscreteAdjoint()", "1000")


@adjoints
def test_the_gradient_of_a_loss_of_any_size_is_as_exact(adjoint):
    def gradient_of(size):
        y0 = torch.tensor([1.0, 0.5], dtype=FLOAT64, requires_grad=True)
        rate = torch.tensor(0.8, dtype=FLOAT64, requires_grad=True)
        problem = nde.ODEProblem(lambda t, y: rate * torch.cos(t) * y, y0, 0.0, 4.0, params=(rate,))
        found = nde.solve(problem, saveat=[1.0], gradient=adjoint)
        return torch.autograd.grad(size * (found.y1.sum() + found.y.sum()), (y0, rate))

    for one, small in zip(gradient_of(1.0), gradient_of(1e-9), strict=True):
        torch.testing.assert_close(1e-9 * one, small, rtol=1e-9, atol=0)
