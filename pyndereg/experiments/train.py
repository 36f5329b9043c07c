"""The training loop: task loss plus weighted penalties that the solves yield, measured once an epoch."""

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyndereg.experiments.data import LabelledImages
from pyndereg.ivp.solution import Solution, StepRecord
from pyndereg.results import StepTrace

# Tqdm is an extra: without it this module can be imported, and says what is missing when training is asked for.
TQDM_IS_INSTALLED = find_spec("tqdm") is not None
if TYPE_CHECKING or TQDM_IS_INSTALLED:
    from tqdm import tqdm


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class PenaltyTerm:
    """A part of the loss that the solve itself yields: weight(epoch) * value(solution).

    Args:
        name: what is penalized; names the curve of the weight.
        value: solution of one training solve -> scalar tensor, dimensionless.
        weight: epoch, counted from 0 -> weight, dimensionless.
    """

    name: str
    value: Callable[[Solution], Tensor]
    weight: Callable[[int], float]


class Report(Protocol):
    """Where a run stands, for whoever watches."""

    @property
    def title(self) -> str:
        """The run in a few words."""
        ...

    @property
    def standing(self) -> str:
        """What it has reached, in a few words."""
        ...


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
def progress_bar(total: int, *, unit: str = "epoch", shown: bool | None = None) -> Iterator[Callable[[Report], None]]:
    """A bar that moves one on with every report that it is given, and shows the report.

    Args:
        total: reports to come.
        unit: what there is a report of.
        shown: True, False, or None for only where standard error is a terminal.
    Raises:
        ModuleNotFoundError: tqdm is not installed.
    """
    if not TQDM_IS_INSTALLED:
        raise ModuleNotFoundError(
            'the progress bar needs tqdm, which is not installed; run pip install "pyndereg[experiments]"'
        )
    with tqdm(total=total, unit=unit, disable=None if shown is None else not shown, dynamic_ncols=True) as bar:

        def show(report: Report) -> None:
            bar.set_description_str(report.title, refresh=False)
            bar.set_postfix_str(report.standing, refresh=False)
            bar.update()

        yield show


def announce(line: str) -> None:
    """Write a line to standard error, above a bar if there is one."""
    tqdm.write(line, file=sys.stderr)


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


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: LabelledImages,
    *,
    epochs: int,
    batch_size: int,
    terms: Sequence[PenaltyTerm],
    evaluation_batch: Tensor,  # (batch, pixels)
    title: str = "",
    report: Callable[[EpochReport], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Train a classifier in place and follow it from epoch to epoch.

    Args:
        model: a classifier: images (batch, pixels) -> logits (batch, classes) and the solution.
        optimizer: over the model's parameters.
        images: training images; the test images are only looked at.
        epochs, batch_size: passes through the training images, and images per update.
        terms: what is added to the cross entropy.
        evaluation_batch: the fixed images on which NFE is counted after each epoch. Shape (batch, pixels).
        title: the run in a few words, for the reports.
        report: is told after every epoch where the run stands.
    Returns:
        One value per epoch under each name: train_loss (nats), train_accuracy and test_accuracy (percent), nfe
        (evaluations of one forward solve), penalty (weighted, dimensionless), training_seconds (cumulated), and
        {name}_weight for each term.
    Raises:
        TrainingDiverged: the loss or a penalty became infinite or NaN.
        SolveFailed: a solve ended badly.
    """
    rows: list[dict[str, float]] = []
    seconds = 0.0
    for epoch in range(epochs):
        summary = train_epoch(model, optimizer, images, batch_size=batch_size, terms=terms, epoch=epoch)
        seconds += summary.seconds
        test_accuracy = accuracy(model, images.test_images, images.test_labels)
        nfe = solve_once(model, evaluation_batch).stats.nfe
        measured = {
            "train_loss": summary.loss,
            "train_accuracy": summary.accuracy,
            "test_accuracy": test_accuracy,
            "nfe": float(nfe),
            "penalty": summary.penalty,
            "training_seconds": seconds,
        }
        rows.append(measured | {f"{term.name}_weight": term.weight(epoch) for term in terms})
        if report is not None:
            report(EpochReport(title, test_accuracy, summary.loss, nfe))
    return {name: tuple(row[name] for row in rows) for name in rows[0]}


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: LabelledImages,
    *,
    batch_size: int,
    terms: Sequence[PenaltyTerm],
    epoch: int,
) -> EpochSummary:
    """Pass once through the training images in random order, the last, smaller batch included."""
    model.train()
    count = len(images.train_labels)
    order = torch.randperm(count).to(images.train_labels.device)
    loss_sum = penalty_sum = 0.0
    correct = 0
    seconds = 0.0
    for chosen in order.split(batch_size):
        batch, labels = images.train_images[chosen], images.train_labels[chosen]
        started = time.perf_counter()
        logits, solution = model(batch)
        loss = functional.cross_entropy(logits, labels)
        penalty = weighted_penalty(solution, terms, epoch).to(loss.device)
        if not torch.isfinite(loss + penalty):
            raise TrainingDiverged(
                f"training diverged in epoch {epoch + 1}: the loss is {loss.item():g} and the penalty "
                f"{penalty.item():g}; lower the learning rate or the regularizer's weight"
            )
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        seconds += time.perf_counter() - started
        loss_sum += loss.item() * len(chosen)
        penalty_sum += penalty.item() * len(chosen)
        correct += int((logits.argmax(dim=1) == labels).sum())
    return EpochSummary(loss_sum / count, 100.0 * correct / count, penalty_sum / count, seconds)


def weighted_penalty(solution: Solution, terms: Sequence[PenaltyTerm], epoch: int) -> Tensor:
    """Sum over the terms of weight(epoch) * value(solution). Shape (), dimensionless; zero where there are no terms."""
    steps = solution.steps
    total = torch.zeros((), dtype=steps.scaled_error.dtype, device=steps.scaled_error.device)
    for term in terms:
        total = total + term.weight(epoch) * term.value(solution)
    return total


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent of images whose largest logit is that of their label; leaves the model in evaluation mode."""
    model.eval()
    logits, _ = model(images)
    return 100.0 * (logits.argmax(dim=1) == labels).double().mean().item()


@torch.no_grad()
def solve_once(model: nn.Module, batch: Tensor) -> Solution:
    """The solution of one forward solve in evaluation mode, without a gradient."""
    model.eval()
    _, solution = model(batch)
    return solution


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
