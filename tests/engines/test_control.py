"""Step control as an option of a solve: the steps that it takes, and where it is refused."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.engines.julia.checks import check_options
from pyndereg.ivp import SolveOptions
from pyndereg.ivp.control import FILTERS, PI, PID, I
from tests.equations import FLOAT64, Counted, Oscillator, circle, decay, van_der_pol
from tests.sentences import check_sentence

TIGHT = {"rtol": 1e-8, "atol": 1e-8}


def turning(t1=20.0):
    return nde.ODEProblem(van_der_pol, torch.tensor([2.0, 0.0], dtype=FLOAT64), t1=t1)


def smooth(f=circle):
    return nde.ODEProblem(f, torch.tensor([1.0, 0.0], dtype=FLOAT64), t1=6.0)


def fading():
    return nde.ODEProblem(decay, torch.tensor([1.0, 0.5], dtype=FLOAT64), t1=6.0)


def noisy():
    y0 = torch.full((4, 2), 0.5, dtype=FLOAT64)
    return nde.SDEProblem(lambda t, y: -2 * y, lambda t, y: 0.1 * y, y0, seed=3)


def same(one, other):
    return torch.equal(one.steps.dt, other.steps.dt) and torch.equal(one.steps.scaled_error, other.steps.scaled_error)


@pytest.mark.parametrize("problem", [turning(), noisy()], ids=["ode", "sde"])
def test_proportional_integral_control_is_the_default_to_the_last_bit(problem):
    assert same(nde.solve(problem), nde.solve(problem, control=PI()))
    assert not same(nde.solve(problem), nde.solve(problem, control=PI(safety=0.8)))


@pytest.mark.parametrize(("method", "order"), [("bs3", 3), ("dp5", 5), ("tsit5", 5), ("vern7", 7)])
def test_integral_control_takes_the_lengths_of_its_formula(method, order):
    found = nde.solve(fading(), method, **TIGHT, control=I(), first_step=0.002)
    steps = found.steps
    assert (len(steps) > 7, found.stats.rejected) == (True, 0)
    factors = (0.9 * steps.scaled_error ** (-1 / order)).clamp(1.0, 10.0)
    torch.testing.assert_close(steps.dt[1:-1], (steps.dt * factors)[:-2], rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_takes_the_lengths_of_its_formula(name):
    found = nde.solve(fading(), **TIGHT, control=PID(name, start="own"), first_step=0.05)
    beta, alpha = FILTERS[name].as_floats
    errors = [(error / 0.9**5) ** 0.2 for error in found.steps.scaled_error.tolist()]
    dt = found.steps.dt.tolist()
    assert len(dt) > 20
    others = 0
    for n in range(2, len(dt) - 2):
        expected = math.prod(errors[n - i] ** -beta[i] for i in range(3))
        expected *= (dt[n] / dt[n - 1]) ** -alpha[0] * (dt[n - 1] / dt[n - 2]) ** -alpha[1]
        others += dt[n + 1] / dt[n] != pytest.approx(expected, rel=1e-12)
    # Only where a step was rejected is the next one another.
    assert others <= found.stats.rejected <= 2


@pytest.mark.parametrize("control", [PI(start="free"), I(start="free", grow_first=1e4), PID("H312PID")])
def test_a_free_start_grows_by_the_error_alone_until_a_step_could_not_have_been_twice_as_long(control):
    steps = nde.solve(smooth(), **TIGHT, control=control, first_step=1e-4).steps
    growth = 0.9 * steps.scaled_error**-0.2
    assert growth[0] > 10
    last = next(n for n, one in enumerate(growth.tolist()) if one <= 2)
    torch.testing.assert_close(
        steps.dt[1 : last + 2], steps.dt[: last + 1] * growth[: last + 1].clamp(max=1e4), rtol=1e-12, atol=0.0
    )
    # From a length that is 1 % of the right one, two steps lead there; the usual start takes more.
    assert last <= 2
    assert len(steps) < len(nde.solve(smooth(), **TIGHT, control=PI(), first_step=1e-4).steps)


@pytest.mark.parametrize("problem", [turning(), smooth()], ids=["turning", "smooth"])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
def test_integral_control_takes_torchdiffeqs_steps(problem, tolerance):
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq, the peer, is not installed")
    lengths, rejected = [], []
    f = Counted(problem.f)
    f.callback_accept_step = lambda t, y, dt: lengths.append(dt.item())
    f.callback_reject_step = lambda t, y, dt: rejected.append(dt.item())
    # Its error estimate is two thirds of that of the pair, so it keeps the same bound with two thirds of the tolerance.
    theirs = 2 / 3 * tolerance
    times = torch.tensor([0.0, problem.t1], dtype=FLOAT64)
    y = torchdiffeq.odeint(
        f, problem.y0, times, rtol=theirs, atol=theirs, method="dopri5", options={"first_step": 0.01}
    )
    found = nde.solve(problem, "dp5", rtol=tolerance, atol=tolerance, control=I(), first_step=0.01)
    assert (found.stats.nfe, found.stats.rejected) == (f.calls, len(rejected))
    # Its last step goes beyond the end. Rounding grows where the solution turns.
    torch.testing.assert_close(found.steps.dt[:-1], torch.tensor(lengths[:-1], dtype=FLOAT64), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(found.y1, y[-1], rtol=100 * tolerance, atol=100 * tolerance)


@pytest.mark.parametrize("control", [I(), PI(start="free"), PID("H211b"), PID("PC47")])
@pytest.mark.parametrize("gradient", [nde.Backprop(), nde.DiscreteAdjoint(), nde.InterpolatingAdjoint()])
def test_a_gradient_is_right_whatever_the_control(control, gradient):
    field = Oscillator()
    problem = nde.ODEProblem(field, torch.tensor([[1.0, 0.5]], dtype=FLOAT64), t1=2.0)
    expected = torch.autograd.grad(nde.solve(problem, **TIGHT).y1.sum(), tuple(field.parameters()))
    found = nde.solve(problem, **TIGHT, control=control, gradient=gradient)
    grads = torch.autograd.grad(found.y1.sum(), tuple(field.parameters()))
    torch.testing.assert_close(grads, expected, rtol=1e-5, atol=1e-6)


def test_the_backward_solve_of_a_continuous_adjoint_is_controlled_likewise_and_may_have_fixed_steps():
    def backward_evaluations(control, **adjoint):
        y0 = torch.tensor([1.0, 0.0], dtype=FLOAT64, requires_grad=True)
        gradient = nde.InterpolatingAdjoint(**adjoint)
        f = Counted(circle)
        y1 = nde.solve(nde.ODEProblem(f, y0, t1=6.0), control=control, gradient=gradient).y1
        f.calls = 0
        y1.sum().backward()
        return f.calls

    assert backward_evaluations(PI(safety=0.5)) > 1.3 * backward_evaluations(PI())
    with pytest.raises(ValueError, match="no step length was given"):
        backward_evaluations(I(), method="rk4")


def test_every_breakpoint_has_a_start_of_its_own():
    whole = nde.solve(smooth(), control=PID("PI34"), breakpoints=[2.0])
    parts = [
        nde.solve(nde.ODEProblem(circle, torch.tensor([1.0, 0.0], dtype=FLOAT64), t1=2.0), control=PID("PI34")),
    ]
    parts.append(nde.solve(nde.ODEProblem(circle, parts[0].y1, 2.0, 6.0), control=PID("PI34")))
    torch.testing.assert_close(whole.steps.dt, torch.cat([part.steps.dt for part in parts]), rtol=1e-9, atol=0.0)


def test_models_and_plain_functions_pass_the_control_on():
    torch.manual_seed(0)
    field, y0 = nde.fields.TimeConcatMLP(3), torch.rand(4, 3)
    usual = {"rtol": 1e-5, "atol": 1e-5}
    expected = nde.solve(nde.ODEProblem(field, y0), **usual, control=I())
    _, by_model = nde.NeuralODE(field, **usual, control=I())(y0)
    by_function = nde.functional.odesolve_discrete_adjoint(field, y0, 0.0, 1.0, **usual, control=I())
    assert torch.equal(by_model.steps.dt, expected.steps.dt)
    assert torch.equal(by_function.dt, expected.steps.dt)
    assert not torch.equal(expected.steps.dt, nde.solve(nde.ODEProblem(field, y0), **usual).steps.dt)
    latent = nde.LatentODE(2, control=I())(torch.rand(3, 5, 2), torch.ones(3, 5, 2), torch.linspace(0.0, 1.0, 5))
    assert latent.solution.status.succeeded
    _, stochastic = nde.NeuralSDE(field, nde.fields.TimeConcatMLP(3), control=PID("H211PI"))(y0, seed=1)
    assert stochastic.status.succeeded


@pytest.mark.parametrize("control", [I(), PI(start="free"), PID("H211PI", start="own")])
def test_a_stochastic_step_grows_by_an_eighth_at_most_unless_more_is_asked_for(control):
    found = nde.solve(noisy(), control=control, first_step=1e-4)
    ratios = found.steps.dt[1:] / found.steps.dt[:-1]
    # Steps end at times at which the path is cheap to ask, up to a 16th of their length away.
    slack = (1 + 1 / 16) / (1 - 1 / 16)
    late = ratios[3:]
    assert late.max() <= 9 / 8 * slack
    faster = nde.solve(noisy(), control=I(grow=10.0), first_step=1e-5)
    assert faster.steps.dt[1] > 5 * faster.steps.dt[0]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"method": "rk4", "dt": 0.1}, ("'rk4'", "has no error estimate")),
        ({"method": "euler", "steps": 10}, ("'euler'", "has no error estimate")),
        ({"dt": 0.1, "adaptive": False}, ("'tsit5'", "adaptive=False")),
    ],
)
@pytest.mark.parametrize("option", [{"control": PI()}, {"control": PID()}, {"dt_min": 0.1}])
def test_control_of_planned_steps_is_refused(options, parts, option):
    with pytest.raises(ValueError, match="pass grid=") as raised:
        nde.solve(smooth(), **options, **option)
    check_sentence(raised.value, *option, *parts)


def test_control_of_planned_stochastic_steps_is_refused():
    with pytest.raises(ValueError, match="control was given, and method 'em'"):
        nde.solve(noisy(), "em", dt=0.1, control=PI())


@pytest.mark.parametrize("control", [I(), PID(), PI(safety=0.8), PI(start="free")])
def test_the_julia_engine_refuses_another_control_than_its_own(control):
    with pytest.raises(ValueError, match="engine='embedded'") as raised:
        check_options(smooth().layout, SolveOptions(control=control))
    check_sentence(raised.value, f"control is {control}", "pass None")
    with pytest.raises(ValueError, match="dt_min was given"):
        check_options(smooth().layout, SolveOptions(dt_min=0.1))
    check_options(smooth().layout, SolveOptions(control=PI()))


# A shortest step.


@pytest.mark.parametrize("control", [PI(), I(), PID("H211PI")])
def test_no_step_is_shorter_than_the_shortest_but_the_first_and_the_last_and_its_error_is_in_the_record(control):
    free = nde.solve(turning(), **TIGHT, control=control)
    found = nde.solve(turning(), **TIGHT, control=control, dt_min=0.02)
    assert found.steps.dt[1:-1].min() == pytest.approx(0.02, rel=1e-12)
    assert free.steps.dt[1:-1].min() < 0.01
    too_large = found.steps.scaled_error > 1
    assert too_large.any()
    torch.testing.assert_close(found.steps.dt[too_large], torch.full_like(found.steps.dt[too_large], 0.02))
    assert found.stats.accepted < free.stats.accepted
    # Steps that are long enough by themselves are as they were.
    assert same(nde.solve(turning(), dt_min=1e-9), nde.solve(turning()))


def test_shortest_and_longest_may_be_one_length():
    found = nde.solve(smooth(), dt_min=0.25, dt_max=0.25, first_step=0.25)
    assert found.steps.dt.tolist() == pytest.approx([0.25] * 24)
    # The first step, which may be shorter, is tried twice.
    assert found.stats.nfe == 1 + 25 * 6


def test_a_step_of_the_shortest_length_is_not_accepted_where_f_is_not_finite():
    f = Counted(lambda t, y: torch.where(t > 0.5, torch.nan, 1.0) * y)
    problem = nde.ODEProblem(f, torch.ones(1, dtype=FLOAT64))
    found = nde.solve(problem, dt_min=0.01, raise_on_failure=False)
    assert found.status is nde.Status.NON_FINITE
    assert 0.3 < found.t_reached <= 0.5
    assert found.y1.isfinite().all()
    assert f.calls < 300


def test_a_step_too_short_for_the_shortest_still_ends_at_the_end():
    found = nde.solve(nde.ODEProblem(decay, torch.ones(1, dtype=FLOAT64), t1=1.0), dt_min=0.3, first_step=0.3)
    assert found.t_reached == 1.0
    assert found.steps.dt.sum().item() == pytest.approx(1.0)


def test_a_stochastic_solve_has_a_shortest_step_too():
    free = nde.solve(noisy(), first_step=0.05)
    found = nde.solve(noisy(), first_step=0.05, dt_min=0.05)
    # Steps end at times at which the path is cheap to ask, up to a 16th of their length away.
    assert found.steps.dt[:-1].min() > 0.05 * (1 - 1 / 16 - 1e-9)
    assert found.stats.accepted <= 22 < free.stats.accepted
    assert (found.steps.scaled_error > 1).any()
