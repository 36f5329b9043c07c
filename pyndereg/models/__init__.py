"""Modules whose forward pass is a solve."""

from pyndereg.models.end_time import EndTimeSampling
from pyndereg.models.neural_ode import NeuralODE

__all__ = ["EndTimeSampling", "NeuralODE"]
