"""The first step's length: searched for, given, or remembered from the last solve."""

import copy
import dataclasses
import math

import pytest
import torch

import pyndereg as nde
from tests.sentences import check_sentence

FLOAT64 = torch.float64


def decay(t, y):
    return -y * torch.tensor([1.0, 3.0], dtype=y.dtype)


def layer(kind=nde.NeuralODE, **options):
    torch.manual_seed(1)
    fields = [nde.fields.TimeConcatMLP(3) for _ in range(2 if kind is nde.NeuralSDE else 1)]
    return kind(*fields, first_step=nde.Remembered(), **options)


def problem(**interval):
    return nde.ODEProblem(decay, torch.tensor([[1.0, 2.0]], dtype=FLOAT64), **interval)


@pytest.mark.parametrize(("method", "order"), [("tsit5", 5), ("dp5", 5), ("bs3", 3), ("vern7", 7)])
def test_the_next_solve_starts_with_what_the_first_step_could_have_been(method, order):
    start = nde.Remembered()
    assert start.length is None
    first = nde.solve(problem(), method, first_step=start)
    plain = nde.solve(problem(), method)
    assert torch.equal(first.y1, plain.y1)  # it searched
    dt, error = first.steps.dt[0].item(), first.steps.scaled_error[0].item()
    assert start.length == pytest.approx(dt * min(5.0, 0.9 * error ** (-1 / order)), rel=1e-12)
    tried = start.length
    second = nde.solve(problem(), method, first_step=start)
    assert second.stats.first_step == tried or second.stats.first_rejected > 0
    assert second.stats.nfe < first.stats.nfe


def test_a_step_that_was_long_enough_grows_no_further():
    start = nde.Remembered()
    lengths = []
    for _ in range(8):
        nde.solve(problem(t1=4.0), first_step=start)
        lengths.append(start.length)
    assert lengths[-1] == pytest.approx(lengths[-2], rel=1e-6)
    last = nde.solve(problem(t1=4.0), first_step=start)
    assert last.steps.scaled_error[0] == pytest.approx(0.9**5, rel=0.02)


def test_a_short_solve_of_a_smooth_field_becomes_a_single_step():
    model, y0 = layer(rtol=1e-5, atol=1e-5), torch.rand(4, 3)
    counts = [model(y0)[1].stats.nfe for _ in range(4)]
    assert counts[0] == 20  # a searched step, and two that follow it
    assert counts[-1] == 7


def test_a_given_length_is_tried_first_in_either_direction_of_time():
    for t0, t1 in ((0.0, 1.0), (1.0, 0.0)):
        solution = nde.solve(problem(t0=t0, t1=t1), first_step=0.01)
        assert abs(solution.steps.dt[0].item()) == 0.01
        same = nde.solve(problem(t0=t0, t1=t1), dt=0.01)
        assert torch.equal(solution.y1, same.y1)
        assert solution.stats.nfe == same.stats.nfe


def test_a_search_is_the_default():
    solutions = [nde.solve(problem(), **chosen) for chosen in ({}, {"first_step": "search"}, {"first_step": None})]
    assert all(torch.equal(one.steps.dt, solutions[0].steps.dt) for one in solutions)
    assert math.isfinite(solutions[0].stats.first_step)


def test_a_first_step_that_is_too_long_is_rejected_and_counted():
    solution = nde.solve(problem(t1=10.0), rtol=1e-9, atol=1e-9, first_step=5.0)
    assert solution.stats.first_rejected > 0
    assert solution.stats.first_step < 5.0
    start = nde.Remembered()
    start.set_extra_state(torch.tensor(5.0, dtype=FLOAT64))
    nde.solve(problem(t1=10.0), rtol=1e-9, atol=1e-9, first_step=start)
    assert start.length < 1.0


def test_a_solve_of_which_no_growth_is_known_leaves_the_length():
    start, solution = nde.Remembered(), nde.solve(problem())
    start.remember(dataclasses.replace(solution, stats=dataclasses.replace(solution.stats, first_growth=math.nan)))
    assert start.length is None


def test_a_limit_on_growth_is_kept():
    start = nde.Remembered(growth=1.5)
    first = nde.solve(problem(), first_step=start)
    assert start.length == 1.5 * first.stats.first_step


def test_steps_that_are_planned_are_not_remembered():
    start = nde.Remembered()
    solution = nde.solve(problem(), "rk4", dt=0.1, first_step=start)
    assert start.length is None
    assert math.isnan(solution.stats.first_step)
    assert solution.stats.first_rejected == 0


def test_a_solve_that_fails_before_its_first_step_leaves_the_length():
    start = nde.Remembered()
    nde.solve(problem(), first_step=start)
    before = start.length
    with pytest.raises(nde.SolveFailed):
        nde.solve(nde.ODEProblem(lambda t, y: y * math.nan, torch.ones(2)), first_step=start)
    assert start.length == before
    start.forget()
    assert start.length is None


def test_every_part_between_breakpoints_starts_with_the_given_length():
    solution = nde.solve(problem(), first_step=0.03, breakpoints=[0.5])
    starts = solution.steps.dt[(solution.steps.t == 0.0) | (solution.steps.t == 0.5)]
    assert starts.tolist() == pytest.approx([0.03, 0.03])


@pytest.mark.parametrize("kind", [nde.NeuralODE, nde.NeuralSDE])
def test_predictions_start_with_what_training_remembered_and_leave_it(kind):
    model, y0 = layer(kind), torch.rand(4, 3)
    options = {"seed": 0} if kind is nde.NeuralSDE else {}
    searched = model.eval()(y0, **options)[1]
    assert model.first_step.length is None
    model.train()(y0, **options)
    tried = model.first_step.length
    predicted, solution = model.eval()(y0, **options)
    # A path is known at the ends of cells, near which its steps end.
    near = pytest.approx(min(tried, 1.0), rel=0.125 if kind is nde.NeuralSDE else 1e-12)
    assert solution.stats.first_step == near or solution.stats.first_rejected > 0
    assert solution.stats.first_step > searched.stats.first_step
    assert model.first_step.length == tried
    assert torch.equal(predicted, model(y0, **options)[0])
    with torch.no_grad():
        assert torch.equal(predicted, model.train()(y0, **options)[0])
    assert model.first_step.length == tried


def test_models_remember_unless_told_otherwise():
    torch.manual_seed(1)
    field, y0 = nde.fields.TimeConcatMLP(3), torch.rand(4, 3)
    counts = {}
    for name, options in {
        "default": {},
        "remembered": {"first_step": "remembered"},
        "search": {"first_step": "search"},
        "length": {"first_step": 0.25},
        "dt": {"dt": 0.25},
    }.items():
        model = nde.NeuralODE(field, **options)
        counts[name] = [model(y0)[1].stats.nfe for _ in range(3)]
        assert isinstance(model.first_step, nde.Remembered) == (name in ("default", "remembered"))
    assert counts["default"] == counts["remembered"]
    assert counts["default"][2] < counts["search"][2] == counts["search"][0]
    assert counts["length"] == counts["dt"]


def test_a_solve_has_no_memory_of_its_own():
    with pytest.raises(ValueError, match="first_step is 'remembered'") as error:
        nde.solve(problem(), first_step="remembered")
    check_sentence(error.value)


def test_gradients_are_those_of_the_steps_that_were_taken():
    y0 = torch.rand(4, 3, dtype=FLOAT64)
    for gradient in (nde.Backprop(), nde.DiscreteAdjoint()):
        model = layer(gradient=gradient).double()
        first, second = model(y0), model(y0)  # before one backward pass
        assert first[1].stats.nfe != second[1].stats.nfe
        (first[0].sum() + 2 * second[0].sum()).backward()
        found = [param.grad.clone() for param in model.parameters()]
        model.zero_grad()
        for (_, solution), weight in ((first, 1.0), (second, 2.0)):
            length = solution.steps.dt[0].item()
            problem = nde.ODEProblem(model.field, y0)
            control = model.options["control"]
            again = nde.solve(problem, first_step=length, control=control, gradient=nde.Backprop())
            torch.testing.assert_close(again.steps.dt, solution.steps.dt)
            (weight * again.y1.sum()).backward()
        for one, param in zip(found, model.parameters(), strict=True):
            torch.testing.assert_close(one, param.grad)


def test_a_saved_model_goes_on_as_if_it_had_not_been_interrupted(tmp_path):
    model, y0 = layer(), torch.rand(4, 3)
    model(y0)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    resumed = layer()
    resumed.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    copied = copy.deepcopy(model)
    assert model.first_step.length == resumed.first_step.length == copied.first_step.length
    (one, solution), (other, again), (third, _) = model(y0), resumed(y0), copied(y0)
    assert torch.equal(one, other)
    assert torch.equal(one, third)
    assert solution.stats == again.stats
    # A copy has a length of its own.
    copied.first_step.forget()
    assert model.first_step.length is not None


def test_a_model_saved_without_a_length_can_be_loaded():
    model = layer()
    model(torch.rand(4, 3))
    model.load_state_dict(nde.NeuralODE(nde.fields.TimeConcatMLP(3)).state_dict())
    assert model.first_step.length is None
    model.half()  # no tensor of its own to be rounded
    assert model.first_step.get_extra_state().dtype == FLOAT64


def test_stochastic_solves_remember_too():
    model, y0 = layer(nde.NeuralSDE, rtol=1e-2, atol=1e-2), torch.rand(4, 3)
    counts = [model(y0, seed=seed)[1].stats.nfe for seed in range(4)]
    assert model.first_step.length is not None
    assert counts[-1] < counts[0]
    first = nde.solve(nde.SDEProblem(decay, lambda t, y: 0.1 * y, torch.ones(1, 2), seed=1))
    error = first.steps.scaled_error[0].item()
    assert first.stats.first_growth == pytest.approx(0.9 * error**-0.5, rel=1e-5)


def test_a_latent_ode_remembers():
    torch.manual_seed(0)
    model = nde.LatentODE(2, first_step=nde.Remembered())
    values, times = torch.rand(3, 5, 2), torch.linspace(0.0, 1.0, 5)
    counts = [model(values, torch.ones_like(values), times).solution.stats.nfe for _ in range(3)]
    assert counts[-1] < counts[0]
    assert "first_step._extra_state" in model.state_dict()


def test_a_local_regularizers_own_step_is_searched_for_all_the_same():
    y0 = torch.rand(4, 3)
    penalties = []
    for first_step in (None, 0.001):
        torch.manual_seed(3)
        field = nde.fields.TimeConcatMLP(3)
        solution = nde.solve(
            nde.ODEProblem(field, y0), rtol=1e-9, regularizers=[nde.regularizers.LocalError()], first_step=first_step
        )
        penalties.append(solution.penalties[0])
    # The point on the solution, which the steps choose, moves; a step of length 0.001 would have no error to speak of.
    torch.testing.assert_close(penalties[0], penalties[1], rtol=0.5, atol=0.0)


@pytest.mark.parametrize("found", [0, -1.0, math.nan, math.inf, "serach", True, [0.1], 1j])
def test_what_is_no_length_is_refused_in_a_sentence(found):
    with pytest.raises(ValueError, match="first_step") as raised:
        nde.solve(problem(), first_step=found)
    check_sentence(raised.value, repr(found), "Remembered()")


def test_a_first_step_where_steps_are_planned_or_given_twice_is_refused():
    for options, remedy in (
        ({"method": "rk4", "first_step": 0.1}, "dt="),
        ({"method": "tsit5", "adaptive": False, "first_step": 0.1}, "dt="),
        ({"first_step": 0.1, "dt": 0.1}, "first_step="),
    ):
        with pytest.raises(ValueError, match="first_step") as raised:
            nde.solve(problem(), **options)
        check_sentence(raised.value, remedy)
    with pytest.raises(ValueError, match="first_step"):
        nde.solve(nde.SDEProblem(decay, decay, torch.ones(1, 2)), "em", first_step=0.1)


@pytest.mark.parametrize("found", [1.0, 0.5, math.nan, math.inf, "5", None])
def test_a_limit_that_is_none_is_refused(found):
    with pytest.raises(ValueError, match="growth of Remembered") as raised:
        nde.Remembered(growth=found)
    check_sentence(raised.value, repr(found), "greater than 1")
