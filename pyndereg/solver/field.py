"""The right-hand side as a solver sees it: checked, counted, in the solver's layout."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from pyndereg.ivp import ODEProblem, SDEProblem, State
from pyndereg.ivp.errors import GradientRefused
from pyndereg.ivp.segment import EVERYWHERE, ODESegment, SDESegment
from pyndereg.solver.misfit import refuse_misfit

FieldT = TypeVar("FieldT", bound="Field")
HALVES = (torch.bfloat16, torch.float16)


class CallContext(Protocol):
    """The context of a call of f; see `gradients.around.Around`."""

    @property
    def casts(self) -> bool:
        """Whether a slope of half precision is cast to the state's dtype, as under autocast."""
        ...

    def __call__(self) -> AbstractContextManager[object]:
        """The context."""
        ...

    def result(self, slope: Any) -> Any:
        """What is taken for the result of the call."""
        ...


class GraphGuard(Protocol):
    """Looks at the graphs of evaluations; see `gradients.guard.Guard`."""

    def expect_start(self) -> None:
        """The next evaluation with a graph is that of the start."""
        ...

    def skips(self, first: int) -> bool:
        """Whether an evaluation need not be looked at."""
        ...

    def check(self, evaluate: Callable[[], Tensor], slope: Tensor, arguments: tuple[Tensor, ...], first: int) -> None:
        """Look at one evaluation."""
        ...


class Watcher(Protocol):
    """Looks at what a call of f does; see `gradients.watch.Watch`."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result."""
        ...


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
        self._times = problem.times if isinstance(problem, ODESegment | SDESegment) else EVERYWHERE
        self.evaluations = 0
        self._around: CallContext | None = None
        self._guard: GraphGuard | None = None
        self._watcher: Watcher | None = None
        self._is_copy = self._copies_result = self._casts = False
        # At first f is handed copies, which tell whether it writes into its argument; it gets them on if it does.
        self._hands_copies, self._is_first = True, True
        self._ready: tuple[float, int, Tensor] | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """f itself."""
        return self._f

    def on(
        self: FieldT,
        function: Callable[..., Any],
        around: CallContext | None,
        guard: GraphGuard | None,
    ) -> FieldT:
        """The same for another function, with a count of its own.

        Args:
            function: called like f.
            around: the context that each call is made in; None for none.
            guard: looks at evaluations with a graph.
        """
        other = copy.copy(self)
        other._f, other._around, other._guard = function, around, guard
        other._casts = around is not None and around.casts
        other.evaluations, other._ready = 0, None
        return other

    def as_copy(self: FieldT) -> FieldT:
        """This one, whose function is a copy that a backward pass calls: where that raises, there is no gradient."""
        self._is_copy = True
        return self

    def expect_start(self) -> None:
        """The next evaluation with a graph is that of the start, whose graph is to be the one of the solve."""
        if self._guard is not None:
            self._guard.expect_start()

    def copy_result(self) -> None:
        """From now on f is known to return a tensor of its own that it writes into."""
        self._copies_result = True

    def again(self: FieldT) -> FieldT:
        """The same with a count of its own."""
        other = copy.copy(self)
        other.evaluations = 0
        return other

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """The slope at one point.

        Args:
            t: shape (), in the problem's time units.
            y: the state in the solver's shape, units of y.
        Returns:
            Shape of y, units of y per time.
        Raises:
            TypeError, ValueError: f returned something that is not a slope of this state, or wrote into the state.
            GradientRefused: it depends on a tensor that would not receive its gradient.
        """
        if self._ready is not None:
            time, where, ready = self._ready
            self._ready = None
            if where == y.data_ptr() and time == t.item():
                return ready if torch.is_grad_enabled() else ready.detach()
        guard = self._guard
        if guard is None or not torch.is_grad_enabled():
            return self._evaluate(t, y)
        first = torch.autograd._get_sequence_nr()
        slope = self._evaluate(t, y)
        if not guard.skips(first):
            guard.check(lambda: self._evaluate(t, y), slope, (y, t), first)
        return slope

    def watch_next(self, watcher: Watcher) -> None:
        """Let the next call of f be looked at."""
        self._watcher = watcher

    def make_ready(self, t: Tensor, y: Tensor, slope: Tensor) -> None:
        """The next evaluation, if it is at this point, is known: the first one of a solve."""
        self._ready = (t.item(), y.data_ptr(), slope)

    def _evaluate(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations += 1
        if self._times is not EVERYWHERE:
            t = t.clamp(*self._times)
        if self._hands_copies:
            slope = self._on_copies(t, y)
        else:
            versions = y._version, t._version
            slope = self._call(t, self._layout.unflatten(y) if self._layout.is_tuple else y)
            if (y._version, t._version) != versions:
                raise ValueError(
                    f"{self.name} wrote into the state or the time that it was given, which it did not at its first "
                    "evaluation; let it work on a copy, y.clone()"
                )
        if self._layout.is_tuple:
            return self._layout.flatten(self._checked_tuple(slope))
        if not isinstance(slope, Tensor):
            self._refuse(slope, self._shape)
        if self._copies_result:
            slope = slope.clone()
        if self._casts and slope.dtype in HALVES:
            slope = slope.to(y.dtype)
        if slope.shape != self._shape or slope.dtype != y.dtype or slope.device != y.device:
            self._refuse(slope, self._shape)
        return slope

    def _on_copies(self, t: Tensor, y: Tensor) -> Any:
        """f on copies of its arguments; afterwards known to need them if it wrote into one."""
        parts = tuple(part.clone() for part in self._layout.unflatten(y)) if self._layout.is_tuple else (y.clone(),)
        asked = y.requires_grad and torch.is_grad_enabled()
        time = t.clone()
        slope = self._call(time, parts if self._layout.is_tuple else parts[0])
        if self._is_first:
            self._is_first = False
            written = time._version > 0 or any(part._version > 0 for part in parts)
            self._hands_copies = written or any(part.requires_grad != asked for part in parts)
        return slope

    def _call(self, t: Tensor, y: State) -> Any:
        try:
            if self._watcher is not None:
                return self._watched(self._watcher, t, y)
            if self._around is None:
                return self._f(t, y)
            with self._around():
                slope = self._f(t, y)
        except Exception as error:
            self._explain(error, y)
            raise
        return self._around.result(slope)

    def _watched(self, watcher: Watcher, t: Tensor, y: State) -> Any:
        self._watcher = None
        if self._around is None:
            return watcher.call(self._f, t, y)
        with self._around():
            slope = watcher.call(self._f, t, y)
        return self._around.result(slope)

    def _explain(self, error: Exception, y: State) -> None:
        """Say what is wrong where f raised, if that is known."""
        if self._is_copy and not isinstance(error, GradientRefused):
            raise GradientRefused(
                f"{self.name} could be computed in the solve, but not again in its backward pass "
                f"({type(error).__name__}: {error}); leave what it uses as it is until backward was called, or pass "
                "gradient=Backprop()"
            ) from error
        if self.evaluations == 1 and not self._is_copy and isinstance(error, RuntimeError | TypeError):
            refuse_misfit(error, self.name, self._f, y)

    def _checked_tuple(self, slope: Any) -> State:
        if not isinstance(slope, tuple) or len(slope) != len(self._layout.shapes):
            found = f"a tuple of {len(slope)}" if isinstance(slope, tuple) else f"a {type(slope).__name__}"
            expected = f"a tuple of {len(self._layout.shapes)} tensors, as in y0"
            raise TypeError(f"{self.name} returned {found}; return {expected}")
        if self._casts:
            slope = tuple(x.to(self._layout.dtype) if isinstance(x, Tensor) and x.dtype in HALVES else x for x in slope)
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
