"""The question and the answer, without numerics: problems, options, solutions, and how a solve can end."""

from pyndereg.ivp.errors import AdjointFailed, GradientRefused, SolveFailed, SolveWarning
from pyndereg.ivp.options import (
    DEFAULT_GRADIENT,
    Backprop,
    BacksolveAdjoint,
    ContinuousAdjoint,
    DiscreteAdjoint,
    ForwardSensitivity,
    GaussAdjoint,
    Gradient,
    InterpolatingAdjoint,
    QuadratureAdjoint,
    SaveAt,
    SolveOptions,
)
from pyndereg.ivp.problem import ODEProblem
from pyndereg.ivp.sde import SDEProblem
from pyndereg.ivp.solution import Solution, Statistics, StepRecord
from pyndereg.ivp.state import State, StateLayout
from pyndereg.ivp.status import Status

Problem = ODEProblem | SDEProblem

__all__ = [
    "DEFAULT_GRADIENT",
    "AdjointFailed",
    "Backprop",
    "BacksolveAdjoint",
    "ContinuousAdjoint",
    "DiscreteAdjoint",
    "ForwardSensitivity",
    "GaussAdjoint",
    "Gradient",
    "GradientRefused",
    "InterpolatingAdjoint",
    "ODEProblem",
    "Problem",
    "QuadratureAdjoint",
    "SDEProblem",
    "SaveAt",
    "Solution",
    "SolveFailed",
    "SolveOptions",
    "SolveWarning",
    "State",
    "StateLayout",
    "Statistics",
    "Status",
    "StepRecord",
]
