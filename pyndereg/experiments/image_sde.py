"""The papers' neural SDE classifier of images of digits, and how it is trained."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pyndereg import fields
from pyndereg.experiments import naming
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.classification import time_predictions, train_and_record, with_prediction_time
from pyndereg.experiments.data import CLASSES, LabelledImages
from pyndereg.experiments.gradients import gradient_of
from pyndereg.experiments.placement import PRECISIONS
from pyndereg.experiments.progress import progress_bar
from pyndereg.experiments.regularization import sde_penalty_terms, sde_regularizers
from pyndereg.experiments.sde_config import ImageSDEConfig
from pyndereg.experiments.sde_networks import initialize
from pyndereg.experiments.train import (
    EpochReport,
    Plan,
)
from pyndereg.ivp.solution import Solution
from pyndereg.models import NeuralSDE
from pyndereg.regularizers import error_estimate
from pyndereg.results import RunRecord

EVALUATION_PATHS = 0  # seed of the paths in evaluation, so that epochs and runs are compared along the same ones
# Each image has several trajectories. The norms are means, so that NFE hardly depends on the size of the batch.
EVALUATION_IMAGES = 128
ERROR_ESTIMATE = partial(error_estimate, aggregate="mean", count_start=True)


class SDEClassifier(nn.Module):
    """Images become states, which flow along a neural SDE for one unit of time; a linear layer reads the class off.

    The drift is W2 tanh(W1 y + b1) + b2, the diffusion W3 y + b3, one Brownian motion for each element of y.

    Args:
        config: solver, tolerances, gradient, regularizer, sizes, trajectories, precision and device.
        pixels: of an image.
    Source: [@pal2021opening], the stochastic classifier of MNIST.
    """

    def __init__(self, config: ImageSDEConfig, pixels: int) -> None:
        super().__init__()
        state, hidden = config.state, config.hidden
        self.trajectories = config.trajectories
        self.encoder = nn.Linear(pixels, state)
        self.nsde = NeuralSDE(
            fields.Autonomous(nn.Sequential(nn.Linear(state, hidden), nn.Tanh(), nn.Linear(hidden, state))),
            fields.Autonomous(nn.Linear(state, state)),
            method=config.solver,
            rtol=config.rtol,
            atol=config.atol,
            gradient=gradient_of(config.gradient, config.engine),
            engine=config.engine,
            first_step=config.first_step,
            regularizers=tuple(sde_regularizers(config).values()),
        )
        self.readout = nn.Linear(state, CLASSES)
        initialize(self)
        self.to(config.device, PRECISIONS[config.precision])

    def forward(self, images: Tensor) -> tuple[Tensor, Solution]:
        """Logits and the solution behind them.

        In training mode each image has one trajectory, whose path is drawn from torch's generator. In evaluation mode
        it has several, along the same paths in every call.

        Args:
            images: Shape (batch, pixels), intensities in [0, 1].
        Returns:
            logits: Shape (batch, 10), dimensionless, mean over the trajectories.
            solution: of all trajectories, with the record of the steps, and in training mode with the penalties.
        """
        start = self.encoder(images)
        if self.training:
            state, solution = self.nsde(start)
            return self.readout(state), solution
        state, solution = self.nsde(start, trajectories=self.trajectories, seed=EVALUATION_PATHS)
        return self.readout(state).mean(dim=0), solution


def run_classifier(
    experiment: str,
    config: ImageSDEConfig,
    images: LabelledImages,
    *,
    checkpoint: Checkpoint | None,
) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions; raises as `train_and_record`."""
    with progress_bar(config.epochs) as report:
        model, record = train_classifier(experiment, config, images, checkpoint=checkpoint, report=report)
    (seconds,) = time_predictions([model], config, images, evaluation_images=EVALUATION_IMAGES)
    return with_prediction_time(record, seconds)


def train_classifier(
    experiment: str,
    config: ImageSDEConfig,
    images: LabelledImages,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[EpochReport], None] | None = None,
) -> tuple[SDEClassifier, RunRecord]:
    """Train one classifier as configured; returns, reports and raises as `train_and_record`."""
    return train_and_record(
        experiment,
        config,
        images=images,
        plan=Plan(
            epochs=config.epochs,
            batch_size=config.batch_size,
            drop_last=config.drop_last,
            updates=config.updates,
            weights_change="update",
        ),
        build=lambda: SDEClassifier(config, images.train_images.shape[1]),
        optimizer=lambda model: torch.optim.Adam(model.parameters(), lr=config.learning_rate),
        terms=sde_penalty_terms(config, error=ERROR_ESTIMATE, updates=config.epochs),
        title=naming.title(config),
        evaluation_images=EVALUATION_IMAGES,
        checkpoint=checkpoint,
        report=report,
    )
