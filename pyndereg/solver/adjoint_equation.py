"""The adjoint equation of an ordinary differential equation, solved backwards along a finished solution.

With a(t) = dL/dy(t) for a loss L of the solution, da/dt = -(df/dy)^T a, and dL/dθ is the integral of (df/dθ)^T a over
the interval. Where the loss depends on y at a time of its own, a jumps there by that dependence.

Source: [@pontryagin1962mathematical]; [@chen2018neural], Appendix B; SciMLSensitivity's variants after
[@rackauckas2020universal].
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyndereg.solver.control import Controller, first_step
from pyndereg.solver.gradients.graph import gradients_of
from pyndereg.solver.gradients.sums import zeros_for
from pyndereg.solver.march import March, march
from pyndereg.solver.path import Path
from pyndereg.solver.plans import Plan
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, FieldFunction, Stage, Step, evaluate

Gradients = list[Tensor]


class Pullback:
    """Vector-Jacobian products of f.

    Args:
        field: f on states in the solver's shape.
        shape: the solver's shape of a state.
        targets: tensors inside f that receive gradients.

    Attributes:
        used: for each of them, whether f ever depended on it.
    """

    def __init__(self, field: FieldFunction, shape: torch.Size, targets: Sequence[Tensor]) -> None:
        self._field, self._shape, self.targets = field, shape, tuple(targets)
        self.used = [False] * len(self.targets)
        self._zeros = [zeros_for(x) for x in self.targets]

    def __call__(
        self, t: Tensor, y: Tensor, adjoint: Tensor, *, params: bool
    ) -> tuple[Tensor, Tensor, Gradients | None]:
        """Pull an adjoint back through f.

        Args:
            t: shape (), in the problem's time units.
            y, adjoint: shape (size,).
            params: whether the parameters' part is wanted.
        Returns:
            f(t, y) and (df/dy)^T a, shape (size,) each, and (df/dθ)^T a for each parameter, or None.
        """
        stage = evaluate(self._field, t, y.view(self._shape), with_graph=True)
        inputs = (stage.y, *self.targets) if params else (stage.y,)
        slope = stage.slope.detach().reshape(-1)
        if not stage.slope.requires_grad:
            return slope, torch.zeros_like(y), list(self._zeros) if params else None
        found = gradients_of(stage.slope, inputs, adjoint.view(stage.slope.shape))
        pulled = torch.zeros_like(y) if found[0] is None else found[0].reshape(-1)
        return slope, pulled, [self._part(k, part) for k, part in enumerate(found[1:])] if params else None

    def _part(self, k: int, part: Tensor | None) -> Tensor:
        if part is None:
            return self._zeros[k]
        self.used[k] = True
        return part.to_dense() if part.layout != torch.strided else part

    def slope(self, t: float, y: Tensor, *, with_graph: bool = False) -> Tensor:
        """f alone, without its graph in any case. Shape (size,).

        Args:
            with_graph: evaluate f with a graph nevertheless, for its guard to look at.
        """
        time = torch.full((), t, dtype=y.dtype, device=y.device)
        with torch.set_grad_enabled(with_graph):
            return self._field(time, y.detach().view(self._shape).requires_grad_(with_graph)).detach().reshape(-1)


class AdjointField:
    """The right-hand side of the backward solve, whose evaluations come in the order of a step's nodes.

    Its state is the adjoint; or, without a path, the state and its adjoint, one after the other.

    Args:
        pullback: of f.
        path: the forward solution; None to solve it backwards, too.
        with_params: whether every evaluation yields the parameters' part, too.

    Attributes:
        gradients: (df/dθ)^T a at the nodes of the present step, by index, if they are wanted.
    """

    def __init__(self, pullback: Pullback, path: Path | None, *, with_params: bool) -> None:
        self._pullback, self._path, self._with_params = pullback, path, with_params
        self._states: Tensor | None = None
        self._node = self._first = 0
        self.gradients: dict[int, Gradients] = {}

    def expect(self, node: int, times: Sequence[float]) -> None:
        """The next evaluations are those of nodes `node`, `node` + 1, ... at these times."""
        self._node = self._first = node
        if self._path is not None and len(times) > 0:
            self._states = self._path.at(times)

    def __call__(self, t: Tensor, state: Tensor) -> Tensor:
        """The slope of the backward solve's state, in forward time. Shape of `state`."""
        if self._path is None:
            y, adjoint = state.chunk(2)
        else:
            assert self._states is not None
            y, adjoint = self._states[self._node - self._first], state
        slope, pulled, gradients = self._pullback(t, y, adjoint, params=self._with_params)
        if gradients is not None:
            self.gradients[self._node] = gradients
        self._node += 1
        return torch.neg(pulled) if self._path is not None else torch.cat([slope, torch.neg(pulled)])


class BackwardSolve:
    """Carries an adjoint from the end of a solution towards its start.

    Args:
        field: right-hand side.
        method: a method on it, without graphs.
        controller: step-size control.
        path: the forward solution, which is told what will not be needed again.
        max_steps: limit on attempted steps between two jumps.
        t: the time to start from, in the problem's time units.
        state: the adjoint there; or the state and the adjoint. Shape (size,) or (2 size,).
        dt: length of the first step, > 0; None for an automatic one.
        on_step: told of each accepted step, with the field's gradients at its nodes.
        refine: the scaled error of a step once the parameters' part is seen, too; None to leave it out.
    """

    def __init__(
        self,
        field: AdjointField,
        method: ExplicitRungeKutta,
        controller: Controller | Plan,
        path: Path | None,
        *,
        max_steps: int,
        t: float,
        state: Tensor,
        dt: float | None,
        on_step: Callable[[Step], None],
        refine: Callable[[Step], Tensor] | None,
    ) -> None:
        self._field, self._method, self._controller, self._path = field, method, controller, path
        self._max_steps, self._dt, self._on_step, self._refine = max_steps, dt, on_step, refine
        self._c = [float(c) for c in method.tableau.nodes_c]
        self._last: Step | None = None
        self._start: Stage | None = None
        self.t, self.state = t, state

    def jump(self, change: Tensor) -> None:
        """Add to the state, e.g. the cotangent of a saved state."""
        self.put(self.state + change)

    def put(self, state: Tensor) -> None:
        """Replace the state."""
        self.state, self._start, self._last = state, None, None

    def to(self, t: float) -> March[Step]:
        """Solve to a time; how it went."""
        if self._start is None and self._last is None:
            self._field.expect(0, [self.t])
            self._start = self._method.start(self.t, self.state)
        if self._dt is None:
            self._dt = self._first_step(t)
        result = march(self._attempt, self._accept, self._controller, self.t, t, self._dt, self._max_steps)
        # The step that was cut to end at a jump says nothing about the next one.
        self.t, self._dt = result.t_reached, result.proposed
        return result

    def extend(self, step: Step) -> None:
        """Evaluate the nodes that the interpolant of the latest step needs."""
        first = len(step.stages)
        self._field.expect(first, [step.t + c * step.dt for c in self._c[first:]])
        self._method.extend(step)

    def _attempt(self, t: float, dt: float) -> Step:
        end = self._method.tableau.end
        if self._last is not None:
            if len(self._last.stages) == end:
                self._field.expect(end, [t])
            self._start, gradients = self._method.complete(self._last), self._field.gradients
            self._field.gradients = {0: gradients[end]} if gradients else {}
            self._last = None
        assert self._start is not None
        if self._path is not None:
            self._path.forget_after(t)
        nodes = end + 1 if self._method.tableau.first_same_as_last else end
        self._field.expect(1, [t + c * dt for c in self._c[1:nodes]])
        step = self._method.attempt(t, dt, self._start)
        if self._refine is not None and step.scaled_error is not None:
            step.scaled_error = self._refine(step)
        return step

    def _accept(self, step: Step, t_end: float) -> None:
        self._last, self.state = step, step.y1
        self._on_step(step)

    def _first_step(self, t: float) -> float:
        assert self._start is not None
        method, gradients = self._method, self._field.gradients

        def slope(time: Tensor, state: Tensor) -> Tensor:
            self._field.gradients = {}
            self._field.expect(0, [time.item()])
            return method.field(time, state)

        y, start = self._start.y.view(-1), self._start.slope.reshape(-1)
        length = first_step(slope, self.t, t, y, start, method.tableau.order, method.rtol, method.atol)
        self._field.gradients = gradients
        return length
