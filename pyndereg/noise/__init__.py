"""Brownian paths: the noise of stochastic differential equations, as functions of time."""

from pyndereg.noise.brownian import BrownianPath
from pyndereg.noise.fixed import FixedPath
from pyndereg.noise.increments import Increments, Path

__all__ = ["BrownianPath", "FixedPath", "Increments", "Path"]
