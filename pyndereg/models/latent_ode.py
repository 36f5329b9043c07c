"""A latent ordinary differential equation that reconstructs irregularly observed series."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyndereg.fields import Autonomous
from pyndereg.ivp import Solution
from pyndereg.ivp.first_step import FirstStep, of_module
from pyndereg.models.neural_ode import NeuralODE
from pyndereg.models.recurrent import Direction, SeriesEncoder
from pyndereg.numbers import at_least, positive


@dataclass(frozen=True)
class LatentSeries:
    """What a latent ODE makes of a batch of series.

    Args:
        reconstruction: Shape (batch, times, features), units of the values.
        mean, log_variance: of the latent initial state's normal law. Shape (batch, latent), dimensionless.
        solution: of the latent equation, all series in one batch with one step length.
    """

    reconstruction: Tensor
    mean: Tensor
    log_variance: Tensor
    solution: Solution


class LatentODE(nn.Module):
    """An encoder reads a series into a latent state at t0; a neural ODE carries it to all times, where it is decoded.

        state = encoder(values, mask, times)
        mean, log variance = recognition(state)
        z(t0) = mean + exp(log variance / 2) * normal noise;  dz/dt = dynamics(t, z)
        reconstruction(t) = decoder(z(t))

    Recognition has one hidden layer of tanh; the dynamics are tanh(z) followed by `blocks` pairs of layers of tanh, up
    to `hidden` and back down to `latent`; the decoder is linear. The defaults are the architecture of
    [@pal2021opening]; hidden=40, direction="forward", first_spread=1, bounded=True and sample_in_evaluation=False make
    that of [@pal2023locally]. Mistakes of the published codes that are not repeated: see `SeriesEncoder` and
    `log_likelihood`; and where save times are drawn at random, the encoder is told the times of the observations.

    Args:
        features: numbers in a series at one time.
        latent: size of the latent state.
        hidden, blocks: width of the dynamics' wide layers, and how many pairs of a wide and a narrow one there are.
        state, encoder_hidden, direction, first_spread, bounded: of the `SeriesEncoder`.
        recognition_hidden: width of the hidden layer between encoder and latent state.
        first_deviation: about the standard deviation of the latent state before training. At the published 1 the noise
            hides at first what the mean says of a series, and it takes many updates to come out.
        sample_in_evaluation: whether the latent state is drawn in evaluation too; else it is then the mean.
        dynamics: the field, a module called as `dynamics(t, z)`, in place of the one above.
        t0, t1: ends of the interval, in the unit of the times, which lie inside.
        first_step: `"remembered"` (default): each training solve starts with the length that the last one could have
            started with, and one in evaluation mode or without gradients with what training remembered, which belongs
            to the `state_dict`;
            `"search"`, a length or a `Remembered(...)`: see `pyndereg.solve`. With `dt` given, that is the start.
        options: of the `NeuralODE`, `saveat` aside: method, rtol, atol, gradient, engine, regularizers, and
            end_time_sampling=EndTimeSampling() for random save times in training.
    Source: [@rubanova2019latent], with the solver's estimates as penalties [@pal2021opening].
    """

    def __init__(
        self,
        features: int,
        *,
        latent: int = 20,
        hidden: int = 50,
        blocks: int = 4,
        state: int = 50,
        encoder_hidden: int = 40,
        direction: Direction = "backward",
        first_spread: float = 0.0,
        bounded: bool = False,
        recognition_hidden: int = 50,
        first_deviation: float = 1.0,
        sample_in_evaluation: bool = True,
        dynamics: nn.Module | None = None,
        t0: float = 0.0,
        t1: float = 1.0,
        first_step: FirstStep = "remembered",
        **options: Any,
    ) -> None:
        super().__init__()
        if "saveat" in options:
            raise TypeError("saveat is the times of the series; pass them to forward instead")
        first_deviation = positive(first_deviation, "first_deviation")
        features, latent, hidden, blocks, state, encoder_hidden, recognition_hidden = (
            at_least(size, least, name)
            for name, size, least in (
                ("features", features, 1),
                ("latent", latent, 1),
                ("hidden", hidden, 1),
                ("blocks", blocks, 0),
                ("state", state, 1),
                ("encoder_hidden", encoder_hidden, 1),
                ("recognition_hidden", recognition_hidden, 1),
            )
        )
        self.encoder = SeriesEncoder(
            features,
            state=state,
            hidden=encoder_hidden,
            direction=direction,
            first_spread=first_spread,
            bounded=bounded,
        )
        law = nn.Linear(recognition_hidden, 2 * latent)
        self.recognition = nn.Sequential(nn.Linear(2 * state, recognition_hidden), nn.Tanh(), law)
        self.dynamics = _tanh_field(latent, hidden, blocks) if dynamics is None else dynamics
        self.decoder = nn.Linear(latent, features)
        for module in (self.encoder, self.recognition, self.decoder):
            _initialize(module)
        nn.init.constant_(law.bias[latent:], 2.0 * math.log(first_deviation))
        self.sample_in_evaluation = sample_in_evaluation
        self.first_step = of_module(first_step, options)
        self.options = {"t0": t0, "t1": t1, **options}

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> LatentSeries:
        """Encode, solve and decode a batch of series that share their times.

        Args:
            values: what was observed; anything, even NaN, where nothing was. Shape (batch, times, features).
            mask: nonzero where a value was observed. Shape (batch, times, features).
            times: ascending, within [t0, t1]. Shape (times,).
        Raises:
            ValueError: shapes do not fit, or the times are not ascending within [t0, t1].
            SolveFailed: the solve ended badly.
        """
        self._check_shapes(values, mask, times)
        mean, log_variance = self.recognition(self.encoder(values, mask, times)).chunk(2, dim=-1)
        start = mean
        if self.training or self.sample_in_evaluation:
            start = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        # Times belong to the data, not to the model, hence a layer for these times.
        layer = NeuralODE(self.dynamics, saveat=times, first_step=self.first_step, **self.options)
        layer.train(self.training)
        states, solution = layer(start)
        assert isinstance(states, Tensor)
        return LatentSeries(self.decoder(states).transpose(0, 1), mean, log_variance, solution)

    def extra_repr(self) -> str:
        """The options of the solve, for printing."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())

    def _check_shapes(self, values: Tensor, mask: Tensor, times: Tensor) -> None:
        expected = (*values.shape[:1], times.numel(), self.encoder.features)
        if times.ndim != 1 or values.shape != expected or mask.shape != expected:
            raise ValueError(
                f"values, mask and times have shapes {tuple(values.shape)}, {tuple(mask.shape)} and "
                f"{tuple(times.shape)}; pass (batch, times, {self.encoder.features}) twice and (times,)"
            )


def _tanh_field(latent: int, hidden: int, blocks: int) -> Autonomous:
    """The papers' right-hand side, of tanh layers only, which does not see time."""
    layers: list[nn.Module] = [nn.Tanh()]
    for _ in range(blocks):
        layers += [nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, latent), nn.Tanh()]
    field = Autonomous(nn.Sequential(*layers))
    _initialize(field)
    return field


def _initialize(module: nn.Module) -> None:
    """Start linear layers as the papers' code does: Glorot-uniform weights, biases at zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
