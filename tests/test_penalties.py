"""A solve with regularizers: what it costs, what stays as it was, and what is refused."""

import copy
import io

import pytest
import torch

import pyndereg as nde
from pyndereg.regularizers import KineticEnergy, LocalError, LocalStiffness
from tests.equations import FLOAT64, Counted, Oscillator, circle
from tests.sentences import check_sentence

METHODS = (("tsit5", {}), ("dp5", {}), ("vern7", {}), ("rk4", {"dt": 0.1}))
GRADIENTS = (None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2))
methods = pytest.mark.parametrize(("method", "options"), METHODS)
gradients = pytest.mark.parametrize("gradient", GRADIENTS, ids=repr)

# A fresh step of tsit5: its first slope, one more for the automatic length, and six stages.
TSIT5_STEP = 8


def y0():
    return torch.tensor([[1.0, 0.0], [-0.5, 2.0]], dtype=FLOAT64)


def oscillation(f=None, t1=3.0):
    return nde.ODEProblem(Oscillator() if f is None else f, y0(), 0.0, t1)


def seeded(kind=LocalError, seed=1, **options):
    return kind(generator=torch.Generator().manual_seed(seed), **options)


def both(seed=1, **options):
    return [seeded(LocalError, seed, **options), seeded(LocalStiffness, seed + 1, sampling="biased", **options)]


@methods
def test_all_evaluations_are_counted_those_of_the_fresh_steps_by_themselves_too(method, options):
    field = Counted(Oscillator().requires_grad_(False))
    stats = nde.solve(oscillation(field), method, regularizers=both(method="tsit5"), **options).stats
    assert stats.nfe == field.calls
    assert stats.local_nfe == 2 * TSIT5_STEP


@methods
def test_without_regularizers_none_belong_to_a_fresh_step(method, options):
    solution = nde.solve(oscillation(), method, **options)
    assert solution.stats.local_nfe == 0
    assert solution.penalties == solution.samples == ()


# Interpolants of Verner's pairs take 6 and 10 further stages, the first of which is that of the next step anyway.
@pytest.mark.parametrize(("method", "further"), [("tsit5", 0), ("dp5", 0), ("bs3", 0), ("vern7", 5), ("vern9", 9)])
def test_the_solve_itself_costs_more_only_where_its_interpolant_has_stages_of_its_own(method, further):
    plain = nde.solve(oscillation(), method)
    for sampling, expected in (("biased", 0), ("unbiased", further)):
        stats = nde.solve(oscillation(), method, regularizers=[seeded(sampling=sampling)]).stats
        assert stats.nfe - stats.local_nfe - plain.stats.nfe == expected
        assert (stats.accepted, stats.rejected) == (plain.stats.accepted, plain.stats.rejected)


@methods
@gradients
def test_the_solution_and_its_record_are_the_same_to_the_last_bit(method, options, gradient):
    found = []
    for regularizers in ([], both(method="tsit5")):
        solution = nde.solve(
            oscillation(), method, saveat=[0.5, 3.0], gradient=gradient, regularizers=regularizers, **options
        )
        steps = solution.steps
        found.append([solution.y1, solution.y, steps.t, steps.dt, steps.scaled_error, steps.stiffness])
    for plain, regularized in zip(*found, strict=True):
        torch.testing.assert_close(plain, regularized, rtol=0, atol=0, equal_nan=True)


@gradients
def test_the_gradient_of_a_sum_of_loss_and_penalties_is_the_sum_of_their_gradients(gradient):
    field = Oscillator()
    parameters = tuple(field.parameters())
    problem = oscillation(field)

    def parts():
        solution = nde.solve(problem, gradient=gradient, regularizers=both(through_state=True))
        return [solution.y1.square().sum(), *solution.penalties]

    alone = [torch.autograd.grad(parts()[i], parameters) for i in range(3)]
    together = torch.autograd.grad(sum(parts()), parameters)
    for i, found in enumerate(together):
        torch.testing.assert_close(found, sum(one[i] for one in alone), rtol=1e-10, atol=1e-14)


def test_penalties_come_in_the_order_of_their_regularizers():
    error, stiffness = (nde.solve(oscillation(), regularizers=[one]).penalties[0] for one in both())
    forwards = nde.solve(oscillation(), regularizers=both()).penalties
    backwards = nde.solve(oscillation(), regularizers=list(reversed(both()))).penalties
    assert error != stiffness
    assert forwards == (error, stiffness)
    assert backwards == (stiffness, error)


def test_one_regularizer_given_twice_is_drawn_twice():
    regularizer = seeded()
    solution = nde.solve(oscillation(), regularizers=[regularizer, regularizer])
    assert len({sample.t for sample in solution.samples}) == 2
    assert solution.penalties[0] != solution.penalties[1]
    assert solution.stats.local_nfe == 2 * TSIT5_STEP


def test_a_generator_with_a_seed_repeats_the_penalties_and_leaves_torch_s_own_alone():
    before = torch.get_rng_state()
    found = [nde.solve(oscillation(), regularizers=both(seed)).penalties for seed in (5, 5, 6)]
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_each_solve_draws_anew():
    regularizer = seeded()
    times = {nde.solve(oscillation(), regularizers=[regularizer]).samples[0].t for _ in range(5)}
    assert len(times) == 5


def test_without_grad_mode_the_penalties_are_the_same_numbers():
    with_graph = nde.solve(oscillation(), regularizers=both()).penalties
    with torch.no_grad():
        without = nde.solve(oscillation(), regularizers=both()).penalties
    assert all(penalty.requires_grad for penalty in with_graph)
    assert not any(penalty.requires_grad for penalty in without)
    assert with_graph == without


def model(**options):
    torch.manual_seed(4)
    return nde.NeuralODE(nde.fields.TimeConcatMLP(2, 8).double(), t1=1.0, **options)


@methods
def test_a_model_has_penalties_in_training_and_spends_nothing_on_them_in_evaluation(method, options):
    plain = model(method=method, **options)
    regularized = model(method=method, regularizers=both(method="tsit5"), **options)
    regularized.load_state_dict(plain.state_dict())
    expected, found = plain.eval()(y0())[1], regularized.eval()(y0())[1]
    assert found.penalties == found.samples == ()
    assert found.stats == expected.stats
    assert torch.equal(found.y1, expected.y1)
    trained = regularized.train()(y0())[1]
    assert len(trained.penalties) == 2
    assert trained.stats.local_nfe == 2 * TSIT5_STEP


def test_a_model_is_saved_and_copied_with_its_regularizers():
    ode = model(regularizers=[seeded(seed=8)])
    file = io.BytesIO()
    torch.save(ode, file)
    file.seek(0)
    twins = (ode, copy.deepcopy(ode), torch.load(file, weights_only=False))
    found = [twin(y0())[1].penalties for twin in twins]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("sampling", ["unbiased", "biased"])
def test_a_solve_that_failed_has_no_penalties(sampling):
    explosion = nde.ODEProblem(lambda t, y: y**2, torch.ones(1, dtype=FLOAT64), t1=2.0)
    options = {"max_steps": 50, "regularizers": [seeded(sampling=sampling)]}
    solution = nde.solve(explosion, raise_on_failure=False, **options)
    assert not solution.status.succeeded
    assert solution.penalties == ()
    assert solution.stats.local_nfe == 0
    with pytest.raises(nde.SolveFailed) as raised:
        nde.solve(explosion, **options)
    assert raised.value.solution.penalties == ()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ([LocalError(), "error"], "a value of type str"),
        ([LocalError], "the class LocalError"),
        ([nde.regularizers.error_estimate], "a value of type function"),
    ],
)
def test_what_is_no_regularizer_is_refused_before_the_solve(wrong, found):
    field = Counted(circle)
    problem = nde.ODEProblem(field, y0()[0])
    with pytest.raises(TypeError, match="regularizers holds") as raised:
        nde.solve(problem, regularizers=wrong)
    check_sentence(raised.value, found, "LocalError()")
    assert field.calls == 0


def test_a_regularizer_outside_a_list_is_refused():
    with pytest.raises(TypeError, match="regularizers is a LocalError") as raised:
        nde.solve(oscillation(), regularizers=LocalError())
    check_sentence(raised.value, "pass a list")


def test_the_julia_engine_refuses_regularizers_and_names_the_engine_that_has_them():
    for regularizer in (LocalError(), KineticEnergy()):
        with pytest.raises(ValueError, match="engine='julia' does not have") as raised:
            nde.solve(oscillation(), engine="julia", regularizers=[regularizer])
        check_sentence(raised.value, type(regularizer).__name__, "engine='embedded'", "error_estimate")
