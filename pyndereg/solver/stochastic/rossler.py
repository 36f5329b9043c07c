"""One step of Rößler's stochastic Runge–Kutta methods, its error estimate and its stiffness stages."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pyndereg.solver.combination import weights_tensor
from pyndereg.solver.stochastic.step import Field, StochasticStep
from pyndereg.solver.stochastic.tableau import RosslerTableau
from pyndereg.solver.tableau import Row


class Coefficients(NamedTuple):
    """A tableau's numbers in the forms that a step uses.

    Attributes:
        a0, b0, a1, b1: rows; a1 and b1 are empty for additive noise.
        nodes: c0 and c1, one after the other. Shape (drift stages + diffusion stages,).
        drift_weights: alpha, and delta for every stage. Shape (2, drift stages).
        betas: see `RosslerTableau.betas`. Shape (2 or 4, diffusion stages).
    """

    a0: tuple[tuple[float, ...], ...]
    b0: tuple[tuple[float, ...], ...]
    a1: tuple[tuple[float, ...], ...]
    b1: tuple[tuple[float, ...], ...]
    nodes: Tensor
    drift_weights: Tensor
    betas: Tensor


@lru_cache(maxsize=64)
def coefficients(tableau: RosslerTableau, dtype: torch.dtype, device: torch.device) -> Coefficients:
    """The coefficients of a tableau; made once for each dtype and device."""

    def tensor(*rows: Row) -> Tensor:
        return weights_tensor(tuple(float(entry) for row in rows for entry in row), dtype, device)

    def numbers(rows: tuple[Row, ...] | None) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(entry) for entry in row) for row in rows or ())

    drift, diffusion = tableau.drift_stages, tableau.diffusion_stages
    with torch.inference_mode(False):
        return Coefficients(
            *(numbers(rows) for rows in (tableau.a0, tableau.b0, tableau.a1, tableau.b1)),
            nodes=tensor(tableau.c0, tableau.c1),
            drift_weights=tensor(tableau.alpha, (tableau.delta,) * drift).view(2, drift),
            betas=tensor(*tableau.betas).view(-1, diffusion),
        )


def rossler_step(
    tableau: RosslerTableau,
    drift: Field,
    diffusion: Field,
    t: float,
    dt: float,
    y: Tensor,
    dW: Tensor,
    dZ: Tensor | None,
) -> StochasticStep:
    """One step of length dt > 0; the other arguments as in `StepFunction`. Diagonal, scalar or additive noise.

    The error estimate is delta E1 + E2: the sum E1 of all drift slopes times dt, and the part E2 of the step that
    belongs to chi2 and chi3.

    Source: [@rossler2010runge]; error estimate [@rackauckas2017adaptive], as in StochasticDiffEq 7.1.
    """
    assert dZ is not None
    numbers = coefficients(tableau, y.dtype, y.device)
    times = torch.add(torch.full((), t, dtype=y.dtype, device=y.device), numbers.nodes, alpha=dt).unbind()
    drift_times, diffusion_times = times[: tableau.drift_stages], times[tableau.drift_stages :]
    integrals = iterated_integrals(dt, dW, dZ, tableau.is_additive)
    chi2 = integrals[len(integrals) // 2]
    states: list[Tensor] = []
    f: list[Tensor] = []
    g: list[Tensor] = []
    for i in range(tableau.diffusion_stages):
        H1 = y
        if not tableau.is_additive:
            H1 = _combine(_combine(y, dt, numbers.a1[i], f), math.sqrt(dt), numbers.b1[i], g)
        if i < tableau.drift_stages:
            H0 = _with_noise(_combine(y, dt, numbers.a0[i], f), chi2, numbers.b0[i], g)
            states.append(H0)
            f.append(drift(drift_times[i], H0))
        g.append(diffusion(diffusion_times[i], H1))
    advance, E1 = (torch.tensordot(numbers.drift_weights, torch.stack(f), 1) * dt).unbind()
    noise = torch.tensordot(numbers.betas, torch.stack(g), 1) * torch.stack(integrals)
    martingale, E2 = noise.unflatten(0, (2, -1)).sum(1).unbind()
    pair = None
    if tableau.stiffness_stages is not None:
        p, q = tableau.stiffness_stages
        pair = (f[p] - f[q], states[p] - states[q])
    return StochasticStep(y + advance + martingale + E2, E1 + E2, pair, len(f), len(g))


def iterated_integrals(dt: float, dW: Tensor, dZ: Tensor, additive: bool) -> tuple[Tensor, ...]:
    """Scaled iterated Itô integrals of a step: (dW, chi1, chi2, chi3), or (dW, chi2) for additive noise.

    chi1 = I(1,1)/sqrt(dt), chi2 = I(1,0)/dt and chi3 = I(1,1,1)/dt. Shapes and units as dW, sqrt(time).

    Source: [@rossler2010runge]; [@kloeden1992numerical] section 5.2.
    """
    chi2 = torch.add(dW, dZ, alpha=1 / math.sqrt(3)) / 2
    if additive:
        return dW, chi2
    square = dW * dW
    chi1 = (square - dt) / (2 * math.sqrt(dt))
    chi3 = dW * (square - 3 * dt) / (6 * dt)
    return dW, chi1, chi2, chi3


def _combine(base: Tensor, scale: float, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """base + scale sum_j w_j k_j, over as many slopes as there are weights."""
    for weight, slope in zip(weights, slopes, strict=False):
        if weight != 0.0:
            base = torch.add(base, slope, alpha=scale * weight)
    return base


def _with_noise(base: Tensor, chi: Tensor, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """base + chi sum_j w_j k_j."""
    terms = [(weight, slope) for weight, slope in zip(weights, slopes, strict=False) if weight != 0.0]
    if not terms:
        return base
    (first, total), *others = terms
    for weight, slope in others:
        total = torch.add(total, slope, alpha=weight / first)
    return torch.addcmul(base, chi, total, value=first)
