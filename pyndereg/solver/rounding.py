"""Which part of a step's error is rounding, and from which size on an error is worth a shorter step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyndereg.solver.norms import RMS, Norm, natural_sizes, size_of
from pyndereg.solver.tableau import Tableau

# How far the steps' own errors may add up before a shorter step is worth it, in roundings of the state, where every
# estimate is what the step control aims at: as far as roundings of either sign do, half the root of the number of
# steps, but within these bounds.
LEAST_BUDGET, BUDGET = 2.0, 4.0
# The largest error that is accepted for rounding's sake, as a part of the state: beyond it an estimate says too little.
LARGEST = 0.03
# Where the tolerance is this many times what a step of a tenth of the interval resolves, rounding is not looked at.
FAR_ABOVE = 8.0
TYPICAL_PART = 0.1
# Roundings of the state that a solution's error of rounding amounts to; two to five in networks of 8 to 512 states.
ROUNDINGS = 4.0
# How many roundings of its estimated size count as rounding, for the estimate is one of size, not a bound.
CERTAINTY = 2.0


# In place of a part of the state that is zero, which rounding is then no part of.
TINY = 1e-300


class Arithmetic(NamedTuple):
    """Functions of two numbers and of one, or of arrays of numbers."""

    largest: Callable[[Any, Any], Any]
    least: Callable[[Any, Any], Any]
    root: Callable[[Any], Any]


NUMBERS = Arithmetic(max, min, math.sqrt)
ARRAYS = Arithmetic(np.maximum, np.minimum, np.sqrt)


class Judged(NamedTuple):
    """A step's error as rounding lets it be seen.

    Attributes:
        error: what the step control is handed: the error without its rounding, in units of `allowed`; dimensionless.
        rounding: the part of the scaled error that is rounding, in units of the tolerance.
        allowed: the scaled error up to which the step is acceptable, >= 1; more than 1 where rounding hides the rest.
    """

    error: float
    rounding: float
    allowed: float


class Resolution(NamedTuple):
    """What the precision of a solve resolves, in units of its tolerance.

    Attributes:
        rounding: tells rounding from the errors of its steps.
        step: the estimate that a step of a tenth of the interval need not stay below; see `Rounding.resolved`.
        solution: the error of the solution that rounding alone leads to, about.
    """

    rounding: "Rounding"
    step: float
    solution: float


@dataclass(frozen=True)
class Rounding:
    """The rounding of one solve.

    The estimate dt sum_i e_i k_i of a step has a rounding of |dt| ||e|| times that of a slope. It need not be smaller
    than where the errors of y1, which is of higher order, add up to rounding: docs/method.md, "Rounding".

    Attributes:
        tableau: the method.
        unit: unit roundoff of the state, the distance from 1 to the next number.
        own: f's own relative rounding where it computes in a coarser type than the state's, else 0.
        length: of the whole interval, in the problem's time units.
        aim: the scaled error, at most 1, that the step control aims at: it decides where within the acceptable the
            errors lie that add up.
    """

    tableau: Tableau
    unit: float
    own: float
    length: float
    aim: float = 1.0

    def judge(self, error: float, state: float, slope: float, dt: float) -> Judged:
        """What a step's error means.

        Args:
            error: its scaled error.
            state, slope: norms of the state at its end and of its first slope in units of the tolerance.
            dt: its length, in the problem's time units.
        """
        moved = abs(dt) * slope
        if not math.isfinite(error + state + moved):
            return Judged(error, math.nan, 1.0)
        return self._judged(error, state, moved, abs(dt) / self.length, NUMBERS)

    def judge_parts(self, sizes: Tensor, dt: float) -> Judged:
        """What a step's error means where parts of the state are judged apart: the worst of them decides.

        Args:
            sizes: error, state and slope of each part, as those of `judge`. Shape (3, parts).
            dt: length of the step, in the problem's time units.
        Returns:
            The largest error that the step control would be handed for one of them; the rest is of the part with the
            largest scaled error.
        """
        if sizes.shape[1] == 1:
            return self.judge(*sizes.view(-1).tolist(), dt=dt)
        error, state, slope = sizes.double().cpu().numpy()
        if not np.isfinite(error).all():
            return Judged(math.nan, math.nan, 1.0)
        with np.errstate(all="ignore"):
            moved = abs(dt) * slope
            judged = self._judged(error, np.maximum(state, TINY), moved, abs(dt) / self.length, ARRAYS)
            worst = np.where(np.isfinite(state + moved), judged.error, error).max()
        largest = self.judge(*sizes[:, error.argmax()].tolist(), dt=dt)
        return largest._replace(error=float(worst))

    def _judged(self, error: Any, state: Any, moved: Any, part: float, of: Arithmetic) -> Judged:
        """The judgement of one part of the state, in numbers, or of many, in arrays; `judge` has the arguments."""
        rounding = self.tableau.noise * max(self.own, self.unit) * moved
        allowed = of.largest(1.0, self.resolved(state, moved, part, of))
        certain = CERTAINTY * rounding
        seen = of.root(of.largest(error * error - certain * certain, 0.0)) / allowed
        # All of the error may be hidden below `certain`. PI control, with an exponent of 0.7/q or dp5's 0.85/q,
        # lengthens a step of this error so little that even then the next one is acceptable.
        hidden = of.least(certain / allowed, 1.0) ** 1.25 / 8
        return Judged(of.largest(seen, of.least(hidden, error / allowed)), rounding, allowed)

    def resolved(self, state: Any, moved: Any, part: float, of: Arithmetic = NUMBERS) -> Any:
        """The largest acceptable estimate, in units of the tolerance.

        At `aim` times this one the errors of y1 itself add up to what roundings amount to, `BUDGET` of them at most. On
        y' = lambda y, z = lambda dt, the estimate is e z^q |y| and the error of y1 c z^(p+1) |y|.

        Args:
            state, moved: sizes of the state, and of what the step moves it by, in units of the tolerance.
            part: of the interval that the step covers.
            of: functions of the sizes, which are numbers, or arrays without zeros.
        """
        if of is NUMBERS and state == 0:
            return 0.0
        estimate, error = self.tableau.test_errors
        budget = max(LEAST_BUDGET, min(BUDGET, 0.5 / math.sqrt(part)))
        own = budget * self.unit * part + BUDGET * self.own * moved / state
        power = (self.tableau.embedded_order + 1) / (self.tableau.order + 1)
        return state * of.least(estimate * (own / error) ** power / self.aim, LARGEST)


def resolution_of(
    slope: Callable[[Tensor], Tensor],
    tableau: Tableau,
    y0: Tensor,
    slope0: Tensor,
    *,
    rtol: float,
    atol: float,
    length: float,
    coarsest: float,
    aim: float = 1.0,
    controlled: int | None = None,
    norm: Norm = RMS,
) -> Resolution | None:
    """What the precision of a solve resolves.

    Args:
        slope: f(t0, y) on flat states; called twice where f computes in a coarser type than the state's, else never.
        tableau: the method, which has an error estimate.
        y0, slope0: state and slope at t0. Shape (size,), units of y and of y per time.
        rtol, atol: tolerances.
        length: of the interval, in the problem's time units.
        coarsest: the largest unit roundoff among the results of f's operations.
        aim: see `Rounding`.
        controlled: how many elements at the start of the state the sizes see; None for all.
        norm: that the sizes are measured by.
    Returns:
        None where the tolerance lies far above what is resolved; and where all is float64, whose steps are those of
        OrdinaryDiffEq at every tolerance.
    """
    unit = torch.finfo(y0.dtype).eps
    own = coarsest if coarsest > unit else 0.0
    rounding = Rounding(tableau, unit, own, length, aim)
    # What can be said without asking the device for sizes comes first.
    if max(unit, own) <= torch.finfo(torch.float64).eps or FAR_ABOVE * rounding.resolved(1, 1, TYPICAL_PART) < rtol:
        return None
    scale = natural_sizes(y0[:controlled], rtol, atol)
    speed = size_of(slope0[:controlled] / scale, norm)
    moved = TYPICAL_PART * length * speed
    state = size_of(y0[:controlled] / scale, norm) or moved  # a state at zero will be as large as it moves
    resolved = rounding.resolved(state, moved, TYPICAL_PART)
    if not math.isfinite(state + moved) or FAR_ABOVE * resolved < 1:
        return None
    if own > 0 and speed > 0:
        # A second difference, from which the derivative of f drops out, over neighbours that are one of f's own units
        # away: roundings have then either sign [@more2011estimating]. `away` is rounded so that both are equally far.
        away = y0 * (1 + own) - y0
        second = slope(y0 + away) - 2 * slope0 + slope(y0 - away)
        found = size_of(second[:controlled] / scale, norm) / (math.sqrt(6) * speed)
        # Half a unit is the rounding of the result alone.
        rounding = replace(rounding, own=max(found, unit / 2) if math.isfinite(found) else own)
        resolved = rounding.resolved(state, moved, TYPICAL_PART)
    return Resolution(rounding, resolved, ROUNDINGS * (unit * state + rounding.own * min(length * speed, state)))
