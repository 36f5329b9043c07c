"""Tableaus of Rößler's stochastic Runge–Kutta methods: data that checks itself when it is built."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from pyndereg.solver.tableau import ROUNDING, Coefficient, Row


@dataclass(frozen=True, eq=False)  # compared by identity: a tableau is made once
class RosslerTableau:
    """A method of strong order 1.5, for Itô equations with scalar or diagonal noise (SRI) or additive noise (SRA).

    With the iterated integrals chi1 = I(1,1)/sqrt(h), chi2 = I(1,0)/h and chi3 = I(1,1,1)/h of a step of length h:

        H0_i = y + h sum_j a0_ij f(H0_j) + chi2 sum_j b0_ij g(H1_j)           at t + c0_i h
        H1_i = y + h sum_j a1_ij f(H0_j) + sqrt(h) sum_j b1_ij g(H1_j)        at t + c1_i h
        y1   = y + h sum_i alpha_i f(H0_i) + sum_i (beta1_i dW + beta2_i chi1 + beta3_i chi2 + beta4_i chi3) g(H1_i)

    Drift stages that would repeat f(t, y) are left out of the tables.

    Attributes:
        name: lower-case name of the method.
        c0, a0, b0, alpha: nodes, rows and weights of the drift stages. a0[i] and b0[i] have length i.
        c1, a1, b1: nodes and rows of the diffusion stages. a1[i] has length min(i, drift stages) and b1[i] length i.
            a1 and b1 are None for additive noise, for which g does not depend on y.
        beta1, beta2, beta3, beta4: weights of the diffusion stages; beta2 and beta4 are None for additive noise, and
            beta3 is what the literature of SRA methods calls beta2.
        delta: weight of the drift's part in the error estimate.
        stiffness_stages: the two drift stages, with equal nodes, that estimate stiffness; None if there are none.

    Raises:
        ValueError: the table is inconsistent.
    Source: [@rossler2010runge]; error estimate [@rackauckas2017adaptive].
    """

    name: str
    c0: Row
    a0: tuple[Row, ...]
    b0: tuple[Row, ...]
    alpha: Row
    c1: Row
    beta1: Row
    beta3: Row
    a1: tuple[Row, ...] | None = None
    b1: tuple[Row, ...] | None = None
    beta2: Row | None = None
    beta4: Row | None = None
    delta: Coefficient = 1
    stiffness_stages: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        drift, diffusion = self.drift_stages, self.diffusion_stages
        if len({part is None for part in (self.a1, self.b1, self.beta2, self.beta4)}) != 1:
            raise ValueError(f"tableau {self.name}: a1, b1, beta2 and beta4 must be given together, or none of them")
        if drift > diffusion:
            raise ValueError(f"tableau {self.name}: there must be a diffusion stage for every drift stage")
        self._lengths("a0", self.a0, range(drift))
        self._lengths("b0", self.b0, range(drift))
        self._lengths("c0, and c1 and the weights beta", (self.c0, self.c1, *self.betas), [drift, *[diffusion] * 5])
        if self.a1 is not None and self.b1 is not None:
            self._lengths("a1", self.a1, [min(i, drift) for i in range(diffusion)])
            self._lengths("b1", self.b1, range(diffusion))
        for rows, nodes in ((self.a0, self.c0), (self.a1 or (), self.c1 if self.a1 else ())):
            for row, node in zip(rows, nodes, strict=True):
                self._check(sum(row), node, f"a row must sum to its node {node}")
        for weights, total in ((self.alpha, 1), (self.beta1, 1), *((beta, 0) for beta in self.betas[1:])):
            self._check(sum(weights), total, "alpha and beta1 must sum to 1, the other weights to 0")
        if self.stiffness_stages is not None:
            p, q = self.stiffness_stages
            self._check(self.c0[p], self.c0[q], "the stages that estimate stiffness must have equal nodes")

    def _lengths(self, what: str, rows: tuple[Row, ...], expected: Iterable[int]) -> None:
        found, wanted = [len(row) for row in rows], list(expected)[: len(rows)]
        if found != wanted:
            raise ValueError(f"tableau {self.name}: {what} must have rows of lengths {wanted}, found {found}")

    def _check(self, found: Coefficient, expected: Coefficient, law: str) -> None:
        exact = isinstance(found, Fraction | int) and isinstance(expected, Fraction | int)
        if found != expected if exact else abs(float(found) - float(expected)) > ROUNDING:
            raise ValueError(f"tableau {self.name}: {law}, found {float(found)} instead of {float(expected)}")

    @property
    def drift_stages(self) -> int:
        """How often a step evaluates f."""
        return len(self.alpha)

    @property
    def diffusion_stages(self) -> int:
        """How often a step evaluates g."""
        return len(self.beta1)

    @property
    def is_additive(self) -> bool:
        """Whether the method is for additive noise only."""
        return self.a1 is None

    @cached_property
    def betas(self) -> tuple[Row, ...]:
        """Weights of (dW, chi1, chi2, chi3), or of (dW, chi2) for additive noise: the second half estimates error."""
        return tuple(row for row in (self.beta1, self.beta2, self.beta3, self.beta4) if row is not None)
