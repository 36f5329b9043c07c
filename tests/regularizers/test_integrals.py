"""Running integrals against closed forms on linear systems, and what they leave alone."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import jvp

import pyndereg as nde
from pyndereg.regularizers import JacobianFrobenius, KineticEnergy, LocalError, LocalStiffness, TaylorDerivative
from pyndereg.regularizers.derivatives import dynamics
from tests.equations import FLOAT64, Counted, Oscillator, mixing, van_der_pol
from tests.sentences import check_sentence

A = torch.tensor([[-0.4, 1.3, 0.0], [-0.9, -0.2, 0.5], [0.3, 0.0, -0.7]], dtype=FLOAT64)
Y0 = torch.linspace(-1.0, 1.5, 12, dtype=FLOAT64).view(4, 3)
TIGHT = {"rtol": 1e-10, "atol": 1e-10}
FIXED = {"dt": 0.25, "adaptive": False}
SEVERAL = (TaylorDerivative(2), KineticEnergy(), TaylorDerivative(3), TaylorDerivative(1))
GRADIENTS = [None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2)]


def linear(t, y):
    return y @ A.T


def penalties(field, y0, integrals, t0=0.0, t1=1.0, params=(), **options):
    solution = nde.solve(nde.ODEProblem(field, y0, t0, t1, params), regularizers=integrals, **options)
    return solution.penalties


def over_time(integrand, t0, t1):
    """Integral over |dt| by 20 Gauss points, exact to rounding for what is integrated here."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = (t1 - t0) / 2
    return abs(half) * sum(w * integrand(t0 + half * (1 + x)) for x, w in zip(nodes, weights, strict=True))


def mean_square(y):
    return y.square().mean().item()


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.5), (1.5, 0.0)])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_on_a_linear_system_the_taylor_derivative_is_a_power_of_its_matrix(order, t0, t1):
    power = torch.linalg.matrix_power(A, order)

    def integrand(t):
        return mean_square(Y0 @ (power @ torch.linalg.matrix_exp(A * (t - t0))).T)

    (found,) = penalties(linear, Y0, [TaylorDerivative(order)], t0, t1, **TIGHT)
    assert found.shape == ()
    assert found.item() == pytest.approx(over_time(integrand, t0, t1), rel=1e-8)


@pytest.mark.parametrize(
    ("order", "factor"),
    [
        (1, lambda c, s: c),
        (2, lambda c, s: c**2 - s),
        (3, lambda c, s: c**3 - 3 * c * s - c),
    ],
)
def test_a_taylor_derivative_is_total_it_sees_the_field_change_with_time(order, factor):
    def integrand(t):
        c, s = np.cos(t), np.sin(t)
        return mean_square(factor(c, s) * np.exp(s) * Y0)

    (found,) = penalties(lambda t, y: torch.cos(t) * y, Y0, [TaylorDerivative(order)], 0.0, 2.0, **TIGHT)
    assert found.item() == pytest.approx(over_time(integrand, 0.0, 2.0), rel=1e-8)


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.5), (1.5, 0.0)])
def test_the_kinetic_energy_is_half_the_integral_of_the_squared_slope(t0, t1):
    def integrand(t):
        return 0.5 * mean_square(Y0 @ (A @ torch.linalg.matrix_exp(A * (t - t0))).T)

    (found,) = penalties(linear, Y0, [KineticEnergy()], t0, t1, **TIGHT)
    assert found.item() == pytest.approx(over_time(integrand, t0, t1), rel=1e-8)


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.5), (1.5, 0.0)])
def test_the_jacobian_s_product_with_a_probe_is_constant_on_a_linear_system(t0, t1):
    probe = torch.randn(Y0.shape, generator=torch.Generator().manual_seed(3), dtype=FLOAT64)
    (found,) = penalties(linear, Y0, [JacobianFrobenius(torch.Generator().manual_seed(3))], t0, t1)
    assert found.item() == pytest.approx(1.5 * mean_square(probe @ A), rel=1e-12)


@pytest.mark.parametrize("probe", ["gaussian", "rademacher"])
def test_over_probes_the_expectation_is_the_squared_frobenius_norm_per_dimension(probe):
    """400 solves with 50 samples each, seed 0: 20,000 probes; the tolerance is five standard errors of their mean."""
    generator = torch.Generator().manual_seed(0)
    y0 = torch.zeros(50, 3, dtype=FLOAT64)
    integral = JacobianFrobenius(generator, probe)
    found = [penalties(linear, y0, [integral], method="euler", dt=1.0)[0].item() for _ in range(400)]
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert 0 < error < 0.01
    assert np.mean(found) == pytest.approx(A.square().sum().item() / 3, abs=5 * error)


def test_rademacher_probes_are_signs_and_give_a_diagonal_jacobian_exactly():
    rates = torch.tensor([1.0, -2.0, 0.5], dtype=FLOAT64)
    (found,) = penalties(lambda t, y: rates * y, Y0, [JacobianFrobenius(probe="rademacher")])
    assert found.item() == pytest.approx(rates.square().mean().item(), rel=1e-12)


def test_a_probe_is_drawn_once_per_solve_from_its_generator_alone():
    def drawn(seed):
        integral = JacobianFrobenius(torch.Generator().manual_seed(seed))
        return [penalties(linear, Y0, [integral], **FIXED)[0].item() for _ in range(2)]

    before = torch.get_rng_state()
    assert drawn(1) == drawn(1)
    assert len({*drawn(1), *drawn(2)}) == 4
    assert torch.equal(torch.get_rng_state(), before)


def test_derivatives_are_those_of_their_recursive_definition():
    field = nde.fields.TimeConcatMLP(3, 8).double()
    t = torch.tensor(0.3, dtype=FLOAT64)

    def next_order(lower):
        return lambda t, y: jvp(lower, (t, y), (torch.ones_like(t), field(t, y)), create_graph=True)[1]

    expected = field
    at = dynamics(lambda t, y: (field(t, y),), t, (Y0,), range(1, 5), ())
    for order in range(1, 5):
        torch.testing.assert_close(at.derivatives[order][0], expected(t, Y0), rtol=1e-12, atol=1e-14)
        expected = next_order(expected)


@pytest.mark.parametrize("integrals", [[KineticEnergy()], [JacobianFrobenius()], [TaylorDerivative(3)], SEVERAL])
def test_a_point_costs_one_evaluation_whatever_is_integrated(integrals):
    field = Counted(mixing(A))
    stats = nde.solve(nde.ODEProblem(field, Y0), regularizers=integrals).stats
    assert field.calls == stats.nfe


def both(problem, **options):
    integrals = (*SEVERAL, JacobianFrobenius())
    return nde.solve(problem, **options), nde.solve(problem, regularizers=integrals, **options)


@pytest.mark.parametrize("method", ["bs3", "tsit5", "vern7"])
def test_the_steps_are_those_of_the_solve_without_integrals(method):
    problem = nde.ODEProblem(van_der_pol, torch.tensor([2.0, 0.0], dtype=FLOAT64), 0.0, 5.0)
    plain, found = both(problem, method=method, rtol=1e-5, dt=0.8)
    assert plain.stats.rejected > 0
    assert found.stats == plain.stats
    for name in ("t", "dt", "scaled_error", "stiffness"):
        one, other = getattr(found.steps, name), getattr(plain.steps, name)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(found.y1, plain.y1, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dense", [False, True])
def test_the_solution_holds_the_user_s_state(dense):
    saveat = nde.SaveAt([0.0, 0.5, 1.0], dense=dense)
    plain, found = both(nde.ODEProblem(mixing(A), Y0), saveat=saveat)
    times = torch.tensor([[0.1, 0.2], [0.7, 1.0]])
    for one, other in ((found.y1, plain.y1), (found.y, plain.y), (found(times), plain(times))):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    assert [penalty.shape for penalty in found.penalties] == [()] * 5


def test_a_tuple_state_stays_a_tuple_and_counts_every_element_alike():
    def pair(t, y):
        return linear(t, y[0]), -2.0 * y[1]

    y0 = (Y0, torch.ones(2, dtype=FLOAT64))
    seed = torch.Generator().manual_seed(5)
    integrals = [TaylorDerivative(2), KineticEnergy(), JacobianFrobenius(torch.Generator().manual_seed(5))]
    saveat = nde.SaveAt([0.5, 1.0])
    plain = nde.solve(nde.ODEProblem(pair, y0), saveat=saveat, **TIGHT)
    found = nde.solve(nde.ODEProblem(pair, y0), saveat=saveat, regularizers=integrals, **TIGHT)
    assert isinstance(found.y1, tuple)
    for one, other in ((found.y1, plain.y1), (found.y, plain.y), (found(0.3), plain(0.3))):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)

    def squares(t, order):
        first = Y0 @ (torch.linalg.matrix_power(A, order) @ torch.linalg.matrix_exp(A * t)).T
        return (first.square().sum().item() + 2 * (2.0**order * np.exp(-2 * t)) ** 2) / 14

    probes = [torch.randn(part.shape, generator=seed, dtype=FLOAT64) for part in y0]
    expected = [
        over_time(lambda t: squares(t, 2), 0.0, 1.0),
        over_time(lambda t: 0.5 * squares(t, 1), 0.0, 1.0),
        ((probes[0] @ A).square().sum().item() + 4 * probes[1].square().sum().item()) / 14,
    ]
    assert [penalty.item() for penalty in found.penalties] == pytest.approx(expected, rel=1e-8)


def test_an_uncontrolled_part_of_the_user_s_own_stays_uncontrolled():
    def with_length(t, y):
        return van_der_pol(t, y[0]), van_der_pol(t, y[0]).norm()[None]

    y0 = (torch.tensor([2.0, 0.0], dtype=FLOAT64), torch.zeros(1, dtype=FLOAT64))
    plain, found = both(nde.ODEProblem(with_length, y0, 0.0, 2.0), uncontrolled=1)
    alone = nde.solve(nde.ODEProblem(van_der_pol, y0[0], 0.0, 2.0))
    assert found.stats == plain.stats == alone.stats


def test_local_regularizers_take_part_beside_integrals_in_any_order():
    def local(kind):
        return kind(generator=torch.Generator().manual_seed(2))

    problem = nde.ODEProblem(mixing(A), Y0)
    alone = nde.solve(problem, regularizers=[local(LocalError), local(LocalStiffness)])
    energy = penalties(mixing(A), Y0, [KineticEnergy()])[0]
    found = nde.solve(problem, regularizers=[local(LocalError), KineticEnergy(), local(LocalStiffness)])
    expected = (alone.penalties[0], energy, alone.penalties[1])
    for one, other in zip(found.penalties, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert found.stats == alone.stats
    for one, other in zip(found.samples, alone.samples, strict=True):
        torch.testing.assert_close(one.y, other.y, rtol=1e-12, atol=1e-13)


def seeded_jacobian():
    return JacobianFrobenius(torch.Generator().manual_seed(4))


EACH = [
    lambda: TaylorDerivative(1),
    lambda: TaylorDerivative(2),
    lambda: TaylorDerivative(3),
    KineticEnergy,
    seeded_jacobian,
]


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("integral", EACH)
def test_the_gradient_of_an_integral_is_that_of_finite_differences(integral, gradient):
    def of(weights, y0, t0, t1):
        found = penalties(mixing(weights), y0, [integral()], t0, t1, (weights,), gradient=gradient, **FIXED)
        return found[0]

    # The last step's length is that of the rest, so that the interval's ends have a gradient on the fixed grid, too.
    values = (0.5 * A, Y0[:2], torch.tensor(0.1, dtype=FLOAT64), torch.tensor(0.75, dtype=FLOAT64))
    inputs = tuple(value.clone().requires_grad_() for value in values)
    assert torch.autograd.gradcheck(of, inputs)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_gradient_of_states_beside_integrals_is_that_without_them(gradient):
    field = Oscillator()
    y0 = torch.tensor([[1.0, 0.0], [-0.5, 2.0]], dtype=FLOAT64)
    found = []
    for integrals in ((), (*SEVERAL, seeded_jacobian())):
        solution = nde.solve(
            nde.ODEProblem(field, y0), saveat=[0.3, 1.0], gradient=gradient, regularizers=integrals, rtol=1e-5
        )
        loss = solution.y.square().sum() + nde.regularizers.error_estimate(solution.steps)
        found.append(torch.autograd.grad(loss, tuple(field.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_gradients_agree_for_a_network_and_all_integrals_at_once():
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(3, 6).double()
    found = []
    for gradient in GRADIENTS:
        values = penalties(field, Y0, [*SEVERAL, seeded_jacobian()], gradient=gradient)
        found.append(torch.autograd.grad(sum(values), tuple(field.parameters())))
        assert all(bool(grad.any()) for grad in found[-1])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "gradient",
    [
        nde.BacksolveAdjoint(),
        nde.InterpolatingAdjoint(),
        nde.InterpolatingAdjoint(checkpointing=True),
        nde.QuadratureAdjoint(),
        nde.GaussAdjoint(),
        nde.ForwardSensitivity(),
    ],
    ids=lambda gradient: type(gradient).__name__,
)
def test_continuous_gradients_of_integrals_agree_with_the_discrete_adjoint(gradient):
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(3, 6).double()
    found = []
    for one in (nde.DiscreteAdjoint(), gradient):
        y0 = Y0.clone().requires_grad_()
        values = penalties(field, y0, [*SEVERAL, seeded_jacobian()], rtol=1e-9, atol=1e-9, gradient=one)
        gradients = torch.autograd.grad(sum(values), (y0, *field.parameters()))
        found.append(torch.cat([grad.reshape(-1) for grad in gradients]))
    # Ten times the tolerance, relative to the gradient, whose parts differ in size by orders of magnitude.
    assert (found[1] - found[0]).norm() < 1e-8 * found[0].norm()


def test_without_grad_mode_the_values_are_the_same_and_have_no_graph():
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(3, 6).double()
    expected = penalties(field, Y0, [*SEVERAL, seeded_jacobian()])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = penalties(field, Y0, [*SEVERAL, seeded_jacobian()])
        assert not any(value.requires_grad for value in found)
        assert [value.item() for value in found] == pytest.approx([value.item() for value in expected], rel=1e-12)


def test_a_field_that_does_not_see_the_state_or_time_has_no_higher_derivative():
    constant = torch.ones(4, 3, dtype=FLOAT64)
    values = penalties(lambda t, y: constant, Y0, [TaylorDerivative(2), TaylorDerivative(3), JacobianFrobenius()])
    assert [value.item() for value in values] == [0.0, 0.0, 0.0]


def test_values_have_the_state_s_dtype():
    values = penalties(lambda t, y: -y, torch.ones(2), [*SEVERAL, JacobianFrobenius(probe="rademacher")])
    assert {value.dtype for value in values} == {torch.float32}


def test_a_model_integrates_in_training_alone():
    model = nde.NeuralODE(nde.fields.TimeConcatMLP(3, 6), regularizers=[TaylorDerivative(2), KineticEnergy()])
    y0 = Y0.float()
    y1, solution = model(y0)
    assert len(solution.penalties) == 2
    sum(solution.penalties).backward()
    assert all(param.grad is not None for param in model.parameters())
    unregularized, evaluated = model.eval()(y0)
    assert evaluated.penalties == ()
    torch.testing.assert_close(unregularized, y1)


def test_minimizing_a_taylor_derivative_makes_a_solve_cheaper():
    torch.manual_seed(2)
    model = nde.NeuralODE(nde.fields.TimeConcatMLP(2, 16), t1=2.0, regularizers=[TaylorDerivative(2)])
    for param in model.parameters():
        nn.init.normal_(param, std=1.5)
    y0 = torch.randn(16, 2)
    before = model(y0)[1].stats.nfe
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        (penalty,) = model(y0)[1].penalties
        penalty.backward()
        optimizer.step()
    assert model(y0)[1].stats.nfe < 0.8 * before


def test_a_failed_solve_gives_the_user_s_state_and_no_penalties():
    problem = nde.ODEProblem(mixing(A), Y0)
    solution = nde.solve(problem, regularizers=[KineticEnergy()], max_steps=1, dt=0.01, raise_on_failure=False)
    assert solution.y1.shape == Y0.shape
    assert solution.penalties == ()


@pytest.mark.parametrize("order", [0, -1, 1.0, True])
def test_an_order_that_is_no_positive_whole_number_is_refused(order):
    with pytest.raises(ValueError, match="order is") as raised:
        TaylorDerivative(order)
    check_sentence(raised.value, repr(order), "positive whole number")


def test_an_unknown_probe_is_refused():
    with pytest.raises(ValueError, match="probe is 'uniform'") as raised:
        JacobianFrobenius(probe="uniform")
    check_sentence(raised.value, "'gaussian' or 'rademacher'")


@pytest.mark.parametrize(
    ("field", "y0", "found"),
    [
        (lambda t, y: 1.0, Y0, "a float"),
        (lambda t, y: y[0], Y0, "shape (3,)"),
        (lambda t, y: y.float(), Y0, "torch.float32"),
        (lambda t, y: y[0], (Y0, Y0), "a Tensor"),
        (lambda t, y: (y[0],), (Y0, Y0), "a tuple of 1"),
    ],
)
def test_what_is_no_slope_of_the_user_s_state_is_refused_as_without_integrals(field, y0, found):
    with pytest.raises((TypeError, ValueError), match="f returned") as raised:
        penalties(field, y0, [TaylorDerivative(2)])
    check_sentence(raised.value, found, "return")


def test_a_julia_function_has_no_integrals():
    problem = nde.ODEProblem(nde.julia.function(name="decay!", module="Main"), Y0)
    with pytest.raises(ValueError, match="decay!") as raised:
        nde.solve(problem, regularizers=[KineticEnergy()])
    check_sentence(raised.value, "torch module")
