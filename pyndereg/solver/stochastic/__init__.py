"""Methods for stochastic differential equations, as pure steps."""

from pyndereg.solver.stochastic.control import first_step_sde, method_control
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
    "first_step_sde",
    "get_method",
    "method_control",
    "scaled_error",
]
