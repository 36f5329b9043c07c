"""The 2023 paper's convolutional neural ODE classifier of CIFAR-10, regularized to be easy to solve."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pyndereg.experiments import image_ode
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.cifar10_config import Cifar10ODEConfig
from pyndereg.experiments.convolutional_field import KERNEL, PADDING, ConvolutionalField, gelu
from pyndereg.experiments.data import CLASSES, LabelledImages
from pyndereg.experiments.data.cifar10 import CHANNELS, SIDE, load_cifar10, normalize_colours
from pyndereg.experiments.data.photographs import load_photograph_patches
from pyndereg.experiments.image_ode import FlowClassifier
from pyndereg.experiments.ode_model import neural_ode
from pyndereg.experiments.placement import PRECISIONS, check_device
from pyndereg.experiments.train import EpochReport
from pyndereg.ivp.solution import Solution
from pyndereg.results import RunRecord

EXPERIMENT = "cifar10-ode"
ADDED_CHANNELS = 5
STATE_CHANNELS = CHANNELS + ADDED_CHANNELS
EVALUATION_IMAGES = 128  # on which NFE and prediction time are measured; the published code takes batches of 32
QUICK = Cifar10ODEConfig()
PRESETS = {
    "quick": QUICK,
    "remembered": QUICK.remembering(),
    # [@pal2023locally]. 31,250 updates are 20 passes; the published loader leaves the last part of each out.
    "paper-b": replace(
        QUICK,
        data="cifar10",
        hidden=64,
        epochs=21,
        updates=31_250,
        drop_last=True,
        regularizer="local-unbiased",
        gradient="interpolating",
        local_weight=(2.5, 2.5),
        local_gradient="published",
    ),
}


class ConvolutionalClassifier(FlowClassifier):
    """Photographs flow along a convolutional neural ODE for one unit of time, and are classified where they end.

    A convolution adds five channels to an image's three, batch normalization brings all eight to one scale, and the
    neural ODE of `ConvolutionalField` moves them. A convolution to one channel and a linear layer read the class off.

    Args:
        config: solver, tolerances, gradient, regularizer, width, precision and device.
    Source: [@pal2023locally], the classifier of CIFAR-10, after [@poli2020hypersolvers].
    """

    def __init__(self, config: Cifar10ODEConfig) -> None:
        super().__init__()
        self.augment = nn.Conv2d(CHANNELS, ADDED_CHANNELS, KERNEL, padding=PADDING)
        self.norm = nn.BatchNorm2d(STATE_CHANNELS)
        self.node = neural_ode(ConvolutionalField(STATE_CHANNELS, config.hidden), config)
        self.reduce = nn.Conv2d(STATE_CHANNELS, 1, KERNEL, padding=PADDING)
        self.readout = nn.Linear(SIDE * SIDE, CLASSES)
        for layer in (self.augment, self.reduce, self.readout):  # as the published code's library starts them
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.to(config.device, PRECISIONS[config.precision])

    @property
    def field(self) -> ConvolutionalField:
        """The vector field."""
        assert isinstance(self.node.field, ConvolutionalField)
        return self.node.field

    def initial_state(self, images: Tensor) -> Tensor:
        """The images and what a convolution makes of them, on one scale. Shape (batch, 8, 32, 32)."""
        return self.norm(torch.cat([images, self.augment(images)], dim=1))

    def forward(self, images: Tensor) -> tuple[Tensor, Solution]:
        """Logits and the solution behind them; in training mode the running statistics move.

        Args:
            images: Shape (batch, 3, 32, 32), normalized intensities (dimensionless).
        Returns:
            logits: Shape (batch, 10), dimensionless.
            solution: with the solver's record of its steps, and in training mode with the penalties.
        """
        start = self.initial_state(images)
        if self.training:
            self.field.observe()
        state, solution = self.node(start)
        if self.training:
            # The evaluations of the solve come first, those of a local regularizer's fresh step after them.
            self.field.move_statistics(solution.stats.nfe - solution.stats.local_nfe)
        return self.readout(gelu(self.reduce(state)).flatten(start_dim=1)), solution


def run(config: Cifar10ODEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm, or what brings the data, is not installed.
        FileNotFoundError: the images are neither on this machine nor to be had.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    return image_ode.run_classifier(
        EXPERIMENT,
        config,
        images_of(config),
        lambda: build(config),
        evaluation_images=EVALUATION_IMAGES,
        checkpoint=checkpoint,
    )


def train_classifier(
    config: Cifar10ODEConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[EpochReport], None] | None = None,
) -> tuple[ConvolutionalClassifier, RunRecord]:
    """Train one classifier as configured; returns, reports and raises as `train_and_record`."""
    return image_ode.train_classifier(
        EXPERIMENT,
        config,
        images_of(config),
        lambda: build(config),
        evaluation_images=EVALUATION_IMAGES,
        checkpoint=checkpoint,
        report=report,
    )


def build(config: Cifar10ODEConfig) -> ConvolutionalClassifier:
    """The classifier before training."""
    return ConvolutionalClassifier(config)


def images_of(config: Cifar10ODEConfig) -> LabelledImages:
    """The images that a configuration asks for, normalized, on its device; raises as `run`."""
    check_device(config.device)
    dtype = PRECISIONS[config.precision]
    if config.data == "cifar10":
        images = load_cifar10(Path(config.data_dir) if config.data_dir else None, dtype=dtype)
    else:
        images = load_photograph_patches(
            patches_per_region=config.patches_per_region, seed=config.split_seed, dtype=dtype
        )
    return normalize_colours(images).to(config.device)
