"""Penalties made of what the solver knows about its own steps, those they are compared with, and their weights.

`error_estimate` and `stiffness_estimate` turn a `StepRecord` into one number to add to the loss. The others are values
to pass as `regularizers=` to a solve or a model, which returns their numbers as `solution.penalties`. A schedule gives
the weight for every epoch or iteration.
"""

from pyndereg.regularizers.estimates import error_estimate, stiffness_estimate
from pyndereg.regularizers.integrals import JacobianFrobenius, KineticEnergy, RunningIntegral, TaylorDerivative
from pyndereg.regularizers.local import LocalError, LocalRegularizer, LocalStiffness
from pyndereg.regularizers.schedules import Constant, Exponential

Regularizer = LocalRegularizer | RunningIntegral

__all__ = [
    "Constant",
    "Exponential",
    "JacobianFrobenius",
    "KineticEnergy",
    "LocalError",
    "LocalRegularizer",
    "LocalStiffness",
    "Regularizer",
    "RunningIntegral",
    "TaylorDerivative",
    "error_estimate",
    "stiffness_estimate",
]
