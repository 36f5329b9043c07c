"""Integrals along the solution: regularizers of the dynamics that ride along as further states."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pyndereg.ivp.options import SolveOptions
from pyndereg.ivp.problem import ODEProblem
from pyndereg.ivp.solution import Solution


@dataclass(frozen=True)
class RunningIntegral:
    """What running integrals have in common; pass one in `regularizers=` of a solve or of a model."""


@dataclass(frozen=True)
class TaylorDerivative(RunningIntegral):
    """Integral of the squared K-th total derivative of the state."""


@dataclass(frozen=True)
class KineticEnergy(RunningIntegral):
    """Integral of half the squared slope."""


@dataclass(frozen=True)
class JacobianFrobenius(RunningIntegral):
    """Integral of the squared Frobenius norm of the Jacobian, estimated."""


def with_integrals(
    problem: ODEProblem, options: SolveOptions, integrals: Sequence[RunningIntegral]
) -> tuple[ODEProblem, SolveOptions]:
    """The problem with the integrals as further states, which do not control the steps."""
    raise NotImplementedError


def without_integrals(solution: Solution, problem: ODEProblem, count: int) -> tuple[Solution, tuple[Tensor, ...]]:
    """The solution of the problem itself, and the integrals' values. Shape () each."""
    raise NotImplementedError
