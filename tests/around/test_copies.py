"""Problems, solutions, models and failures are compared by identity, copied, and taken to other processes."""

import copy
import multiprocessing
import pickle

import pytest
import torch

import pyndereg as nde
from pyndereg.ivp import AdjointFailed, Status
from tests.sentences import check_sentence

FIELD = nde.fields.TimeConcatMLP(2)


def explode(t, y):
    return y * y


def solve_until(t1):
    return nde.solve(nde.ODEProblem(explode, torch.ones(1, requires_grad=True), t1=t1), max_steps=50).y1.item()


def failure():
    try:
        solve_until(2.0)
    except nde.SolveFailed as error:
        return error
    raise AssertionError("the solve was to fail")


@pytest.mark.parametrize("take", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy])
def test_a_failure_keeps_its_sentence_status_and_solution(take):
    error = failure()
    found = take(error)
    assert (type(found), str(found), found.status) == (nde.SolveFailed, str(error), Status.MAX_STEPS)
    assert torch.equal(found.solution.y1, error.solution.y1)
    assert len(found.solution.steps) == found.solution.stats.accepted


@pytest.mark.parametrize("take", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy])
def test_the_failure_of_an_adjoint_keeps_its_sentence_status_and_time(take):
    error = AdjointFailed("BacksolveAdjoint", Status.MAX_STEPS, 0.25)
    found = take(error)
    assert (type(found), str(found), found.status, found.t) == (AdjointFailed, str(error), Status.MAX_STEPS, 0.25)


def test_a_failing_solve_in_another_process_raises_in_this_one():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map_async(solve_until, [0.5]).get(timeout=120) == pytest.approx([2.0], abs=1e-4)
        with pytest.raises(nde.SolveFailed, match="limit on attempted steps") as raised:
            pool.map_async(solve_until, [2.0]).get(timeout=120)
    assert raised.value.solution.t_reached < 1.0


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("gradient", [None, nde.DiscreteAdjoint(), nde.InterpolatingAdjoint()], ids=str)
def test_a_solution_of_a_lambda_is_pickled_without_graphs(dense, gradient):
    y0 = torch.ones(3, 2, requires_grad=True)
    problem = nde.ODEProblem(lambda t, y: -y, 2.0 * y0)
    saveat = nde.SaveAt([0.5, 1.0], dense=dense)
    solution = nde.solve(problem, saveat=saveat, gradient=gradient, regularizers=[nde.regularizers.LocalError()])
    found = pickle.loads(pickle.dumps(solution))
    for one, other in ((found.y, solution.y), (found.steps.dt, solution.steps.dt), (found.y1, solution.y1)):
        assert torch.equal(one, other)
        assert not one.requires_grad
    assert (found.stats, found.status) == (solution.stats, solution.status)
    if dense:
        torch.testing.assert_close(found(0.3), solution(0.3).detach())
    else:
        with pytest.raises(RuntimeError, match="pickled without its dense output") as raised:
            found(0.3)
        check_sentence(raised.value, "SaveAt(dense=True)")


def test_a_solution_with_integrals_is_pickled_with_its_dense_output():
    saveat = nde.SaveAt(dense=True)
    solution = nde.solve(
        nde.ODEProblem(FIELD, torch.ones(2)), saveat=saveat, regularizers=[nde.regularizers.KineticEnergy()]
    )
    torch.testing.assert_close(pickle.loads(pickle.dumps(solution))(0.3), solution(0.3).detach())


def test_a_deep_copy_of_a_solution_has_numbers_of_its_own_and_the_dense_output():
    y0 = torch.ones(2, requires_grad=True)
    solution = nde.solve(nde.ODEProblem(lambda t, y: -y, y0))
    found = copy.deepcopy(solution)
    found.y1.zero_()
    assert bool((solution.y1 != 0).all())
    assert torch.equal(found(0.3), solution(0.3))
    assert copy.copy(solution) is solution


def test_models_are_copied_and_pickled_after_a_solve():
    for model in (nde.NeuralODE(FIELD, regularizers=[nde.regularizers.LocalError()]), nde.NeuralSDE(FIELD, FIELD)):
        model(torch.ones(3, 2))
        kept = copy.deepcopy(model)
        torch.manual_seed(1)
        right = model(torch.ones(3, 2))[0]
        for found in (copy.copy(kept), copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
            torch.manual_seed(1)
            length = kept.first_step.length
            assert torch.equal(found(torch.ones(3, 2))[0], right)
            kept.first_step.set_extra_state(torch.tensor(length))  # which a shallow copy shares


def test_problems_and_solutions_are_equal_by_identity_and_can_be_keys():
    for make in (
        lambda: nde.ODEProblem(explode, torch.ones(2)),
        lambda: nde.SDEProblem(explode, explode, torch.ones(2)),
        lambda: nde.solve(nde.ODEProblem(FIELD, torch.ones(2))),
        lambda: nde.solve(nde.ODEProblem(FIELD, torch.ones(2))).steps,
    ):
        one, other = make(), make()
        assert one == one
        assert one != other
        assert one in [other, one]
        assert {one: 1, other: 2}[one] == 1


def test_problems_are_copied():
    problem = nde.ODEProblem(FIELD, torch.ones(2), params=[torch.ones(1)])
    assert copy.copy(problem).y0 is problem.y0
    for found in (copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert found.y0 is not problem.y0
        assert torch.equal(nde.solve(found).y1, nde.solve(problem).y1)
