"""Integrals over time of functions whose values are tensors."""

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# Nodes and weights of the Gauss–Kronrod pair (7, 15) on [-1, 1], for nodes >= 0 in falling order; Gauss's nodes are
# every second one. Source: [@piessens1983quadpack], table of `qk15`.
KRONROD_NODES = (
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144691693283,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
    0.0,
)
KRONROD_WEIGHTS = (
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
    0.209482141084727828012999174891714,
)
GAUSS_WEIGHTS = (
    0.129484966168869693270611432679082,
    0.279705391489276667901467771423780,
    0.381830050505118944950369775488975,
    0.417959183673469387755102040816327,
)


class QuadratureFailed(ArithmeticError):
    """An integral could not be had to its tolerance."""


@lru_cache(maxsize=16)
def gauss_legendre(points: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights on [0, 1] of the rule that is exact for polynomials of degree 2 points - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return tuple((0.5 * (nodes + 1.0)).tolist()), tuple((0.5 * weights).tolist())


@dataclass(frozen=True)
class Panel:
    """A part [a, b] of the interval, with its integral and an estimate of the error."""

    a: float
    b: float
    integral: Tensor
    error: float


def gauss_kronrod(integrand: Callable[[float], Tensor], a: float, b: float) -> Panel:
    """The integral over [a, b] by 15 evaluations; the error is its distance from the 7-point Gauss rule's."""
    middle, half = 0.5 * (a + b), 0.5 * (b - a)
    full: Tensor | None = None
    gauss: Tensor | None = None
    for j, (node, weight) in enumerate(zip(KRONROD_NODES, KRONROD_WEIGHTS, strict=True)):
        for sign in (1.0, -1.0) if node > 0.0 else (1.0,):
            value = integrand(middle + sign * half * node)
            full = value * weight if full is None else full.add_(value, alpha=weight)
            if j % 2 == 1:
                share = GAUSS_WEIGHTS[j // 2]
                gauss = value * share if gauss is None else gauss.add_(value, alpha=share)
    assert full is not None
    assert gauss is not None
    error = torch.linalg.vector_norm(full - gauss).item() * abs(half)
    return Panel(a, b, full * half, error)


def integrate_adaptively(
    integrand: Callable[[float], Tensor], a: float, b: float, *, rtol: float, atol: float, max_panels: int = 1000
) -> Tensor:
    """The integral from a to b, of which the worst part is halved until the errors are within the tolerance.

    Args:
        integrand: time -> value. Shape (size,).
        a, b: ends, in the problem's time units; b < a changes the sign.
        rtol, atol: tolerance of the Euclidean norm of the error: max(atol, rtol |integral|).
        max_panels: parts of the interval at most.
    Raises:
        QuadratureFailed: the integrand is not finite, or more parts would be needed.
    Source: [@piessens1983quadpack], the scheme of `qag`.
    """
    whole = gauss_kronrod(integrand, a, b)
    order = itertools.count()
    queue = [(-whole.error, next(order), whole)]
    integral, error = whole.integral.clone(), whole.error
    while True:
        size = torch.linalg.vector_norm(integral).item()
        if not (math.isfinite(error) and math.isfinite(size)):
            raise QuadratureFailed(f"the integrand between t={a:g} and t={b:g} is not finite")
        if error <= max(atol, rtol * size):
            return integral
        if len(queue) >= max_panels:
            raise QuadratureFailed(f"the integral from t={a:g} to t={b:g} needs more than {max_panels} parts")
        _, _, worst = heapq.heappop(queue)
        middle = 0.5 * (worst.a + worst.b)
        halves = gauss_kronrod(integrand, worst.a, middle), gauss_kronrod(integrand, middle, worst.b)
        integral += halves[0].integral + halves[1].integral - worst.integral
        for half in halves:
            heapq.heappush(queue, (-half.error, next(order), half))
        error = -math.fsum(item[0] for item in queue)
