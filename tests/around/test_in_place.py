"""What a solve returns may be changed in place: the gradient is that of the change, and all else stays."""

from dataclasses import FrozenInstanceError

import pytest
import torch

import pyndereg as nde

FIELD = nde.fields.TimeConcatMLP(2, hidden=6).double()
DIFFUSION = nde.fields.TimeConcatMLP(2, hidden=6).double()
GRADIENTS = [
    None,
    nde.Backprop(),
    nde.DiscreteAdjoint(),
    nde.DiscreteAdjoint(checkpoints=2),
    nde.BacksolveAdjoint(),
    nde.BacksolveAdjoint(checkpointing=False),
    nde.InterpolatingAdjoint(),
    nde.InterpolatingAdjoint(checkpointing=True),
    nde.QuadratureAdjoint(),
    nde.GaussAdjoint(),
    nde.ForwardSensitivity(),
]
STOCHASTIC = [None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2), nde.BacksolveAdjoint()]
SAVES = {"the end": None, "times": [0.0, 0.4, 1.0], "every step": nde.SaveAt(every_step=True, dense=True)}


def as_tuple(t, y):
    return tuple(FIELD(t, part) for part in y)


def problems():
    def plain(x):
        return nde.ODEProblem(FIELD, x)

    def parts(x):
        return nde.ODEProblem(as_tuple, (x, 2.0 * x), params=FIELD.parameters())

    def stochastic(x):
        return nde.SDEProblem(FIELD, DIFFUSION, x, seed=1)

    return [(plain, one) for one in GRADIENTS] + [(parts, one) for one in GRADIENTS] + [
        (stochastic, one) for one in STOCHASTIC
    ]  # fmt: skip


def tensors(state):
    return state if isinstance(state, tuple) else (state,)


def change(state, in_place):
    """Each tensor of a state, halved, shifted and cut off at 0, with or without using its memory again."""
    for part in tensors(state):
        if in_place:
            part *= 0.5
            part += 0.1
            yield torch.relu_(part)
        else:
            yield torch.relu(part * 0.5 + 0.1)


def gradients(problem, gradient, saveat, in_place):
    x = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    solution = nde.solve(problem(x), gradient=gradient, saveat=saveat)
    between = solution(torch.tensor([0.2, 0.6]))
    loss = sum(
        (weight * part.square()).sum()
        for weight, state in ((1.0, solution.y1), (2.0, solution.y), (3.0, between))
        for part in change(state, in_place)
    )
    return torch.autograd.grad(loss, (x, *FIELD.parameters()))


@pytest.mark.parametrize("saveat", SAVES.values(), ids=SAVES)
@pytest.mark.parametrize(("problem", "gradient"), problems(), ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_result_that_is_changed_in_place_has_the_gradient_of_the_change(problem, gradient, saveat):
    right = gradients(problem, gradient, saveat, in_place=False)
    found = gradients(problem, gradient, saveat, in_place=True)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS, ids=str)
def test_a_state_that_no_step_led_away_from_is_not_the_initial_state_itself(gradient):
    def without_slope(t, y):
        return y / 0.0

    x = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    asked = nde.ODEProblem(without_slope, x)
    solution = nde.solve(asked, gradient=gradient, raise_on_failure=False, saveat=[0.0, 1.0])
    assert solution.stats.accepted == 0
    solution.y1.mul_(3.0)
    (found,) = torch.autograd.grad(solution.y1.sum() + solution.y.sum(), x)
    assert torch.equal(x, torch.ones_like(x))
    torch.testing.assert_close(found, torch.full_like(x, 4.0))


@pytest.mark.parametrize("graph", [False, True])
def test_the_final_state_and_the_saved_one_share_no_memory(graph):
    with torch.set_grad_enabled(graph):
        for problem in (problems()[0][0], problems()[-1][0]):
            solution = nde.solve(problem(torch.ones(3, 2, dtype=torch.float64)))
            before = solution.y1.detach().clone()
            solution.y += 1.0
            assert torch.equal(solution.y1, before)
            with pytest.raises(FrozenInstanceError):
                solution.y = before


def test_the_layer_after_a_neural_ode_may_work_in_place():
    model = torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(2, 1)).double()
    x = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    ode = nde.NeuralODE(FIELD, first_step="search")
    (right,) = torch.autograd.grad(model[1](torch.relu(ode(x)[0])).sum(), x)
    (found,) = torch.autograd.grad(model(ode(x)[0]).sum(), x)
    assert torch.equal(found, right)
