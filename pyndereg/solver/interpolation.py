"""Continuous extension of steps: weights, save points, dense output."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyndereg.ivp import State, StateLayout
from pyndereg.ivp.copies import detached
from pyndereg.numbers import onto_interval


def extension_weights(weights: Tensor, theta: Tensor, like: Tensor) -> Tensor:
    """The polynomials b_i(theta) of a continuous extension.

    Args:
        weights: coefficients of theta, theta^2, ... Shape (nodes, degree), float64 on the CPU.
        theta: fractions of the step, 0 at its start and 1 at its end. Shape (points,), float64 on the CPU.
        like: a tensor of the dtype and on the device of the result.
    Returns:
        Shape (points, nodes), dimensionless.
    """
    powers = theta[:, None] ** torch.arange(1, weights.shape[1] + 1, dtype=torch.float64, device="cpu")
    return (powers @ weights.t()).to(device=like.device, dtype=like.dtype)


def extension_slopes(weights: Tensor, theta: Tensor, like: Tensor) -> Tensor:
    """The derivatives b_i'(theta); arguments and result as in `extension_weights`."""
    exponents = torch.arange(weights.shape[1], dtype=torch.float64, device="cpu")
    powers = theta[:, None] ** exponents * (exponents + 1)
    return (powers @ weights.t()).to(device=like.device, dtype=like.dtype)


def interpolate(weights: Tensor, y0: Tensor, slopes: Tensor, dt: float) -> Tensor:
    """States inside one step.

    Args:
        weights: b_i at each point. Shape (points, nodes).
        y0: state at the start. Shape (size,), units of y.
        slopes: of all nodes. Shape (nodes, size), units of y per time.
        dt: signed length, in the problem's time units.
    Returns:
        Shape (points, size).
    """
    return torch.addmm(y0.expand(weights.shape[0], -1), weights, slopes, alpha=dt)


def check_inside(t: Tensor, t0: float, t_reached: float) -> Tensor:
    """Times at which a solution is known; those that pass an end by no more than rounding are that end.

    Raises:
        ValueError: one of the times (times,) is not between the two, or NaN.
    """
    low, high = min(t0, t_reached), max(t0, t_reached)
    is_outside = (t < low) | (t > high) | t.isnan()
    if not bool(is_outside.any()):
        return t
    t = t.new_tensor([onto_interval(time, low, high) for time in t.tolist()])
    outside = t[(t < low) | (t > high) | t.isnan()]
    if outside.numel() > 0:
        raise ValueError(f"t={outside[0].item():g} lies outside [{low:g}, {high:g}], where the solution is known")
    return t


@dataclass(frozen=True)
class DenseOutput:
    """The continuous extension of a whole solution.

    Attributes:
        layout: of the state.
        weights: of the interpolant. Shape (nodes, degree).
        t: start of every step and the end of the last one, in the problem's time units; float64 on the CPU, monotone,
            with a gradient where t0 or t1 has one. Shape (steps + 1,).
        dt: signed lengths; constants but for the last one, which ends at t1. Shape (steps,), like `t`.
        y: states at the start of every step. Shape (steps, size).
        slopes: of every node of every step. Shape (steps, nodes, size).
    """

    layout: StateLayout
    weights: Tensor
    t: Tensor
    dt: Tensor
    y: Tensor
    slopes: Tensor
    is_smooth_in_time: ClassVar[bool] = True

    def without_f(self) -> "DenseOutput":
        """The same without graphs, which can be pickled."""
        return detached(self)

    def __call__(self, t: Tensor) -> State:
        """The state at times of any shape (float64, CPU), all within the solved interval. -> (*t.shape, *state)."""
        ends = self.t.detach()
        moving = t.reshape(-1) - t.detach().reshape(-1)
        flat = check_inside(t.detach().reshape(-1), ends[0].item(), ends[-1].item())
        direction = torch.sign(ends[-1] - ends[0])
        index = torch.searchsorted((direction * ends).contiguous(), (direction * flat).contiguous(), right=True) - 1
        index = index.clamp(0, self.dt.shape[0] - 1)
        dt = self.dt[index]
        weights = extension_weights(self.weights, (flat + moving - self.t[index]) / dt, self.y)
        where = index.to(self.y.device)
        y = self.y[where] + torch.einsum("pn,pns->ps", weights * dt.to(weights)[:, None], self.slopes[where])
        return self.layout.unflatten(y.reshape((*t.shape, self.layout.size)))
