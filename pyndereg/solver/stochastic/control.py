"""Step-size control of stochastic methods: the controller's constants and the first step."""

import math

import torch
from torch import Tensor

from pyndereg.solver.control import PIController
from pyndereg.solver.norms import rms
from pyndereg.solver.stochastic.methods import StochasticMethod
from pyndereg.solver.stochastic.step import Field

# A step may grow by an eighth at most, so that few are rejected: a rejected step costs a bridge of the path, too.
QMAX = 9 / 8


def controller(method: StochasticMethod) -> PIController:
    """The controller of a method with an error estimate.

    The first accepted step may be followed by one that is up to 10,000 times longer, as in OrdinaryDiffEq 7, whose
    integrator StochasticDiffEq 7 shares.

    Source: [@rackauckas2017adaptive]; constants of StochasticDiffEq 7.1.
    """
    assert method.controller_order is not None
    return PIController(7 / (10 * method.controller_order), 2 / (5 * method.controller_order), qmax=QMAX)


def first_step_sde(
    drift: Field,
    diffusion: Field,
    t0: float,
    t1: float,
    y0: Tensor,
    order: float,
    rtol: float,
    atol: float,
) -> float:
    """Length of the first step: `control.first_step` with the diffusion, three standard deviations wide, in the sizes.

    Args:
        drift, diffusion: f(t, y) and g(t, y); each is called twice.
        t0, t1: ends of the interval, in the problem's time units.
        y0: state at t0. Shape (..., dim), units of y.
        order: the method's `controller_order`; one half is added, as StochasticDiffEq 7.1 does.
        rtol, atol: tolerances.
    Returns:
        A positive length in the problem's time units; NaN if a slope at t0 is not finite.
    Source: [@hairer1993solving] section II.4, "Starting Step Size"; as in StochasticDiffEq 7.1.
    """
    direction, longest = math.copysign(1.0, t1 - t0), abs(t1 - t0)
    shortest = math.nextafter(math.ulp(t0), math.inf)
    small = max(shortest, 1e-6)
    scale = torch.add(y0.new_full((), atol), y0.abs(), alpha=rtol)
    start = y0.new_full((), t0)
    f0, g0 = drift(start, y0), 3 * diffusion(start, y0).abs()
    # The larger one of |f + g| and |f - g|, where StochasticDiffEq takes it, is |f| + |g|.
    size, speed = torch.stack([rms(y0 / scale), _size(f0.abs(), g0, scale)]).tolist()
    if not math.isfinite(speed):
        return math.nan
    trial = min(small if size < 1e-5 or speed < 1e-5 else size / speed / 100, longest)
    t_trial, y_trial = y0.new_full((), t0 + direction * trial), torch.add(y0, f0, alpha=direction * trial)
    change = (drift(t_trial, y_trial) - f0).abs()
    if not change.any():
        return max(shortest, 100 * trial)
    curvature = _size(change, g0 + 3 * diffusion(t_trial, y_trial).abs(), scale).item() / trial
    if not math.isfinite(curvature):
        return max(shortest, trial * 1e-3)
    steepest = max(speed, curvature)
    guess = max(small, trial * 1e-3) if steepest <= 1e-15 else 10.0 ** (-(2 + math.log10(steepest)) / (order + 0.5))
    return max(shortest, min(100 * trial, guess, longest))


def _size(drift: Tensor, diffusion: Tensor, scale: Tensor) -> Tensor:
    """RMS of the scaled sum of absolute values, over all noises where the noise is general. -> ()."""
    if diffusion.dim() > drift.dim():
        drift, scale = drift.unsqueeze(-1), scale.unsqueeze(-1)
    return rms((drift + diffusion) / scale)
