"""Penalties made of what the solver knows about its own steps, and schedules for their weights.

`error_estimate` and `stiffness_estimate` turn a `StepRecord` into one number to add to the loss, with a weight that a
schedule gives for every epoch or iteration.
"""

from pyndereg.regularizers.estimates import error_estimate, stiffness_estimate
from pyndereg.regularizers.schedules import Constant, Exponential

__all__ = ["Constant", "Exponential", "error_estimate", "stiffness_estimate"]
