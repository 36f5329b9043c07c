"""One step of Rößler's stochastic Runge–Kutta methods, its error estimate and its stiffness stages."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
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
        nodes: c0 and c1, one after the other. Shape (drift stages + diffusion stages,).
        per_dt, per_root, per_chi2: matrices of `stage_matrices`, then one with the rows alpha and delta of the drift
            slopes, all in one row: the entries that dt, sqrt(dt) and chi2 multiply. Shape (entries,) each.
        sizes: how many entries each matrix has.
        noise_weights: weights of the scaled integrals in the factor of each g, in the step and in its error estimate.
            Shape (2 diffusion stages, 4), or (2 diffusion stages, 2) for additive noise.
    """

    nodes: Tensor
    per_dt: Tensor
    per_root: Tensor
    per_chi2: Tensor
    sizes: tuple[int, ...]
    noise_weights: Tensor

    def matrices(self, dt: float) -> tuple[Tensor, ...]:
        """The matrices of a step of length dt, each flat."""
        entries = torch.add(self.per_chi2, self.per_root, alpha=math.sqrt(dt))
        return torch.add(entries, self.per_dt, alpha=dt).split_with_sizes(self.sizes)


Matrix = tuple[Row, Row, Row]


def stage_matrices(tableau: RosslerTableau, i: int) -> tuple[Matrix, Matrix, Matrix]:
    """Weights of the slopes (f_0 .., g_0 ..) before stage i in three sums, by what multiplies them: dt, sqrt(dt), chi2.

    The sums are H1_i - y, the drift's part of H0_i - y, and the noise's part of H0_i - y over chi2; of them those that
    the tableau has not are zero.
    """
    k = min(i, tableau.drift_stages)
    no_f, no_g = (0,) * k, (0,) * i
    nothing = no_f + no_g
    has_H0 = i < tableau.drift_stages
    a0, b0 = (tableau.a0[i], tableau.b0[i]) if has_H0 else (no_f, no_g)
    a1, b1 = (no_f, no_g) if tableau.a1 is None or tableau.b1 is None else (tableau.a1[i], tableau.b1[i])
    return (a1 + no_g, a0 + no_g, nothing), (no_f + b1, nothing, nothing), (nothing, nothing, no_f + b0)


@lru_cache(maxsize=64)
def coefficients(tableau: RosslerTableau, dtype: torch.dtype, device: torch.device) -> Coefficients:
    """The coefficients of a tableau; made once for each dtype and device."""

    def tensor(rows: Iterable[Row]) -> Tensor:
        return weights_tensor(tuple(float(entry) for row in rows for entry in row), dtype, device)

    drift, half = tableau.drift_stages, len(tableau.betas) // 2
    stages = [stage_matrices(tableau, i) for i in range(1, tableau.diffusion_stages)]
    last = (tableau.alpha, (tableau.delta,) * drift)
    none = ((0,) * drift,) * 2
    per_dt, per_root, per_chi2 = zip(*stages, (last, none, none), strict=True)
    # The error estimate has the second half of the integrals; the step has all.
    per_slope = tuple(zip(*tableau.betas, strict=True))
    error = tuple((0,) * half + row[half:] for row in per_slope)
    with torch.inference_mode(False):
        return Coefficients(
            tensor((tableau.c0, tableau.c1)),
            *(tensor(chain.from_iterable(matrices)) for matrices in (per_dt, per_root, per_chi2)),
            sizes=tuple(sum(map(len, matrix)) for matrix in per_dt),
            noise_weights=tensor(per_slope + error).view(-1, 2 * half),
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
    *stages, last = numbers.matrices(dt)
    states, f, g = [y], [drift(drift_times[0], y)], [diffusion(diffusion_times[0], y)]
    for i, matrix in enumerate(stages, start=1):
        H1, H0, noise = _products(matrix, [*f, *g])
        if i < tableau.drift_stages:
            states.append(torch.addcmul(y + H0, chi2, noise))
            f.append(drift(drift_times[i], states[i]))
        g.append(diffusion(diffusion_times[i], y if tableau.is_additive else y + H1))
    advance, E1 = _products(last, f)
    factors = (numbers.noise_weights @ torch.stack(integrals).flatten(1)).view(2, len(g), *dW.shape)
    martingale, E2 = (factors * torch.stack(g)).sum(1).unbind()
    pair = None
    if tableau.stiffness_stages is not None:
        p, q = tableau.stiffness_stages
        pair = (f[p] - f[q], states[p] - states[q])
    return StochasticStep(y + advance + martingale, E1 + E2, pair, len(f), len(g))


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
    chi3 = dW * (square / (6 * dt) - 0.5)
    return dW, chi1, chi2, chi3


def _products(matrix: Tensor, slopes: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Sums of slopes with the weights in each row of a flat matrix, in the slopes' shape.

    One product for all: a few large operations are quicker than many small ones, and their gradients more so.
    """
    vectors = torch.stack(tuple(slopes))
    return (matrix.view(-1, len(slopes)) @ vectors.flatten(1)).view(-1, *slopes[0].shape).unbind()
