"""The optimizers of the experiments, and how their step sizes change."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from pyndereg.experiments.config import ODEConfig

MOMENTUM = 0.9


def make_optimizer(model: nn.Module, config: ODEConfig) -> torch.optim.Optimizer:
    """The configured optimizer over all parameters of a model."""
    parameters, rate = model.parameters(), config.learning_rate
    if config.optimizer == "momentum":
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM)
    if config.optimizer == "adamax":
        return torch.optim.Adamax(parameters, lr=rate)
    return torch.optim.Adam(parameters, lr=rate)


def make_schedule(optimizer: torch.optim.Optimizer, config: ODEConfig, updates: int) -> LambdaLR:
    """The configured change of the step size, to be moved on after every update.

    Args:
        optimizer: whose step size changes.
        config: the schedule and its numbers.
        updates: in the whole training.
    """
    if config.learning_rate_schedule == "inverse":
        decay = config.learning_rate_decay
        return LambdaLR(optimizer, lambda update: 1.0 / (1.0 + decay * update))
    if config.learning_rate_schedule == "cosine":
        end = config.learning_rate_end / config.learning_rate

        def cosine(update: int) -> float:
            return end + (1.0 - end) * (1.0 + math.cos(math.pi * min(update / updates, 1.0))) / 2.0

        return LambdaLR(optimizer, cosine)
    return LambdaLR(optimizer, lambda _: 1.0)
