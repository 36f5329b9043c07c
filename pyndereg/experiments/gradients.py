"""The gradients that an experiment can name."""

from pyndereg.ivp.options import (
    Backprop,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
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
}
GRADIENT_OF_ENGINE = {"embedded": GRADIENTS["backprop"], "julia": GRADIENTS["discrete"]}  # where it is not chosen
