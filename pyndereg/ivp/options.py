"""How a problem is to be solved: choices as values."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyndereg.ivp.control import PI, PID, Control, I, checked_shortest
from pyndereg.ivp.julia import JuliaMethod, JuliaSensealg
from pyndereg.ivp.norm import Norm, NormFunction, check_norm
from pyndereg.ivp.stepping import checked_count, checked_first, checked_longest, checked_times, refuse_contradictions
from pyndereg.numbers import as_float64, at_least, onto_interval, positive, real


@dataclass(frozen=True)
class SaveAt:
    """What a solution keeps besides its final state.

    Args:
        times: times to save at, by the method's interpolant; strictly monotone in the direction of integration and
            inside [t0, t1], ends included. One that passes an end by a few roundings, of float32 where float32 holds
            it exactly, is that end. Shape (times,), in the problem's time units. None: not by times.
            For the gradient they stand still while t0 and t1 move, except a time equal to t1, which is the final state.
        every_step: save t0 and the end of every accepted step. Not together with `times`.
        dense: keep the stages of every accepted step, so that `solution(t)` costs no further evaluations.

    With neither `times` nor `every_step` the final state alone is saved.
    """

    times: Sequence[float] | Tensor | None = None
    every_step: bool = False
    dense: bool = False

    def __post_init__(self) -> None:
        if self.times is None:
            return
        if self.every_step:
            raise ValueError("SaveAt has both times and every_step=True; choose one of them")
        parts = (self.times,) if isinstance(self.times, Tensor) else self.times
        if isinstance(parts, list | tuple) and any(isinstance(t, Tensor) and t.requires_grad for t in parts):
            raise ValueError("save times ask for a gradient, which they have not; pass times.detach()")
        times = as_float64(self.times, "save times")
        if times.ndim != 1 or times.numel() == 0:
            raise ValueError(f"save times have shape {tuple(times.shape)}; pass a non-empty sequence of numbers")
        object.__setattr__(self, "times", tuple(times.tolist()))

    def checked_times(self, t0: float, t1: float) -> tuple[float, ...]:
        """The save times, in the order in which they are passed from t0 to t1.

        Raises:
            ValueError: they are not strictly monotone in that direction, or one lies outside the interval.
        """
        if self.times is None:
            return ()
        low, high = min(t0, t1), max(t0, t1)
        times = tuple(onto_interval(float(t), low, high) for t in self.times)
        direction = math.copysign(1.0, t1 - t0)
        for t in times:
            if not low <= t <= high:
                raise ValueError(
                    f"save time {t} lies outside [t0, t1] = [{t0}, {t1}]; move it inside or extend the interval"
                )
        for earlier, later in itertools.pairwise(times):
            if direction * (later - earlier) <= 0:
                raise ValueError(
                    f"save times go from {earlier} to {later}; sort them from t0={t0} to t1={t1}, without repeats"
                )
        return times


@dataclass(frozen=True)
class Backprop:
    """Gradient by the graph of every accepted stage, kept from the forward pass: fastest, most memory.

    Memory: all that `f` keeps for its own backward pass, for every stage of every accepted step.
    """


@dataclass(frozen=True)
class DiscreteAdjoint:
    """Gradient by replaying each accepted step under autograd, in reverse order: exact, with little memory.

    The forward pass keeps (t, dt, y) of accepted steps and, of the first of them, the graphs of their stages, as long
    as these fit an allowance; steps whose graphs are there are not taken again. Step lengths are constants of the
    gradient, as in the code of [@pal2021opening]. The gradient equals `Backprop`'s, whatever is kept.

    Args:
        checkpoints: keep at most this many states, and recompute those between them in the backward pass, for one
            more forward pass in all. None: keep the state of every accepted step.
        allowance: bytes that the graphs of one solve may hold at most until its backward pass, beyond what the same
            solve without an allowance holds. 0: every step is taken again.
    """

    checkpoints: int | None = None
    allowance: int = 0

    def __post_init__(self) -> None:
        what = "a number of bytes, 0 to take every step again"
        object.__setattr__(self, "allowance", at_least(self.allowance, 0, "allowance", what))
        if self.checkpoints is not None:
            what = "a positive number of states, or None for all"
            object.__setattr__(self, "checkpoints", at_least(self.checkpoints, 1, "checkpoints", what))


ADJOINT_NORMS = ("state", "all")
ADJOINT_NORMS_IN_WORDS = " or ".join(map(repr, ADJOINT_NORMS))


@dataclass(frozen=True)
class ContinuousAdjoint:
    """What the continuous adjoints have in common: they solve the adjoint equation backwards in time.

    They give gradients of states, not of `solution.steps`, which only exist in the numerical solution.

    Args:
        rtol, atol: tolerances of the backward solve; those of the forward solve by default, then with atol in units of
            the largest cotangent that arrives (its root mean square), so that they fit a loss of any size.
        vjp: who makes the vector-Jacobian products of f: `"field"`, the right-hand side's own (autograd for a torch
            module), which is the default; further ones of the julia engine see `pyndereg.julia.sensealg`.
        method: of the backward solve; that of the forward solve by default.
        norm: what controls the steps of the backward solve: `"state"`, the adjoint of the state (and the state, where
            it is solved backwards, too); `"all"`, the parameters' part as well. None is the engine's default: `"state"`
            in the embedded engine, `"all"` in the julia engine.
    """

    rtol: float | None = None
    atol: float | None = None
    vjp: str | None = None
    method: str | None = None
    norm: str | None = None

    def __post_init__(self) -> None:
        _check_tolerances(self, "rtol", "atol", f" of {type(self).__name__}")
        if isinstance(self, QuadratureAdjoint):
            for name in ("quadrature_rtol", "quadrature_atol"):
                if getattr(self, name) is not None:
                    of = f"{name} of QuadratureAdjoint"
                    object.__setattr__(self, name, positive(getattr(self, name), of, "a positive number, or None"))
        if self.vjp is not None and not isinstance(self.vjp, str):
            raise TypeError(f"vjp of {type(self).__name__} is {self.vjp!r}; pass a name, such as 'field', or None")
        if self.method is not None and not isinstance(self.method, str):
            raise TypeError(
                f"method of {type(self).__name__} is {self.method!r}; pass a name, such as 'tsit5', or None"
            )
        if self.norm not in (None, *ADJOINT_NORMS):
            raise ValueError(f"norm of {type(self).__name__} is {self.norm!r}; pass {ADJOINT_NORMS_IN_WORDS}, or None")
        if self.norm == "all" and isinstance(self, QuadratureAdjoint | GaussAdjoint):
            raise ValueError(
                f"norm of {type(self).__name__} is 'all', but its backward solve has no parameters' part; pass "
                "'state', or None"
            )
        checkpointing = getattr(self, "checkpointing", False)
        if not isinstance(checkpointing, bool):
            raise TypeError(f"checkpointing of {type(self).__name__} is {checkpointing!r}; pass True or False")


@dataclass(frozen=True)
class BacksolveAdjoint(ContinuousAdjoint):
    """Gradient by solving the state backwards together with its adjoint: least memory, unstable where f contracts.

    Args:
        checkpointing: put the state back on the forward solution at every save time.
    Source: [@chen2018neural].
    """

    checkpointing: bool = True


@dataclass(frozen=True)
class InterpolatingAdjoint(ContinuousAdjoint):
    """Gradient by the adjoint equation on the forward solution's dense output.

    Args:
        checkpointing: solve forwards again between save times instead of keeping the dense output.
    """

    checkpointing: bool = False


@dataclass(frozen=True)
class QuadratureAdjoint(ContinuousAdjoint):
    """Gradient by the adjoint equation without parameters, their part by quadrature of its dense output afterwards.

    Keeps the stages of forward and backward solve, so that both are known at any time.

    Args:
        quadrature_rtol, quadrature_atol: tolerances of the quadrature, of the norm of the whole parameters' part; those
            of the backward solve by default.
    """

    quadrature_rtol: float | None = None
    quadrature_atol: float | None = None


@dataclass(frozen=True)
class GaussAdjoint(ContinuousAdjoint):
    """Gradient by the adjoint equation without parameters, their part by Gauss quadrature along the way."""


@dataclass(frozen=True)
class ForwardSensitivity:
    """Gradient by forward mode; for up to about a hundred parameters."""


Gradient = Backprop | DiscreteAdjoint | ContinuousAdjoint | ForwardSensitivity | JuliaSensealg

# 1 GiB holds the graphs of most solves, and is little beside the memory of a machine that trains. A fraction of the
# memory that happens to be free would make two runs of one program differ.
DEFAULT_GRADIENT = DiscreteAdjoint(allowance=2**30)

STIFFNESS_NORMS = ("rms", "max")
FIELDS = ("native", "callback")


@dataclass(frozen=True)
class SolveOptions:
    """Everything about a solve that is not the problem; see `pyndereg.solve` for the meaning of each."""

    method: str | JuliaMethod = "tsit5"
    rtol: float = 1e-6
    atol: float = 1e-6
    saveat: SaveAt = SaveAt()
    gradient: Gradient = DEFAULT_GRADIENT
    dt: float | None = None
    adaptive: bool = True
    max_steps: int = 100_000
    stiffness: str = "rms"
    field: str | None = None
    uncontrolled: int = 0
    grid: Sequence[float] | Tensor | None = None
    steps: int | None = None
    dt_max: float | None = None
    dt_min: float | None = None
    control: Control | None = None
    first_step: float | None = None
    breakpoints: Sequence[float] | Tensor | None = None
    norm: Norm | NormFunction | None = None

    def __post_init__(self) -> None:
        self._check_stepping()
        for name in ("rtol", "atol"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is None; pass a positive number")
        _check_tolerances(self, "rtol", "atol")
        if not isinstance(self.saveat, SaveAt):
            raise TypeError(f"saveat is a {type(self.saveat).__name__}; pass times, SaveAt(...) or None")
        if not isinstance(self.gradient, Gradient):
            raise TypeError(f"gradient is {self.gradient!r}; pass a value such as DiscreteAdjoint() or Backprop()")
        if self.dt is not None:
            dt = real(self.dt, "dt")
            if dt is None or not 0 < dt < math.inf:
                raise ValueError(f"dt is {self.dt!r}; pass a positive step length, whatever the direction of time")
            object.__setattr__(self, "dt", dt)
        if self.dt is not None and self.first_step is not None:
            raise ValueError(
                "dt and first_step were given; pass first_step= for the length of an adaptive method's first step, dt= "
                "for steps of one length"
            )
        object.__setattr__(self, "max_steps", at_least(self.max_steps, 1, "max_steps"))
        if self.stiffness not in STIFFNESS_NORMS:
            raise ValueError(f"stiffness is {self.stiffness!r}; pass one of {', '.join(map(repr, STIFFNESS_NORMS))}")
        if self.field is not None and self.field not in FIELDS:
            raise ValueError(f"field is {self.field!r}; pass {' or '.join(map(repr, FIELDS))}, or None to choose")
        what = "how many tensors of a tuple state, 0 or more"
        object.__setattr__(self, "uncontrolled", at_least(self.uncontrolled, 0, "uncontrolled", what))

    def _check_stepping(self) -> None:
        for name, least in (("grid", 2), ("breakpoints", 0)):
            times = getattr(self, name)
            if times is not None:
                object.__setattr__(self, name, checked_times(times, name, least))
        if self.steps is not None:
            object.__setattr__(self, "steps", checked_count(self.steps))
        if self.dt_max is not None:
            object.__setattr__(self, "dt_max", checked_longest(self.dt_max))
        if self.dt_min is not None:
            object.__setattr__(self, "dt_min", checked_shortest(self.dt_min, self.dt_max))
        if self.control is not None and type(self.control) not in (PI, I, PID):
            raise TypeError(f"control is {self.control!r}; pass a value such as control.PI() or control.PID('H211PI')")
        if self.norm is not None:
            check_norm(self.norm)
        if self.first_step is not None:
            object.__setattr__(self, "first_step", checked_first(self.first_step))
        refuse_contradictions(self.dt, self.grid, self.steps, self.max_steps)  # type: ignore[arg-type]


def _check_tolerances(options: Any, relative: str, absolute: str, of: str = "") -> None:
    """Make both tolerances of options plain numbers; None stays.

    Raises:
        ValueError: one is negative, not finite or no number, or both are 0.
    """
    for name in (relative, absolute):
        value = getattr(options, name)
        if value is None:
            continue
        number = real(value, name + of)
        if number is None or not 0 <= number < math.inf:
            raise ValueError(f"{name}{of} is {value!r}; pass a positive number, or 0 beside another tolerance")
        object.__setattr__(options, name, number)
    if getattr(options, relative) == 0 == getattr(options, absolute):
        raise ValueError(f"{relative} and {absolute}{of} are both 0; pass a positive number for one of them")
