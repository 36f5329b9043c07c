"""Wherever a number is asked for, NumPy's numbers and tensors of one are numbers, bools and strings are not."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import pyndereg as nde
from pyndereg.ivp import SolveOptions
from pyndereg.models.evidence import Annealing
from pyndereg.noise import BrownianPath, FixedPath
from pyndereg.numbers import onto_interval, positive, real, whole
from tests.sentences import check_sentence

REALS = [
    np.float32(0.5),
    np.float64(0.5),
    np.array(0.5),
    torch.tensor(0.5),
    torch.tensor(0.5, dtype=torch.float16),
    Fraction(1, 2),
]
WHOLES = [np.int64(2), np.uint8(2), np.array(2), torch.tensor(2), torch.tensor(2, dtype=torch.int32)]
NO_NUMBERS = [True, np.bool_(True), torch.tensor(True), "2", np.str_("2"), 2j, torch.tensor(2j), np.array([2, 2]), None]
names = pytest.mark.parametrize


@names("value", REALS, ids=repr)
def test_a_real_number_of_any_kind_is_that_float(value):
    assert real(value, "x") == 0.5
    assert type(real(value, "x")) is float
    assert whole(value) is None


@names("value", WHOLES, ids=repr)
def test_a_whole_number_of_any_kind_is_that_int_and_that_float(value):
    assert (whole(value), real(value, "x")) == (2, 2.0)
    assert (type(whole(value)), type(real(value, "x"))) == (int, float)


@names("value", [*NO_NUMBERS, torch.ones(2), torch.ones(1, device="meta").sum(), {}], ids=repr)
def test_what_is_no_single_number_is_told_from_one(value):
    assert real(value, "x") is None
    assert whole(value) is None


def test_a_tensor_that_asks_for_a_gradient_is_no_plain_number():
    with pytest.raises(ValueError, match="asks for a gradient") as raised:
        real(torch.tensor(0.5, requires_grad=True), "rtol")
    check_sentence(raised.value, "rtol", "detached")


@names("value", [*NO_NUMBERS, 0.0, -1.0, math.nan, math.inf, torch.tensor(math.nan)], ids=repr)
def test_a_positive_number_is_asked_for_in_one_sentence(value):
    with pytest.raises(ValueError, match="pass a finite number above 0") as raised:
        positive(value, "x")
    check_sentence(raised.value, "x is ")


@names("value", REALS, ids=repr)
def test_options_hold_plain_floats_whatever_they_were_given(value):
    options = SolveOptions(rtol=value, atol=value, dt=value)
    assert [(type(x), x) for x in (options.rtol, options.atol, options.dt)] == [(float, 0.5)] * 3
    adjoint = nde.QuadratureAdjoint(rtol=value, atol=value, quadrature_rtol=value)
    assert (type(adjoint.rtol), adjoint.quadrature_rtol) == (float, 0.5)


@names("value", WHOLES, ids=repr)
def test_options_hold_plain_ints_whatever_they_were_given(value):
    options = SolveOptions(max_steps=value, uncontrolled=value, gradient=nde.DiscreteAdjoint(value))
    found = options.max_steps, options.uncontrolled, options.gradient.checkpoints
    assert [(type(x), x) for x in found] == [(int, 2)] * 3


@names("value", [x for x in NO_NUMBERS if x is not None], ids=repr)
@names("make", [
    lambda x: SolveOptions(rtol=x), lambda x: SolveOptions(dt=x), lambda x: SolveOptions(max_steps=x),
    lambda x: nde.DiscreteAdjoint(x), lambda x: nde.BacksolveAdjoint(rtol=x),
    lambda x: nde.ODEProblem(torch.neg, torch.ones(2), t1=x), lambda x: nde.EndTimeSampling(x),
    lambda x: nde.SDEProblem(torch.add, torch.add, torch.ones(2), seed=x),
    lambda x: nde.SDEProblem(torch.add, torch.add, torch.ones(2), noise="general", noise_size=x),
    lambda x: BrownianPath(0.0, 1.0, (2,), seed=x), lambda x: BrownianPath(0.0, x, (2,), seed=1),
    lambda x: nde.fields.TimeConcatMLP(x), lambda x: nde.fields.TimeLinear(2, x), lambda x: nde.fields.Power(x),
    lambda x: nde.NeuralODE(nde.fields.TimeConcatMLP(2), t1=x), lambda x: nde.LatentODE(x),
    lambda x: nde.regularizers.LocalStiffness(stability_size=x), lambda x: nde.regularizers.TaylorDerivative(x),
    lambda x: nde.regularizers.Constant(x), lambda x: nde.regularizers.Exponential(1.0, 2.0, x),
    lambda x: nde.SaveAt([0.1, x]), lambda x: BrownianPath(0.0, 1.0, (2,), seed=1).values([0.1, x]),
])  # fmt: skip
def test_what_is_no_number_is_refused_in_one_sentence_everywhere(make, value):
    with pytest.raises((TypeError, ValueError), match="pass") as raised:
        make(value)
    check_sentence(raised.value)


def test_ends_of_the_interval_may_be_numbers_of_any_kind():
    for t1 in (2, np.int32(2), np.float32(2), np.array(2.0), torch.tensor(2), torch.tensor([2.0]), Fraction(2)):
        assert nde.ODEProblem(torch.neg, torch.ones(2), t1=t1).interval == (0.0, 2.0)
        assert nde.SDEProblem(torch.neg, torch.neg, torch.ones(2), t1=t1).interval == (0.0, 2.0)
    kept = torch.tensor(2.0, requires_grad=True)
    assert nde.ODEProblem(torch.neg, torch.ones(2), t1=kept).t1 is kept


@names("kind", [np.int64, np.uint16, torch.tensor])
def test_sizes_and_seeds_may_be_numbers_of_any_kind(kind):
    path = BrownianPath(0.0, 1.0, (kind(2),), seed=kind(3), cells=kind(16), depth=kind(4))
    assert torch.equal(path(0.5), BrownianPath(0.0, 1.0, (2,), seed=3, cells=16, depth=4)(0.5))
    field = nde.fields.TimeConcatMLP(kind(2), hidden=kind(5))
    assert field.hidden_layer.weight.shape == (5, 2)
    sde = nde.NeuralSDE(nde.fields.TimeConcatMLP(2), nde.fields.TimeConcatMLP(2))
    assert sde(torch.ones(3, 2), trajectories=kind(2), seed=kind(1))[0].shape == (2, 3, 2)
    assert nde.LatentODE(kind(2), latent=kind(3), state=kind(4)).decoder.weight.shape == (2, 3)


def test_save_times_may_be_a_list_of_numbers_of_any_kind():
    times = [np.float32(0.25), torch.tensor(0.5), Fraction(3, 4), np.array(1)]
    assert nde.SaveAt(times).times == (0.25, 0.5, 0.75, 1.0)
    assert FixedPath(times, torch.zeros(4, 2)).times == [0.25, 0.5, 0.75, 1.0]
    assert nde.SaveAt(np.array([0.5, 0.25])[::-1]).times == (0.25, 0.5)


def test_a_list_of_save_times_has_no_gradient():
    with pytest.raises(ValueError, match="gradient"):
        nde.SaveAt([0.25, torch.tensor(0.5, requires_grad=True)])


def test_schedules_take_numbers_of_any_kind():
    schedule = nde.regularizers.Exponential(torch.tensor(100.0), np.float32(10.0), np.int64(5))
    assert [schedule(0), schedule(5)] == pytest.approx([100.0, 10.0])
    assert nde.regularizers.Constant(torch.tensor(2))(3) == 2.0
    assert Annealing(np.float64(0.5), 0)(1) == 0.5


def test_one_tolerance_may_be_zero_and_the_solution_meets_the_other():
    problem = nde.ODEProblem(lambda t, y: -y, torch.ones(2, dtype=torch.float64))
    for tolerances in ({"rtol": 0.0, "atol": 1e-8}, {"rtol": 1e-8, "atol": 0}):
        solution = nde.solve(problem, **tolerances)
        torch.testing.assert_close(
            solution.y1, torch.full((2,), math.exp(-1.0), dtype=torch.float64), rtol=0, atol=1e-7
        )
        assert float(solution.steps.scaled_error.max()) <= 1.0


@names("make", [
    lambda **both: SolveOptions(**both), lambda **both: nde.InterpolatingAdjoint(**both),
])  # fmt: skip
def test_both_tolerances_zero_are_refused(make):
    with pytest.raises(ValueError, match="both 0") as raised:
        make(rtol=0.0, atol=0)
    check_sentence(raised.value, "rtol and")


def test_an_adjoint_that_inherits_a_second_zero_is_refused():
    y0 = torch.ones(2, requires_grad=True)
    problem = nde.ODEProblem(lambda t, y: -y, y0)
    with pytest.raises(ValueError, match="backward solve of BacksolveAdjoint are both 0") as raised:
        nde.solve(problem, rtol=0.0, gradient=nde.BacksolveAdjoint(atol=0.0))
    check_sentence(raised.value)


def test_a_zero_tolerance_of_an_adjoint_is_not_that_of_the_forward_solve():
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    adjoint = nde.InterpolatingAdjoint(rtol=0.0, atol=1e-9)
    nde.solve(nde.ODEProblem(lambda t, y: -y, y0), rtol=1e-1, atol=1e-9, gradient=adjoint).y1.sum().backward()
    forward = math.exp(-1.0)
    torch.testing.assert_close(y0.grad, torch.full_like(y0, forward), rtol=0, atol=1e-7)


@names(("t", "low", "high", "found"), [
    (float(np.float32(0.3)), 0.0, 0.3, 0.3), (0.1 * 3, 0.0, 0.3, 0.3), (float(np.float32(0.7)), 0.7, 1.0, 0.7),
    (0.3 + 1e-8, 0.0, 0.3, 0.3 + 1e-8), (0.31, 0.0, 0.3, 0.31), (0.2, 0.0, 0.3, 0.2), (-math.inf, 0.0, 1.0, -math.inf),
])  # fmt: skip
def test_a_time_beyond_an_end_by_rounding_alone_is_that_end(t, low, high, found):
    assert onto_interval(t, low, high) == found
