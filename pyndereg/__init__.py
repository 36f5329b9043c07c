"""Differential equations in PyTorch that keep what their solver knows, differentiable: local errors and stiffness."""

# Before everything else, because everything else imports torch.
from pyndereg.julia_runtime import before_torch as _before_torch  # noqa: F401  # isort: skip

from pyndereg import fields, functional, regularizers
from pyndereg.ivp import (
    AdjointFailed,
    Backprop,
    BacksolveAdjoint,
    DiscreteAdjoint,
    ForwardSensitivity,
    GaussAdjoint,
    GradientRefused,
    InterpolatingAdjoint,
    ODEProblem,
    QuadratureAdjoint,
    SaveAt,
    SDEProblem,
    Solution,
    SolveFailed,
    SolveWarning,
    Statistics,
    Status,
    StepRecord,
    control,
    julia,
    norm,
)
from pyndereg.ivp.first_step import Remembered
from pyndereg.models import EndTimeSampling, LatentODE, NeuralODE, NeuralSDE
from pyndereg.noise import BrownianPath, FixedPath
from pyndereg.solve import solve

__version__ = "0.1.0"

__all__ = [
    "AdjointFailed",
    "Backprop",
    "BacksolveAdjoint",
    "BrownianPath",
    "DiscreteAdjoint",
    "EndTimeSampling",
    "FixedPath",
    "ForwardSensitivity",
    "GaussAdjoint",
    "GradientRefused",
    "InterpolatingAdjoint",
    "LatentODE",
    "NeuralODE",
    "NeuralSDE",
    "ODEProblem",
    "QuadratureAdjoint",
    "Remembered",
    "SDEProblem",
    "SaveAt",
    "Solution",
    "SolveFailed",
    "SolveWarning",
    "Statistics",
    "Status",
    "StepRecord",
    "control",
    "fields",
    "functional",
    "julia",
    "norm",
    "regularizers",
    "solve",
]
