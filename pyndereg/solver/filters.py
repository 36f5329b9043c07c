"""Step-size control by a digital filter of errors and steps, integral control included."""

import math
from typing import NamedTuple

from pyndereg.solver.control import ERROR_FLOOR


class FilterController(NamedTuple):
    """A step length from the errors of the last three accepted steps and the ratios of their lengths.

    With errors E, E', E'' from the latest one on, the error aimed at, E* = safety^k, and the lengths h, h', h'':

        growth = (E*/E)^(beta1/k) (E*/E')^(beta2/k) (E*/E'')^(beta3/k) (h/h')^-alpha2 (h'/h'')^-alpha3

    within [shrink, grow]. What lies before the first step has the error E* and the length of the first step. A rejected
    step is tried again by integral control, (E*/E)^(1/k), as a filter that is slow on purpose would be rejected again.
    No limiter and no acceptance of larger errors, as in [@soderlind2006adaptive]: the bound on E means the same
    under every control.

    Attributes:
        error_order: k, the power of the step length that errors grow as.
        beta, alpha: coefficients.
        safety, shrink, grow, grow_first: as in `pyndereg.ivp.control.Control`.
        keeps_length: a step that follows one with E < 1 is not shorter.
        errors: E'/E* and E''/E* of the next step.
        lengths: h' and h'' of the next step; none before the first and the second.
    Source: [@soderlind2003digital].
    """

    error_order: float
    beta: tuple[float, float, float] = (1.0, 0.0, 0.0)
    alpha: tuple[float, float] = (0.0, 0.0)
    safety: float = 0.9
    shrink: float = 0.2
    grow: float = 10.0
    grow_first: float = 10.0
    keeps_length: bool = False
    errors: tuple[float, float] = (1.0, 1.0)
    lengths: tuple[float, ...] = ()
    first: bool = True

    @property
    def longest(self) -> float:
        """No limit."""
        return math.inf

    @property
    def aim(self) -> float:
        """E*; see `Controller`."""
        return self.safety**self.error_order

    def settled(self, scaled_error: float) -> "FilterController":
        """See `Law`."""
        return self._replace(errors=(self._control_error(scaled_error), 1.0), lengths=(), first=False)

    def accepts(self, scaled_error: float) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return scaled_error <= 1

    def after_acceptance(self, dt: float, scaled_error: float) -> tuple[float, "FilterController"]:
        """Next step length, and the controller that remembers this error and this length."""
        longest = self.grow_first if self.first else self.grow
        least = 1.0 if self.keeps_length and scaled_error < 1 else self.shrink
        growth = longest if scaled_error == 0 else min(max(self._growth(dt, scaled_error), least), longest)
        errors = (self._control_error(scaled_error), self.errors[0])
        return dt * growth, self._replace(errors=errors, lengths=(dt, *self.lengths[:1]), first=False)

    def after_rejection(self, dt: float, scaled_error: float) -> tuple[float, "FilterController"]:
        """Shorter step length; the memory of accepted steps stays."""
        if not math.isfinite(scaled_error):
            return dt * self.shrink, self
        return dt * max(self.safety * scaled_error ** (-1 / self.error_order), self.shrink), self

    def _growth(self, dt: float, scaled_error: float) -> float:
        errors = (scaled_error / self.aim, *self.errors)
        lengths = (dt, *self.lengths)
        growth = 1.0
        for error, beta in zip(errors, self.beta, strict=True):
            growth *= error ** (-beta / self.error_order)
        for later, earlier, alpha in zip(lengths, lengths[1:], self.alpha, strict=False):
            growth *= (later / earlier) ** -alpha
        return growth

    def _control_error(self, scaled_error: float) -> float:
        return max(scaled_error, ERROR_FLOOR) / self.aim
