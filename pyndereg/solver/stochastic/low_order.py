"""One step of the methods of order 0.5 and 1: Euler–Maruyama, Heun and Milstein."""

import math

import torch
from torch import Tensor

from pyndereg.solver.stochastic.step import Field, StochasticStep, own


def euler_maruyama_step(
    drift: Field, diffusion: Field, t: float, dt: float, y: Tensor, dW: Tensor, dZ: Tensor | None = None
) -> StochasticStep:
    """y1 = y + f dt + g dW, for every noise. Arguments as in `StepFunction`, but dt may be negative.

    Source: [@kloeden1992numerical] section 10.2.
    """
    time = _time(t, y)
    y1 = torch.add(y, drift(time, y), alpha=dt) + _product(diffusion(time, y), dW)
    return StochasticStep(y1, None, None, 1, 1)


def heun_step(
    drift: Field, diffusion: Field, t: float, dt: float, y: Tensor, dW: Tensor, dZ: Tensor | None = None
) -> StochasticStep:
    """Heun's method for Stratonovich equations, for every noise: the mean of the slopes at both ends of an Euler step.

    Arguments as in `StepFunction`. dt may be negative: with the reversed path's increments the step then solves the
    same equation backward.

    Source: [@rumelin1982numerical]; as `EulerHeun` of StochasticDiffEq 7.1.
    """
    start, end = _time(t, y), _time(t + dt, y)
    f0, g0 = drift(start, y), _product(diffusion(start, y), dW)
    predicted = torch.add(y, f0, alpha=dt) + g0
    slope = torch.add(g0, f0, alpha=dt)
    slope = torch.add(slope, drift(end, predicted), alpha=dt) + _product(diffusion(end, predicted), dW)
    return StochasticStep(torch.add(y, slope, alpha=0.5), None, None, 2, 2)


def milstein_ito_step(
    drift: Field, diffusion: Field, t: float, dt: float, y: Tensor, dW: Tensor, dZ: Tensor | None = None
) -> StochasticStep:
    """Milstein's method without derivatives, y1 = y + f dt + g dW + Dg (dW^2 - dt)/2, for Itô equations.

    Dg = (g(t, y + f dt + g sqrt(dt)) - g)/sqrt(dt). Arguments as in `StepFunction`; diagonal, scalar or additive noise.

    Source: [@kloeden1992numerical] section 11.1; as `RKMil` of StochasticDiffEq 7.1.
    """
    time, root = _time(t, y), math.sqrt(dt)
    advanced = torch.add(y, drift(time, y), alpha=dt)
    g = own(diffusion(time, y))
    difference = diffusion(time, torch.add(advanced, g, alpha=root)) - g
    y1 = torch.addcmul(torch.addcmul(advanced, g, dW), difference, dW * dW - dt, value=1 / (2 * root))
    return StochasticStep(y1, None, None, 1, 2)


def milstein_stratonovich_step(
    drift: Field, diffusion: Field, t: float, dt: float, y: Tensor, dW: Tensor, dZ: Tensor | None = None
) -> StochasticStep:
    """Milstein's method without derivatives for Stratonovich equations, y1 = y + f dt + (g + g(t, y + g dW)) dW/2.

    Arguments as in `StepFunction`; diagonal, scalar or additive noise. dt may be negative, as for `heun_step`.

    The usual form, `RKMil` of StochasticDiffEq 7.1, takes the difference (g(t, y + g sqrt(dt)) - g)/sqrt(dt) times
    dW^2/2. Its second-order term has the mean g'' g^2 dt^(3/2)/4, which adds up to an error of order 0.5 unless g is
    linear. A difference along dW itself has mean zero there and keeps order 1; for linear g both are the same.

    Source: [@kloeden1992numerical] section 11.1; [@rumelin1982numerical].
    """
    time = _time(t, y)
    g = own(diffusion(time, y))
    slope = g + diffusion(time, torch.addcmul(y, g, dW))
    y1 = torch.addcmul(torch.add(y, drift(time, y), alpha=dt), slope, dW, value=0.5)
    return StochasticStep(y1, None, None, 1, 2)


def _time(t: float, y: Tensor) -> Tensor:
    return torch.full((), t, dtype=y.dtype, device=y.device)


def _product(g: Tensor, dW: Tensor) -> Tensor:
    """g dW: element by element, or the sum over the noises where g (..., dim, m) has a dimension more than dW."""
    if g.dim() == dW.dim():
        return g * dW
    return (g @ dW.unsqueeze(-1)).squeeze(-1)
