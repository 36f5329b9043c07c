"""Runge–Kutta solves written down as the textbook has them, in plain operations that autograd can follow.

They share nothing with the solver but the tables, and define what its steps and gradients have to be.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class PlainStep:
    """One step by the sums of the textbook, in NumPy. Shapes as in `plain_step`."""

    slopes: list
    states: list
    y1: np.ndarray
    scaled_error: float | None
    stiffness: dict[str, float] | None


def plain_step(tableau, f, t, y, dt, rtol, atol) -> PlainStep:
    """k_i = f(t + c_i dt, y + dt sum_j a_ij k_j), y1 = y + dt sum_i b_i k_i, error and stiffness."""
    slopes, states = [], []
    for row, c in zip(tableau.a, tableau.c, strict=True):
        state = y + dt * sum((float(a) * k for a, k in zip(row, slopes, strict=True)), np.zeros_like(y))
        states.append(state)
        slopes.append(f(t + float(c) * dt, state))
    y1 = y + dt * sum(float(b) * k for b, k in zip(tableau.b, slopes, strict=True))
    error = stiffness = None
    if tableau.b_error is not None:
        difference = dt * sum(float(b) * k for b, k in zip(tableau.b_error, slopes, strict=True))
        scale = atol + rtol * np.maximum(np.abs(y), np.abs(y1))
        error = float(np.sqrt(np.mean((difference / scale) ** 2)))
    if tableau.stiffness_stages is not None:
        p, q = tableau.stiffness_stages
        dk, dy = slopes[p] - slopes[q], states[p] - states[q]
        stiffness = {
            "rms": float(np.sqrt(np.mean(dk**2)) / np.sqrt(np.mean(dy**2))),
            "max": float(np.max(np.abs(dk / dy))),
        }
    return PlainStep(slopes, states, y1, error, stiffness)


@dataclass(frozen=True)
class PlainSolution:
    """States and estimates of a whole solve; everything carries gradients."""

    y1: torch.Tensor
    ends: list[torch.Tensor]
    saved: torch.Tensor
    scaled_error: torch.Tensor | None
    stiffness: dict[str, torch.Tensor] | None


def plain_solve(tableau, f, y0, t0, t1, dts, saveat, rtol, atol) -> PlainSolution:
    """Take steps of the given lengths; they are constants, but the last step ends at t1.

    Args:
        dts: signed lengths of the steps, numbers.
        saveat: times strictly inside steps, numbers; interpolated at theta = (time - t) / dt.
    """
    y, t = y0, torch.as_tensor(t0, dtype=y0.dtype)
    t1 = torch.as_tensor(t1, dtype=y0.dtype)
    pending, ends, saved, errors, stiffness = list(saveat), [], [], [], {"rms": [], "max": []}
    for i, length in enumerate(dts):
        dt = t1 - t if i == len(dts) - 1 else length
        states, slopes = [], []
        for row, c in zip(tableau.nodes_a, tableau.nodes_c, strict=True):
            state = y + dt * sum((float(a) * k for a, k in zip(row, slopes, strict=False)), torch.zeros_like(y))
            states.append(state)
            slopes.append(f(t + float(c) * dt, state))
        y1 = states[tableau.end]
        while pending and abs(pending[0] - t.item()) < abs(dt if isinstance(dt, float) else dt.item()):
            theta = (pending.pop(0) - t) / dt
            weights = [
                sum(float(entry) * theta**power for power, entry in enumerate(row, start=1))
                for row in tableau.interpolant.weights
            ]
            saved.append(y + dt * sum(weight * k for weight, k in zip(weights, slopes, strict=True)))
        if tableau.b_error is not None:
            difference = dt * sum(float(b) * k for b, k in zip(tableau.b_error, slopes, strict=False))
            errors.append((difference / (atol + rtol * torch.maximum(y.abs(), y1.abs()))).square().mean().sqrt())
        if tableau.stiffness_stages is not None:
            p, q = tableau.stiffness_stages
            dk, dy = slopes[p] - slopes[q], states[p] - states[q]
            stiffness["rms"].append(dk.square().mean().sqrt() / dy.square().mean().sqrt())
            stiffness["max"].append((dk / dy).abs().max())
        y, t = y1, t + dt
        ends.append(y)
    return PlainSolution(
        y1=y,
        ends=ends,
        saved=torch.stack(saved) if saved else y.new_empty(0, *y.shape),
        scaled_error=torch.stack(errors) if errors else None,
        stiffness={name: torch.stack(values) for name, values in stiffness.items()} if stiffness["rms"] else None,
    )
