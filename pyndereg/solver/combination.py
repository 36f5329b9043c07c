"""Linear combinations of vectors: all that a Runge–Kutta method does between evaluations of f."""

from functools import lru_cache

import torch
from torch import Tensor

# Small float64 states are summed in OrdinaryDiffEq's order and rounding. The error estimates of high orders and tight
# tolerances are differences that rounding can dominate, and through the controller it reaches the step lengths: this
# keeps both sequences of steps comparable to many digits.
ORDERED_SIZE = 256
# From this size on the CPU, one pass per vector on all threads beats a matrix-vector product, which runs on one.
CHAINED_SIZE = 65_536


@lru_cache(maxsize=1024)
def weights_tensor(weights: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weights as a tensor; made once, because a transfer to a GPU would wait for it. Shape (weights,)."""
    with torch.inference_mode(False):
        return torch.tensor(weights, dtype=torch.float64, device="cpu").to(device=device, dtype=dtype)


class LinearCombination:
    """base + scale * sum_i w_i v_i, in the form that is fastest for the size of the vectors.

    Args:
        vectors: the v_i as rows; read at every call, not copied. Shape (at least the number of weights, size).
        weights: the w_i, dimensionless.
    """

    def __init__(self, vectors: Tensor, weights: tuple[float, ...]) -> None:
        self._numbers = weights
        self._vectors = vectors[: len(weights)]
        # Unbound: a bound method kept on its own object would be a cycle that holds the vectors until it is collected.
        # Every solve makes a dozen of these, so each form prepares what itself needs and no more.
        size, on_cpu = vectors.shape[1], vectors.device.type == "cpu"
        if size >= CHAINED_SIZE and on_cpu:
            self._form = LinearCombination._chained
            self._terms = [(w, v) for w, v in zip(weights, self._vectors.unbind(), strict=True) if w != 0.0]
            return
        self._weights = weights_tensor(weights, vectors.dtype, vectors.device)
        if vectors.dtype == torch.float64 and size <= ORDERED_SIZE and on_cpu:
            self._form = LinearCombination._ordered
            self._column = self._weights[:, None]
        else:
            self._form = LinearCombination._fused
            self._transposed = self._vectors.t()

    def __call__(self, base: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
        """The combination.

        Args:
            base: shape (size,).
            scale: a number.
            out: where it may be written instead of into a fresh tensor. Shape (size,).
        Returns:
            Shape (size,).
        """
        return self._form(self, base, scale, out)

    def _ordered(self, base: Tensor, scale: float, out: Tensor | None) -> Tensor:
        if len(self._numbers) == 1:
            return (self._vectors[0] * (self._numbers[0] * scale)).add_(base)
        # Fresh, for whoever keeps it: a view of the sum's last row would keep all of its rows.
        return torch.mul((self._vectors * self._column).cumsum(0)[-1], scale).add_(base)

    def _chained(self, base: Tensor, scale: float, out: Tensor | None) -> Tensor:
        if not self._terms:
            return base.clone()
        (weight, vector), *others = self._terms
        total = torch.add(base, vector, alpha=scale * weight, out=out)
        for weight, vector in others:
            total.add_(vector, alpha=scale * weight)
        return total

    def _fused(self, base: Tensor, scale: float, out: Tensor | None) -> Tensor:
        return torch.addmv(base, self._transposed, self._weights, alpha=scale, out=out)
