"""What the neural SDEs of the experiments share: how their layers start, and which gradients there are."""

from torch import nn

from pyndereg.experiments.gradients import GRADIENT_OF_ENGINE, GRADIENTS
from pyndereg.experiments.sde_config import SDEConfig
from pyndereg.ivp.options import Gradient


def gradient_of(config: SDEConfig) -> Gradient:
    """The configured gradient, or the one that suits the engine."""
    return GRADIENTS.get(config.gradient, GRADIENT_OF_ENGINE[config.engine])


def initialize(model: nn.Module) -> None:
    """Draw the weights of all linear layers as the published code's library does: Glorot's uniform law, biases zero.

    Torch's own start is wider in the narrow layers of the spiral and sets biases at random.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
