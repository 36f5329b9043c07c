"""The gradients that an experiment can name."""

from pyndereg.ivp.options import (
    Backprop,
    BacksolveAdjoint,
    DiscreteAdjoint,
    ForwardSensitivity,
    GaussAdjoint,
    Gradient,
    InterpolatingAdjoint,
    QuadratureAdjoint,
)

GRADIENTS = {
    "discrete": DiscreteAdjoint(),
    "backprop": Backprop(),
    "interpolating": InterpolatingAdjoint(),
    "interpolating-checkpointing": InterpolatingAdjoint(checkpointing=True),
    "backsolve": BacksolveAdjoint(),
    "quadrature": QuadratureAdjoint(),
    "gauss": GaussAdjoint(),
    "forward": ForwardSensitivity(),
}
GRADIENT_OF_ENGINE = {"embedded": GRADIENTS["backprop"], "julia": GRADIENTS["discrete"]}  # where it is not chosen


def gradient_of(name: str, engine: str) -> Gradient:
    """The gradient of a name, or for "auto" the one that suits the engine."""
    return GRADIENT_OF_ENGINE[engine] if name == "auto" else GRADIENTS[name]
