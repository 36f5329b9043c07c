"""Step-size control of stochastic methods: the controller's constants and the first step."""

import math

import torch
from torch import Tensor

from pyndereg.solver.control import FirstStepSearch, MethodControl
from pyndereg.solver.norms import RMS, Norm, natural_sizes, size_of
from pyndereg.solver.stochastic.methods import StochasticMethod
from pyndereg.solver.stochastic.step import Field, own

# A step may grow by an eighth at most, so that few are rejected: a rejected step costs a bridge of the path, too.
QMAX = 9 / 8


def method_control(method: StochasticMethod) -> MethodControl | None:
    """What a method says of its control; None if it has no error estimate.

    The first accepted step may be followed by one that is up to 10,000 times longer, as in OrdinaryDiffEq 7, whose
    integrator StochasticDiffEq 7 shares. The errors of a method of strong order p grow as dt^(p + 1/2)
    [@burrage2004adaptive].

    Source: [@rackauckas2017adaptive]; constants of StochasticDiffEq 7.1.
    """
    order = method.controller_order
    return None if order is None else MethodControl(order + 0.5, 7 / (10 * order), 2 / (5 * order), QMAX)


def first_step_sde(
    drift: Field,
    diffusion: Field,
    t0: float,
    t1: float,
    y0: Tensor,
    order: float,
    rtol: float,
    atol: float,
    norm: Norm = RMS,
) -> float:
    """Length of the first step: `control.first_step` with the diffusion, three standard deviations wide, in the sizes.

    Args:
        drift, diffusion: f(t, y) and g(t, y); each is called twice.
        t0, t1: ends of the interval, in the problem's time units.
        y0: state at t0. Shape (..., dim), units of y.
        order: the method's `controller_order`; one half is added, as StochasticDiffEq 7.1 does.
        rtol, atol: tolerances.
        norm: that the sizes are measured by.
    Returns:
        A positive length in the problem's time units; NaN if a slope at t0 is not finite.
    Source: [@hairer1993solving] section II.4, "Starting Step Size"; as in StochasticDiffEq 7.1.
    """
    search = FirstStepSearch(t0, t1)
    scale = natural_sizes(y0, rtol, atol)
    start = y0.new_full((), t0)
    f0, g0 = own(drift(start, y0)), 3 * diffusion(start, y0).abs()
    # The larger one of |f + g| and |f - g|, where StochasticDiffEq takes it, is |f| + |g|.
    size, speed = size_of(y0 / scale, norm), _size(f0.abs(), g0, scale, norm)
    if not math.isfinite(speed):
        return math.nan
    trial = search.trial(size, speed)
    ahead = search.direction * trial
    t_trial, y_trial = y0.new_full((), t0 + ahead), torch.add(y0, f0, alpha=ahead)
    change = (drift(t_trial, y_trial) - f0).abs()
    if not change.any():
        return search.length(trial, speed, 0.0, order + 0.5)
    turn = _size(change, g0 + 3 * diffusion(t_trial, y_trial).abs(), scale, norm)
    return search.length(trial, speed, turn, order + 0.5)


def _size(drift: Tensor, diffusion: Tensor, scale: Tensor, norm: Norm) -> float:
    """Norm of the scaled sum of absolute values, of their RMS over all noises where the noise is general."""
    if diffusion.dim() == drift.dim():
        return size_of((drift + diffusion) / scale, norm)
    both = (drift.unsqueeze(-1) + diffusion) / scale.unsqueeze(-1)
    return size_of(torch.linalg.vector_norm(both, dim=-1) * both.shape[-1] ** -0.5, norm)
