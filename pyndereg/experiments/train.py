"""The training loop: task loss plus weighted penalties that the solves yield, measured once an epoch."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from pyndereg.experiments.checkpoint import Checkpoint, Stateful
from pyndereg.experiments.config import WeightsChange
from pyndereg.experiments.data import LabelledImages
from pyndereg.experiments.loop import Row, run_epochs
from pyndereg.experiments.settings import json_values
from pyndereg.ivp.solution import Solution, StepRecord
from pyndereg.results import RunRecord, StepTrace, installed_versions

INTENSITIES_AT_ONCE = 7_840_000  # what is predicted at once: 10,000 images of MNIST, or fewer larger ones


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class PenaltyTerm:
    """A part of the loss that the solve itself yields: weight(epoch) * value(solution).

    Args:
        name: what is penalized; names the curve of the weight.
        value: solution of one training solve -> scalar tensor, dimensionless.
        weight: epochs since the start of training, whole or not -> weight, dimensionless.
    """

    name: str
    value: Callable[[Solution], Tensor]
    weight: Callable[[float], float]


@dataclass(frozen=True)
class EpochReport:
    """Where a run stands after an epoch, for whoever watches.

    Args:
        title: the run in a few words.
        test_accuracy: percent of the test images.
        loss: cross entropy, mean over the training images, in nats.
        nfe: evaluations of one forward solve.
    """

    title: str
    test_accuracy: float
    loss: float
    nfe: int

    @property
    def standing(self) -> str:
        """Where the run stands, in a few words."""
        return f"test accuracy {self.test_accuracy:.1f} %, loss {self.loss:.3f}, NFE {self.nfe}"


@dataclass(frozen=True)
class EpochSummary:
    """Means over the training images of one epoch.

    Args:
        loss: cross entropy, in nats.
        accuracy: percent of images.
        penalty: weighted penalties, as they were added to the loss (dimensionless).
        seconds: time of the gradients and updates alone.
    """

    loss: float
    accuracy: float
    penalty: float
    seconds: float


@contextlib.contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seed torch and fix its threads inside the block; leave the caller's generator and threads as they were.

    Weights, end times and the order of batches all come from torch's generator, so no other needs a seed. On a
    processor with a fixed number of threads, equal seeds then give equal numbers to the last bit.
    """
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)


@dataclass(frozen=True)
class Plan:
    """How the training images are passed through.

    Args:
        epochs: passes.
        batch_size: images per update.
        drop_last: leave out the last, smaller batch of every epoch.
        updates: stop after this many; 0: after the last epoch.
        weights_change: whether the penalties' weights change after every "epoch" or every "update".
    """

    epochs: int
    batch_size: int
    drop_last: bool = False
    updates: int = 0
    weights_change: WeightsChange = "epoch"

    def updates_per_epoch(self, images: int) -> int:
        """Updates in one pass through so many images."""
        return images // self.batch_size if self.drop_last else -(-images // self.batch_size)

    def total_updates(self, images: int) -> int:
        """Updates in the whole training."""
        total = self.epochs * self.updates_per_epoch(images)
        return min(total, self.updates) if self.updates else total

    def batches(self, epoch: int, images: int) -> tuple[Tensor, ...]:
        """Which of so many images each update of an epoch takes, in an order from torch's generator. Shape (batch,)."""
        per_epoch = self.updates_per_epoch(images)
        left = self.total_updates(images) - epoch * per_epoch
        return torch.randperm(images).split(self.batch_size)[: min(per_epoch, left)]

    def position(self, epoch: int, update: int, images: int) -> float:
        """Where in training, in epochs, an update takes the penalties' weights from."""
        return epoch + (update / self.updates_per_epoch(images) if self.weights_change == "update" else 0.0)


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: LabelledImages,
    *,
    plan: Plan,
    terms: Sequence[PenaltyTerm],
    evaluation_batch: Tensor,  # (batch, *image)
    schedule: LRScheduler | None = None,
    title: str = "",
    checkpoint: Checkpoint | None = None,
    report: Callable[[EpochReport], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Train a classifier in place and follow it from epoch to epoch.

    Args:
        model: a classifier: images (batch, *image) -> logits (batch, classes) and the solution.
        optimizer: over the model's parameters.
        images: training images; the test images are only looked at.
        plan: passes and batches.
        terms: what is added to the cross entropy.
        evaluation_batch: the fixed images on which NFE is counted after each epoch. Shape (batch, *image).
        schedule: of the optimizer's step size, moved on after every update.
        title: the run in a few words, for the reports.
        checkpoint: where the state is kept after every epoch, and restored from.
        report: is told after every epoch where the run stands.
    Returns:
        One value per epoch under each name: train_loss (nats), train_accuracy and test_accuracy (percent), nfe
        (evaluations of one forward solve), penalty (weighted, dimensionless), training_seconds (cumulated), and
        {name}_weight for each term.
    Raises:
        TrainingDiverged: the loss or a penalty became infinite or NaN.
        SolveFailed: a solve ended badly.
    """

    def epoch(number: int) -> Row:
        summary = train_epoch(model, optimizer, images, plan=plan, terms=terms, epoch=number, schedule=schedule)
        return {
            "train_loss": summary.loss,
            "train_accuracy": summary.accuracy,
            "test_accuracy": accuracy(model, images.test_images, images.test_labels),
            "nfe": float(solve_once(model, evaluation_batch).stats.nfe),
            "penalty": summary.penalty,
            "training_seconds": summary.seconds,
        } | {f"{term.name}_weight": term.weight(number) for term in terms}

    def tell(row: Row) -> None:
        if report is not None:
            report(EpochReport(title, row["test_accuracy"], row["train_loss"], int(row["nfe"])))

    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    if schedule is not None:
        parts["schedule"] = schedule
    return run_epochs(plan.epochs, epoch, parts=parts, checkpoint=checkpoint, report=tell)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: LabelledImages,
    *,
    plan: Plan,
    terms: Sequence[PenaltyTerm],
    epoch: int,
    schedule: LRScheduler | None = None,
) -> EpochSummary:
    """Pass once through the training images in random order; see `fit`."""
    model.train()
    count = len(images.train_labels)
    batches = plan.batches(epoch, count)
    seen = sum(len(chosen) for chosen in batches)
    loss_sum = penalty_sum = 0.0
    correct = 0
    seconds = 0.0
    for number, chosen in enumerate(batches):
        batch, labels = images.train_images[chosen], images.train_labels[chosen]
        started = time.perf_counter()
        logits, solution = model(batch)
        loss = functional.cross_entropy(logits, labels)
        penalty = weighted_penalty(solution, terms, plan.position(epoch, number, count)).to(loss.device)
        descend(loss, penalty, optimizer, schedule, moment=f"epoch {epoch + 1}")
        seconds += time.perf_counter() - started
        loss_sum += loss.item() * len(chosen)
        penalty_sum += penalty.item() * len(chosen)
        correct += int((logits.argmax(dim=1) == labels).sum())
    return EpochSummary(loss_sum / seen, 100.0 * correct / seen, penalty_sum / seen, seconds)


def descend(
    loss: Tensor,
    penalty: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler | None = None,
    *,
    moment: str,
    largest_gradient: float = 0.0,
) -> None:
    """One change of the weights, along the gradient of loss + penalty.

    Args:
        loss, penalty: Shape (), with a graph.
        optimizer: over the weights.
        schedule: of its step size, moved on afterwards.
        moment: of training, such as "epoch 3", for the error.
        largest_gradient: norm over all weights to which a longer gradient is cut; 0: never.
    Raises:
        TrainingDiverged: the loss or the penalty is infinite or NaN; the weights are as they were.
    """
    if not torch.isfinite(loss + penalty):
        raise TrainingDiverged(
            f"training diverged in {moment}: the loss is {loss.item():g} and the penalty {penalty.item():g}; lower the "
            "learning rate or the regularizer's weight"
        )
    optimizer.zero_grad()
    (loss + penalty).backward()
    if largest_gradient:
        nn.utils.clip_grad_norm_([x for group in optimizer.param_groups for x in group["params"]], largest_gradient)
    optimizer.step()
    if schedule is not None:
        schedule.step()


def weighted_penalty(solution: Solution, terms: Sequence[PenaltyTerm], epoch: float) -> Tensor:
    """Sum over the terms of weight(epoch) * value(solution). Shape (), dimensionless; zero where there are no terms."""
    steps = solution.steps
    total = torch.zeros((), dtype=steps.scaled_error.dtype, device=steps.scaled_error.device)
    for term in terms:
        total = total + term.weight(epoch) * term.value(solution)
    return total


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int | None = None) -> float:
    """Percent of images whose largest logit is that of their label; leaves the model in evaluation mode.

    Args:
        model: images (batch, *image) -> logits (batch, classes) and the solution.
        images: Shape (images, *image).
        labels: Shape (images,), int64.
        batch_size: images that are predicted at once; None for as many as `INTENSITIES_AT_ONCE` allows.
    """
    model.eval()
    if batch_size is None:
        batch_size = max(1, INTENSITIES_AT_ONCE // images[0].numel())
    correct = 0
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        correct += int((model(batch)[0].argmax(dim=1) == truth).sum())
    return 100.0 * correct / len(labels)


@torch.no_grad()
def solve_once(model: nn.Module, batch: Tensor) -> Solution:
    """The solution of one forward solve in evaluation mode, without a gradient."""
    model.eval()
    _, solution = model(batch)
    return solution


def record_run(
    experiment: str,
    config: Any,
    curves: Mapping[str, tuple[float, ...]],
    metrics: Mapping[str, float],
    before: StepRecord,
    after: StepRecord,
    trajectories: Mapping[str, tuple[float, ...]] | None = None,
) -> RunRecord:
    """The record of a run that has just ended.

    Args:
        experiment: its name, as the command line has it.
        config: with a seed and a device.
        curves, trajectories: see `RunRecord`.
        metrics: final values; the training time joins them.
        before, after: steps of the evaluation solve before and after training.
    """
    return RunRecord(
        experiment=experiment,
        config=json_values(config),
        versions=installed_versions(),
        seed=config.seed,
        device=config.device,
        curves=curves,
        metrics={**metrics, "training_seconds": curves["training_seconds"][-1]},
        steps_before=trace(before),
        steps_after=trace(after),
        trajectories=trajectories or {},
    )


def trace(steps: StepRecord) -> StepTrace:
    """The steps of a solve as plain numbers, for a run record."""
    return StepTrace(
        t=tuple(steps.t.tolist()),
        dt=tuple(steps.dt.tolist()),
        scaled_error=tuple(steps.scaled_error.tolist()),
        stiffness=tuple(steps.stiffness.tolist()),
    )


@torch.no_grad()
def prediction_seconds(models: Sequence[nn.Module], batch: Tensor, *, repeats: int) -> list[float]:
    """Median time of one prediction by each model, one model at a time.

    Every repeat goes through all models, so that a machine that slows down or speeds up meanwhile does so for all.

    Args:
        models: classifiers to compare.
        batch: images to predict. Shape (batch, pixels).
        repeats: predictions by each model, after one that is not counted.
    Returns:
        Seconds per batch, one for each model.
    """
    for model in models:
        model.eval()
        model(batch)
    durations: list[list[float]] = [[] for _ in models]
    for _ in range(repeats):
        for model, found in zip(models, durations, strict=True):
            _wait_for(batch.device)
            started = time.perf_counter()
            model(batch)
            _wait_for(batch.device)
            found.append(time.perf_counter() - started)
    return [statistics.median(found) for found in durations]


def _wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked for; a processor always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
