"""A neural ODE classifier of handwritten digits, regularized to be easy to solve."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from pyndereg import fields
from pyndereg.experiments import naming
from pyndereg.experiments.classification import time_predictions, train_and_record, with_prediction_time
from pyndereg.experiments.config import DigitsODEConfig
from pyndereg.experiments.data import CLASSES, PIXELS
from pyndereg.experiments.placement import PRECISIONS
from pyndereg.experiments.regularization import penalty_terms, solve_regularizers
from pyndereg.experiments.train import EpochReport, progress_bar
from pyndereg.ivp.options import (
    Backprop,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    QuadratureAdjoint,
)
from pyndereg.ivp.solution import Solution
from pyndereg.models import EndTimeSampling, NeuralODE
from pyndereg.results import RunRecord

EXPERIMENT = "digits-ode"
MOMENTUM = 0.9
GRADIENTS = {
    "discrete": DiscreteAdjoint(),
    "backprop": Backprop(),
    "interpolating": InterpolatingAdjoint(),
    "interpolating-checkpointing": InterpolatingAdjoint(checkpointing=True),
    "backsolve": BacksolveAdjoint(),
    "quadrature": QuadratureAdjoint(),
    "gauss": GaussAdjoint(),
}
GRADIENT_OF_ENGINE = {"embedded": GRADIENTS["backprop"], "julia": GRADIENTS["discrete"]}  # where it is not chosen


class ODEClassifier(nn.Module):
    """Images flow along a neural ODE for one unit of time; a linear layer reads the class off where they end.

    The vector field is f(t, x) = tanh(W2 [tanh(W1 [x; t] + b1); t] + b2), with W1 (hidden, 65) and W2 (64, hidden + 1).

    Args:
        config: solver, tolerances, gradient, regularizer, width, end time sampling, precision and device.
    Source: [@pal2021opening], the classifier of MNIST, at 64 pixels.
    """

    def __init__(self, config: DigitsODEConfig) -> None:
        super().__init__()
        self.node = NeuralODE(
            fields.TimeConcatMLP(PIXELS, hidden=config.hidden),
            t0=0.0,
            t1=1.0,
            method=config.method,
            rtol=config.rtol,
            atol=config.atol,
            gradient=GRADIENTS.get(config.gradient, GRADIENT_OF_ENGINE[config.engine]),
            engine=config.engine,
            field=None if config.field == "auto" else config.field,
            end_time_sampling=EndTimeSampling(b=config.steer_halfwidth) if config.steer else None,
            regularizers=tuple(solve_regularizers(config).values()),
        )
        self.readout = nn.Linear(PIXELS, CLASSES)
        self.to(config.device, PRECISIONS[config.precision])

    def forward(self, images: Tensor) -> tuple[Tensor, Solution]:
        """Logits and the solution behind them.

        Args:
            images: Shape (batch, 64), intensities in [0, 1].
        Returns:
            logits: Shape (batch, 10), dimensionless.
            solution: with the solver's record of its steps, and in training mode with the penalties.
        """
        state, solution = self.node(images)
        return self.readout(state), solution


def run(config: DigitsODEConfig) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    with progress_bar(config.epochs) as report:
        model, record = train_classifier(config, report=report)
    seconds = time_predictions([model], config)
    return with_prediction_time(record, seconds[0])


def train_classifier(
    config: DigitsODEConfig, *, report: Callable[[EpochReport], None] | None = None
) -> tuple[ODEClassifier, RunRecord]:
    """Train one classifier as configured; returns, reports and raises as `train_and_record`."""
    return train_and_record(
        EXPERIMENT,
        config,
        build=lambda: ODEClassifier(config),
        optimizer=lambda model: make_optimizer(model, config),
        terms=penalty_terms(config),
        title=title(config),
        report=report,
    )


def make_optimizer(model: nn.Module, config: DigitsODEConfig) -> torch.optim.Optimizer:
    """The configured optimizer over all parameters of a model."""
    if config.optimizer == "momentum":
        return torch.optim.SGD(model.parameters(), lr=config.learning_rate, momentum=MOMENTUM)
    return torch.optim.Adam(model.parameters(), lr=config.learning_rate)


def method_name(config: DigitsODEConfig) -> str:
    """What a run is trained with, in one word: "error", "none+steer", "local-unbiased@interpolating"."""
    steer = "+steer" if config.steer else ""
    return f"{config.regularizer}{steer}{'' if config.gradient == 'auto' else f'@{config.gradient}'}"


def title(config: DigitsODEConfig) -> str:
    """The run in a few words, for a bar or a line of output."""
    return naming.run_title(method_name(config), config.seed)


def record_name(config: DigitsODEConfig) -> str:
    """File name of a run's record."""
    return naming.record_name(EXPERIMENT, method_name(config), config.seed)


def default_output(config: DigitsODEConfig) -> Path:
    """Where the record of a run goes unless told otherwise."""
    return naming.default_output(EXPERIMENT, method_name(config), config.seed)
