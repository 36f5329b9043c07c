"""The answer: a solution and the record of the steps that led to it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pyndereg.ivp.sampling import Sample
from pyndereg.ivp.state import State
from pyndereg.ivp.status import Status
from pyndereg.numbers import as_float64
from pyndereg.surroundings import ordinary_tensors, outside_graphs, refuse_transforms


@dataclass(frozen=True)
class StepRecord:
    """What the solver knew at each accepted step, in time order.

    Attributes:
        t: time at which the step began, in the problem's time units. Shape (steps,), no gradient.
        dt: its signed length, in the problem's time units. Shape (steps,), no gradient: step lengths are constants.
        scaled_error: norm of the local error in units of the tolerance, dimensionless; the step was accepted iff it is
            <= 1. NaN where the method has no error estimate. Shape (steps,), differentiable.
        stiffness: estimate of |largest eigenvalue| of the Jacobian, 1/time. NaN where the method has none.
            Shape (steps,), differentiable.
    """

    t: Tensor
    dt: Tensor
    scaled_error: Tensor
    stiffness: Tensor

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
    """

    nfe: int
    accepted: int
    rejected: int
    local_nfe: int = 0
    diffusion_nfe: int = 0


@dataclass(frozen=True)
class Solution:
    """The solution of an initial value problem.

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

    @outside_graphs
    def __call__(self, t: float | Tensor) -> State:
        """Dense output: the state at any time between t0 and the last time reached, by the method's interpolant.

        With `SaveAt(dense=True)` this costs no evaluation of f; otherwise the accepted steps are replayed at the first
        call. Differentiable like `y`; all calls of one replayed solution share one graph, so several backward passes
        through it need `retain_graph=True`.

        Args:
            t: time(s), in the problem's time units. Any shape.
        Returns:
            Shape (*t.shape, *state).
        Raises:
            ValueError: a time lies outside the interval that was solved.
            RuntimeError: the steps would have to be replayed, but y0 or a parameter was changed since the solve.
        """
        refuse_transforms("a call of a solution")
        with ordinary_tensors():
            return self.interpolate(as_float64(t, "times"))
