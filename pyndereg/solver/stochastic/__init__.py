"""Methods for stochastic differential equations, as pure steps."""

from pyndereg.solver.stochastic.control import controller, first_step_sde
from pyndereg.solver.stochastic.methods import METHODS, Interpretation, Noise, StochasticMethod, get_method
from pyndereg.solver.stochastic.step import Field, StepFunction, StochasticStep, scaled_error

__all__ = [
    "METHODS",
    "Field",
    "Interpretation",
    "Noise",
    "StepFunction",
    "StochasticMethod",
    "StochasticStep",
    "controller",
    "first_step_sde",
    "get_method",
    "scaled_error",
]
