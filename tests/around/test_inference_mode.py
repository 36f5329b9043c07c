"""A solve inside `torch.inference_mode()`, and of what was made there."""

import pytest
import torch

import pyndereg as nde

FIELD = nde.fields.TimeConcatMLP(2)
DIFFUSION = nde.fields.TimeConcatMLP(2)


def models():
    torch.manual_seed(3)
    ode = nde.NeuralODE(nde.fields.TimeConcatMLP(2), regularizers=[nde.regularizers.LocalError()])
    integral = nde.NeuralODE(nde.fields.TimeConcatMLP(2), regularizers=[nde.regularizers.KineticEnergy()])
    dense = nde.NeuralODE(nde.fields.TimeConcatMLP(2), saveat=nde.SaveAt([0.5, 1.0], dense=True))
    sde = nde.NeuralSDE(nde.fields.TimeConcatMLP(2), nde.fields.TimeConcatMLP(2))
    return {"ode": ode, "integral": integral, "dense": dense, "sde": sde}


def run(model, x):
    torch.manual_seed(4)
    return model(x)[0]


@pytest.mark.parametrize("name", models())
def test_a_model_gives_in_inference_mode_what_it_gives_without_gradients(name):
    model, x = models()[name], torch.rand(3, 2)
    with torch.no_grad():
        right = run(model, x)
    with torch.inference_mode():
        found = run(model, x.clone())
    assert torch.equal(found, right)


@pytest.mark.parametrize("name", models())
def test_a_model_that_was_made_in_inference_mode_solves_there(name):
    with torch.no_grad():
        right = run(models()[name], torch.ones(3, 2))
    with torch.inference_mode():
        found = run(models()[name], torch.ones(3, 2))
    assert torch.equal(found, right)


@pytest.mark.parametrize("gradient", [None, nde.DiscreteAdjoint(), nde.Backprop(), nde.InterpolatingAdjoint()], ids=str)
def test_what_was_made_in_inference_mode_is_an_initial_state_like_any_other(gradient):
    with torch.inference_mode():
        y0, times = torch.rand(3, 2), torch.tensor([0.5, 1.0])
        ends = torch.tensor(0.0), torch.tensor(1.0)
    solution = nde.solve(nde.ODEProblem(FIELD, y0, *ends), saveat=times, gradient=gradient)
    right = nde.solve(nde.ODEProblem(FIELD, y0.clone()), saveat=[0.5, 1.0], gradient=gradient)
    assert torch.equal(solution.y, right.y)
    found = torch.autograd.grad(solution.y.sum(), FIELD.hidden_layer.weight)
    assert torch.equal(found[0], torch.autograd.grad(right.y.sum(), FIELD.hidden_layer.weight)[0])


def test_results_of_inference_mode_are_ordinary_tensors_afterwards():
    with torch.inference_mode():
        solution = nde.solve(nde.ODEProblem(FIELD, torch.rand(3, 2)), saveat=[0.5, 1.0])
        states = solution(torch.tensor([0.2, 0.4]))
    head = torch.nn.Linear(2, 1)
    for found in (solution.y1, solution.y, solution.steps.scaled_error, states):
        assert not found.is_inference()
        found += 1
    head(solution.y1).sum().backward()
    assert head.weight.grad is not None


def test_dense_output_is_the_same_whichever_side_of_inference_mode_it_is_asked_on():
    problem = nde.ODEProblem(FIELD, torch.rand(3, 2))
    outside = nde.solve(problem)
    with torch.inference_mode():
        inside = nde.solve(problem)
        asked_inside = outside(0.3)
    assert torch.equal(inside(0.3), outside(0.3))
    assert torch.equal(asked_inside, outside(0.3))


def test_a_path_of_inference_tensors_can_be_differentiated_along():
    with torch.inference_mode():
        times, values = torch.linspace(0, 1, 11, dtype=torch.float64), torch.rand(11, 3, 2).cumsum(0)
        path = nde.FixedPath(times, values, torch.zeros(10, 3, 2))
    problem = nde.SDEProblem(FIELD, DIFFUSION, torch.ones(3, 2), brownian=path)
    y1 = nde.solve(problem, method="em", dt=0.1).y1
    (found,) = torch.autograd.grad(y1.sum(), DIFFUSION.hidden_layer.weight)
    assert bool(found.isfinite().all())


def test_stochastic_problems_and_their_dense_output_solve_in_inference_mode():
    problem = nde.SDEProblem(FIELD, DIFFUSION, torch.ones(3, 2), seed=1)
    with torch.no_grad():
        right = nde.solve(problem)(0.5)
    with torch.inference_mode():
        assert torch.equal(nde.solve(problem)(0.5), right)


def test_a_failed_solve_is_told_in_inference_mode_too():
    with torch.inference_mode(), pytest.raises(nde.SolveFailed):
        nde.solve(nde.ODEProblem(lambda t, y: y * y, torch.ones(1), t1=2.0), max_steps=20)
