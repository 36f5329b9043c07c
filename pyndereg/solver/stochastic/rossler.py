"""One step of Rößler's stochastic Runge–Kutta methods, its error estimate and its stiffness stages."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pyndereg.solver.combination import weights_tensor
from pyndereg.solver.stochastic.step import Field, StochasticStep, own
from pyndereg.solver.stochastic.tableau import RosslerTableau
from pyndereg.solver.tableau import Row

# The weights of a sum that are not zero, each with the index of what it multiplies.
Terms = tuple[tuple[int, float], ...]


class Coefficients(NamedTuple):
    """A tableau's numbers in the forms that a step uses.

    Attributes:
        nodes: c0 and c1, one after the other. Shape (drift stages + diffusion stages,).
        a0, b0, a1, b1, alpha: rows of the tableau; a1 and b1 are empty rows for additive noise.
        delta: weights of the drift slopes in the error estimate.
        noise_weights: weights of the scaled integrals in the factor of each g, in the step and in its error estimate.
            Shape (2 diffusion stages, 4), or (2 diffusion stages, 2) for additive noise.
    """

    nodes: Tensor
    a0: tuple[Terms, ...]
    b0: tuple[Terms, ...]
    a1: tuple[Terms, ...]
    b1: tuple[Terms, ...]
    alpha: Terms
    delta: Terms
    noise_weights: Tensor


@lru_cache(maxsize=64)
def coefficients(tableau: RosslerTableau, dtype: torch.dtype, device: torch.device) -> Coefficients:
    """The coefficients of a tableau; made once for each dtype and device."""

    def tensor(rows: Iterable[Row]) -> Tensor:
        return weights_tensor(tuple(float(entry) for row in rows for entry in row), dtype, device)

    half, none = len(tableau.betas) // 2, ((),) * tableau.diffusion_stages
    # The error estimate has the second half of the integrals; the step has all.
    per_slope = tuple(zip(*tableau.betas, strict=True))
    error = tuple((0,) * half + row[half:] for row in per_slope)
    with torch.inference_mode(False):
        return Coefficients(
            tensor((tableau.c0, tableau.c1)),
            *(tuple(map(terms, rows or none)) for rows in (tableau.a0, tableau.b0, tableau.a1, tableau.b1)),
            alpha=terms(tableau.alpha),
            delta=terms((tableau.delta,) * tableau.drift_stages),
            noise_weights=tensor(per_slope + error).view(-1, 2 * half),
        )


def terms(row: Row) -> Terms:
    """The terms of a sum whose weights are in a row."""
    return tuple((i, float(weight)) for i, weight in enumerate(row) if weight != 0)


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
    numbers, root = coefficients(tableau, y.dtype, y.device), math.sqrt(dt)
    times = torch.add(_number(t, y), numbers.nodes, alpha=dt).unbind()
    drift_stages = len(numbers.a0)
    integrals = iterated_integrals(dt, dW, dZ, tableau.is_additive)
    chi2 = integrals[len(integrals) // 2]
    states: list[Tensor] = []
    f: list[Tensor] = []
    g: list[Tensor] = []
    for i, (a1, b1) in enumerate(zip(numbers.a1, numbers.b1, strict=True)):
        H1 = _add(_add(y, dt, a1, f), root, b1, g)
        if i < drift_stages:
            states.append(_add_noise(_add(y, dt, numbers.a0[i], f), chi2, numbers.b0[i], g))
            f.append(own(drift(times[i], states[i])))
        g.append(own(diffusion(times[drift_stages + i], H1)))
    factors = (numbers.noise_weights @ torch.stack(integrals).reshape(len(integrals), -1)).view(2, len(g), *dW.shape)
    martingale, E2 = (factors * torch.stack(g)).sum(1).unbind()
    pair = None
    if tableau.stiffness_stages is not None:
        p, q = tableau.stiffness_stages
        pair = (f[p] - f[q], states[p] - states[q])
    y1 = _add(y + martingale, dt, numbers.alpha, f)
    return StochasticStep(y1, _add(E2, dt, numbers.delta, f), pair, len(f), len(g))


def iterated_integrals(dt: float, dW: Tensor, dZ: Tensor, additive: bool) -> tuple[Tensor, ...]:
    """Scaled iterated Itô integrals of a step: (dW, chi1, chi2, chi3), or (dW, chi2) for additive noise.

    chi1 = I(1,1)/sqrt(dt), chi2 = I(1,0)/dt and chi3 = I(1,1,1)/dt. Shapes and units as dW, sqrt(time).

    Source: [@rossler2010runge]; [@kloeden1992numerical] section 5.2.
    """
    chi2 = torch.add(dW, dZ, alpha=1 / math.sqrt(3)) / 2
    if additive:
        return dW, chi2
    root = math.sqrt(dt)
    chi1 = torch.addcmul(_number(-root / 2, dW), dW, dW, value=1 / (2 * root))
    chi3 = dW * torch.addcmul(_number(-0.5, dW), dW, dW, value=1 / (6 * dt))
    return dW, chi1, chi2, chi3


def _number(number: float, like: Tensor) -> Tensor:
    """A number as a tensor of shape (); a step has small tensors and many operations, so that each of them counts."""
    return torch.full((), number, dtype=like.dtype, device=like.device)


def _add(base: Tensor, scale: float, terms: Terms, slopes: list[Tensor]) -> Tensor:
    """base + scale * sum_i w_i slope_i; by tableaus with many zeros, quicker than a product with a matrix."""
    for i, weight in terms:
        base = torch.add(base, slopes[i], alpha=scale * weight)
    return base


def _add_noise(base: Tensor, chi2: Tensor, terms: Terms, slopes: list[Tensor]) -> Tensor:
    """base + chi2 * sum_i w_i slope_i."""
    for i, weight in terms:
        base = torch.addcmul(base, chi2, slopes[i], value=weight)
    return base
