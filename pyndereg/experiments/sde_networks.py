"""What the neural SDEs of the experiments share: how their layers start, and which gradients there are."""

from torch import nn


def initialize(model: nn.Module) -> None:
    """Draw the weights of all linear layers as the published code's library does: Glorot's uniform law, biases zero.

    Torch's own start is wider in the narrow layers of the spiral and sets biases at random.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
