"""Modules whose forward pass is a solve."""

from pyndereg.models.end_time import EndTimeSampling
from pyndereg.models.latent_ode import LatentODE
from pyndereg.models.neural_ode import NeuralODE
from pyndereg.models.neural_sde import NeuralSDE

__all__ = ["EndTimeSampling", "LatentODE", "NeuralODE", "NeuralSDE"]
