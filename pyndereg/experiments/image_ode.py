"""The papers' neural ODE classifier of images of digits, and how neural ODE classifiers of images are trained."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from pyndereg import fields
from pyndereg.experiments import naming
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.classification import (
    EVALUATION_IMAGES,
    time_predictions,
    train_and_record,
    with_prediction_time,
)
from pyndereg.experiments.data import CLASSES, LabelledImages
from pyndereg.experiments.image_config import ImageConfig, ImageTrainingConfig
from pyndereg.experiments.ode_model import end_error, neural_ode
from pyndereg.experiments.optimizers import make_optimizer, make_schedule
from pyndereg.experiments.placement import PRECISIONS
from pyndereg.experiments.progress import progress_bar
from pyndereg.experiments.regularization import penalty_terms
from pyndereg.experiments.train import (
    EpochReport,
    Plan,
    reproducible,
    solve_once,
)
from pyndereg.ivp.solution import Solution
from pyndereg.models import NeuralODE
from pyndereg.results import RunRecord


class FlowClassifier(nn.Module):
    """A classifier in which images flow along a neural ODE.

    Attributes:
        node: the neural ODE.
    """

    node: NeuralODE

    def initial_state(self, images: Tensor) -> Tensor:
        """Where the neural ODE begins for these images. Shape (batch, *image) -> (batch, *state)."""
        raise NotImplementedError


Classifier = TypeVar("Classifier", bound=FlowClassifier)


class ODEClassifier(FlowClassifier):
    """Images flow along a neural ODE for one unit of time; a linear layer reads the class off where they end.

    The vector field is f(t, x) = s(W2 [tanh(W1 [x; t] + b1); t] + b2), with W1 (hidden, pixels + 1) and
    W2 (pixels, hidden + 1), and s tanh [@pal2021opening] or the identity [@pal2023locally].

    Args:
        config: solver, tolerances, gradient, regularizer, width, end time sampling, precision and device.
        pixels: of an image.
    Source: [@pal2021opening] and [@pal2023locally], the classifiers of MNIST.
    """

    def __init__(self, config: ImageConfig, pixels: int) -> None:
        super().__init__()
        output = torch.tanh if config.last_activation == "tanh" else None
        self.node = neural_ode(fields.TimeConcatMLP(pixels, hidden=config.hidden, output_activation=output), config)
        self.readout = nn.Linear(pixels, CLASSES)
        self.to(config.device, PRECISIONS[config.precision])

    def initial_state(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def forward(self, images: Tensor) -> tuple[Tensor, Solution]:
        """Logits and the solution behind them.

        Args:
            images: Shape (batch, pixels), intensities in [0, 1].
        Returns:
            logits: Shape (batch, 10), dimensionless.
            solution: with the solver's record of its steps, and in training mode with the penalties.
        """
        state, solution = self.node(images)
        return self.readout(state), solution


def run_classifier(
    experiment: str,
    config: ImageTrainingConfig,
    images: LabelledImages,
    build: Callable[[], Classifier],
    *,
    evaluation_images: int = EVALUATION_IMAGES,
    checkpoint: Checkpoint | None,
) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions; raises as `train_and_record`."""
    with progress_bar(config.epochs) as report:
        model, record = train_classifier(
            experiment,
            config,
            images,
            build,
            evaluation_images=evaluation_images,
            checkpoint=checkpoint,
            report=report,
        )
    seconds = time_predictions([model], config, images, evaluation_images=evaluation_images)
    return with_prediction_time(record, seconds[0])


def train_classifier(
    experiment: str,
    config: ImageTrainingConfig,
    images: LabelledImages,
    build: Callable[[], Classifier],
    *,
    evaluation_images: int = EVALUATION_IMAGES,
    checkpoint: Checkpoint | None = None,
    report: Callable[[EpochReport], None] | None = None,
) -> tuple[Classifier, RunRecord]:
    """Train one classifier as configured; returns, reports and raises as `train_and_record`.

    The record has one more metric, end_error: how far the states of the evaluation batch at the end are from those of
    the equation itself, their root mean square in units of the tolerance.
    """
    plan = plan_of(config)
    updates = plan.total_updates(len(images.train_labels))

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return make_schedule(optimizer, config, updates)

    model, record = train_and_record(
        experiment,
        config,
        images=images,
        plan=plan,
        build=build,
        optimizer=lambda model: make_optimizer(model, config),
        schedule=schedule,
        terms=penalty_terms(config),
        title=naming.title(config),
        evaluation_images=evaluation_images,
        checkpoint=checkpoint,
        report=report,
    )
    with reproducible(config.seed, config.threads):
        error = error_at_end(model, images.train_images[:evaluation_images])
    return model, replace(record, metrics={**record.metrics, "end_error": error})


@torch.no_grad()
def error_at_end(model: FlowClassifier, images: Tensor) -> float:
    """How far the states that a classifier reads are from the equation's, see `end_error`. images: (batch, *image)."""
    y1 = solve_once(model, images).y1
    assert isinstance(y1, Tensor)
    return end_error(model.node, model.initial_state(images), y1)


def plan_of(config: ImageTrainingConfig) -> Plan:
    """How the configured training passes through its images."""
    return Plan(
        epochs=config.epochs,
        batch_size=config.batch_size,
        drop_last=config.drop_last,
        updates=config.updates,
        weights_change=config.weights_change,
    )
