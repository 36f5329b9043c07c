"""Errors that are rounding: where they are known, what the step control makes of them, and who is told."""

import copy
import math
import warnings

import pytest
import torch

import pyndereg as nde
from pyndereg.ivp import StepRecord
from pyndereg.solver.rounding import BUDGET, LEAST_BUDGET, Rounding, resolution_of
from pyndereg.solver.tableaus import get_tableau
from tests.equations import FLOAT64, Oscillator, decay
from tests.sentences import check_sentence
from tests.solver.rooted_trees import ElementaryWeights

ADAPTIVE = ["bs3", "dp5", "tsit5", "vern7", "vern9"]
SINGLE = torch.finfo(torch.float32).eps
HALF = torch.finfo(torch.bfloat16).eps


def network(dim=64):
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(dim, 100).requires_grad_(False)
    for param in field.parameters():
        param.mul_(1.5)
    return field


def start(dim=64):
    return torch.randn(32, dim, generator=torch.Generator().manual_seed(1))


class InHalf(torch.nn.Module):
    """A field that computes in bfloat16."""

    def __init__(self, field):
        super().__init__()
        self.field = field

    def forward(self, t, y):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.field(t, y).float()


def solved(field, y0, tolerance, method="tsit5", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nde.SolveWarning)
        return nde.solve(nde.ODEProblem(field, y0), method, rtol=tolerance, atol=tolerance, **options)


def doubled(field):
    return copy.deepcopy(field).double()


def rms(x):
    return x.double().square().mean().sqrt().item()


@pytest.fixture(scope="module")
def reference():
    return solved(doubled(network()), start().double(), 1e-12, "vern9").y1


def chain(vertices):
    """The tree of f's repeated derivatives, all that counts on y' = lambda y."""
    return () if vertices == 1 else (chain(vertices - 1),)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_the_coefficients_on_the_test_equation_are_those_of_its_rooted_trees(method):
    tableau = get_tableau(method)
    weights = ElementaryWeights(tableau.a)
    estimate = abs(weights(tableau.b_error, chain(tableau.embedded_order + 1)))
    error = weights.residual(tableau.b, chain(tableau.order + 1))
    assert tableau.test_errors == pytest.approx((float(estimate), float(error)), rel=1e-6)
    assert tableau.noise == pytest.approx(math.sqrt(sum(float(weight) ** 2 for weight in tableau.b_error)), rel=1e-14)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_the_rounding_of_an_estimate_is_known_within_a_factor_of_five(method):
    # Steps so short that all of the estimate is rounding, under a tolerance that accepts it.
    dt = 1e-4 if method == "bs3" else 2e-3
    options = {"dt_max": dt, "first_step": dt, "max_steps": 8, "raise_on_failure": False}
    steps = solved(network(), start(), 1e-7, method, **options).steps
    assert bool((steps.scaled_error < 5 * steps.rounding).all())
    assert bool((steps.scaled_error > steps.rounding / 5).all())


def resolution(field, y0, coarsest, rtol=1e-6, **options):
    slope0 = field(torch.zeros(()), y0).reshape(-1)
    return resolution_of(
        lambda y: field(torch.zeros(()), y.view(y0.shape)).reshape(-1),
        get_tableau("tsit5"),
        y0.reshape(-1),
        slope0,
        rtol=rtol,
        atol=rtol,
        length=1.0,
        coarsest=coarsest,
        **options,
    )


@pytest.mark.parametrize("dim", [2, 8, 64, 512])
def test_the_rounding_of_a_field_in_half_precision_is_measured(dim):
    field, y0 = network(dim), start(dim)
    found = resolution(InHalf(field), y0, HALF)
    exact = doubled(field)(torch.zeros((), dtype=FLOAT64), y0.double())
    rounding = rms(InHalf(field)(torch.zeros(()), y0) - exact) / rms(exact)
    assert rounding / 3 < found.rounding.own < 3 * rounding


def test_a_coarse_part_that_does_not_matter_is_found_not_to():
    def field(t, y):
        return -y + 1e-6 * torch.tanh(y).bfloat16().float()

    assert resolution(field, start(), HALF).rounding.own < 1e-7


def test_a_stiff_field_is_not_taken_for_a_noisy_one():
    def field(t, y):
        return -1e3 * (y - torch.tanh(y)) + 0.0 * y.bfloat16().float()

    # Half the curvature of f over a distance of one unit remains.
    assert resolution(field, start(), HALF).rounding.own < HALF**2


def test_nothing_is_looked_at_in_float64_or_far_above_rounding():
    field, y0 = network(), start()
    double = torch.finfo(FLOAT64).eps
    assert resolution(doubled(field), y0.double(), double, rtol=1e-15) is None
    assert resolution(field, y0, SINGLE, rtol=1e-3) is None
    assert resolution(field, y0, SINGLE) is not None
    assert resolution(InHalf(field), y0, HALF, rtol=0.5) is None


def test_a_field_at_rest_at_zero_resolves_nothing_and_divides_by_nothing():
    zero = torch.zeros(4)
    assert resolution(decay, zero, SINGLE) is None
    assert resolution(lambda t, y: torch.zeros_like(y), torch.ones(4), HALF).rounding.own == HALF


ROUNDING = Rounding(get_tableau("tsit5"), SINGLE, 0.0, 1.0)


def judge(error, state=1e6, slope=1e6, dt=0.1):
    return ROUNDING.judge(error, state, slope, dt)


def test_an_error_far_above_rounding_is_handed_on_as_it_is():
    assert judge(0.5, state=1e4, slope=1e4).error == pytest.approx(0.5, rel=1e-3)
    assert judge(50.0, state=1e4, slope=1e4).error == pytest.approx(50.0, rel=1e-3)


def test_an_error_that_rounding_explains_is_handed_on_as_acceptable_however_large():
    for state in (1e7, 1e9, 1e12):
        judged = judge(0.0, state, state)
        assert judge(judged.rounding, state, state).error <= 1 / 8
        assert judge(100 * judged.allowed, state, state).error > 1


def test_what_is_handed_on_grows_with_the_error_and_is_never_more_than_it():
    errors = [10 ** (k / 10) for k in range(-60, 40)]
    handed = [judge(error, 1e8, 1e8).error for error in errors]
    assert handed == sorted(handed)
    assert all(0 < one <= error for one, error in zip(handed, errors, strict=True))


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_an_error_that_is_no_number_stays_none(error):
    assert judge(error).error is error or math.isnan(judge(error).error)
    assert judge(error).allowed == 1.0
    assert judge(0.5, state=math.inf).error == 0.5


@pytest.mark.parametrize(("steps", "budget"), [(4, LEAST_BUDGET), (36, 3.0), (1000, BUDGET)])
def test_what_is_allowed_makes_the_errors_of_y1_add_up_to_what_roundings_do(steps, budget):
    # On y' = z y with steps of length 1 / N, at the estimate that is just allowed.
    tableau = ROUNDING.tableau
    estimate, error = tableau.test_errors
    allowed = ROUNDING.resolved(1.0, 0.0, 1 / steps)
    z = (allowed / estimate) ** (1 / (tableau.embedded_order + 1))
    assert steps * error * z ** (tableau.order + 1) == pytest.approx(budget * SINGLE, rel=1e-12)


def single(method, rtol, atol, field=None, y0=None, **options):
    return method, rtol, atol, network(8) if field is None else field, start(8) if y0 is None else y0, options


WARNED = {
    "tsit5 at 1e-7": single("tsit5", 1e-7, 1e-7),
    "dp5 at 1e-9": single("dp5", 1e-9, 1e-9),
    "relative tolerance alone": single("vern7", 1e-8, 0.0),
    "bfloat16 at 1e-4": single("tsit5", 1e-4, 1e-4, InHalf(network(8))),
    "float64 around float32": single("bs3", 1e-8, 1e-8, lambda t, y: torch.tanh(y.float()).double(), start(8).double()),
    "float16 at 1e-5": single("dp5", 1e-5, 1e-5, lambda t, y: torch.tanh(y.half()).float()),
}
SILENT = {
    "the default tolerance": single("tsit5", 1e-6, 1e-6),
    "loose": single("vern9", 1e-3, 1e-3),
    "an absolute tolerance above it": single("tsit5", 1e-9, 1e-3),
    "float64 at 1e-13": single("vern9", 1e-13, 1e-13, doubled(network(8)), start(8).double()),
    "bfloat16 at 1e-1": single("tsit5", 1e-1, 1e-1, InHalf(network(8))),
    "steps of one length": single("tsit5", 1e-9, 1e-9, adaptive=False, dt=0.25),
}


def messages(method, rtol, atol, field, y0, options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nde.solve(nde.ODEProblem(field, y0), method, rtol=rtol, atol=atol, **options)
    return caught


@pytest.mark.parametrize("case", WARNED)
def test_a_tolerance_below_rounding_is_warned_of_in_one_sentence_at_the_call_of_the_user(case):
    (found,) = messages(*WARNED[case])
    assert found.category is nde.SolveWarning
    assert found.filename == __file__
    check_sentence(found.message, "resolves about", "pass", "float")


@pytest.mark.parametrize("case", SILENT)
def test_a_tolerance_that_is_resolved_is_not_warned_of(case):
    assert messages(*SILENT[case]) == []


def test_a_loop_warns_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for scale in (1.0, 1.1, 1.2):
            nde.solve(nde.ODEProblem(network(8), scale * start(8)), rtol=1e-8, atol=1e-8)
    assert len(caught) == 1


def test_the_tolerance_that_the_warning_advises_is_not_warned_of():
    (found,) = messages(*single("tsit5", 1e-9, 1e-9))
    assert "pass rtol=1e-06 and atol=1e-06 or more" in str(found.message)
    assert messages(*single("tsit5", 1e-6, 1e-6)) == []


# Evaluations of float64 at the loosest power of ten whose error is the one that float32 is left with.
# The errors of bs3 cancel more than the test equation says; a step of vern7 is a fifth of its short solve.
@pytest.mark.parametrize(("method", "ratio"), [("bs3", 1.6), ("dp5", 1.3), ("tsit5", 1.3), ("vern7", 1.5)])
def test_float32_takes_little_more_than_float64_s_evaluations_to_its_error(method, ratio, reference):
    double = [solved(doubled(network()), start().double(), 10.0**-k, method) for k in range(3, 8)]
    for tolerance in (1e-5, 1e-7, 1e-9, 1e-12):
        found = solved(network(), start(), tolerance, method)
        error = rms(found.y1 - reference)
        assert error < 1e-6 or tolerance > 1e-6
        needed = next(one for one in double if rms(one.y1 - reference) <= error)
        assert found.stats.nfe <= ratio * needed.stats.nfe


@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "vern7"])
def test_half_precision_takes_no_more_evaluations_than_float64_at_1e_3_whatever_the_tolerance(method, reference):
    double = solved(doubled(network()), start().double(), 1e-3, method)
    for tolerance in (1e-3, 1e-6, 1e-9):
        found = solved(InHalf(network()), start(), tolerance, method)
        assert rms(found.y1 - reference) < 8e-3
        assert found.stats.nfe <= 1.3 * double.stats.nfe


def test_evaluations_stop_growing_where_the_precision_ends():
    counts = [solved(network(), start(), 10.0**-k).stats.nfe for k in (7, 9, 12)]
    assert max(counts) - min(counts) <= 6


def test_the_record_says_what_was_rounding_and_what_was_allowed():
    steps = solved(network(), start(), 1e-9).steps
    assert bool((steps.rounding > 0).all())
    assert bool((steps.allowed > 1).all())
    assert bool((steps.scaled_error <= steps.allowed + 2 * steps.rounding).all())
    loose = solved(network(), start(), 1e-3).steps
    assert loose.rounding.tolist() == [0.0] * len(loose)
    assert loose.allowed.tolist() == [1.0] * len(loose)
    planned = solved(network(), start(), 1e-9, adaptive=False, dt=0.5).steps
    assert bool(planned.rounding.isnan().all())


def test_the_columns_of_a_solve_with_breakpoints_are_joined():
    solution = solved(network(8), start(8), 1e-8, breakpoints=[0.4])
    assert len(solution.steps.rounding) == len(solution.steps.allowed) == solution.stats.accepted


def test_a_record_made_of_four_columns_knows_nothing_of_rounding():
    record = StepRecord(*torch.ones(4, 3).unbind())
    assert bool(record.rounding.isnan().all())
    assert record.allowed.tolist() == [1.0, 1.0, 1.0]


def kink(t, y):
    return torch.where(t < 0.5037, torch.ones_like(y), -20.0 * y)


@pytest.mark.parametrize("tolerance", [1e-5, 1e-7, 1e-9])
def test_a_jump_in_float32_is_still_rejected_and_resolved(tolerance):
    solution = solved(kink, torch.zeros(4), tolerance)
    assert solution.stats.rejected > 2
    exact = 0.5037 * math.exp(-20.0 * (1 - 0.5037))
    assert solution.y1[0].item() == pytest.approx(exact, abs=1e-6)


def test_a_stiff_equation_in_float32_stays_stable_at_its_steady_state():
    solution = nde.solve(
        nde.ODEProblem(lambda t, y: -200.0 * (y - torch.cos(t)), torch.full((3,), 2.0), 0.0, 2.0), rtol=1e-6, atol=1e-6
    )
    assert solution.stats.rejected > 0
    exact = (200.0**2 * math.cos(2.0) + 200.0 * math.sin(2.0)) / (1 + 200.0**2)
    assert solution.y1[0].item() == pytest.approx(exact, abs=3e-6)


def test_evaluations_at_neighbours_are_counted():
    calls = []

    def field(t, y):
        calls.append(t)
        return InHalf(network(8))(t, y)

    with torch.no_grad():
        assert solved(field, start(8), 1e-4).stats.nfe == len(calls)


@pytest.mark.parametrize("gradient", [nde.Backprop(), nde.DiscreteAdjoint(2)])
def test_gradients_of_states_and_errors_are_those_of_the_same_steps_planned(gradient):
    field, y0 = Oscillator(torch.float32), torch.tensor([[2.0, 0.0], [0.5, 0.5]], requires_grad=True)
    found = solved(field, y0, 1e-8, gradient=gradient)
    assert found.steps.allowed.max() > 1
    assert not found.steps.rounding.requires_grad
    grid = torch.cat([found.steps.t, torch.ones(1)])
    planned = solved(field, y0, 1e-8, gradient=gradient, adaptive=False, grid=grid)
    for one, other in zip(_gradients(found, field, y0), _gradients(planned, field, y0), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=1e-3)


def _gradients(solution, field, y0):
    return torch.autograd.grad(solution.y1.square().sum(), (y0, *field.parameters()))


def test_the_penalty_leaves_rounding_out_when_asked_to():
    steps = StepRecord(
        torch.zeros(2),
        torch.ones(2),
        torch.tensor([0.5, 0.1], requires_grad=True),
        torch.ones(2),
        torch.full((2,), 0.2),
    )
    penalty = nde.regularizers.error_estimate(steps, with_rounding=False)
    assert penalty.item() == pytest.approx(0.3)
    assert torch.autograd.grad(penalty, steps.scaled_error)[0].tolist() == [1.0, 0.0]
    assert nde.regularizers.error_estimate(steps).item() == pytest.approx(0.6)


def test_a_penalty_without_a_rounding_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="not known") as raised:
        nde.regularizers.error_estimate(StepRecord(*torch.ones(4, 3).unbind()), with_rounding=False)
    check_sentence(raised.value, "with_rounding=True")
