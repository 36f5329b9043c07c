"""Steps of a stochastic method along a path, taken for the first time or again."""

import copy

from torch import Tensor

from pyndereg.ivp import SolveOptions, StateLayout
from pyndereg.ivp.sde import BrownianMotion
from pyndereg.solver.chosen_norm import chosen_norm
from pyndereg.solver.field import Field
from pyndereg.solver.norms import absolute_tolerance
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.stochastic.integration import Increments, TakenStep
from pyndereg.solver.stochastic.methods import StochasticMethod
from pyndereg.solver.stochastic.step import scaled_error


class StepTaker:
    """Takes steps of one method, differentiably; see `TakeStep`. It holds nothing of the user's but fields and norm.

    Args:
        drift, diffusion: f and g.
        layout, options, method: of the state, and how it is solved.
        path: of the Brownian motion; asked where increments are not at hand.
        t1: where the last step ends, in the problem's time units.

    Attributes:
        norm: of the scaled error.
    """

    def __init__(
        self,
        drift: Field,
        diffusion: Field,
        layout: StateLayout,
        options: SolveOptions,
        method: StochasticMethod,
        path: BrownianMotion,
        t1: float,
    ) -> None:
        self.drift, self.diffusion = drift, diffusion
        self._method, self._path, self._t1 = method, path, t1
        self._shape, self._rtol = layout.solver_shape, options.rtol
        self._atol = absolute_tolerance(options.atol, layout.dtype, layout.device)
        self.norm = chosen_norm(options.norm, layout)
        self._stiffness = STIFFNESS_ESTIMATES[options.stiffness]

    def on(self, drift: Field, diffusion: Field) -> "StepTaker":
        """The same steps for other right-hand sides."""
        other = copy.copy(self)
        other.drift, other.diffusion = drift, diffusion
        return other

    def __call__(self, t: float, dt: float, y0: Tensor, increments: Increments | None = None) -> TakenStep:
        """One step, from a state of any shape that has its elements. Arguments as those of `TakeStep`."""
        dW, dZ = increments = increments or self._path.increments(t, min(t + dt, self._t1))
        shaped = y0 if y0.shape == self._shape else y0.reshape(self._shape)
        step = self._method.step(self.drift, self.diffusion, t, dt, shaped, dW, dZ)
        error = None if step.error is None else scaled_error(step, shaped, self._rtol, self._atol, self.norm)
        stiffness = None if step.stiffness_pair is None else self._stiffness(*step.stiffness_pair)
        y1 = step.y1 if y0.shape == self._shape else step.y1.reshape(y0.shape)
        return TakenStep(t, dt, y0, y1, error, stiffness, increments)
