"""What one step of a stochastic method returns."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from pyndereg.solver import norms
from pyndereg.solver.norms import RMS, Norm

Field = Callable[[Tensor, Tensor], Tensor]


class StochasticStep(NamedTuple):
    """One step from y0, everything in the state's shape and differentiable.

    Attributes:
        y1: state at its end, in units of y.
        error: local error estimate, in units of y; None where the method has none.
        stiffness_pair: differences of the slopes (units of y per time) and of the states (units of y) of two drift
            stages with equal nodes; None where the method has none.
        drift_evaluations, diffusion_evaluations: how often f and g were evaluated.
    """

    y1: Tensor
    error: Tensor | None
    stiffness_pair: tuple[Tensor, Tensor] | None
    drift_evaluations: int
    diffusion_evaluations: int


def own(slope: Tensor) -> Tensor:
    """A slope that outlives the next call of the function that returned it, which may write into the same memory."""
    return slope if slope.requires_grad else slope.clone()


class StepFunction(Protocol):
    """The formula of a method: a pure function, differentiable in y and in the parameters of f and g.

    With diagonal and additive noise g(t, y), dW and dZ have the shape of y; with scalar noise the increments have one
    element in place of the last dimension, (..., 1); with general noise g(t, y) has one more dimension, (*y, m), and
    the increments m elements in place of the last, (..., m).

    Args:
        drift, diffusion: f(t, y) and g(t, y); t of shape () and y's dtype.
        t, dt: where the step begins and its length > 0, in the problem's time units.
        y: the state. Shape (..., dim), units of y.
        dW: increment of the Brownian motion, of variance dt.
        dZ: its normalised space-time area, of variance dt and independent of dW: the integral of W - W(t) over the
            step is dt (dW + dZ/sqrt(3)) / 2. None where the method needs none.
    """

    def __call__(
        self, drift: Field, diffusion: Field, t: float, dt: float, y: Tensor, dW: Tensor, dZ: Tensor | None
    ) -> StochasticStep:
        """Take the step."""
        ...


def scaled_error(step: StochasticStep, y0: Tensor, rtol: float, atol: Tensor, norm: Norm = RMS) -> Tensor:
    """Norm of a step's error estimate in units of the tolerance; see `norms.scaled_error`.

    Args:
        step: a step of a method that has an error estimate.
        y0: state at its start, in units of y.
        rtol, atol: relative (dimensionless) and absolute (units of y, shape ()) tolerance.
        norm: of what is in these units.
    Returns:
        Shape (), dimensionless, >= 0.
    """
    assert step.error is not None
    return norms.scaled_error(step.error, y0, step.y1, rtol, atol, norm.of)
