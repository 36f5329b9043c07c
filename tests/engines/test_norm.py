"""The norm of the scaled error as an option of a solve: the steps that it takes, their record, and its gradient."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.tableaus import get_tableau
from tests.engines.test_control import noisy, same, turning
from tests.equations import FLOAT64, Counted, Oscillator, circle, decay
from tests.sentences import check_sentence
from tests.solver.plain import plain_step

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
LARGEST = nde.norm.LargestOfSamples()


def mixed(error):
    """A function of the user's: the mean of the samples' largest elements and the RMS of all."""
    return 0.5 * (error.abs().amax(dim=1).mean() + torch.linalg.vector_norm(error) / math.sqrt(error.numel()))


NORMS = [nde.norm.RMS(), LARGEST, mixed]
NAMES = ["rms", "largest", "function"]


def by_hand(name, error):
    """The norms once more, from their definitions."""
    each = error.square().mean(dim=1).sqrt()
    whole = error.square().mean().sqrt()
    return {"rms": whole, "largest": each.max(), "function": (error.abs().max(dim=1)[0].mean() + whole) / 2}[name]


def doubled(error):
    """Twice the root mean square: the norm of a tolerance that is half as large."""
    parts = error if isinstance(error, tuple) else (error,)
    x = torch.cat([part.reshape(-1) for part in parts])
    return 2 * (torch.linalg.vector_norm(x) * x.numel() ** -0.5)


def batch(size=3):
    return torch.linspace(0.2, 1.5, 2 * size, dtype=FLOAT64).view(size, 2)


@pytest.mark.parametrize("problem", [turning(), noisy()], ids=["ode", "sde"])
def test_the_root_mean_square_is_the_default_to_the_last_bit(problem):
    assert same(nde.solve(problem), nde.solve(problem, norm=nde.norm.RMS()))


@pytest.mark.parametrize(("norm", "name"), list(zip(NORMS, NAMES, strict=True)), ids=NAMES)
def test_the_record_holds_the_norm_by_hand(norm, name):
    field = Oscillator().requires_grad_(False)
    every_step = nde.SaveAt(every_step=True)
    found = nde.solve(nde.ODEProblem(field, batch()), **TOLERANCE, norm=norm, saveat=every_step)
    assert len(found.steps) > 5
    tableau = get_tableau("tsit5")

    def f(t, y):
        return field(torch.tensor(t, dtype=FLOAT64), torch.from_numpy(y)).numpy()

    for i, (t, dt) in enumerate(zip(found.steps.t.tolist(), found.steps.dt.tolist(), strict=True)):
        step = plain_step(tableau, f, t, found.y[i].numpy(), dt, 1e-6, 1e-6)
        error = dt * sum(float(b) * torch.from_numpy(k) for b, k in zip(tableau.b_error, step.slopes, strict=True))
        scale = 1e-6 + 1e-6 * torch.maximum(found.y[i].abs(), found.y[i + 1].abs())
        torch.testing.assert_close(found.steps.scaled_error[i], by_hand(name, error / scale), rtol=1e-6, atol=1e-9)
    assert found.steps.scaled_error.max() <= 1


def rotating(rates):
    """Samples that turn at rates of their own, (batch,): solutions (cos, sin)."""
    return lambda t, y: rates[:, None] * torch.stack([-y[:, 1], y[:, 0]], dim=1)


def test_one_fast_sample_keeps_the_tolerance_among_easy_ones_and_with_the_root_mean_square_does_not():
    rates = torch.cat([torch.full((399,), 0.1, dtype=FLOAT64), torch.tensor([20.0], dtype=FLOAT64)])
    y0 = torch.tensor([1.0, 0.0], dtype=FLOAT64).expand(400, 2)
    exact = torch.stack([rates.cos(), rates.sin()], dim=1)
    whole, largest = (nde.solve(nde.ODEProblem(rotating(rates), y0), **TOLERANCE, norm=one) for one in NORMS[:2])
    alone = nde.solve(nde.ODEProblem(rotating(rates[-1:]), y0[-1:]), **TOLERANCE)
    errors = [(found.y1 - exact)[-1].square().mean().sqrt().item() for found in (whole, largest, alone)]
    assert errors[0] > 10 * TOLERANCE["rtol"]
    assert errors[1] < 10 * TOLERANCE["rtol"]
    # Of 400 samples one may have an error of 20 alone; by the largest, the batch takes that sample's own steps.
    torch.testing.assert_close(largest.steps.dt, alone.steps.dt, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(largest.steps.scaled_error, alone.steps.scaled_error, rtol=1e-6, atol=0.0)
    assert largest.stats.nfe == alone.stats.nfe > whole.stats.nfe


def test_each_sample_of_a_stochastic_batch_counts_alone():
    rates = torch.tensor([[0.1]] * 99 + [[30.0]], dtype=FLOAT64)
    problem = nde.SDEProblem(
        lambda t, y: -rates * (y - 0.5), lambda t, y: 0.01 * y, torch.ones(100, 1, dtype=FLOAT64), seed=1
    )
    whole, largest = (nde.solve(problem, norm=one) for one in NORMS[:2])
    assert largest.stats.accepted > 3 * whole.stats.accepted
    # The same steps taken again, measured by the other norm.
    again = nde.solve(problem, adaptive=False, grid=grid_of(largest), norm=nde.norm.RMS())
    assert (again.steps.scaled_error < largest.steps.scaled_error).all()


def grid_of(solution):
    return [*solution.steps.t.tolist(), 1.0]


# Twice the norm is half the tolerance: for the search of the first step, the noise floor, penalties and noise alike.


@pytest.mark.parametrize("method", ["tsit5", "bs3", "vern7"])
@pytest.mark.parametrize("options", [{}, {"breakpoints": [0.3]}, {"control": nde.control.I()}, {"dt_min": 0.01}])
def test_twice_the_norm_is_half_the_tolerance(method, options):
    problem = nde.ODEProblem(Oscillator(), batch(8))
    found = nde.solve(problem, method, **TOLERANCE, norm=doubled, **options)
    tight = nde.solve(problem, method, rtol=5e-7, atol=5e-7, **options)
    assert same(found, tight)
    assert found.stats == tight.stats


@pytest.mark.filterwarnings("ignore::pyndereg.SolveWarning")
@pytest.mark.parametrize("tolerance", [1e-6, 2e-8])
def test_twice_the_norm_is_half_the_tolerance_where_float32_ends_too(tolerance):
    problem = nde.ODEProblem(Oscillator(torch.float32), batch(8).float(), t1=2.0)
    found = nde.solve(problem, rtol=tolerance, atol=tolerance, norm=doubled)
    tight = nde.solve(problem, rtol=tolerance / 2, atol=tolerance / 2)
    assert same(found, tight)
    assert (found.steps.rounding > 0).all()
    torch.testing.assert_close(found.steps.rounding, tight.steps.rounding)
    torch.testing.assert_close(found.steps.allowed, tight.steps.allowed)


def test_twice_the_norm_is_half_the_tolerance_of_a_stochastic_solve():
    problem = nde.SDEProblem(lambda t, y: -2 * y, lambda t, y: 0.1 * y, batch(8), t1=0.2, seed=3)
    assert same(nde.solve(problem, norm=doubled), nde.solve(problem, rtol=5e-3, atol=5e-3))


def test_twice_the_norm_is_half_the_tolerance_of_a_local_penalty_and_beside_integrals():
    def penalties(norm, tolerance):
        torch.manual_seed(3)
        regularizers = [nde.regularizers.KineticEnergy(), nde.regularizers.LocalError()]
        problem = nde.ODEProblem(Oscillator(), batch(8))
        found = nde.solve(problem, rtol=tolerance, atol=tolerance, norm=norm, regularizers=regularizers)
        return torch.stack(found.penalties)

    assert torch.equal(penalties(doubled, 1e-6), penalties(None, 5e-7))


def test_the_largest_of_samples_in_float32_takes_hardly_more_evaluations_than_in_float64():
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(16, 50).requires_grad_(False)
    y0 = torch.randn(32, 16)
    with pytest.warns(nde.SolveWarning, match="float32 resolves"):
        single = nde.solve(nde.ODEProblem(field, y0), rtol=1e-8, atol=1e-8, norm=LARGEST)
    double = nde.solve(nde.ODEProblem(field.double(), y0.double()), rtol=1e-6, atol=1e-6, norm=LARGEST)
    assert single.stats.nfe <= 1.3 * double.stats.nfe
    assert (single.steps.allowed > 1).all()
    assert (single.steps.scaled_error <= single.steps.allowed + 2 * single.steps.rounding).all()


# What the norm sees.


def test_a_norm_of_a_tuple_sees_the_tensors_that_control_the_steps_in_their_shapes():
    seen = set()

    def norm(error):
        seen.add(tuple(part.shape for part in error))
        return doubled(error)

    def f(t, y):
        return -y[0], y[0].sum(dim=1) - y[1], y[0].square().sum()

    y0 = (batch(), torch.ones(3, dtype=FLOAT64), torch.zeros((), dtype=FLOAT64))
    problem = nde.ODEProblem(f, y0)
    found = nde.solve(problem, **TOLERANCE, norm=norm, uncontrolled=1)
    assert seen == {((3, 2), (3,))}
    torch.testing.assert_close(found.steps.dt, nde.solve(problem, rtol=5e-7, atol=5e-7, uncontrolled=1).steps.dt)
    largest = nde.solve(problem, **TOLERANCE, norm=LARGEST, uncontrolled=1)
    samples = [
        nde.solve(nde.ODEProblem(f, (y0[0][i : i + 1], y0[1][i : i + 1], y0[2])), **TOLERANCE, uncontrolled=1)
        for i in range(3)
    ]
    assert largest.stats.nfe == max(one.stats.nfe for one in samples)


def test_integrals_that_ride_along_do_not_enter_a_norm():
    seen = set()

    def norm(error):
        seen.add(type(error) if isinstance(error, tuple) else tuple(error.shape))
        return mixed(error)

    problem = nde.ODEProblem(Oscillator(), batch())
    for one in (norm, LARGEST):
        plain = nde.solve(problem, **TOLERANCE, norm=one)
        riding = nde.solve(problem, **TOLERANCE, norm=one, regularizers=[nde.regularizers.KineticEnergy()])
        assert torch.equal(plain.steps.dt, riding.steps.dt)
    assert seen == {(3, 2)}


@pytest.mark.parametrize("norm", NORMS[1:], ids=NAMES[1:])
def test_tangents_do_not_enter_a_norm(norm):
    y0 = batch().requires_grad_()
    problem = nde.ODEProblem(Oscillator(), y0)
    plain = nde.solve(problem, **TOLERANCE, norm=norm)
    with_tangents = nde.solve(problem, **TOLERANCE, norm=norm, gradient=nde.ForwardSensitivity())
    torch.testing.assert_close(with_tangents.steps.scaled_error, plain.steps.scaled_error.detach())
    expected, found = (torch.autograd.grad(one.y1.square().sum(), y0)[0] for one in (plain, with_tangents))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


# Gradients.


def weighed(solution):
    """Errors, each with a weight of its own, so that no sample's or step's part is lost."""
    return (solution.steps.scaled_error * torch.linspace(1, 2, len(solution.steps), dtype=FLOAT64)).sum()


@pytest.mark.parametrize("norm", NORMS, ids=NAMES)
def test_the_gradient_of_the_errors_is_that_of_finite_differences(norm):
    field = Oscillator()

    def errors(y0, damping):
        f = torch.func.functional_call
        problem = nde.ODEProblem(lambda t, y: f(field, {"damping": damping}, (t, y)), y0, params=[damping])
        return nde.solve(problem, rtol=1e-3, atol=1e-3, adaptive=False, steps=4, norm=norm).steps.scaled_error

    inputs = (batch().requires_grad_(), torch.tensor(2.0, dtype=FLOAT64, requires_grad=True))
    assert torch.autograd.gradcheck(errors, inputs)


@pytest.mark.parametrize("norm", NORMS, ids=NAMES)
def test_the_gradient_of_stochastic_errors_is_that_of_finite_differences(norm):
    def errors(y0, rate):
        problem = nde.SDEProblem(lambda t, y: -rate * y, lambda t, y: 0.2 * y * rate, y0, params=[rate], seed=5)
        return nde.solve(problem, adaptive=False, steps=3, norm=norm).steps.scaled_error

    inputs = (batch().requires_grad_(), torch.tensor(1.5, dtype=FLOAT64, requires_grad=True))
    assert torch.autograd.gradcheck(errors, inputs)


REPLAYS = [nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2), nde.DiscreteAdjoint(allowance=60_000)]


@pytest.mark.parametrize("norm", NORMS, ids=NAMES)
def test_errors_have_one_gradient_whether_steps_are_kept_or_taken_again(norm):
    field, y0 = Oscillator(), batch().requires_grad_()
    inputs = (y0, *field.parameters())
    problem = nde.ODEProblem(field, y0, t1=2.0)
    expected, *found = (
        torch.autograd.grad(weighed(nde.solve(problem, **TOLERANCE, norm=norm, gradient=one)), inputs)
        for one in (nde.Backprop(), *REPLAYS)
    )
    assert all(part.abs().max() > 0 for part in expected)
    for one in found:
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS, ids=NAMES)
def test_stochastic_errors_have_one_gradient_whether_steps_are_kept_or_taken_again(norm):
    y0, rate = batch().requires_grad_(), torch.tensor(1.5, dtype=FLOAT64, requires_grad=True)
    f, g = lambda t, y: -rate * y, lambda t, y: 0.2 * y * rate
    problem = nde.SDEProblem(f, g, y0, t1=0.1, params=[rate], seed=5)
    expected, *found = (
        torch.autograd.grad(weighed(nde.solve(problem, norm=norm, gradient=one)), (y0, rate))
        for one in (nde.Backprop(), *REPLAYS[:2])
    )
    for one in found:
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_the_largest_reaches_the_worst_sample_of_each_step():
    rates = torch.tensor([0.1, 6.0, 0.2], dtype=FLOAT64)
    y0 = torch.tensor([1.0, 0.0], dtype=FLOAT64).repeat(3, 1).requires_grad_()
    found = nde.solve(nde.ODEProblem(rotating(rates), y0), **TOLERANCE, norm=LARGEST)
    (gradient,) = torch.autograd.grad(found.steps.scaled_error.sum(), y0)
    assert gradient[1].abs().max() > 0
    assert (gradient[[0, 2]] == 0).all()


@pytest.mark.parametrize("gradient", [nde.InterpolatingAdjoint(), nde.BacksolveAdjoint(), nde.GaussAdjoint()])
@pytest.mark.parametrize("norm", NORMS[1:], ids=NAMES[1:])
def test_the_backward_solve_of_a_continuous_adjoint_has_its_own_norm(gradient, norm):
    f, y0 = Counted(decay), batch().requires_grad_()
    found = nde.solve(nde.ODEProblem(f, y0), **TOLERANCE, norm=norm, gradient=gradient)
    forward = f.calls
    (by_adjoint,) = torch.autograd.grad(found.y1.sum(), y0)
    assert f.calls > forward
    torch.testing.assert_close(by_adjoint, torch.full_like(y0, math.exp(-1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["ode", "sde"])
def test_the_gradient_of_a_norm_that_changed_since_the_solve_is_refused(kind):
    weight, y0 = torch.tensor([1.0, 2.0], dtype=FLOAT64), batch().requires_grad_()
    problem = nde.ODEProblem(decay, y0)
    if kind == "sde":
        problem = nde.SDEProblem(decay, lambda t, y: 0.1 * y, y0, t1=0.05, seed=1)
    found = nde.solve(problem, norm=lambda e: (weight * e).norm(), gradient=nde.DiscreteAdjoint())
    (expected,) = torch.autograd.grad(found.y1.sum(), y0, retain_graph=True)
    weight *= 3.0
    # The states do not depend on it once the steps are taken.
    assert torch.equal(torch.autograd.grad(found.y1.sum(), y0, retain_graph=True)[0], expected)
    with pytest.raises(GradientRefused, match="norm is no longer what it was") as raised:
        found.steps.scaled_error.sum().backward()
    check_sentence(raised.value, "call backward before")


# Where it comes from and goes to.


def test_dense_output_takes_the_steps_of_the_norm_again():
    for norm in NORMS:
        found = nde.solve(nde.ODEProblem(decay, batch()), **TOLERANCE, norm=norm)
        torch.testing.assert_close(found(0.5), batch() * math.exp(-0.5), rtol=1e-4, atol=1e-6)


def test_dense_output_of_a_norm_that_changed_since_the_solve_is_refused():
    weight = torch.tensor([1.0, 2.0], dtype=FLOAT64)
    problem = nde.ODEProblem(decay, batch())
    saving = [nde.SaveAt(dense=dense) for dense in (False, True)]
    found, kept = (nde.solve(problem, norm=lambda e: (weight * e).norm(), saveat=saveat) for saveat in saving)
    weight *= 3.0
    with pytest.raises(GradientRefused, match="a norm that was passed, is no longer what it was") as raised:
        found(0.5)
    check_sentence(raised.value, "SaveAt(dense=True)")
    torch.testing.assert_close(kept(0.5), batch() * math.exp(-0.5), rtol=1e-5, atol=1e-6)


def test_models_and_plain_functions_pass_the_norm_on():
    torch.manual_seed(0)
    field, y0 = nde.fields.TimeConcatMLP(3), torch.rand(4, 3)
    usual = {"rtol": 1e-5, "atol": 1e-5, "norm": LARGEST}
    expected = nde.solve(nde.ODEProblem(field, y0), **usual)
    _, by_model = nde.NeuralODE(field, control=nde.control.PI(), **usual)(y0)
    by_function = nde.functional.odesolve_discrete_adjoint(field, y0, 0.0, 1.0, **usual)
    assert torch.equal(by_model.steps.dt, expected.steps.dt)
    assert torch.equal(by_function.scaled_error, expected.steps.scaled_error)
    latent = nde.LatentODE(2, norm=LARGEST)(torch.rand(3, 5, 2), torch.ones(3, 5, 2), torch.linspace(0.0, 1.0, 5))
    assert latent.solution.status.succeeded
    _, stochastic = nde.NeuralSDE(field, nde.fields.TimeConcatMLP(3), norm=LARGEST)(y0, seed=1)
    _, usual_one = nde.NeuralSDE(field, nde.fields.TimeConcatMLP(3))(y0, seed=1)
    assert not torch.equal(stochastic.steps.dt, usual_one.steps.dt)


def test_torchdiffeqs_norm_option_is_the_same_function():
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq, the peer, is not installed")
    lengths, tolerance = [], 1e-6
    y0, f = torch.tensor([[1.0, 0.0], [0.5, 0.0]], dtype=FLOAT64), Counted(rotating(torch.tensor([3.0, 1.0])))
    f.callback_accept_step = lambda t, y, dt: lengths.append(dt.item())
    # Its error estimate is two thirds of that of the pair.
    theirs = {"rtol": 2 / 3 * tolerance, "atol": 2 / 3 * tolerance}
    options = {"norm": mixed, "first_step": 0.01}
    torchdiffeq.odeint(f, y0, torch.tensor([0.0, 1.0]), **theirs, method="dopri5", options=options)
    control = nde.control.I()
    found = nde.solve(nde.ODEProblem(f, y0), "dp5", **TOLERANCE, norm=mixed, control=control, first_step=0.01)
    torch.testing.assert_close(found.steps.dt[:-1], torch.tensor(lengths[:-1], dtype=FLOAT64), rtol=1e-6, atol=0.0)


def test_a_norm_is_asked_as_often_as_steps_are_tried_and_no_more_where_no_gradient_is_asked_for():
    asked = []
    with torch.no_grad():
        found = nde.solve(
            nde.ODEProblem(circle, torch.tensor([1.0, 0.0], dtype=FLOAT64), t1=6.0),
            first_step=0.1,
            norm=lambda error: asked.append(0) or error.abs().max(),
        )
    # Once more before the solve, to look at what it returns.
    assert len(asked) == 1 + found.stats.accepted + found.stats.rejected
