"""The parts of a latent variable model's evidence lower bound (ELBO), for series of which some values are missing."""

import math
from dataclasses import dataclass

from torch import Tensor

OBSERVATION_DEVIATION = 0.01  # standard deviation of the observations, as in the papers, for values within [0, 1]


def log_likelihood(
    reconstruction: Tensor, values: Tensor, mask: Tensor, *, deviation: float = OBSERVATION_DEVIATION
) -> Tensor:
    """Log density of the observed values under independent normal laws around a reconstruction, mean over the values.

    The published code adds the constants of the density for unobserved values as well, which moves its value but not
    its gradient.

    Args:
        reconstruction: means of the normal laws. Shape (batch, times, features).
        values: anything, even NaN, where nothing was observed. Same shape and units.
        mask: nonzero where a value was observed. Same shape.
        deviation: standard deviation of the normal laws, units of the values.
    Returns:
        Shape (batch,), in nats per value; 0 for a series without any.
    Source: [@rubanova2019latent]; normalized per value as in the code of [@pal2021opening].
    """
    constant = math.log(deviation) + 0.5 * math.log(2.0 * math.pi)
    seen = mask != 0
    density = -0.5 * (_difference(reconstruction, values, seen) / deviation).square() - constant
    return _mean_of_seen(density, seen)


def squared_error(reconstruction: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the observed values of the squared difference; the loss that the papers report, times 1,000.

    Args:
        reconstruction, values, mask: as in `log_likelihood`.
    Returns:
        Shape (batch,), units of the values squared; 0 for a series without any.
    Source: [@pal2021opening], the loss on Physionet.
    """
    seen = mask != 0
    return _mean_of_seen(_difference(reconstruction, values, seen).square(), seen)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal laws from the standard one, mean over the latent variables.

    Args:
        mean, log_variance: of independent latent variables. Shape (batch, latent), dimensionless.
    Returns:
        Shape (batch,), in nats per latent variable.
    Source: [@kingma2014auto] appendix B, whose sum over the variables is a mean in the code of [@pal2021opening].
    """
    return 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).mean(dim=-1)


@dataclass(frozen=True)
class Annealing:
    """A weight that is 0 up to some step and then goes to 1: max(0, 1 - rate^(step - first)).

    Args:
        rate: within (0, 1); 0.99 in the papers.
        first: the last step of weight 0.
    Source: [@rubanova2019latent], weight of the divergence.
    """

    rate: float = 0.99
    first: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"rate is {self.rate}; pass a number above 0 and below 1")

    def __call__(self, step: int) -> float:
        """The weight at a step of training, counted from 0."""
        # From before the first step on, the power is above 1, and would overflow long before.
        return 1.0 - self.rate ** (step - self.first) if step > self.first else 0.0


def _difference(reconstruction: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """Reconstruction minus value where there is one, else 0; no gradient comes from elsewhere."""
    return (reconstruction - values.where(seen, 0.0)).where(seen, 0.0)


def _mean_of_seen(terms: Tensor, seen: Tensor) -> Tensor:
    """Mean over the times and features that were observed. Shape (batch,)."""
    return terms.where(seen, 0.0).sum(dim=(1, 2)) / seen.sum(dim=(1, 2)).clamp(min=1)
