"""The training loop: what is added to the loss, what is measured, and what stays as it was."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from pyndereg.experiments.data import load_handwritten_digits
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.image_ode import ODEClassifier
from pyndereg.experiments.progress import announce, progress_bar
from pyndereg.experiments.train import (
    EpochReport,
    PenaltyTerm,
    Plan,
    TrainingDiverged,
    accuracy,
    descend,
    fit,
    prediction_seconds,
    reproducible,
    train_epoch,
    weighted_penalty,
)
from pyndereg.ivp import Solution, Statistics, Status, StepRecord
from pyndereg.regularizers import Constant, Exponential, error_estimate, stiffness_estimate

STEPS = StepRecord(
    t=torch.tensor([0.0, 0.25]),
    dt=torch.tensor([0.25, 0.75]),
    scaled_error=torch.tensor([0.4, 0.2]),
    stiffness=torch.tensor([3.0, 1.0]),
)
ERROR = PenaltyTerm("error", lambda solution: error_estimate(solution.steps), Exponential(100.0, 1.0, steps=2))
STIFFNESS = PenaltyTerm("stiffness", lambda solution: stiffness_estimate(solution.steps), Constant(0.5))
SOLUTION = Solution(
    t=torch.ones(1),
    y=torch.zeros(1, 1),
    y1=torch.zeros(1),
    steps=STEPS,
    stats=Statistics(nfe=14, accepted=2, rejected=0),
    status=Status.SUCCESS,
    t_reached=1.0,
    interpolate=lambda t: t,
)


@pytest.fixture(scope="module")
def images():
    return load_handwritten_digits(test_fraction=0.5, seed=0, dtype=torch.float64)


def make_model():
    torch.manual_seed(0)
    return ODEClassifier(DigitsODEConfig(rtol=1e-3, atol=1e-3, hidden=16), 64)


def make_optimizer(model, learning_rate=0.1):
    return torch.optim.SGD(model.parameters(), lr=learning_rate)


def test_the_penalty_is_the_sum_of_weight_times_estimate():
    error, stiffness = 0.4 * 0.25 + 0.2 * 0.75, 3.0 * 0.25 + 1.0 * 0.75
    for epoch, weight in enumerate((100.0, 10.0, 1.0)):
        penalty = weighted_penalty(SOLUTION, [ERROR, STIFFNESS], epoch)
        assert penalty.item() == pytest.approx(weight * error + 0.5 * stiffness, rel=1e-6)


def test_without_terms_the_penalty_is_zero():
    assert weighted_penalty(SOLUTION, [], 0) == 0.0


def test_one_update_follows_the_gradient_of_cross_entropy_plus_penalty(images):
    term = replace(ERROR, weight=Constant(50.0))
    trained, by_hand = make_model(), make_model()
    count = len(images.train_labels)
    train_epoch(trained, make_optimizer(trained), images, plan=Plan(1, count), terms=[term], epoch=0)

    logits, solution = by_hand(images.train_images)
    loss = functional.cross_entropy(logits, images.train_labels) + 50.0 * error_estimate(solution.steps)
    gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
    for after, before, gradient in zip(trained.parameters(), by_hand.parameters(), gradients, strict=True):
        torch.testing.assert_close(after, before - 0.1 * gradient, rtol=1e-9, atol=1e-12)


def test_an_epoch_summary_holds_means_over_all_images_also_when_the_last_batch_is_smaller(images):
    still = make_model()
    logits, solution = still(images.train_images)
    one = train_epoch(still, make_optimizer(still, 0.0), images, plan=Plan(1, 10_000), terms=[ERROR], epoch=0)
    assert one.loss == pytest.approx(functional.cross_entropy(logits, images.train_labels).item(), rel=1e-9)
    assert one.accuracy == pytest.approx(accuracy(still, images.train_images, images.train_labels), rel=1e-12)
    assert one.penalty == pytest.approx(100.0 * error_estimate(solution.steps).item(), rel=1e-9)

    several = train_epoch(still, make_optimizer(still, 0.0), images, plan=Plan(1, 700), terms=[], epoch=0)
    # Batches take other steps than all images together; at rtol 1e-3 that shows in the fifth digit.
    assert several.loss == pytest.approx(one.loss, rel=1e-3)


def test_curves_have_one_value_per_epoch_and_training_time_adds_up(images):
    model = make_model()
    curves = fit(
        model,
        make_optimizer(model),
        images,
        plan=Plan(2, 300),
        terms=[ERROR, STIFFNESS],
        evaluation_batch=images.train_images[:100],
    )
    assert {name: len(values) for name, values in curves.items()} == dict.fromkeys(
        [
            "train_loss",
            "train_accuracy",
            "test_accuracy",
            "nfe",
            "penalty",
            "training_seconds",
            "error_weight",
            "stiffness_weight",
        ],
        2,
    )
    assert curves["error_weight"] == pytest.approx((100.0, 10.0))
    assert curves["training_seconds"][1] > curves["training_seconds"][0] > 0.0
    assert curves["nfe"][-1] == model.eval()(images.train_images[:100])[1].stats.nfe


def test_every_epoch_is_reported(images):
    model = make_model()
    reports = []
    curves = fit(
        model,
        make_optimizer(model),
        images,
        plan=Plan(2, 900),
        terms=[],
        evaluation_batch=images.train_images[:10],
        title="a run",
        report=reports.append,
    )
    columns = zip(curves["test_accuracy"], curves["train_loss"], curves["nfe"], strict=True)
    assert reports == [EpochReport("a run", *column) for column in columns]


def test_the_progress_bar_moves_with_every_report_and_shows_accuracy_loss_and_nfe(capsys):
    with progress_bar(2, shown=True) as show:
        show(EpochReport("first run", 50.0, 1.0, 80))
        show(EpochReport("second run", 97.25, 0.0125, 62))
        announce("trained second run")
    last = capsys.readouterr().err.split("\r")[-1]
    assert all(part in last for part in ("second run", "2/2", "test accuracy 97.2 %", "loss 0.013", "NFE 62"))


def test_where_no_terminal_is_only_announcements_are_shown(capsys):
    with progress_bar(1) as show:
        show(EpochReport("first run", 50.0, 1.0, 80))
        announce("trained first run")
    assert capsys.readouterr().err == "trained first run\n"


def test_an_infinite_penalty_stops_training_before_it_reaches_the_weights(images):
    model = make_model()
    term = replace(ERROR, weight=lambda epoch: math.inf)
    with pytest.raises(TrainingDiverged, match=r"training diverged in epoch 3: the loss is .* and the penalty inf"):
        train_epoch(model, make_optimizer(model), images, plan=Plan(3, 900), terms=[term], epoch=2)
    for value, initial in zip(model.parameters(), make_model().parameters(), strict=True):
        assert torch.equal(value, initial)


def test_accuracy_is_the_percentage_of_labels_that_are_found():
    class Echo(nn.Module):
        def forward(self, images):
            return images, None

    labels = torch.tensor([0, 1, 2, 0])
    assert accuracy(Echo(), torch.eye(3)[[0, 1, 2, 2]], labels) == 75.0


def test_seeds_and_threads_are_fixed_inside_the_block_and_the_callers_outside():
    threads = torch.get_num_threads()
    inside = 1 if threads > 1 else 2
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with reproducible(0, inside):
        first = torch.rand(3)
        assert torch.get_num_threads() == inside
    with reproducible(0, inside):
        assert torch.equal(torch.rand(3), first)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(3), expected)


def test_the_callers_threads_come_back_after_an_error():
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="inside"), reproducible(0, threads + 1):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == threads


def test_predictions_are_timed_in_turn_in_evaluation_mode_and_after_one_that_is_not_counted():
    calls = []

    class Recorded(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, images):
            calls.append(self.name)
            assert not self.training
            assert not torch.is_grad_enabled()
            return images, None

    seconds = prediction_seconds([Recorded("a"), Recorded("b")], torch.zeros(1, 1), repeats=3)
    assert calls == ["a", "b"] * 4
    assert len(seconds) == 2
    assert min(seconds) > 0.0


@pytest.mark.parametrize(("largest", "length"), [(0.0, 5.0), (1.0, 1.0), (10.0, 5.0)])
def test_a_gradient_that_is_longer_than_allowed_is_cut_to_that_length(largest, length):
    weights = torch.zeros(2, requires_grad=True)
    loss = weights @ torch.tensor([3.0, 4.0])
    optimizer = torch.optim.SGD([weights], lr=1.0)
    descend(loss, torch.zeros(()), optimizer, moment="epoch 1", largest_gradient=largest)
    assert weights.norm().item() == pytest.approx(length, rel=1e-5)
