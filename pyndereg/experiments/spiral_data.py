"""Mean and variance of a stochastic spiral: the data of the spiral experiment."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.ivp import SDEProblem
from pyndereg.solve import solve

START = (2.0, 0.0)
POINTS = 30
TIMES = tuple(place / (POINTS - 1) for place in range(POINTS))
DAMPING, ROTATION, VOLATILITY = 0.1, 2.0, 0.2
# With a tenth of this tolerance, mean and variance change by less than a tenth of their sampling error.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a process at the times of the data.

    Args:
        mean: Shape (times, dim), units of u.
        variance: Shape (times, dim), units of u squared.
    """

    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, states: Tensor) -> "Moments":
        """Sample mean and unbiased sample variance over trajectories. states: Shape (times, trajectories, dim)."""
        return cls(states.mean(dim=1), states.var(dim=1))

    def distance(self, other: "Moments") -> Tensor:
        """Mean squared difference of the means plus that of the variances. Shape (), dimensionless.

        Source: [@pal2021opening], the spiral's loss; its code averages where the paper sums.
        """
        return (self.mean - other.mean).square().mean() + (self.variance - other.variance).square().mean()


@torch.no_grad()
def spiral_moments(*, trajectories: int, seed: int) -> Moments:
    """Moments of du = A u^3 dt + 0.2 u dW, u^3 and u dW element by element, from u = (2, 0), over one unit of time.

    A = [-0.1 -2; 2 -0.1], in the signs of the published data; the paper prints those of the other sense of rotation.

    Args:
        trajectories: how many are solved, as one batch with one step length.
        seed: of their Brownian motion.
    Returns:
        Moments at 30 uniform times, in float64.
    Source: [@pal2021opening], the spiral experiment.
    """
    start = torch.tensor(START, dtype=torch.float64).expand(trajectories, -1)
    problem = SDEProblem(spiral_drift, _diffusion, start, 0.0, 1.0, seed=seed)
    states = solve(problem, "sosri", rtol=TOLERANCE, atol=TOLERANCE, saveat=TIMES).y
    assert isinstance(states, Tensor)
    return Moments.of(states)


def spiral_drift(t: Tensor, u: Tensor) -> Tensor:
    """du/dt of the spiral, element by element cubic. t (), u (..., 2) -> (..., 2), units of u per unit of time."""
    first, second = u.pow(3).unbind(dim=-1)
    return torch.stack([-DAMPING * first - ROTATION * second, ROTATION * first - DAMPING * second], dim=-1)


def _diffusion(t: Tensor, u: Tensor) -> Tensor:
    return VOLATILITY * u
