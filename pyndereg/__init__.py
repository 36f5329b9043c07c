"""Differential equations in PyTorch that keep what their solver knows, differentiable: local errors and stiffness."""

from pyndereg import functional, regularizers
from pyndereg.ivp import (
    Backprop,
    DiscreteAdjoint,
    ODEProblem,
    SaveAt,
    Solution,
    SolveFailed,
    Statistics,
    Status,
    StepRecord,
)
from pyndereg.models import EndTimeSampling, NeuralODE, fields
from pyndereg.solve import solve

__version__ = "0.1.0"

__all__ = [
    "Backprop",
    "DiscreteAdjoint",
    "EndTimeSampling",
    "NeuralODE",
    "ODEProblem",
    "SaveAt",
    "Solution",
    "SolveFailed",
    "Statistics",
    "Status",
    "StepRecord",
    "fields",
    "functional",
    "regularizers",
    "solve",
]
