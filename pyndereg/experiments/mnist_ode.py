"""The papers' neural ODE classifier of MNIST, regularized to be easy to solve."""

from collections.abc import Callable
from dataclasses import replace

from pyndereg.experiments import image_ode
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.data.mnist import MNIST_PIXELS
from pyndereg.experiments.image_config import MnistODEConfig
from pyndereg.experiments.image_data import mnist_of
from pyndereg.experiments.image_ode import ODEClassifier
from pyndereg.experiments.train import EpochReport
from pyndereg.results import RunRecord

EXPERIMENT = "mnist-ode"
QUICK = MnistODEConfig()
PRESETS = {
    "quick": QUICK,
    "remembered": QUICK.remembering(),
    # [@pal2021opening]. Its momentum sees gradients that are divided by 1 + 1e-5 n, which here divides the step size.
    "paper-a": replace(
        QUICK,
        data="mnist",
        epochs=75,
        batch_size=512,
        precision="float32",
        optimizer="momentum",
        learning_rate=0.1,
        learning_rate_schedule="inverse",
        learning_rate_decay=1e-5,
        error_weight=(100.0, 10.0),
        local_weight=(2.5, 1.0),
        local_gradient="published",
        seed=1999,
    ),
    # [@pal2023locally].
    "paper-b": replace(
        QUICK,
        data="mnist",
        last_activation="linear",
        epochs=65,
        updates=7500,
        drop_last=True,
        batch_size=512,
        precision="float32",
        optimizer="adam",
        learning_rate=1e-3,
        learning_rate_schedule="constant",
        gradient="interpolating",
        regularizer="local-unbiased",
        weights_change="update",
        error_weight=(100.0, 10.0),  # of the rows that the paper takes over from the first
        local_weight=(2.5, 1.0),
        local_gradient="published",
    ),
}


def run(config: MnistODEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm, or what brings the data, is not installed.
        FileNotFoundError: the images are neither on this machine nor to be had.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    return image_ode.run_classifier(EXPERIMENT, config, mnist_of(config), lambda: build(config), checkpoint=checkpoint)


def train_classifier(
    config: MnistODEConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[EpochReport], None] | None = None,
) -> tuple[ODEClassifier, RunRecord]:
    """Train one classifier as configured; returns, reports and raises as `train_and_record`."""
    return image_ode.train_classifier(
        EXPERIMENT, config, mnist_of(config), lambda: build(config), checkpoint=checkpoint, report=report
    )


def build(config: MnistODEConfig) -> ODEClassifier:
    """The classifier before training."""
    return ODEClassifier(config, MNIST_PIXELS)
