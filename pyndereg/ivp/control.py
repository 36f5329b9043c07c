"""How the steps of an adaptive method are controlled: values for `control=` of `solve`."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from pyndereg.numbers import positive, real

Coefficient = float | Fraction
STARTS = ("own", "free")


@dataclass(frozen=True, kw_only=True)
class Control:
    """What the laws of step control have in common; E is a step's error in units of the tolerance.

    A step is accepted if and only if E <= 1; the next one is then `growth` times as long, by the value's own law. After
    a rejection, the step is tried again `safety` E^(-1/k) times as long (`PI` has an exponent of its own), where
    E grows as the k-th power of the length: k is 5 for `tsit5` and `dp5`, 3 for `bs3`, 7 and 9 for `vern7` and `vern9`,
    2 for stochastic methods, 2.5 for those for additive noise.

    Args:
        safety: the part of the length with E = 1 that steps aim at, dimensionless, between 0 and 1.
        shrink: a step is at least this many times as long as the one before it, or as its last try; between 0 and 1.
        grow: it is at most this many times as long, > 1; None for the method's own: 10, of stochastic methods 9/8.
        grow_first: `grow` while the solve starts, > 1; None for no other limit.
        start: how a solve starts. `"own"`: by the own law, of which the first accepted step is followed with
            `grow_first`. `"free"`: by integral control, `safety` E^(-1/k) within `grow_first`, until that is at most 2
            or a step was rejected; the law then begins without a memory of the start.
    Raises:
        ValueError: one of them is out of range.
    """

    safety: float = 0.9
    shrink: float = 0.2
    grow: float | None = None
    grow_first: float | None = 10_000.0
    start: str = "own"

    def __post_init__(self) -> None:
        for name in ("safety", "shrink"):
            value = self._number(name)
            if value is None or not 0 < value < 1:
                raise ValueError(f"{self._name(name)} is {getattr(self, name)!r}; pass a number between 0 and 1")
            object.__setattr__(self, name, value)
        for name in ("grow", "grow_first"):
            if getattr(self, name) is None:
                continue
            value = self._number(name)
            if value is None or not 1 < value < math.inf:
                raise ValueError(
                    f"{self._name(name)} is {getattr(self, name)!r}; pass a number greater than 1, or None"
                )
            object.__setattr__(self, name, value)
        if self.start not in STARTS:
            raise ValueError(f"{self._name('start')} is {self.start!r}; pass {' or '.join(map(repr, STARTS))}")

    def _number(self, name: str) -> float | None:
        return real(getattr(self, name), self._name(name))

    def _name(self, name: str) -> str:
        return f"{name} of {type(self).__name__}"


@dataclass(frozen=True, kw_only=True)
class PI(Control):
    """Proportional-integral control with the method's own exponents, as OrdinaryDiffEq has it: the default of `solve`.

    With E' of the last accepted step: growth = safety E'^beta2 / E^beta1, beta1 = 7/(10 p), beta2 = 2/(5 p) for a
    method of order p (`dp5`: 0.17 and 0.04); a rejected step is tried again with safety / E^beta1. With the error
    of the first step against an E' of 1e-4, growth after a searched start is slow, and the step after a good one short.

    Where the error changes slowly, steps settle at E = safety^(1 / (beta1 - beta2)): 0.17 for `tsit5`, 0.44 for `dp5`.

    Source: [@hairer1996solving] section IV.2; constants of [@rackauckas2017differentialequations].
    """


@dataclass(frozen=True, kw_only=True)
class I(Control):  # noqa: E742 (the literature's name)
    """Integral control, the oldest, as torchdiffeq 0.2.5 has it: growth = safety E^(-1/k), never below 1 where E < 1.

    torchdiffeq's dopri5 has two thirds of the usual estimate: its steps are those of `dp5` at 1.5 times its tolerance.

    Source: [@hairer1993solving] section II.4.
    """

    grow_first: float | None = None


@dataclass(frozen=True)
class Filter:
    """A digital filter from errors to step lengths.

    With the error c_n = k-th root of (error of step n / error aimed at), and the length h_n:

        h_{n+1} / h_n = c_n^-beta1 c_{n-1}^-beta2 c_{n-2}^-beta3 (h_n / h_{n-1})^-alpha2 (h_{n-1} / h_{n-2})^-alpha3

    Args:
        beta: up to three exponents of errors. Dimensionless; those of the literature, which there are divided by k.
        alpha: up to two exponents of ratios of steps. Dimensionless.
    Raises:
        ValueError: they are no numbers, or steps would not settle where the error is a constant times h^k.
    Source: [@soderlind2003digital].
    """

    beta: tuple[Coefficient, ...]
    alpha: tuple[Coefficient, ...] = ()

    def __post_init__(self) -> None:
        for name, most in (("beta", 3), ("alpha", 2)):
            object.__setattr__(self, name, _coefficients(getattr(self, name), name, most))
        if not self._is_stable():
            raise ValueError(
                "with beta={} and alpha={} of Filter steps would swing ever wider; pass stable ones, or to PID a name "
                "such as 'H211PI'".format(*self.as_floats)
            )

    @staticmethod
    def of_gains(*, integral: float = 1.0, proportional: float = 0.0, derivative: float = 0.0) -> "Filter":
        """The filter of a PID controller: `icoeff`, `pcoeff` and `dcoeff` of diffrax, kI, kP and kD of SUNDIALS.

        Args:
            integral, proportional, derivative: gains, dimensionless, of the whole, not divided by k.
        """
        return Filter((integral + proportional + derivative, -proportional - 2 * derivative, derivative))

    @property
    def as_floats(self) -> tuple[tuple[float, float, float], tuple[float, float]]:
        """beta and alpha, filled up with zeros."""
        beta1, beta2, beta3 = map(float, self.beta)
        alpha2, alpha3 = map(float, self.alpha)
        return (beta1, beta2, beta3), (alpha2, alpha3)

    @property
    def _polynomial(self) -> tuple[Coefficient, Coefficient, Coefficient]:
        """Coefficients of z^2, z and 1 in (z - 1) (z^2 + alpha2 z + alpha3) + beta1 z^2 + beta2 z + beta3."""
        beta1, beta2, beta3 = self.beta
        alpha2, alpha3 = self.alpha
        return alpha2 - 1 + beta1, alpha3 - alpha2 + beta2, beta3 - alpha3

    def _is_stable(self) -> bool:
        """Whether all roots lie inside the unit circle: Jury's criterion for three."""
        c2, c1, c0 = self._polynomial
        return 1 + c2 + c1 + c0 > 0 and 1 - c2 + c1 - c0 > 0 and abs(c0) < 1 and 1 - c0 * c0 > abs(c1 - c0 * c2)


@dataclass(frozen=True)
class PID(Control):
    """Control by a digital filter of the last three errors and steps.

    Errors are weighed against safety^k, which steps then settle at whatever the filter. Smooth problems are served by
    `"H0321"` and `"PC47"`, ordinary ones by `"PI42"` and `"PI34"`, f with noise or limits of stability
    by `"H211PI"`, `"H211b"` and `"H312PID"`. A rejected step is tried again with integral control.

    Args:
        filter: a `Filter`, or its name. PI controllers of [@gustafsson1991control] and [@soderlind2002automatic]:
            `"PI42"`, `"PI33"`, `"PI34"`; the predictive one of [@gustafsson1994control]: `"PC47"`; digital filters of
            [@soderlind2003digital], table III, whose digits are the orders of dynamics, adaptivity and the low-pass
            filter: `"H0211"`, `"H211b"` (b = 4), `"H211PI"`, `"H0312"`, `"H312b"` (b = 8), `"H312PID"`, `"H0321"`,
            `"H321"`.
        safety, shrink, grow, grow_first, start: see `Control`; here a start is free, as filters are slow ones.
    Raises:
        TypeError, ValueError: filter is none, or a number is out of range.
    """

    filter: str | Filter = "PI34"
    _: KW_ONLY
    start: str = "free"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.filter, str | Filter):
            raise TypeError(f"filter of PID is {self.filter!r}; pass a name such as 'H211PI', or a Filter")
        if isinstance(self.filter, str) and self.filter not in FILTERS:
            close = difflib.get_close_matches(self.filter, FILTERS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"filter of PID is {self.filter!r}; {hint}choose from {', '.join(FILTERS)}")

    @property
    def coefficients(self) -> Filter:
        """The filter itself."""
        return FILTERS[self.filter] if isinstance(self.filter, str) else self.filter


def checked_shortest(dt_min: Any, dt_max: float | None) -> float:
    """The length from which on steps are accepted whatever their error.

    Raises:
        ValueError: it is no positive number, or exceeds the longest.
    """
    shortest = positive(dt_min, "dt_min", "a positive step length, whatever the direction of time")
    if dt_max is not None and shortest > dt_max:
        raise ValueError(f"dt_min is {shortest} and dt_max is {dt_max}; pass dt_min <= dt_max")
    return shortest


def _coefficients(values: Any, name: str, most: int) -> tuple[Coefficient, ...]:
    """Coefficients filled up with zeros."""
    if not isinstance(values, Iterable) or isinstance(values, str) or len(parts := tuple(values)) > most:
        raise ValueError(f"{name} of Filter is {values!r}; pass a tuple of at most {most} numbers")
    found = tuple(part if isinstance(part, Fraction) else real(part, f"{name} of Filter") for part in parts)
    if not all(part is not None and math.isfinite(part) for part in found):
        raise ValueError(f"{name} of Filter is {values!r}; pass finite numbers")
    return found + (Fraction(0),) * (most - len(found))  # type: ignore[return-value]


def _filter(divisor: int, beta: tuple[int, ...], alpha: tuple[int, ...] = ()) -> Filter:
    return Filter(tuple(Fraction(b, divisor) for b in beta), tuple(Fraction(a, divisor) for a in alpha))


FILTERS: Mapping[str, Filter] = MappingProxyType(
    {
        "PI42": _filter(5, (3, -1)),
        "PI33": _filter(3, (2, -1)),
        "PI34": _filter(10, (7, -4)),
        "PC47": _filter(10, (11, -7), (-10,)),
        "H0211": _filter(2, (1, 1), (1,)),
        "H211b": _filter(4, (1, 1), (1,)),
        "H211PI": _filter(6, (1, 1)),
        "H0312": _filter(4, (1, 2, 1), (3, 1)),
        "H312b": _filter(8, (1, 2, 1), (3, 1)),
        "H312PID": _filter(18, (1, 2, 1)),
        "H0321": _filter(4, (5, 2, -3), (-1, -3)),
        "H321": _filter(18, (6, 1, -5), (-15, -3)),
    }
)
