"""A neural SDE classifier of handwritten digits, regularized to be easy to solve."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from pyndereg import fields
from pyndereg.experiments import naming
from pyndereg.experiments.classification import time_predictions, train_and_record, with_prediction_time
from pyndereg.experiments.data import CLASSES, PIXELS
from pyndereg.experiments.placement import PRECISIONS
from pyndereg.experiments.regularization import sde_penalty_terms, sde_regularizers
from pyndereg.experiments.sde_config import DigitsSDEConfig
from pyndereg.experiments.sde_networks import GRADIENTS, initialize
from pyndereg.experiments.train import progress_bar
from pyndereg.ivp.solution import Solution
from pyndereg.models import NeuralSDE
from pyndereg.regularizers import error_estimate
from pyndereg.results import RunRecord

EXPERIMENT = "digits-sde"
EVALUATION_PATHS = 0  # seed of the paths in evaluation, so that epochs and runs are compared along the same ones
# Each image has several trajectories. The norms are means, so that NFE hardly depends on the size of the batch.
EVALUATION_IMAGES = 128
ERROR_ESTIMATE = partial(error_estimate, aggregate="mean", count_start=True)


class SDEClassifier(nn.Module):
    """Images become states, which flow along a neural SDE for one unit of time; a linear layer reads the class off.

    The drift is W2 tanh(W1 y + b1) + b2, the diffusion W3 y + b3, one Brownian motion for each element of y.

    Args:
        config: solver, tolerances, gradient, regularizer, sizes, trajectories, precision and device.
    Source: [@pal2021opening], the stochastic classifier of MNIST, at 64 pixels.
    """

    def __init__(self, config: DigitsSDEConfig) -> None:
        super().__init__()
        state, hidden = config.state, config.hidden
        self.trajectories = config.trajectories
        self.encoder = nn.Linear(PIXELS, state)
        self.nsde = NeuralSDE(
            fields.Autonomous(nn.Sequential(nn.Linear(state, hidden), nn.Tanh(), nn.Linear(hidden, state))),
            fields.Autonomous(nn.Linear(state, state)),
            method=config.solver,
            rtol=config.rtol,
            atol=config.atol,
            gradient=GRADIENTS[config.gradient],
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
            images: Shape (batch, 64), intensities in [0, 1].
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


def run(config: DigitsSDEConfig) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    with progress_bar(config.epochs) as report:
        model, record = train_and_record(
            EXPERIMENT,
            config,
            build=lambda: SDEClassifier(config),
            optimizer=lambda model: torch.optim.Adam(model.parameters(), lr=config.learning_rate),
            terms=sde_penalty_terms(config, error=ERROR_ESTIMATE, updates=config.epochs),
            title=naming.run_title(config.regularizer, config.seed),
            evaluation_images=EVALUATION_IMAGES,
            report=report,
        )
    (seconds,) = time_predictions([model], config, evaluation_images=EVALUATION_IMAGES)
    return with_prediction_time(record, seconds)


def default_output(config: DigitsSDEConfig) -> Path:
    """Where the record of a run goes unless told otherwise."""
    return naming.default_output(EXPERIMENT, config.regularizer, config.seed)
