"""The answer: a solution and the record of the steps that led to it."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp.copies import detached, with_parts_that_change, without_f
from pyndereg.ivp.sampling import Sample
from pyndereg.ivp.state import State
from pyndereg.ivp.status import Status
from pyndereg.numbers import as_float64
from pyndereg.torch_modes import ordinary_tensors, outside_graphs, refuse_transforms

UNKNOWN: Any = None


@with_parts_that_change
@dataclass(frozen=True, eq=False)
class StepRecord:
    """What the solver knew at each accepted step, in time order.

    Attributes:
        t: time at which the step began, in the problem's time units. Shape (steps,), no gradient.
        dt: its signed length, in the problem's time units. Shape (steps,), no gradient: step lengths are constants.
        scaled_error: norm of the local error in units of the tolerance, dimensionless: the root mean square, or the
            `norm=` of the solve; the step was accepted iff what is not rounding of it is <= `allowed`, or it was to be
            shorter than `dt_min`. NaN where the method has no error estimate. Shape (steps,), differentiable.
        stiffness: estimate of |largest eigenvalue| of the Jacobian, 1/time. NaN where the method has none.
            Shape (steps,), differentiable.
        rounding: the part of `scaled_error` that is rounding, estimated, in the same units; 0 where the tolerance lies
            so far above it that nobody looked, NaN where it is not known: of planned and stochastic steps, and of those
            that Julia took. Shape (steps,), no gradient.
        allowed: the scaled error that was asked for: 1, or more where a smaller one would not be a better y1, because
            of rounding. Shape (steps,), no gradient.
    """

    t: Tensor
    dt: Tensor
    scaled_error: Tensor
    stiffness: Tensor
    rounding: Tensor = UNKNOWN
    allowed: Tensor = UNKNOWN

    def __post_init__(self) -> None:
        """A record without these columns knows nothing of rounding."""
        if self.rounding is UNKNOWN:
            object.__setattr__(self, "rounding", torch.full_like(self.t, math.nan))
        if self.allowed is UNKNOWN:
            object.__setattr__(self, "allowed", torch.ones_like(self.t))

    def __len__(self) -> int:
        return self.t.shape[0]


@dataclass(frozen=True)
class Statistics:
    """True counts of one forward solve.

    Attributes:
        nfe: evaluations of f, those of rejected steps, of the first step's search and of interpolants included; the
            backward pass is not.
        diffusion_nfe: evaluations of a stochastic problem's g, likewise.
        local_nfe: how many of the former belong to the fresh steps of local regularizers.
        accepted, rejected: attempted steps by their outcome.
        first_step: length of the first accepted step, in the problem's time units; NaN where steps are planned.
        first_growth: factor by which it could have been longer for its error to be just within the tolerance.
        first_rejected: how often the first step was tried before it was accepted.
    """

    nfe: int
    accepted: int
    rejected: int
    local_nfe: int = 0
    diffusion_nfe: int = 0
    first_step: float = math.nan
    first_growth: float = math.nan
    first_rejected: int = 0


@with_parts_that_change
@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of an initial value problem.

    It can be pickled and copied deeply; such a copy holds numbers without gradients, and a pickled one has dense output
    only if it was solved with `SaveAt(dense=True)`.

    Attributes:
        t: times at which states were saved, in the problem's time units. Shape (times,).
        y: the saved states. Shape (times, *state); a tuple of such tensors where the state is a tuple.
        y1: the final state (the last accepted one if the solve failed). Shape (*state).
        steps: the record of accepted steps.
        stats: true counts.
        status: how the solve ended.
        t_reached: the time of `y1`.
        penalties: values of the regularizers that the solve was given, in their order, differentiable. Shape () each.
        samples: points of the solution that local regularizers drew.
    """

    t: Tensor
    y: State
    y1: State
    steps: StepRecord
    stats: Statistics
    status: Status
    t_reached: float
    interpolate: Callable[[Tensor], State] = field(repr=False)
    penalties: tuple[Tensor, ...] = ()
    samples: tuple[Sample, ...] = field(default=(), repr=False)

    def __reduce__(self) -> tuple[type["Solution"], tuple[Any, ...]]:
        """Without graphs, which cannot be pickled, and without f, which may be anything."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["interpolate"] = without_f(self.interpolate)
        return Solution, tuple(detached(value) for value in values.values())

    def __deepcopy__(self, memo: dict[int, Any]) -> "Solution":
        """Tensors of its own, without graphs; the dense output is shared."""
        names = [one.name for one in fields(self) if one.name != "interpolate"]
        values = {name: copy.deepcopy(detached(getattr(self, name)), memo) for name in names}
        return Solution(**values, interpolate=self.interpolate)

    def __copy__(self) -> "Solution":
        """Itself: nothing of it changes."""
        return self

    @outside_graphs
    def __call__(self, t: float | Tensor) -> State:
        """Dense output: the state at any time between t0 and the last time reached, by the method's interpolant.

        With `SaveAt(dense=True)` this costs no evaluation of f; otherwise the accepted steps are replayed at the first
        call. Differentiable like `y`; all calls of one replayed solution share one graph, so several backward passes
        through it need `retain_graph=True`.

        Args:
            t: time(s), in the problem's time units; differentiable, unless the solve is stochastic, has breakpoints, a
                gradient of the equation itself or engine="julia". Any shape.
        Returns:
            Shape (*t.shape, *state).
        Raises:
            ValueError: a time lies outside the interval that was solved, or asks for a gradient that there is not.
            RuntimeError: the steps would have to be replayed, but y0 or a parameter was changed since the solve.
        """
        refuse_transforms("a call of a solution")
        with ordinary_tensors():
            return self.interpolate(self._times(t))

    def _times(self, t: float | Tensor) -> Tensor:
        """Times as dense output takes them; with their graph where it has a derivative with respect to them."""
        times = as_float64(t, "times")
        if not (isinstance(t, Tensor) and t.requires_grad and torch.is_grad_enabled()):
            return times
        if not getattr(self.interpolate, "is_smooth_in_time", False):
            raise ValueError(
                "t asks for a gradient, which this dense output has not; pass t.detach(), or solve an ODEProblem with "
                "engine='embedded' and gradient=DiscreteAdjoint() or Backprop(), without breakpoints"
            )
        return times + (t - t.detach()).to("cpu", torch.float64)
