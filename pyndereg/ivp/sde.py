"""The question with noise: an initial value problem for a stochastic differential equation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from pyndereg.ivp.problem import check_params, check_time
from pyndereg.ivp.state import State, StateLayout, check_state
from pyndereg.numbers import at_least, whole
from pyndereg.torch_modes import built_outside_graphs

# Of the ends of a path, relative to the interval.
ROUNDING = 1e-9

Noise = Literal["diagonal", "scalar", "additive", "general"]
Interpretation = Literal["ito", "stratonovich"]


class BrownianMotion(Protocol):
    """A sample path of a Brownian motion; see `pyndereg.noise`."""

    def increments(self, s: float, t: float) -> tuple[Tensor, Tensor]:
        """Increment dW over [s, t] and the normalised area dZ of the path over it, shape of the noise each."""
        ...


@built_outside_graphs
@dataclass(frozen=True, eq=False)
class SDEProblem:
    """A stochastic differential equation dy = f(t, y) dt + g(t, y) dW from y(t0) = y0 to t1 > t0.

    Args:
        f: drift `f(t, y)`; a function or an `nn.Module`. `t` is a scalar tensor of y's dtype, in the problem's time
            units; `y` and the result have the shape(s) of `y0`, a tuple where `y0` is one.
        g: diffusion `g(t, y)`, in units of y per square root of time; its shape is a matter of `noise`.
        y0: initial state: a float32 or float64 tensor of any shape, usually (batch, dim), or a tuple of tensors.
        t0, t1: ends of the interval, in the problem's time units; numbers, t0 < t1.
        params: tensors inside `f` or `g` that receive gradients. Modules find their own parameters.
        noise: how the Brownian motion enters. `"diagonal"`: one for each element of y, g has y's shape. `"additive"`:
            the same, with a g that does not depend on y. `"scalar"`: one for each sample, of shape (*batch, 1), g has
            y's shape (*batch, dim). `"general"`: `noise_size` for each sample, of shape (*batch, noise_size), g has
            shape (*batch, dim, noise_size).
        interpretation: `"ito"` or `"stratonovich"`.
        noise_size: for general noise, the number of Brownian motions of a sample.
        brownian: the path of the Brownian motion, with the shape of the noise and the dtype and device of y0, over
            [t0, t1] at least; by default one is drawn for every solve.
        seed: of the path that is drawn; by default from torch's generator.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, not finite, or the interval is empty or runs backwards.
    """

    f: Callable[..., Any]
    g: Callable[..., Any]
    y0: State
    t0: float = 0.0
    t1: float = 1.0
    params: Iterable[Tensor] = ()
    noise: Noise = "diagonal"
    interpretation: Interpretation = "ito"
    noise_size: int | None = None
    brownian: BrownianMotion | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, function in (("f", self.f), ("g", self.g)):
            if not callable(function):
                found = type(function).__name__
                raise TypeError(f"{name} is a {found}; pass a function {name}(t, y) or a module with forward(t, y)")
        object.__setattr__(self, "y0", check_state(self.y0, "y0"))
        for name in ("t0", "t1"):
            time = check_time(getattr(self, name), name)
            if isinstance(time, Tensor) and time.requires_grad:
                raise ValueError(
                    f"{name} asks for a gradient, which the ends of a stochastic solve have not; detach it"
                )
            object.__setattr__(self, name, float(time))
        if not self.t0 < self.t1:
            raise ValueError(f"t0 and t1 are {self.t0} and {self.t1}; pass t0 < t1")
        for name, choices in (("noise", get_args(Noise)), ("interpretation", get_args(Interpretation))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; pass one of {', '.join(map(repr, choices))}")
        self._check_noise_size()
        self._check_seed()
        self._check_brownian()
        object.__setattr__(self, "params", check_params(self.params, "f and g use"))

    def _check_noise_size(self) -> None:
        if (self.noise == "general") != (self.noise_size is not None):
            found = "no noise_size" if self.noise_size is None else f"noise_size={self.noise_size}"
            raise ValueError(f"{found} was given with noise={self.noise!r}; pass noise_size= with noise='general' only")
        if self.noise_size is not None:
            object.__setattr__(self, "noise_size", at_least(self.noise_size, 1, "noise_size"))
        if self.noise in ("scalar", "general") and (isinstance(self.y0, tuple) or self.y0.ndim == 0):
            found = "a tuple" if isinstance(self.y0, tuple) else "a number without axes"
            raise ValueError(
                f"y0 is {found}, and noise={self.noise!r} mixes the last axis; pass y0 of shape (*batch, dim)"
            )

    def _check_seed(self) -> None:
        if self.seed is None:
            return
        seed = whole(self.seed)
        if seed is None or not 0 <= seed < 2**64:
            raise ValueError(f"seed is {self.seed!r}; pass a whole number from 0 to 2^64 - 1, or None to draw one")
        object.__setattr__(self, "seed", seed)

    def _check_brownian(self) -> None:
        """Refuse a path that does not fit; one that says nothing of itself is taken as it is."""
        layout, path = self.layout, self.brownian
        expected = {"shape": tuple(self.noise_shape), "dtype": layout.dtype, "device": layout.device}
        for name, value in expected.items():
            found = getattr(path, name, value)
            # "cuda" is the present one of "cuda:0", "cuda:1", ...
            same_kind = name == "device" and found.index is None and found.type == value.type
            if not same_kind and (tuple(found) if name == "shape" else found) != value:
                raise ValueError(
                    f"brownian has {name} {found}, and y0 with noise={self.noise!r} needs {value}; build the path with "
                    f"{name}={value}"
                )
        start, end = getattr(path, "t0", self.t0), getattr(path, "t1", self.t1)
        rounding = ROUNDING * (self.t1 - self.t0)
        if start > self.t0 + rounding or end < self.t1 - rounding:
            raise ValueError(
                f"brownian goes from {start} to {end}, and the problem from t0={self.t0} to t1={self.t1}; build the "
                "path over the whole interval"
            )

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends as numbers, in the problem's time units."""
        return self.t0, self.t1

    @cached_property
    def layout(self) -> StateLayout:
        """Shapes, dtype and device of the state."""
        return StateLayout.of(self.y0)

    @property
    def noise_shape(self) -> torch.Size:
        """Shape of the Brownian motion."""
        shape = self.layout.solver_shape
        sizes = {"scalar": 1, "general": self.noise_size}
        return torch.Size((*shape[:-1], sizes[self.noise])) if self.noise in sizes else shape

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Every tensor inside `f` and `g` that asks for a gradient, each once: the modules' own, then `params`."""
        own = [param for part in (self.f, self.g) if isinstance(part, nn.Module) for param in part.parameters()]
        unique = {id(param): param for param in (*own, *self.params) if param.requires_grad}
        return tuple(unique.values())
