"""The fresh step of the local regularizers as the textbook has it, in plain operations that autograd can follow."""

import math

import torch

from tests.solver.plain import plain_solve


def automatic_length(f, t, y, t_end, order, rtol, atol):
    """Signed length of a solve's first step from (t, y) to t_end, a number: [@hairer1993solving] section II.4."""

    def rms(x):
        return x.square().mean().sqrt().item()

    with torch.no_grad():
        direction, rest = math.copysign(1.0, t_end - t), abs(t_end - t)
        scale = atol + rtol * y.abs()
        slope = f(torch.tensor(t, dtype=y.dtype), y)
        d0, d1 = rms(y / scale), rms(slope / scale)
        trial = min(rest, 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1)
        t_trial = torch.tensor(t + direction * trial, dtype=y.dtype)
        d2 = rms((f(t_trial, y + direction * trial * slope) - slope) / scale) / trial
        return direction * min(100 * trial, (0.01 / max(d1, d2)) ** (1 / order), rest)


def fresh_step(tableau, f, t, y, dt, rtol, atol, *, constant_start):
    """Error and stiffness of one step; t and dt are constants, and with `constant_start` y and the first slope too."""
    y = y.detach() if constant_start else y
    states, slopes = [], []
    for row, c in zip(tableau.a, tableau.c, strict=True):
        state = y + dt * sum((float(a) * k for a, k in zip(row, slopes, strict=True)), torch.zeros_like(y))
        slope = f(torch.tensor(t + float(c) * dt, dtype=y.dtype), state)
        states.append(state)
        slopes.append(slope.detach() if constant_start and not slopes else slope)
    y1 = y + dt * sum(float(b) * k for b, k in zip(tableau.b, slopes, strict=True))
    difference = dt * sum(float(d) * k for d, k in zip(tableau.b_error, slopes, strict=True))
    error = (difference / (atol + rtol * torch.maximum(y.abs(), y1.abs()))).square().mean().sqrt()
    if tableau.stiffness_stages is None:
        return error, None
    p, q = tableau.stiffness_stages
    stiffness = (slopes[p] - slopes[q]).square().mean().sqrt() / (states[p] - states[q]).square().mean().sqrt()
    return error, stiffness


def state_at(solution, t, tableau, f, y0, t0, t1, rtol, atol):
    """The state at time t of a solve, by its own accepted steps taken again with one graph through all of them."""
    starts = solution.steps.t.tolist()
    again = plain_solve(tableau, f, y0, t0, t1, solution.steps.dt.tolist(), [] if t in starts else [t], rtol, atol)
    return [y0, *again.ends][starts.index(t)] if t in starts else again.saved[0]
