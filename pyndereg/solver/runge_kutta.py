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

from pyndereg.solver.norms import scaled_error
from pyndereg.solver.stiffness import StiffnessEstimate
from pyndereg.solver.tableau import Tableau

FieldFunction = Callable[[Tensor, Tensor], Tensor]

# Small float64 states are summed in OrdinaryDiffEq's order and rounding. The error estimates of high orders and tight
# tolerances are differences that rounding can dominate, and through the controller it reaches the step lengths: this
# keeps both sequences of steps comparable to many digits. Larger states, and float32, take one fused kernel instead.
ORDERED_SIZE = 256


@dataclass(frozen=True)
class Coefficients:
    """A tableau's numbers as tensors of one dtype on one device.

    Attributes:
        rows: weights with which node j sums the slopes before it. `rows[j]` has shape (j,) up to the end node, and
            (number of slopes before it,) after it.
        columns: weights with which the nodes after node i, up to the end of the step, use slope i: the transpose of
            `rows`. `columns[i]` has shape (end - i,).
        c: nodes. Shape (nodes,).
        b_error: weights of the error estimate. Shape (stages,), or None.
        weights: interpolant. Shape (nodes, degree), in float64 on the CPU, where they are evaluated.
    """

    rows: tuple[Tensor, ...]
    columns: tuple[Tensor, ...]
    c: Tensor
    b_error: Tensor | None
    weights: Tensor


@lru_cache(maxsize=64)
def coefficients(tableau: Tableau, dtype: torch.dtype, device: torch.device) -> Coefficients:
    """The tensors of a tableau; made once for each dtype and device."""

    def tensor(numbers: list[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64).to(device=device, dtype=dtype)

    with torch.inference_mode(False):
        rows = [[float(entry) for entry in row] for row in tableau.nodes_a]
        end = tableau.end
        columns = [[rows[j][i] for j in range(i + 1, end + 1)] for i in range(end)]
        return Coefficients(
            rows=tuple(tensor(row) for row in rows),
            columns=tuple(tensor(column) for column in columns),
            c=tensor([float(node) for node in tableau.nodes_c]),
            b_error=None if tableau.b_error is None else tensor([float(entry) for entry in tableau.b_error]),
            weights=torch.tensor([[float(x) for x in row] for row in tableau.interpolant.weights], dtype=torch.float64),
        )


def ordered_sum(slopes: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i k_i, each product rounded, added from the first to the last. (nodes, size), (nodes, 1) -> (size,)."""
    return (slopes * weights).cumsum(0)[-1]


class Stage(NamedTuple):
    """f at one point. With a graph, `y` (and `t`) are its leaves and `slope` its root.

    Attributes:
        t: shape (), in the problem's time units.
        y: the state, in the solver's shape.
        slope: f(t, y), same shape, units of y per time.
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
    """

    t: float
    dt: float
    y0: Tensor
    y1: Tensor
    stages: list[Stage]
    scaled_error: Tensor | None


class ExplicitRungeKutta:
    """Steps of one method on one problem; to be called without grad mode, which it enters where graphs are kept.

    Slopes are gathered in one buffer, a row per node, so that every linear combination of them is one kernel. The
    buffer holds the slopes of the latest step only.

    Args:
        tableau: the method.
        field: f on states in the solver's shape.
        shape: the solver's shape of a state.
        rtol, atol: tolerances of the error estimate.
        stiffness: definition of the stiffness estimate.
        with_graph: keep every stage's graph.
        with_time: let these graphs reach the stage's time.
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
        with_graph: bool = False,
        with_time: bool = False,
    ) -> None:
        self.tableau, self.field, self.shape = tableau, field, shape
        self.rtol, self._stiffness = rtol, stiffness
        self.with_graph, self.with_time = with_graph, with_time
        self.coefficients = coefficients(tableau, dtype, device)
        self._atol = torch.full((), atol, dtype=dtype, device=device)
        self._ordered = dtype == torch.float64 and shape.numel() <= ORDERED_SIZE
        self._first_weight = float(tableau.nodes_a[1][0])
        nodes = len(tableau.nodes_c)
        self.slopes = torch.empty(nodes, shape.numel(), dtype=dtype, device=device)
        self._shaped_rows = [row.view(shape) for row in self.slopes.unbind()]
        before = [self.slopes[: row.shape[0]] for row in self.coefficients.rows]
        # One (slopes, weights) pair per node, in the form that its sum takes.
        rows = self.coefficients.rows
        if self._ordered:
            self._sums = [(slopes, row[:, None]) for slopes, row in zip(before, rows, strict=True)]
        else:
            self._sums = [(slopes.t(), row) for slopes, row in zip(before, rows, strict=True)]

    def stage(self, t: Tensor, y: Tensor) -> Stage:
        """Evaluate f at a flat state."""
        return evaluate(self.field, t, y.view(self.shape), self.with_graph, self.with_time)

    def start(self, t: float, y: Tensor) -> Stage:
        """The stage that a step from (t, y) starts with."""
        return self.stage(torch.full((), t, dtype=y.dtype, device=y.device), y)

    def attempt(self, t: float, dt: float, start: Stage) -> Step:
        """Take one step from a stage, whose slope is not evaluated again.

        Args:
            t, dt: where it begins and its signed length, in the problem's time units.
            start: the stage at (t, y0).
        """
        y0 = start.y.view(-1)
        stages = [start]
        times = self.node_times(t, dt)
        self._keep(0, start)
        for j in range(1, self.tableau.end):
            stages.append(self._node(j, times[j], self.node_state(j, y0, dt), None))
        y1 = self.node_state(self.tableau.end, y0, dt)
        error = None
        if self.tableau.first_same_as_last:
            stages.append(self._node(self.tableau.end, times[self.tableau.end], y1, None))
        if self.coefficients.b_error is not None:
            error = self.error(self.slopes, y0, y1, dt)
        return Step(t, dt, y0, y1, stages, error)

    def replay(self, t: float, dt: float, y0: Tensor, end: Stage | None) -> Step:
        """Take an accepted step again, its end node given (or left out, if None)."""
        stages = [self.start(t, y0)]
        times = self.node_times(t, dt)
        self._keep(0, stages[0])
        for j in range(1, self.tableau.end):
            stages.append(self._node(j, times[j], self.node_state(j, y0, dt), None))
        y1 = self.node_state(self.tableau.end, y0, dt) if end is None else end.y.view(-1)
        step = Step(t, dt, y0, y1, stages, None)
        if end is not None:
            self.complete(step, end)
        return step

    def complete(self, step: Step, end: Stage | None = None) -> Stage:
        """The stage at the end of the latest step, which the next one starts with; evaluated if it was not yet."""
        if len(step.stages) == self.tableau.end:
            t = torch.full((), step.t + step.dt, dtype=step.y1.dtype, device=step.y1.device)
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
        for j, stage in enumerate(step.stages):
            self._keep(j, stage)

    def error(self, slopes: Tensor, y0: Tensor, y1: Tensor, dt: float | Tensor) -> Tensor:
        """Norm of the error estimate in units of the tolerance. slopes (nodes, size), y0 and y1 (size,) -> ()."""
        assert self.coefficients.b_error is not None
        stages = slopes[: self.tableau.stages]
        if self._ordered:
            estimate = ordered_sum(stages, self.coefficients.b_error[:, None]) * dt
        else:
            estimate = stages.t() @ (self.coefficients.b_error * dt)
        return scaled_error(estimate, y0, y1, self.rtol, self._atol)

    def stiffness(self, step: Step) -> Tensor | None:
        """Stiffness estimate of the latest step. Shape (), 1/time; None where the method has none."""
        if self.tableau.stiffness_stages is None:
            return None
        p, q = self.tableau.stiffness_stages
        return self._stiffness(self.slopes[p] - self.slopes[q], (step.stages[p].y - step.stages[q].y).view(-1))

    def stiffness_of(self, slopes: Tensor, states: Tensor) -> Tensor:
        """Stiffness estimate from differences of two stages' slopes and states, of one shape. -> ()."""
        return self._stiffness(slopes.reshape(-1), states.reshape(-1))

    def node_times(self, t: float, dt: float) -> tuple[Tensor, ...]:
        """Times of all nodes; computed where the state lies, without a host synchronisation."""
        c = self.coefficients.c
        return torch.add(torch.full((), t, dtype=c.dtype, device=c.device), c, alpha=dt).unbind()

    def node_state(self, j: int, y0: Tensor, dt: float) -> Tensor:
        """Y_j = y0 + dt sum_i a_ji k_i from the slopes in the buffer. Shape (size,)."""
        slopes, weights = self._sums[j]
        if not self._ordered:
            return torch.addmv(y0, slopes, weights, alpha=dt)
        if j == 1:
            return (self.slopes[0] * (self._first_weight * dt)).add_(y0)
        return ordered_sum(slopes, weights).mul_(dt).add_(y0)

    def _node(self, j: int, t: Tensor, y: Tensor, given: Stage | None) -> Stage:
        stage = self.stage(t, y) if given is None else given
        self._keep(j, stage)
        return stage

    def _keep(self, j: int, stage: Stage) -> None:
        self._shaped_rows[j].copy_(stage.slope)
