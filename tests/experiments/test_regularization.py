"""What each regularizer asks of a solve is what the configuration says, and reaches the loss with its weight."""

from dataclasses import replace

import pytest
import torch

from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.image_ode import ODEClassifier
from pyndereg.experiments.regularization import (
    BOTH_ESTIMATES,
    ERROR_ESTIMATES,
    STIFFNESS_ESTIMATES,
    penalty_terms,
    solve_regularizers,
)
from pyndereg.experiments.train import weighted_penalty
from pyndereg.ivp import StepRecord
from pyndereg.regularizers import JacobianFrobenius, KineticEnergy, LocalError, TaylorDerivative

QUICK = DigitsODEConfig(
    rtol=1e-3,
    atol=1e-3,
    hidden=4,
    epochs=2,
    local_weight=(8.0, 2.0),
    taylor_weight=(0.4, 0.1),
    kinetic_weight=(0.2, 0.05),
    jacobian_weight=(0.3, 0.3),
)
STEPS = StepRecord(
    t=torch.tensor([0.0, 0.25]),
    dt=torch.tensor([0.25, 0.75]),
    scaled_error=torch.tensor([0.4, 0.2]),
    stiffness=torch.tensor([3.0, 0.5]),
)


def trained_once(config):
    """The solution of one solve in training mode, of a batch of images."""
    torch.manual_seed(0)
    images = torch.rand(3, 64, dtype=torch.float64)
    return ODEClassifier(config, 64).train()(images)[1]


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"regularizer": "none"}, {}),
        ({"regularizer": "error"}, {}),
        ({"regularizer": "both"}, {}),
        (
            {"regularizer": "local-unbiased", "local_gradient": "published"},
            {"local": LocalError(sampling="unbiased")},
        ),
        (
            {"regularizer": "local-biased", "local_gradient": "step"},
            {"local": LocalError(sampling="biased", through_first_stage=True)},
        ),
        (
            {"regularizer": "local-biased", "local_gradient": "solution"},
            {"local": LocalError(sampling="biased", through_state=True)},
        ),
        ({"regularizer": "taylor"}, {"taylor": TaylorDerivative(order=3)}),
        ({"regularizer": "taylor", "taylor_order": 2}, {"taylor": TaylorDerivative(order=2)}),
        ({"regularizer": "rnode"}, {"kinetic": KineticEnergy(), "jacobian": JacobianFrobenius()}),
    ],
)
def test_a_solve_is_asked_for_what_the_regularizer_needs(changes, asked):
    config = replace(QUICK, **changes)
    assert solve_regularizers(config) == asked
    assert ODEClassifier(config, 64).node.regularizers == tuple(asked.values())


@pytest.mark.parametrize(
    ("regularizer", "names"),
    [
        ("none", []),
        ("error", ["error"]),
        ("stiffness", ["stiffness"]),
        ("both", ["both"]),
        ("local-unbiased", ["local"]),
        ("local-biased", ["local"]),
        ("taylor", ["taylor"]),
        ("rnode", ["kinetic", "jacobian"]),
    ],
)
def test_each_penalty_has_the_weight_of_its_name_which_decays_from_start_to_stop(regularizer, names):
    config = replace(QUICK, regularizer=regularizer)
    terms = penalty_terms(config)
    assert [term.name for term in terms] == names
    for term in terms:
        start, stop = getattr(config, f"{term.name}_weight")
        middle = (start * stop) ** 0.5
        assert [term.weight(epoch) for epoch in range(3)] == pytest.approx([start, middle, stop], rel=1e-12)


@pytest.mark.parametrize("regularizer", ["local-unbiased", "local-biased", "taylor", "rnode"])
@pytest.mark.parametrize("steer", [False, True])
def test_the_loss_gets_the_weighted_penalties_of_the_solve(regularizer, steer):
    config = replace(QUICK, regularizer=regularizer, steer=steer)
    solution = trained_once(config)
    penalty = weighted_penalty(solution, penalty_terms(config), epoch=1)
    weights = {"local": 4.0, "taylor": 0.2, "kinetic": 0.1, "jacobian": 0.3}
    expected = sum(weights[n] * p.item() for n, p in zip(solve_regularizers(config), solution.penalties, strict=True))
    assert penalty.item() == pytest.approx(expected, rel=1e-12)
    assert penalty.item() > 0.0
    assert penalty.requires_grad


def test_error_and_stiffness_together_are_made_of_the_steps_of_the_solve():
    config = replace(QUICK, regularizer="both", both_weight=(4.0, 1.0))
    solution = trained_once(config)
    assert solution.penalties == ()
    steps = solution.steps
    error = (steps.scaled_error * steps.dt).sum() / (len(steps) + 1)
    stiffness = (steps.stiffness.sum() + 1.0) / 3.5068 / (len(steps) + 1)  # the published code holds 1 at the start
    penalty = weighted_penalty(solution, penalty_terms(config), epoch=1)
    assert penalty.item() == pytest.approx((2.0 * (error + 0.1 * stiffness)).item(), rel=1e-12)


def test_the_estimates_are_those_of_the_published_code_or_of_the_paper():
    error = 0.4 * 0.25 + 0.2 * 0.75
    assert ERROR_ESTIMATES["code"](STEPS).item() == pytest.approx(error / 3)  # two steps and the start
    assert ERROR_ESTIMATES["paper"](STEPS).item() == pytest.approx(error)
    assert STIFFNESS_ESTIMATES["code"](STEPS).item() == pytest.approx(3.0 / 3.5068)
    assert STIFFNESS_ESTIMATES["paper"](STEPS).item() == pytest.approx(3.0 * 0.25 + 0.5 * 0.75)
    assert BOTH_ESTIMATES["paper"](STEPS).item() == pytest.approx(error + 0.1 * (3.0 * 0.25 + 0.5 * 0.75))
