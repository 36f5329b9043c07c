"""The papers' latent ODE of irregular series as a configuration has it, and what it is trained by."""

import torch
from torch import Tensor, nn

from pyndereg.experiments.latent_config import LatentODEConfig
from pyndereg.experiments.ode_model import solver_options
from pyndereg.experiments.placement import PRECISIONS
from pyndereg.ivp.solution import Solution
from pyndereg.models import EndTimeSampling, LatentODE
from pyndereg.models.evidence import kl_divergence, log_likelihood, squared_error
from pyndereg.models.latent_ode import LatentSeries


class SeriesModel(nn.Module):
    """A latent ODE for series that all have the same times.

    Args:
        config: network, solver, tolerances, gradient, regularizer, end time sampling, precision and device.
        times: of the series, in [0, 1]. Shape (times,).
        features: numbers in a series at one time.
    Source: [@pal2021opening] and [@pal2023locally], the latent ODE on Physionet.
    """

    def __init__(self, config: LatentODEConfig, times: Tensor, features: int) -> None:
        super().__init__()
        self.register_buffer("times", times, persistent=False)
        self.latent_ode = LatentODE(
            features,
            latent=config.latent,
            hidden=config.hidden,
            blocks=config.blocks,
            state=config.encoder_state,
            encoder_hidden=config.encoder_hidden,
            direction=config.direction,
            first_spread=config.first_spread,
            bounded=config.bounded,
            recognition_hidden=config.recognition_hidden,
            first_deviation=config.first_deviation,
            sample_in_evaluation=config.sample_in_evaluation,
            end_time_sampling=EndTimeSampling() if config.steer else None,
            **solver_options(config),
        )
        self.to(config.device, PRECISIONS[config.precision])

    def forward(self, series: Tensor) -> tuple[LatentSeries, Solution]:
        """What the latent ODE makes of a batch, and the solution in it.

        Args:
            series: NaN where nothing was observed. Shape (batch, times, features).
        """
        latent = self.latent_ode(series, ~series.isnan(), self.times)
        return latent, latent.solution


def negative_elbo(latent: LatentSeries, series: Tensor, kl_weight: float) -> Tensor:
    """What is minimized, the regularizer aside: minus log likelihood plus weighted divergence, mean over the series.

    Args:
        series: NaN where nothing was observed. Shape (batch, times, features).
    Returns:
        Shape (), in nats.
    """
    likelihood = log_likelihood(latent.reconstruction, series, ~series.isnan())
    return (kl_weight * kl_divergence(latent.mean, latent.log_variance) - likelihood).mean()


@torch.no_grad()
def reconstruction_loss(model: SeriesModel, series: Tensor, *, batch_size: int = 512) -> float:
    """Squared error of the observed values, mean over the series; leaves the model in evaluation mode.

    Args:
        series: NaN where nothing was observed. Shape (series, times, features).
        batch_size: series per solve.
    """
    model.eval()
    batches = series.split(batch_size)
    errors = [squared_error(model(one)[0].reconstruction, one, ~one.isnan()) for one in batches]
    return torch.cat(errors).mean().item()
