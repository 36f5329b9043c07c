"""The stochastic layer: shapes, trajectories, training mode."""

import pytest
import torch
from torch import nn

import pyndereg as nde
from tests.sentences import check_sentence


def model(**options):
    torch.manual_seed(0)
    drift = nde.fields.Autonomous(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)))
    return nde.NeuralSDE(drift, nde.fields.Autonomous(nn.Linear(2, 2)), **{"rtol": 0.1, "atol": 0.1, **options})


def test_it_returns_the_end_or_the_saved_states_of_every_trajectory():
    y0 = torch.randn(5, 2)
    assert model()(y0)[0].shape == (5, 2)
    assert model()(y0, trajectories=3)[0].shape == (3, 5, 2)
    states, solution = model(saveat=[0.25, 0.5])(y0, trajectories=3)
    assert states.shape == (2, 3, 5, 2)
    assert solution.t.tolist() == [0.25, 0.5]


def test_trajectories_have_paths_of_their_own_and_a_seed_repeats_them():
    layer, y0 = model().eval(), torch.ones(1, 2)
    states, _ = layer(y0, trajectories=50, seed=1)
    assert states.std(0).min() > 0.01
    assert torch.equal(states, layer(y0, trajectories=50, seed=1)[0])


def test_general_noise_has_a_matrix_for_each_sample():
    class Matrix(nn.Module):
        def forward(self, t, y):
            return 0.1 * torch.ones(*y.shape, 3)

    drift = nde.fields.Autonomous(nn.Linear(2, 2))
    layer = nde.NeuralSDE(drift, Matrix(), noise="general", noise_size=3, method="em", dt=0.1)
    assert layer(torch.ones(4, 2), trajectories=6)[0].shape == (6, 4, 2)


def test_both_networks_are_trained_and_penalties_are_those_of_training_mode():
    layer = model(regularizers=[nde.regularizers.LocalError()])
    states, solution = layer(torch.ones(4, 2))
    (states.square().mean() + solution.penalties[0] + nde.regularizers.error_estimate(solution.steps)).backward()
    assert all(param.grad is not None and bool(param.grad.any()) for param in layer.parameters())
    assert layer.eval()(torch.ones(4, 2))[1].penalties == ()


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="diffusion is a function") as raised:
        nde.NeuralSDE(nn.Linear(2, 2), lambda t, y: y)
    check_sentence(raised.value, "nn.Module")
    with pytest.raises(ValueError, match="trajectories is 0") as raised:
        model()(torch.ones(1, 2), trajectories=0)
    check_sentence(raised.value, "positive")
