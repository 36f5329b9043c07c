"""Derivatives of the right-hand side that running integrals need, from one evaluation of it per point."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vjp

Parts = tuple[Tensor, ...]
PartsField = Callable[..., Parts]


@dataclass(frozen=True)
class Dynamics:
    """The right-hand side and its derivatives at one point. All have the shapes of the state's tensors.

    Attributes:
        derivatives: total derivatives d^k y/dt^k along the solution by their order k; 1 is the slope. Units of y over
            time^k.
        products: e^T df/dy for every probe e, 1/time.
    """

    derivatives: dict[int, Parts]
    products: tuple[Parts, ...]

    @property
    def slope(self) -> Parts:
        """f(t, y)."""
        return self.derivatives[1]


def dynamics(f: PartsField, t: Tensor, y: Parts, orders: Collection[int], probes: Sequence[Parts]) -> Dynamics:
    """Evaluate f once, and differentiate that evaluation.

    Along the solution, a scalar g(t, y) changes at the rate Dg = dg/dt + dg/dy f. With a constant u, d^k y/dt^k is the
    gradient of D^(k-1) (u f) with respect to u: one evaluation of f and k reverse passes, each over the one before. The
    definition by nested forward mode, D_(k+1) = jvp(D_k, (t, y), (1, f)), goes through f 2^k - 1 times for D_k, and
    PyTorch's forward mode (2.13) is slow where parameters have no tangent: about four times this for a small network
    and k = 3.

    Works without grad mode and under torch.func's transforms; in grad mode the result is differentiable.

    Args:
        f: called as f(t, *y), returns a tuple like y.
        t: shape (), in the problem's time units.
        y: the state's tensors.
        orders: which total derivatives are wanted, besides the first; >= 1.
        probes: tuples like y.
    Source: the derivatives are those of [@kelly2020learning], which computes them by Taylor mode.
    """
    higher = sorted({order for order in orders if order > 1})
    if not higher:
        slope, products = _slope_and_products(f, t, y, probes)
        return Dynamics({1: slope}, products)

    def rates(*u: Tensor) -> tuple[Parts, tuple[Parts, tuple[Parts, ...]]]:
        def first(t: Tensor, *y: Tensor) -> tuple[Tensor, tuple[Parts, Parts, tuple[Parts, ...]]]:
            slope, pullback, *_ = vjp(f, t, *y)
            rate = _along(pullback(u), slope)
            return rate, ((rate,), slope, tuple(pullback(probe)[1:] for probe in probes))

        rate = first
        for _ in range(higher[-1] - 2):
            rate = _rate_of(rate, len(y))
        _, (found, slope, products) = rate(t, *y)
        return tuple(found[order - 2] for order in higher), (slope, products)

    found, pullback, *rest = vjp(rates, *map(torch.zeros_like, y), has_aux=True)
    ((slope, products),) = rest
    derivatives = {1: slope}
    for i, order in enumerate(higher):
        derivatives[order] = pullback(tuple(torch.full_like(rate, float(i == j)) for j, rate in enumerate(found)))
    return Dynamics(derivatives, products)


def _slope_and_products(f: PartsField, t: Tensor, y: Parts, probes: Sequence[Parts]) -> tuple[Parts, tuple[Parts, ...]]:
    if not probes:
        return f(t, *y), ()
    slope, pullback, *_ = vjp(lambda *y: f(t, *y), *y)
    return slope, tuple(pullback(probe) for probe in probes)


def _along(gradient: Parts, slope: Parts) -> Tensor:
    """Dg from the gradient of g with respect to (t, *y). Shape ()."""
    return torch.stack([gradient[0], *((g * s).sum() for g, s in zip(gradient[1:], slope, strict=True))]).sum()


def _rate_of(g: Callable[..., tuple], parts: int) -> Callable[..., tuple]:
    """The function Dg of (t, *y); like g, it hands over all rates so far, the slope and the products."""

    def rate(t: Tensor, *y: Tensor) -> tuple[Tensor, tuple[Parts, Parts, tuple[Parts, ...]]]:
        gradient, (found, slope, products) = grad(g, argnums=tuple(range(1 + parts)), has_aux=True)(t, *y)
        value = _along(gradient, slope)
        return value, ((*found, value), slope, products)

    return rate
