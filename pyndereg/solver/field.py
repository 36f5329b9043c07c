"""The right-hand side as a solver sees it: checked, counted, in the solver's layout."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyndereg.ivp import ODEProblem, SDEProblem, State
from pyndereg.solver.misfit import refuse_misfit


class Field:
    """f(t, y) on states in the solver's shape.

    Attributes:
        evaluations: how often f was called.
    """

    name = "f"
    meaning = "dy/dt"

    def __init__(self, problem: ODEProblem | SDEProblem) -> None:
        self._f: Callable[..., Any] = problem.f
        self._layout = problem.layout
        self._shape = self._layout.solver_shape
        self.evaluations = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """The slope at one point.

        Args:
            t: shape (), in the problem's time units.
            y: the state in the solver's shape, units of y.
        Returns:
            Shape of y, units of y per time.
        Raises:
            TypeError, ValueError: f returned something that is not a slope of this state.
        """
        self.evaluations += 1
        if self._layout.is_tuple:
            slope = self._value(t, self._layout.unflatten(y))
            return self._layout.flatten(self._checked_tuple(slope))
        slope = self._value(t, y)
        if not isinstance(slope, Tensor) or slope.shape != self._shape or slope.dtype != y.dtype:
            self._refuse(slope, self._shape)
        if slope.device != y.device:
            self._refuse(slope, self._shape)
        return slope

    def _value(self, t: Tensor, y: State) -> Any:
        try:
            return self._f(t, y)
        except (RuntimeError, TypeError) as error:
            if self.evaluations == 1:
                refuse_misfit(error, self.name, self._f, y)
            raise

    def _checked_tuple(self, slope: Any) -> State:
        if not isinstance(slope, tuple) or len(slope) != len(self._layout.shapes):
            found = f"a tuple of {len(slope)}" if isinstance(slope, tuple) else f"a {type(slope).__name__}"
            expected = f"a tuple of {len(self._layout.shapes)} tensors, as in y0"
            raise TypeError(f"{self.name} returned {found}; return {expected}")
        for part, shape in zip(slope, self._layout.shapes, strict=True):
            wrong = not isinstance(part, Tensor) or part.shape != shape or part.dtype != self._layout.dtype
            if wrong or part.device != self._layout.device:
                self._refuse(part, shape)
        return slope

    def _refuse(self, slope: Any, shape: torch.Size) -> None:
        expected = f"shape {tuple(shape)}, {self._layout.dtype} on {self._layout.device}, {self._reason}"
        if not isinstance(slope, Tensor):
            raise TypeError(
                f"{self.name} returned a {type(slope).__name__}; return {self.meaning} as a tensor of {expected}"
            )
        raise ValueError(
            f"{self.name} returned shape {tuple(slope.shape)}, {slope.dtype} on {slope.device}; return {self.meaning} "
            f"with {expected}"
        )

    @property
    def _reason(self) -> str:
        return "as y0 has"


class DiffusionField(Field):
    """g(t, y) on states in the solver's shape, in the shape that the noise asks for."""

    name = "g"
    meaning = "the diffusion"

    def __init__(self, problem: SDEProblem) -> None:
        super().__init__(problem)
        self._f, self._noise = problem.g, problem.noise
        if problem.noise == "general":
            self._shape = torch.Size((*self._shape, problem.noise_shape[-1]))

    @property
    def _reason(self) -> str:
        return f"for noise={self._noise!r}"
