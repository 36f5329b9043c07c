"""The local regularizers: against one step written by hand, and against quadrature over time."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import pyndereg as nde
from pyndereg.regularizers import LocalError, LocalStiffness
from pyndereg.solver.tableaus import get_tableau
from tests.equations import FLOAT64, circle, mixing
from tests.regularizers.by_hand import automatic_length, fresh_step, state_at
from tests.sentences import check_sentence

TOLERANCES = {"rtol": 1e-3, "atol": 1e-3}
KINDS = (LocalError, LocalStiffness)
SAMPLINGS = ("unbiased", "biased")
GRADIENTS = (None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2))
INTERVALS = ((0.5, 4.0), (4.0, 0.5))
# Method of the solve, its options, and method of the fresh step.
METHODS = (("tsit5", {}, None), ("vern7", {}, "vern7"), ("rk4", {"dt": 0.3}, None), ("bs3", {}, "dp5"))

kinds = pytest.mark.parametrize("kind", KINDS)
samplings = pytest.mark.parametrize("sampling", SAMPLINGS)
gradients = pytest.mark.parametrize("gradient", GRADIENTS, ids=repr)
methods = pytest.mark.parametrize(("method", "options", "local_method"), METHODS)
intervals = pytest.mark.parametrize(("t0", "t1"), INTERVALS)


def leaves():
    """An initial state (2, 3) and the weights (3, 3) of `mixing`, both asking for gradients."""
    y0 = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.8, -1.1]], dtype=FLOAT64, requires_grad=True)
    weights = torch.tensor([[0.9, -2.1, 0.4], [1.7, 0.3, -1.2], [-0.6, 1.5, 0.8]], dtype=FLOAT64, requires_grad=True)
    return y0, weights


def seeded(kind, seed=3, **options):
    return kind(generator=torch.Generator().manual_seed(seed), **options)


def solve_mixing(regularizer, y0, weights, method="tsit5", *, t0=0.5, t1=4.0, **options):
    problem = nde.ODEProblem(mixing(weights), y0, t0, t1, [weights])
    return nde.solve(problem, method, regularizers=[regularizer], **{**TOLERANCES, **options})


def penalty_by_hand(regularizer, solution, y0, weights, method, t0, t1):
    """The penalty at the time that the solve drew, with a graph from y0 and the weights."""
    f, t = mixing(weights), solution.samples[0].t
    local = get_tableau(regularizer.method or "tsit5")
    y = state_at(solution, t, get_tableau(method), f, y0, t0, t1, *TOLERANCES.values())
    dt = automatic_length(f, t, y.detach(), t1, local.order, *TOLERANCES.values())
    error, stiffness = fresh_step(local, f, t, y, dt, *TOLERANCES.values(), constant_start=regularizer.constant_start)
    return error * abs(dt) if isinstance(regularizer, LocalError) else stiffness / regularizer.stability_size


# The error estimate is a difference of slopes that are up to 1e7 times as large, which costs as many of its digits: of
# its norm the last few of the larger elements, of the direction of its gradient those of the smaller ones, too.
def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def gradients_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-11)


@kinds
@samplings
@intervals
@methods
def test_the_penalty_is_that_of_a_step_by_hand(kind, sampling, method, options, local_method, t0, t1):
    y0, weights = leaves()
    regularizer = seeded(kind, sampling=sampling, method=local_method)
    solution = solve_mixing(regularizer, y0, weights, method, t0=t0, t1=t1, **options)
    (penalty,) = solution.penalties
    assert penalty.shape == ()
    assert penalty.item() > 0
    close(penalty, penalty_by_hand(regularizer, solution, y0, weights, method, t0, t1))


@kinds
@samplings
@gradients
@methods
def test_by_default_the_start_of_the_step_is_a_constant_of_its_gradient(
    kind, sampling, gradient, method, options, local_method
):
    y0, weights = leaves()
    regularizer = seeded(kind, sampling=sampling, method=local_method)
    solution = solve_mixing(regularizer, y0, weights, method, gradient=gradient, **options)
    found = torch.autograd.grad(solution.penalties, (y0, weights), allow_unused=True)
    by_hand = penalty_by_hand(regularizer, solution, y0, weights, method, 0.5, 4.0)
    assert found[0] is None
    gradients_close(found[1], torch.autograd.grad(by_hand, weights)[0])


@kinds
@samplings
@gradients
@methods
@intervals
def test_through_the_state_the_gradient_is_that_of_all_steps_before(
    kind, sampling, gradient, method, options, local_method, t0, t1
):
    y0, weights = leaves()
    regularizer = seeded(kind, sampling=sampling, method=local_method, through_state=True)
    solution = solve_mixing(regularizer, y0, weights, method, t0=t0, t1=t1, gradient=gradient, **options)
    found = torch.autograd.grad(solution.penalties, (y0, weights))
    by_hand = penalty_by_hand(regularizer, solution, y0, weights, method, t0, t1)
    assert all(bool(one.any()) for one in found)
    gradients_close(found, torch.autograd.grad(by_hand, (y0, weights)))


@samplings
@gradients
def test_through_the_state_the_gradient_is_that_of_finite_differences(sampling, gradient):
    """The interval is so short for these tolerances that the automatic length is what is left of it: a constant."""
    short, loose = {"t0": 0.5, "t1": 1.6}, {"rtol": 1e3, "atol": 1e3}

    def penalty(y0, weights):
        regularizer = seeded(LocalError, 7, sampling=sampling, through_state=True)
        options = {"dt": 0.3, "adaptive": False, "gradient": gradient, **short, **loose}
        solution = solve_mixing(regularizer, y0, weights, **options)
        t, y = solution.samples[0].t, solution.samples[0].y
        assert automatic_length(mixing(weights), t, y, short["t1"], 5, *loose.values()) == short["t1"] - t > 0.5
        # In units in which it is of the size of one, so that the comparison's absolute tolerance means something.
        return solution.penalties[0] * 1e7

    y0, weights = leaves()
    assert 0.1 < penalty(y0, weights).item() < 100.0
    assert torch.autograd.gradcheck(penalty, (y0, weights))


@dataclass(frozen=True)
class AtTime:
    """A sampler that knows its time."""

    time: float

    def choose(self, t, t_end):
        inside = min(t, t_end) < self.time <= max(t, t_end)
        return (self.time - t) / (t_end - t) if inside else None


@dataclass(frozen=True)
class ErrorAtTime(LocalError):
    """The local error at a given time."""

    time: float = 0.0

    def sampler(self, t0, t1):
        return AtTime(self.time)


@pytest.mark.parametrize(("t0", "t1", "time"), [(0.0, 1.0, 1.0 - 1e-3), (0.0, -1.0, -1.0 + 1e-3)])
def test_close_to_the_end_the_step_is_what_is_left_of_the_interval(t0, t1, time):
    times = []

    def f(t, y):
        times.append(t.item())
        return circle(t, y)

    y0 = torch.tensor([1.0, 0.0], dtype=FLOAT64)
    options = {"rtol": 1e-2, "atol": 1e-2}
    solution = nde.solve(nde.ODEProblem(f, y0, t0, t1), regularizers=[ErrorAtTime(time=time)], **options)
    assert max(times) <= max(t0, t1)
    assert min(times) >= min(t0, t1)
    assert times[-1] == t1
    sample = solution.samples[0]
    error, _ = fresh_step(
        get_tableau("tsit5"), circle, sample.t, sample.y, t1 - sample.t, *options.values(), constant_start=True
    )
    # Of so short a step the error estimate is little but rounding: it is compared in units of the tolerance.
    torch.testing.assert_close(solution.penalties[0] / 1e-3, error, rtol=0, atol=1e-13)


def test_a_time_that_rounds_to_the_end_leaves_the_shortest_of_steps():
    problem = nde.ODEProblem(circle, torch.tensor([1.0, 0.0], dtype=FLOAT64))
    (penalty,) = nde.solve(problem, regularizers=[ErrorAtTime(time=1.0)]).penalties
    assert 0 <= penalty.item() < 1e-15


def test_the_unbiased_penalty_is_on_average_the_mean_over_time():
    """2,000 draws of seed 1 in one solve, against the midpoint rule at 500 times; within four standard errors."""
    y0, weights = (leaf.detach() for leaf in leaves())
    regularizers = [seeded(LocalError, 1)] * 2000
    problem = nde.ODEProblem(mixing(weights), y0, 0.5, 4.0)
    solution = nde.solve(problem, saveat=nde.SaveAt(dense=True), regularizers=regularizers, **TOLERANCES)
    f, tableau, tolerances = mixing(weights), get_tableau("tsit5"), TOLERANCES.values()

    def integrand(t):
        y = solution(t)
        dt = automatic_length(f, t, y, 4.0, 5, *tolerances)
        return (fresh_step(tableau, f, t, y, dt, *tolerances, constant_start=True)[0] * abs(dt)).item()

    expected = np.mean([integrand(0.5 + 3.5 * (i + 0.5) / 500) for i in range(500)])
    drawn = np.array([penalty.item() for penalty in solution.penalties])
    standard_error = drawn.std(ddof=1) / math.sqrt(len(drawn))
    assert standard_error < 0.03 * expected
    assert abs(drawn.mean() - expected) < 4 * standard_error


def test_the_biased_penalty_is_on_average_the_mean_over_the_accepted_steps():
    """1,000 draws of seed 2 in one solve; within four standard errors."""
    y0, weights = (leaf.detach() for leaf in leaves())
    regularizers = [seeded(LocalError, 2, sampling="biased")] * 1000
    problem = nde.ODEProblem(mixing(weights), y0, 0.5, 4.0)
    solution = nde.solve(problem, saveat=nde.SaveAt(every_step=True), regularizers=regularizers, **TOLERANCES)
    f, tableau, tolerances = mixing(weights), get_tableau("tsit5"), TOLERANCES.values()

    def value(t, y):
        dt = automatic_length(f, t, y, 4.0, 5, *tolerances)
        return (fresh_step(tableau, f, t, y, dt, *tolerances, constant_start=True)[0] * abs(dt)).item()

    expected = np.mean([value(t, y) for t, y in zip(solution.t.tolist()[:-1], solution.y[:-1], strict=True)])
    drawn = np.array([penalty.item() for penalty in solution.penalties])
    assert {sample.t for sample in solution.samples} == set(solution.steps.t.tolist())
    assert abs(drawn.mean() - expected) < 4 * drawn.std(ddof=1) / math.sqrt(len(drawn))


@kinds
@samplings
def test_through_the_first_stage_it_is_the_derivative_at_constant_state(kind, sampling):
    y0, weights = leaves()
    regularizer = seeded(kind, sampling=sampling, through_first_stage=True)
    solution = solve_mixing(regularizer, y0, weights)
    assert solution.samples[0].y.grad_fn is not None
    sample, held = solution.samples[0], weights.detach().clone().requires_grad_()
    y = sample.y.detach()
    dt = automatic_length(mixing(held), sample.t, y, 4.0, 5, *TOLERANCES.values())
    tsit5, tolerances = get_tableau("tsit5"), TOLERANCES.values()
    error, stiffness = fresh_step(tsit5, mixing(held), sample.t, y, dt, *tolerances, constant_start=False)
    (expected,) = torch.autograd.grad(error * abs(dt) if kind is LocalError else stiffness, held)
    by_weights, by_state = torch.autograd.grad(solution.penalties, (weights, y0), allow_unused=True)
    gradients_close(by_weights, expected)
    assert by_state is None or not bool(by_state.any())


@kinds
@samplings
@gradients
def test_a_tuple_is_regularized_like_the_tensor_that_it_makes_up(kind, sampling, gradient):
    y0, weights = leaves()

    def parts(t, y):
        slope = mixing(weights)(t, torch.cat(y))
        return slope[:1], slope[1:]

    regularizer = {"kind": kind, "sampling": sampling, "through_state": True}
    whole = solve_mixing(seeded(**regularizer), y0, weights, gradient=gradient)
    problem = nde.ODEProblem(parts, (y0[:1], y0[1:]), 0.5, 4.0, [weights])
    tuple_ = nde.solve(problem, gradient=gradient, regularizers=[seeded(**regularizer)], **TOLERANCES)
    close(tuple_.penalties, whole.penalties)
    expected = torch.autograd.grad(whole.penalties, (y0, weights))
    gradients_close(torch.autograd.grad(tuple_.penalties, (y0, weights)), expected)


def test_the_stiffness_is_divided_by_the_stability_size():
    y0, weights = leaves()
    found = [solve_mixing(seeded(LocalStiffness, stability_size=s), y0, weights).penalties[0] for s in (1.0, 3.5068)]
    torch.testing.assert_close(found[1] * 3.5068, found[0], rtol=1e-14, atol=0)


def error_gradients(tableau, dt):
    """Of the error of a step of `mixing`, by its weights: as published, the derivative, and their difference to dt^2.

    The method notes derive it: -d_1 dt (df/dp)' dE/de, at the start of the step.
    """
    y, tolerance = leaves()[0].detach(), 1e-2
    weights = leaves()[1]
    found = []
    for constant_start in (True, False):
        error, _ = fresh_step(tableau, mixing(weights), 0.7, y, dt, tolerance, tolerance, constant_start=constant_start)
        found.append(torch.autograd.grad(error, weights)[0])
    return *found, leading_difference(tableau, weights, y, dt, tolerance)


@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "vern7", "vern9"])
def test_of_a_short_step_the_gradient_at_constant_start_is_that_of_the_missing_first_stage(method):
    published, derivative, leading = error_gradients(get_tableau(method), 0.005)
    assert (published - derivative - leading).norm() < 0.01 * leading.norm()
    assert derivative.norm() < 1e-4 * leading.norm()


@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5"])
def test_beside_it_the_derivative_vanishes_with_the_order_of_the_embedded_method(method):
    lengths, tableau = (0.02, 0.01, 0.005, 0.0025), get_tableau(method)
    found = [error_gradients(tableau, dt) for dt in lengths]
    ratios = [(derivative.norm() / leading.norm()).item() for _, derivative, leading in found]
    assert np.polyfit(np.log(lengths), np.log(ratios), 1)[0] == pytest.approx(tableau.embedded_order, abs=0.2)


@pytest.mark.parametrize(
    ("method", "decay", "growth", "rotation"),
    [("bs3", -1, -1, 1), ("dp5", 1, 1, 1), ("tsit5", 1, 1, 1), ("vern7", 1, 1, -1), ("vern9", -1, -1, -1)],
)
def test_on_the_linear_equation_it_depends_on_the_method_whether_descent_at_constant_start_slows_it_down(
    method, decay, growth, rotation
):
    """The sign of the published gradient with respect to the rate, which the method notes derive."""

    def sign(field):
        rate = torch.tensor(1.0, dtype=FLOAT64, requires_grad=True)
        y0 = torch.tensor([1.0, 0.5], dtype=FLOAT64)
        problem = nde.ODEProblem(lambda t, y: rate * field(y), y0, params=[rate])
        penalties = nde.solve(
            problem, method, regularizers=[seeded(LocalError, 7, method=method)], **TOLERANCES
        ).penalties
        return torch.autograd.grad(penalties, rate)[0].sign().item()

    assert sign(lambda y: -y) == decay
    assert sign(lambda y: y) == growth
    assert sign(lambda y: torch.stack([-y[1], y[0]])) == rotation


def leading_difference(tableau, weights, y, dt, tolerance):
    """-d_1 dt (df/dp)' dE/de, at the start of the step."""
    f, slopes = mixing(weights.detach()), []
    for row, c in zip(tableau.a, tableau.c, strict=True):
        state = y + dt * sum((float(a) * k for a, k in zip(row, slopes, strict=True)), torch.zeros_like(y))
        slopes.append(f(torch.tensor(0.7 + float(c) * dt, dtype=FLOAT64), state))
    y1 = y + dt * sum(float(b) * k for b, k in zip(tableau.b, slopes, strict=True))
    scaled = dt * sum(float(d) * k for d, k in zip(tableau.b_error, slopes, strict=True))
    scale = tolerance * (1 + torch.maximum(y.abs(), y1.abs()))
    scaled = scaled / scale
    by_error = scaled / (scale * y.numel() * scaled.square().mean().sqrt())
    slope = mixing(weights)(torch.tensor(0.7, dtype=FLOAT64), y)
    return -float(tableau.b_error[0]) * dt * torch.autograd.grad(slope, weights, by_error)[0]


@pytest.mark.parametrize(
    ("kind", "method", "options", "estimate"),
    [(LocalError, "rk4", {"dt": 0.25}, "error"), (LocalStiffness, "bs3", {}, "stiffness")],
)
def test_a_method_without_the_estimate_is_refused_with_those_that_have_it(kind, method, options, estimate):
    problem = nde.ODEProblem(circle, torch.tensor([1.0, 0.0], dtype=FLOAT64))
    with pytest.raises(ValueError, match=f"no {estimate} estimate") as raised:
        nde.solve(problem, method, regularizers=[kind(method=method)], **options)
    check_sentence(raised.value, "pass method=", "tsit5")


def test_an_unknown_sampling_is_refused():
    with pytest.raises(ValueError, match="sampling is 'random'") as raised:
        LocalError("random")
    check_sentence(raised.value, "'unbiased' or 'biased'")


def test_a_state_at_which_f_is_not_finite_is_refused_with_its_time():
    def f(t, y):
        return torch.where(t == 0.625, math.nan, -y)

    problem = nde.ODEProblem(f, torch.ones(2, dtype=FLOAT64))
    with pytest.raises(ValueError, match=r"f is not finite at t=0\.625") as raised:
        nde.solve(problem, "rk4", dt=0.5, regularizers=[ErrorAtTime(method="tsit5", time=0.625)])
    check_sentence(raised.value, "sampling='biased'")
