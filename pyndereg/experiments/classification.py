"""Classifiers of images: trained, measured and recorded alike, whatever equation is inside."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.config import ODEConfig
from pyndereg.experiments.data import LabelledImages
from pyndereg.experiments.placement import check_device
from pyndereg.experiments.sde_config import SDEConfig
from pyndereg.experiments.train import (
    EpochReport,
    PenaltyTerm,
    Plan,
    accuracy,
    fit,
    prediction_seconds,
    record_run,
    reproducible,
    solve_once,
)
from pyndereg.results import RunRecord

EVALUATION_IMAGES = 512  # NFE and prediction time are those of one batch of this size, as in the paper
PREDICTION_REPEATS = 15

ClassifierConfig = ODEConfig | SDEConfig
Classifier = TypeVar("Classifier", bound=nn.Module)


def train_and_record(
    experiment: str,
    config: ClassifierConfig,
    *,
    images: LabelledImages,
    plan: Plan,
    build: Callable[[], Classifier],
    optimizer: Callable[[Classifier], torch.optim.Optimizer],
    terms: Sequence[PenaltyTerm],
    title: str,
    schedule: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    evaluation_images: int = EVALUATION_IMAGES,
    checkpoint: Checkpoint | None = None,
    report: Callable[[EpochReport], None] | None = None,
) -> tuple[Classifier, RunRecord]:
    """Train one classifier as configured; `report` is told after every epoch where the run stands.

    Args:
        experiment: its name, as the command line has it.
        config: seed, threads and device.
        images: on that device.
        plan: passes through the images.
        build: makes the classifier: images (batch, *image) -> logits (batch, classes) and the solution.
        optimizer: makes the optimizer of the classifier's parameters.
        terms: what is added to the cross entropy.
        title: the run in a few words, for the reports.
        schedule: makes the change of the optimizer's step size, which is moved on after every update.
        evaluation_images: training images in the fixed batch on which NFE is counted.
        checkpoint: where the state is kept after every epoch, and restored from.
        report: see above.
    Returns:
        The trained classifier and the record of the run: curves as `fit` names them; metrics train_accuracy and
        test_accuracy (percent, of the trained classifier), nfe (evaluations) and training_seconds. The prediction time
        is missing, since it means something only if nothing else runs meanwhile; see `time_predictions`.
    Raises:
        ValueError: the device, the method or a combination of choices cannot be used.
        TrainingDiverged: the loss or a penalty became infinite or NaN.
        SolveFailed: a solve ended badly.
    """
    check_device(config.device)
    evaluation_batch = images.train_images[:evaluation_images]
    with reproducible(config.seed, config.threads):
        model = build()
        before = solve_once(model, evaluation_batch).steps
        optimizer_of_model = optimizer(model)
        curves = fit(
            model,
            optimizer_of_model,
            images,
            plan=plan,
            terms=terms,
            evaluation_batch=evaluation_batch,
            schedule=None if schedule is None else schedule(optimizer_of_model),
            title=title,
            checkpoint=checkpoint,
            report=report,
        )
        after = solve_once(model, evaluation_batch)
        metrics = {
            "train_accuracy": accuracy(model, images.train_images, images.train_labels),
            "test_accuracy": accuracy(model, images.test_images, images.test_labels),
            "nfe": float(after.stats.nfe),
        }
    record = record_run(experiment, config, curves, metrics, before, after.steps)
    return model, record


def time_predictions(
    models: Sequence[nn.Module],
    config: ClassifierConfig,
    images: LabelledImages,
    *,
    evaluation_images: int = EVALUATION_IMAGES,
) -> list[float]:
    """Median seconds that each classifier takes to predict the evaluation batch, one classifier at a time."""
    with reproducible(config.seed, config.threads):
        return prediction_seconds(models, images.train_images[:evaluation_images], repeats=PREDICTION_REPEATS)


def with_prediction_time(record: RunRecord, seconds: float) -> RunRecord:
    """The record with one more metric, prediction_seconds: seconds per evaluation batch."""
    return replace(record, metrics={**record.metrics, "prediction_seconds": seconds})


def summary(record: RunRecord) -> str:
    """The metrics of a finished run in one line."""
    metrics = record.metrics
    return (
        f"test accuracy {metrics['test_accuracy']:.2f} %, NFE {metrics['nfe']:.0f}, training "
        f"{metrics['training_seconds']:.1f} s, prediction {1e3 * metrics['prediction_seconds']:.2f} ms"
    )
