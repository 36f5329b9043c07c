"""Butcher tableaus of explicit Runge–Kutta methods: data that checks itself when it is built."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

Coefficient = float | Fraction
Row = tuple[Coefficient, ...]

# Row sums of tables that are printed to double precision.
ROUNDING = 1e-13


@dataclass(frozen=True)
class Interpolant:
    """A continuous extension y(t + theta dt) = y + dt sum_i b_i(theta) k_i of one step.

    Attributes:
        order: its order of convergence.
        weights: coefficients of theta, theta^2, ... of every b_i. Shape (stages, degree), the extra stages included.
        extra_c: nodes of the extra stages, which are evaluated only where a step is interpolated. The first one, where
            there are any, is the end of the step (its row is b), so that the next step can start with its slope.
        extra_a: their rows, each over all stages before it.
    """

    order: int
    weights: tuple[Row, ...]
    extra_c: Row = ()
    extra_a: tuple[Row, ...] = ()


@dataclass(frozen=True, eq=False)  # compared by identity: a tableau is made once
class Tableau:
    """An explicit Runge–Kutta method: k_i = f(t + c_i dt, y + dt sum_j a_ij k_j), y1 = y + dt sum_i b_i k_i.

    Attributes:
        name: lower-case name of the method.
        order, embedded_order: orders of y1 and of the embedded solution (0 if there is none).
        a: strictly lower triangle, row i of length i.
        b, c: weights and nodes. Length (stages,).
        b_error: b minus the embedded weights; None if the method has no error estimate.
        interpolant: continuous extension.
        stiffness_stages: the two stages, with equal nodes, that estimate stiffness; None if there are none.
        stability_size: length of the real stability interval, by which stiffness estimates are scaled; None if unused.
        pi_exponents: (beta1, beta2) of the PI controller; None for 7/(10 order) and 2/(5 order).

    Raises:
        ValueError: the table is inconsistent.
    Source: [@hairer1993solving] section II.1.
    """

    name: str
    order: int
    embedded_order: int
    c: Row
    a: tuple[Row, ...]
    b: Row
    b_error: Row | None
    interpolant: Interpolant
    stiffness_stages: tuple[int, int] | None = None
    stability_size: float | None = None
    pi_exponents: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        stages = len(self.b)
        if [len(row) for row in self.a] != list(range(stages)) or len(self.c) != stages:
            raise ValueError(f"tableau {self.name}: a must be strictly lower triangular and c as long as b")
        for row, node in zip(self.nodes_a, self.nodes_c, strict=True):
            self._check(sum(row), node, f"a row of a must sum to its node {node}")
        self._check(sum(self.b), 1, "the weights b must sum to 1")
        if self.b_error is not None:
            self._check(sum(self.b_error), 0, "the error weights must sum to 0")
            if len(self.b_error) != stages:
                raise ValueError(f"tableau {self.name}: b_error must have {stages} entries")
        if self.stiffness_stages is not None and len({self.c[i] for i in self.stiffness_stages}) != 1:
            raise ValueError(f"tableau {self.name}: the stages that estimate stiffness must have equal nodes")
        if len(self.interpolant.weights) != len(self.nodes_c):
            raise ValueError(f"tableau {self.name}: the interpolant must have a weight for every stage")
        padded = self.b + (0,) * (len(self.nodes_c) - stages)
        for row, weight in zip(self.interpolant.weights, padded, strict=True):
            self._check(sum(row), weight, "the interpolant must reproduce the step at its end", scale=1e3)

    def _check(self, found: Coefficient, expected: Coefficient, law: str, scale: float = 1.0) -> None:
        exact = isinstance(found, Fraction | int) and isinstance(expected, Fraction | int)
        if found != expected if exact else abs(float(found) - float(expected)) > scale * ROUNDING:
            raise ValueError(f"tableau {self.name}: {law}, found {float(found)} instead of {float(expected)}")

    @property
    def stages(self) -> int:
        """Number of stages of a step, the interpolant's extra ones not counted."""
        return len(self.b)

    @cached_property
    def first_same_as_last(self) -> bool:
        """Whether the last stage is the slope at the end of the step."""
        return self.c[-1] == 1 and self.a[-1] == self.b[:-1] and self.b[-1] == 0

    @cached_property
    def end(self) -> int:
        """Index of the node that is the end of the step: the last stage, or the one after it."""
        return self.stages - 1 if self.first_same_as_last else self.stages

    @cached_property
    def nodes_a(self) -> tuple[Row, ...]:
        """Rows of a, of the end of the step and of the interpolant's extra stages: all that y is evaluated at."""
        return self.a + (self.interpolant.extra_a or (() if self.first_same_as_last else (self.b,)))

    @cached_property
    def nodes_c(self) -> Row:
        """The nodes that belong to `nodes_a`."""
        return self.c + (self.interpolant.extra_c or (() if self.first_same_as_last else (1,)))

    @cached_property
    def noise(self) -> float:
        """Rounding of the error estimate over that of a slope times the step, where slopes round independently."""
        return math.hypot(*map(float, self.b_error or ()))

    @cached_property
    def test_errors(self) -> tuple[float, float]:
        """Coefficients of the error estimate and of the error of y1 on y' = lambda y, of their lowest order each.

        With z = lambda dt they are the first number times z^(embedded_order + 1), the second times z^(order + 1).
        """
        powers: list[list[Fraction | int]] = [[1] * self.stages]  # A^n applied to ones
        for _ in range(self.order):
            powers.append([sum(Fraction(a) * x for a, x in zip(row, powers[-1], strict=False)) for row in self.a])
        estimate = sum(Fraction(e) * x for e, x in zip(self.b_error or (), powers[self.embedded_order], strict=False))
        end = sum(Fraction(b) * x for b, x in zip(self.b, powers[self.order], strict=True))
        return abs(float(estimate)), abs(float(end - Fraction(1, math.factorial(self.order + 1))))

    @property
    def error_order(self) -> int:
        """The power of the step length that the error estimate grows as."""
        return min(self.order, self.embedded_order) + 1

    @property
    def controller_exponents(self) -> tuple[float, float]:
        """(beta1, beta2) of the PI controller, OrdinaryDiffEq's defaults."""
        return self.pi_exponents or (7 / (10 * self.order), 2 / (5 * self.order))


def fractions(*entries: str) -> tuple[Fraction, ...]:
    """Exact coefficients, written as in the literature: `fractions("1/5", "-3/40")`."""
    return tuple(Fraction(entry) for entry in entries)


def hermite(b: Sequence[Fraction], end_is_stage: bool) -> Interpolant:
    """Cubic Hermite interpolant through both ends of a step and their slopes, of order 3 (or the method's, if lower).

    Args:
        b: weights of the step. Length (stages,).
        end_is_stage: whether the last stage is the slope at the end; otherwise it becomes an extra stage.
    Source: [@hairer1993solving] eq. (II.6.7).
    """
    stages = len(b) if end_is_stage else len(b) + 1
    rows = [[Fraction(0), 3 * weight, -2 * weight] for weight in (*b, *(() if end_is_stage else (Fraction(0),)))]
    for index, slope in ((0, (1, -2, 1)), (stages - 1, (0, -1, 1))):
        rows[index] = [entry + part for entry, part in zip(rows[index], slope, strict=True)]
    extra = {} if end_is_stage else {"extra_c": (Fraction(1),), "extra_a": (tuple(b),)}
    return Interpolant(order=3, weights=tuple(tuple(row) for row in rows), **extra)
