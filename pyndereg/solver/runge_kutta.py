"""One step of an explicit Runge–Kutta method, its error and its stiffness.

A step of a method with s stages is described by its nodes: the points (t + c_j dt, Y_j) at which f is evaluated. Node 0
is the start of the step; one node, `tableau.end`, is its end, with Y = y1; nodes after that belong to the interpolant
and are evaluated only where a step is interpolated. The slope at the end of a step is the slope at the start of the
next one, for every method: `first same as last` only says that the error estimate needs it at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pyndereg.solver.combination import LinearCombination, weights_tensor
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.norms import RMS, Norm, absolute_tolerance, error_scale, scaled_error
from pyndereg.solver.stiffness import StiffnessEstimate
from pyndereg.solver.tableau import Tableau

FieldFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Coefficients:
    """A tableau's numbers in the forms that the solver uses.

    Attributes:
        rows: weights with which node j sums the slopes before it.
        columns: weights with which the nodes after node i, up to the end of the step, use slope i: the transpose of
            `rows`. `columns[i]` has length end - i.
        b_error: weights of the error estimate; None if there is none.
        c: nodes, of the state's dtype and on its device. Shape (nodes,).
        weights: interpolant. Shape (nodes, degree), in float64 on the CPU, where they are evaluated.
    """

    rows: tuple[tuple[float, ...], ...]
    columns: tuple[tuple[float, ...], ...]
    b_error: tuple[float, ...] | None
    c: Tensor
    weights: Tensor


@lru_cache(maxsize=64)
def coefficients(tableau: Tableau, dtype: torch.dtype, device: torch.device) -> Coefficients:
    """The coefficients of a tableau; made once for each dtype and device."""
    rows = tuple(tuple(float(entry) for entry in row) for row in tableau.nodes_a)
    end = tableau.end
    with torch.inference_mode(False):
        weights = torch.tensor(
            [[float(x) for x in row] for row in tableau.interpolant.weights], dtype=torch.float64, device="cpu"
        )
    return Coefficients(
        rows=rows,
        columns=tuple(tuple(rows[j][i] for j in range(i + 1, end + 1)) for i in range(end)),
        b_error=None if tableau.b_error is None else tuple(float(entry) for entry in tableau.b_error),
        c=weights_tensor(tuple(float(node) for node in tableau.nodes_c), dtype, device),
        weights=weights,
    )


# In place of a state that nothing asks for again; a large one is memory.
NO_STATE = torch.empty(0, device="cpu")


class Stage(NamedTuple):
    """f at one point. With a graph, `y` (and `t`) are its leaves and `slope` its root.

    Attributes:
        t: shape (), in the problem's time units.
        y: the state, in the solver's shape; of a step without graphs only at its ends and where its stiffness is
            estimated, elsewhere empty.
        slope: f(t, y), same shape, units of y per time; of a step without graphs a row of the method's buffer.
    """

    t: Tensor
    y: Tensor
    slope: Tensor


def evaluate(field: FieldFunction, t: Tensor, y: Tensor, with_graph: bool, with_time: bool = False) -> Stage:
    """Evaluate f at a point.

    Args:
        t: shape ().
        y: the state in the solver's shape, without a graph.
        with_graph: keep the graph from `y` and the parameters to the slope.
        with_time: let that graph reach `t` too.
    """
    if not with_graph:
        return Stage(t, y, field(t, y))
    y = y.detach().requires_grad_()
    t = t.detach().requires_grad_() if with_time else t
    with torch.enable_grad():
        return Stage(t, y, field(t, y))


@dataclass(slots=True)
class Step:
    """One attempted step.

    Attributes:
        t, dt: where it began and its signed length, in the problem's time units.
        y0, y1: flat states at both ends. Shape (size,).
        stages: nodes evaluated so far, in order; the end node is missing where the step did not need its slope.
        scaled_error: see `norms.scaled_error`. Shape (); None where the method has no estimate.
        sizes: norms of the error, of y1 and of the first slope in units of the tolerance, for each part of the state
            that the norm judges apart; None unless the method `tells_sizes`. Shape (3, parts).
    """

    t: float
    dt: float
    y0: Tensor
    y1: Tensor
    stages: list[Stage]
    scaled_error: Tensor | None
    sizes: Tensor | None = None


class ExplicitRungeKutta:
    """Steps of one method on one problem; to be called without grad mode, which it enters where graphs are kept.

    Slopes are gathered in one buffer, a row per node, so that every linear combination of them is one kernel. The
    buffer holds the slopes of the latest step only; without graphs no other copy of them is kept, so that f may write
    its result into the same memory at every call.

    Args:
        tableau: the method.
        field: f on states in the solver's shape.
        shape: the solver's shape of a state.
        rtol, atol: tolerances of the error estimate.
        stiffness: definition of the stiffness estimate.
        controlled: how many elements at the start of the state the error and stiffness estimates see; None for all.
        norm: of the scaled error.
        with_graph: keep every stage's graph.
        with_time: let these graphs reach the stage's time.
        time_dtype: of the times that f is called with; None for the state's.

    Attributes:
        tells_sizes: whether attempted steps have `sizes`, from which rounding is told.
    """

    def __init__(
        self,
        tableau: Tableau,
        field: FieldFunction,
        shape: torch.Size,
        *,
        dtype: torch.dtype,
        device: torch.device,
        rtol: float,
        atol: float,
        stiffness: StiffnessEstimate,
        controlled: int | None = None,
        norm: Norm = RMS,
        with_graph: bool = False,
        with_time: bool = False,
        time_dtype: torch.dtype | None = None,
    ) -> None:
        self.tableau, self.field, self.shape = tableau, field, shape
        self.rtol, self.atol, self._stiffness = rtol, atol, stiffness
        self.norm, self._norm_of = norm, norm.of
        self.with_graph, self.with_time = with_graph, with_time
        self.tells_sizes = False
        self.coefficients = coefficients(tableau, dtype, device)
        self._c = coefficients(tableau, time_dtype or dtype, device).c
        self._is_flat = len(shape) == 1
        self._controlled = None if controlled == shape.numel() else controlled
        self._atol = absolute_tolerance(atol, dtype, device)
        nodes = len(tableau.nodes_c)
        self.slopes = torch.empty(nodes, shape.numel(), dtype=dtype, device=device)
        self._shaped_rows = self.slopes.view(nodes, *shape).unbind()
        self._states_kept = {tableau.end, *(tableau.stiffness_stages or ())}
        self._asks_inside = tableau.end > 1 or tableau.first_same_as_last
        self._latest_start: Stage | None = None  # whose slope is in row 0
        self._nodes = [LinearCombination(self.slopes, row) for row in self.coefficients.rows]
        self._error: LinearCombination | None = None
        if self.coefficients.b_error is not None:
            seen = self.slopes[:, : self._controlled]
            self._error = LinearCombination(seen, self.coefficients.b_error)
            self._zeros = torch.zeros_like(seen[0])
            self._room = (torch.empty_like(self._zeros), torch.empty_like(self._zeros), torch.empty_like(self._zeros))

    def stage(self, t: Tensor, y: Tensor) -> Stage:
        """Evaluate f at a flat state."""
        if not self._is_flat:
            y = y.view(self.shape)
        if not self.with_graph:
            return Stage(t, y, self.field(t, y))
        return evaluate(self.field, t, y, with_graph=True, with_time=self.with_time)

    def start(self, t: float, y: Tensor) -> Stage:
        """The stage that a step from (t, y) starts with."""
        return self.stage(torch.full((), t, dtype=self._c.dtype, device=y.device), y)

    def adopt(self, start: Stage) -> Stage:
        """A stage to start with, made outside of any step, whose slope becomes the method's own."""
        if self.with_graph:
            return start
        self._keep(0, start)
        self._latest_start = Stage(start.t, start.y, self._shaped_rows[0])
        return self._latest_start

    def attempt(self, t: float, dt: float, start: Stage) -> Step:
        """Take one step from a stage, whose slope is not evaluated again; it may be the one of the latest attempt.

        Args:
            t, dt: where it begins and its signed length, in the problem's time units.
            start: the stage at (t, y0).
        """
        y0 = start.y if self._is_flat else start.y.view(-1)
        stages = [start]
        times = self.node_times(t, dt) if self._asks_inside else ()
        # A rejected attempt may have overwritten the row in which the slope came; row 0 is as it was.
        if start is not self._latest_start:
            self._keep(0, start)
            self._latest_start = None if self.with_graph else start
        for j in range(1, self.tableau.end):
            stages.append(self._node(j, times[j], self.node_state(j, y0, dt), None))
        y1 = self.node_state(self.tableau.end, y0, dt)
        if self.tableau.first_same_as_last:
            stages.append(self._node(self.tableau.end, times[self.tableau.end], y1, None))
        if self._error is None:
            return Step(t, dt, y0, y1, stages, None)
        estimate = self._error(self._zeros, dt, out=self._room[0])
        scale = error_scale(self._seen(y0), self._seen(y1), self.rtol, self._atol, self._room[1:])
        scaled, sizes = torch.div(estimate, scale, out=self._room[2]), None
        error = self._norm_of(scaled)
        if self.tells_sizes:
            others = torch.stack([self._seen(y1), self._seen(self.slopes[0])]).div_(scale)
            sizes = self.norm.of_parts(scaled, error, others)
        return Step(t, dt, y0, y1, stages, error, sizes)

    def replay(self, t: float, dt: float, y0: Tensor, end: Stage | None) -> Step:
        """Take an accepted step again, its end node given (or left out, if None)."""
        stages = [self.start(t, y0)]
        times = self.node_times(t, dt)
        self._keep(0, stages[0])
        self._latest_start = None
        if not self.with_graph:
            stages[0] = stages[0]._replace(slope=stages[0].slope.clone())  # outlives the step, as the end of another
        for j in range(1, self.tableau.end):
            stages.append(self._node(j, times[j], self.node_state(j, y0, dt), None))
        y1 = self.node_state(self.tableau.end, y0, dt) if end is None else end.y.view(-1)
        step = Step(t, dt, y0, y1, stages, None)
        if end is not None:
            self.complete(step, end)
        return step

    def compare(self, step: Step, end: Tensor, agreement: Agreement) -> None:
        """Compare the end of the latest step, which was taken again, with where it ended before. Shape (size,)."""
        inner = self.tableau.end
        agreement.compare(step.t, self.node_state(inner, step.y0, step.dt), end, self.slopes[:inner], step.dt)

    def complete(self, step: Step, end: Stage | None = None) -> Stage:
        """The stage at the end of the latest step, which the next one starts with; evaluated if it was not yet."""
        if len(step.stages) == self.tableau.end:
            t = torch.full((), step.t + step.dt, dtype=self._c.dtype, device=step.y1.device)
            step.stages.append(self._node(self.tableau.end, t, step.y1, end))
        return step.stages[self.tableau.end]

    def extend(self, step: Step) -> None:
        """Evaluate the nodes that the interpolant of the latest step needs."""
        self.complete(step)
        if len(step.stages) < len(self.coefficients.rows):
            times = self.node_times(step.t, step.dt)
            for j in range(len(step.stages), len(self.coefficients.rows)):
                step.stages.append(self._node(j, times[j], self.node_state(j, step.y0, step.dt), None))

    def reload(self, step: Step) -> None:
        """Make an earlier step the latest one again: put its slopes back into the buffer."""
        self._latest_start = None
        for j, stage in enumerate(step.stages):
            self._keep(j, stage)

    def error_of(self, slopes: Tensor, y0: Tensor, y1: Tensor, dt: Tensor) -> Tensor:
        """Scaled error as a differentiable function. slopes (nodes, size), y0 and y1 (size,), dt () -> ()."""
        assert self.coefficients.b_error is not None
        weights = weights_tensor(self.coefficients.b_error, slopes.dtype, slopes.device)
        estimate = self._seen(slopes[: self.tableau.stages]).t() @ (weights * dt)
        return scaled_error(estimate, self._seen(y0), self._seen(y1), self.rtol, self._atol, self._norm_of)

    def stiffness(self, step: Step) -> Tensor | None:
        """Stiffness estimate of the latest step. Shape (), 1/time; None where the method has none."""
        if self.tableau.stiffness_stages is None:
            return None
        p, q = self.tableau.stiffness_stages
        return self.stiffness_of(self.slopes[p] - self.slopes[q], step.stages[p].y - step.stages[q].y)

    def stiffness_of(self, slopes: Tensor, states: Tensor) -> Tensor:
        """Stiffness estimate from differences of two stages' slopes and states, of one shape. -> ()."""
        return self._stiffness(self._seen(slopes.reshape(-1)), self._seen(states.reshape(-1)))

    def node_times(self, t: float, dt: float) -> tuple[Tensor, ...]:
        """Times of all nodes; computed where the state lies, without a host synchronisation."""
        c = self._c
        return torch.add(torch.full((), t, dtype=c.dtype, device=c.device), c, alpha=dt).unbind()

    def node_state(self, j: int, y0: Tensor, dt: float) -> Tensor:
        """Y_j = y0 + dt sum_i a_ji k_i from the slopes in the buffer. Shape (size,)."""
        return self._nodes[j](y0, dt)

    def _seen(self, states: Tensor) -> Tensor:
        """The part of states (..., size) that the estimates see."""
        return states if self._controlled is None else states[..., : self._controlled]

    def _node(self, j: int, t: Tensor, y: Tensor, given: Stage | None) -> Stage:
        if given is None and not self.with_graph:
            if not self._is_flat:
                y = y.view(self.shape)
            row = self._shaped_rows[j].copy_(self.field(t, y))
            return Stage(t, y if j in self._states_kept else NO_STATE, row)
        stage = self.stage(t, y) if given is None else given
        self._keep(j, stage)
        return stage

    def _keep(self, j: int, stage: Stage) -> None:
        self._shaped_rows[j].copy_(stage.slope)
