"""The question: an initial value problem."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from pyndereg.ivp.julia import JuliaFunction
from pyndereg.ivp.state import State, StateLayout, check_state
from pyndereg.numbers import real
from pyndereg.torch_modes import built_outside_graphs

Time = float | Tensor


def check_time(t: object, name: str) -> Time:
    """Return `t` if it can be an end of the interval: a finite number, or a real tensor with one element."""
    value = real(t.detach().reshape(()) if isinstance(t, Tensor) and t.numel() == 1 else t, name)
    if value is None and isinstance(t, Tensor):
        raise ValueError(
            f"{name} is a tensor of shape {tuple(t.shape)} and {t.dtype} on {t.device}; pass a number or a real scalar"
        )
    if value is None:
        raise TypeError(f"{name} is a {type(t).__name__}; pass a number or a scalar tensor")
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; pass a finite time")
    return t if isinstance(t, Tensor) and t.is_floating_point() else value


def check_params(params: object, used: str) -> tuple[Tensor, ...]:
    """Tensors that receive gradients, as a tuple.

    Raises:
        TypeError: they are something else.
    """
    if isinstance(params, nn.Module) or not isinstance(params, Iterable):
        raise TypeError(f"params is a {type(params).__name__}; pass the tensors that {used}, e.g. module.parameters()")
    params = (params,) if isinstance(params, Tensor) else tuple(params)
    for param in params:
        if not isinstance(param, Tensor):
            raise TypeError(f"params holds a {type(param).__name__}; pass the tensors that {used}")
    return params


def check_end(t: object, name: str) -> float:
    """An end of the interval as a number.

    Raises:
        TypeError, ValueError: it is none, not finite, or asks for a gradient, which it would not get.
    """
    time = check_time(t, name)
    if isinstance(time, Tensor) and time.requires_grad:
        raise ValueError(f"{name} asks for a gradient, which only the ends of an ODEProblem have; pass it detached")
    return float(time)


@built_outside_graphs
@dataclass(frozen=True, eq=False)
class ODEProblem:
    """An ordinary differential equation dy/dt = f(t, y) from y(t0) = y0 to t1.

    Args:
        f: right-hand side `f(t, y) -> dy/dt`; a function, an `nn.Module`, or a `pyndereg.julia.function`. `t` is a
            scalar tensor of y's dtype (float64 where float32 could not tell the interval's times apart), in the
            problem's time units; `y` and the result have the shape(s) of `y0`, a
            tuple where `y0` is one.
        y0: initial state: a float32 or float64 tensor of any shape, or a tuple of tensors.
        t0, t1: ends of the interval, in the problem's time units; `t1 < t0` integrates backwards. Numbers, or scalar
            tensors, which receive gradients if they ask for them.
        params: tensors inside `f` that receive gradients. A module finds its own parameters; whatever else `f` uses
            (the tensors of a plain function, or a context stored on a module) is listed here.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, not finite, or the interval is empty.
    """

    f: Callable[..., Any]
    y0: State
    t0: Time = 0.0
    t1: Time = 1.0
    params: Iterable[Tensor] = ()

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise TypeError(f"f is a {type(self.f).__name__}; pass a function f(t, y) or a module with forward(t, y)")
        object.__setattr__(self, "y0", check_state(self.y0, "y0"))
        object.__setattr__(self, "t0", check_time(self.t0, "t0"))
        object.__setattr__(self, "t1", check_time(self.t1, "t1"))
        t0, t1 = self.interval
        if t0 == t1:
            raise ValueError(f"t0 and t1 are both {t0}; pass an interval of non-zero length")
        object.__setattr__(self, "params", check_params(self.params, "f uses"))

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends as numbers, in the problem's time units."""
        t0, t1 = self.t0, self.t1
        return (
            float(t0.detach()) if isinstance(t0, Tensor) else t0,
            float(t1.detach()) if isinstance(t1, Tensor) else t1,
        )

    @cached_property
    def layout(self) -> StateLayout:
        """Shapes, dtype and device of the state."""
        return StateLayout.of(self.y0)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Every tensor inside `f` that asks for a gradient, each once: a module's own, then `params`."""
        own = tuple(self.f.parameters()) if isinstance(self.f, nn.Module) else ()
        if isinstance(self.f, JuliaFunction) and self.f.parameters is not None:
            own = (self.f.parameters,)
        unique = {id(param): param for param in own + tuple(self.params) if param.requires_grad}
        return tuple(unique.values())
