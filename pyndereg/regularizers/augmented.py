"""A state that is followed by integrals: its right-hand side, and the way back to the state."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyndereg.ivp.copies import without_f
from pyndereg.ivp.norm import Norm, NormFunction
from pyndereg.ivp.state import State
from pyndereg.regularizers.derivatives import Dynamics, Parts, dynamics

Integrand = Callable[[Dynamics, Parts | None], Tensor]


@dataclass(frozen=True, eq=False)
class FieldWithIntegrals:
    """The right-hand side of a state followed by integrals: f and their integrands.

    Attributes:
        f: the user's.
        is_tuple: whether the user's state is a tuple.
        integrands: of the integrals, in the order in which these follow the state.
        orders: of the total derivatives that they need.
        probes: theirs, drawn for this solve; None for an integral without one.
        direction: 1.0 or -1.0, that of time.
    """

    f: Callable[..., Any]
    is_tuple: bool
    integrands: tuple[Integrand, ...]
    orders: frozenset[int]
    probes: tuple[Parts | None, ...]
    direction: float

    def __call__(self, t: Tensor, state: Parts) -> Parts:
        """t () and the state's tensors -> the slopes of all."""
        y = state[: -len(self.integrands)]
        at = dynamics(self._slope, t, y, self.orders, [probe for probe in self.probes if probe is not None])
        products = iter(at.products)
        slopes = [
            self.direction * integrand(at, None if probe is None else next(products))
            for integrand, probe in zip(self.integrands, self.probes, strict=True)
        ]
        return (*at.slope, *slopes)

    def _slope(self, t: Tensor, *y: Tensor) -> Parts:
        slope = self.f(t, y if self.is_tuple else y[0])
        if self.is_tuple and (not isinstance(slope, tuple) or len(slope) != len(y)):
            found = f"a tuple of {len(slope)}" if isinstance(slope, tuple) else f"a {type(slope).__name__}"
            raise TypeError(f"f returned {found}; return a tuple of {len(y)} tensors, as in y0")
        parts: list[Tensor] = []
        for part, like in zip(slope if self.is_tuple else (slope,), y, strict=True):
            if not isinstance(part, Tensor):
                raise TypeError(
                    f"f returned a {type(part).__name__}; return dy/dt as a tensor of shape {tuple(like.shape)}"
                )
            if part.shape != like.shape or part.dtype != like.dtype:
                raise ValueError(
                    f"f returned shape {tuple(part.shape)}, {part.dtype}; return dy/dt with shape "
                    f"{tuple(like.shape)}, {like.dtype}, as y0 has"
                )
            parts.append(part)
        return tuple(parts)


@dataclass(frozen=True)
class UserState:
    """Gives back the user's state from one that is followed by integrals.

    Attributes:
        is_tuple: whether the user's state is a tuple.
        count: how many integrals there are.
    """

    is_tuple: bool
    count: int

    def __call__(self, state: State) -> State:
        """The first tensors of a state; shapes are kept."""
        assert isinstance(state, tuple)
        return state[: -self.count] if self.is_tuple else state[0]


def norm_of_first(norm: Norm | NormFunction | None) -> Norm | NormFunction | None:
    """A norm of one tensor, for a state that holds it as its only tensor that controls steps."""
    if norm is None or isinstance(norm, Norm):
        return norm
    return lambda error: norm(error[0])  # type: ignore[index]


@dataclass(frozen=True, eq=False)
class DenseWithoutIntegrals:
    """Dense output of the user's state.

    Attributes:
        interpolate: dense output with the integrals.
        user_state: strips them.
    """

    interpolate: Callable[[Tensor], State]
    user_state: UserState

    def without_f(self) -> "DenseWithoutIntegrals":
        """The same without graphs, which can be pickled."""
        return DenseWithoutIntegrals(without_f(self.interpolate), self.user_state)

    def __call__(self, t: Tensor) -> State:
        """The state at times of any shape."""
        return self.user_state(self.interpolate(t))
