"""A whole forward solve: the march of a Runge–Kutta method, and what is kept of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from pyndereg.ivp.sampling import Sampler
from pyndereg.solver.control import Controller
from pyndereg.solver.gradients.allowance import Room, operations_so_far
from pyndereg.solver.interpolation import extension_weights, interpolate
from pyndereg.solver.march import March, error_of, march
from pyndereg.solver.plans import Plan
from pyndereg.solver.rounding import Judged, Rounding
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, Stage, Step
from pyndereg.solver.states import ThinnedStates


class Keep(Enum):
    """What a forward solve keeps of every accepted step for a later backward pass."""

    NOTHING = "nothing"
    STATES = "the state at its start"
    CHECKPOINTS = "the state at its start, if a state was saved in the step before it"
    STAGES = "every stage with its graph"


@dataclass(frozen=True)
class SavedInStep:
    """The save points of one step, and the rows of the saved states that they fill, in order.

    Attributes:
        first_row: row of the first one.
        theta: fractions of the step at which it was interpolated. Shape (points,), float64 on the CPU.
        at_end: whether one more row is the state at the step's end.
        follows_step: whether that row belongs to the end of the step, wherever it lies, or to a save time that happens
            to coincide with it.
    """

    first_row: int
    theta: Tensor
    at_end: bool
    follows_step: bool


@dataclass(frozen=True)
class Sampled:
    """A point that a sampler chose.

    Attributes:
        t: time, in the problem's time units.
        step, theta: index of the step that it lies in, and at which fraction.
        state: shape (size,).
    """

    t: float
    step: int
    theta: float
    state: Tensor


@dataclass
class Trajectory:
    """What a forward solve left behind.

    Attributes:
        march: accepted steps and how it ended.
        y1: last accepted state. Shape (size,).
        times: save times that were reached, in the problem's time units.
        saved: states at these. Shape (times, size).
        saves_start: whether the first of them is the initial state.
        saves: per step, its save points; None where it has none.
        scaled_error, stiffness: per step. Shape (steps,); NaN where the method has no estimate.
        states: the state at the start of a step (`Keep.STATES`, thinned to `checkpoints`; `Keep.CHECKPOINTS`), by
            index of the step.
        steps: the first steps, with the graphs of their stages: all of them (`Keep.STAGES`), or those that had room
            (`Keep.STATES`), whose states are not kept besides.
        nodes, slopes: per step, state at the start and slopes of all nodes, if dense. Shapes (steps, size) and
            (steps, nodes, size).
        samples: per sampler, what it chose; None if nothing.
        judged: per step, what rounding is in its error; None where it was not looked at.
    """

    march: March[Step]
    y1: Tensor
    times: list[float]
    saved: Tensor
    saves_start: bool
    saves: list[SavedInStep | None]
    scaled_error: Tensor
    stiffness: Tensor
    states: dict[int, Tensor]
    steps: list[Step]
    nodes: Tensor | None
    slopes: Tensor | None
    samples: list[Sampled | None]
    judged: list[Judged] | None

    def outputs(self) -> tuple[Tensor, ...]:
        """What a differentiable solve returns.

        y1 (size,), saved states (times, size), scaled errors and stiffness (steps,), states (steps, size) and slopes
        (steps, nodes, size) of dense output, or two empty tensors, and sampled states (samples, size).
        """
        empty = self.y1.new_empty(0)
        nodes = empty if self.nodes is None else self.nodes
        slopes = empty.clone() if self.slopes is None else self.slopes
        states = [sampled.state for sampled in self.samples if sampled is not None]
        sampled = torch.stack(states) if states else empty.clone()
        # A copy, for the user to change: the last step's gradient may need the state, or it is y0 itself.
        return self.y1.clone(), self.saved, self.scaled_error, self.stiffness, nodes, slopes, sampled

    def first_elements(self, size: int) -> "Trajectory":
        """The same with states of their first elements only."""
        return replace(
            self,
            y1=self.y1[:size],
            saved=self.saved[:, :size],
            nodes=None if self.nodes is None else self.nodes[:, :size],
            slopes=None if self.slopes is None else self.slopes[..., :size],
            samples=[x if x is None else replace(x, state=x.state[:size]) for x in self.samples],
        )


class Recorder:
    """Takes the steps of a march and keeps what was asked for.

    Args:
        method: the steps' method.
        start: the stage at the start of the interval.
        times: save times in order; `every_step` saves the end of each step instead.
        dense: keep all slopes.
        keep, checkpoints: what to keep for a backward pass, and the number of states at most.
        room: for graphs of the first steps, in place of their states.
        samplers: choose points of the solution.
        rounding: tells rounding from errors; None where the tolerance is far above it.
    """

    def __init__(
        self,
        method: ExplicitRungeKutta,
        start: Stage,
        *,
        t0: float,
        times: tuple[float, ...],
        every_step: bool,
        dense: bool,
        keep: Keep,
        checkpoints: int | None,
        room: Room | None,
        samplers: Sequence[Sampler],
        rounding: Rounding | None,
    ) -> None:
        self._method, self._start, self._last = method, start, None
        self._room, self._operations = room, 0
        self._pending = list(reversed(times))
        self._every_step, self._dense, self._keep_mode = every_step, dense, keep
        self._kept = ThinnedStates(checkpoints)
        self.y1 = start.y.detach().view(-1)
        self.times: list[float] = []
        self.saved: list[Tensor] = []
        self.saves: list[SavedInStep | None] = []
        self._accepted = 0
        self.errors: list[Tensor] = []
        self.stiffness: list[Tensor] = []
        self.steps: list[Step] = []
        self.nodes: list[Tensor] = []
        self.slopes: list[Tensor] = []
        self._rounding, self._latest = rounding, Judged(math.nan, math.nan, 1.0)
        self.judged: list[Judged] = []
        method.tells_sizes = rounding is not None
        self._samplers = samplers
        self.samples: list[Sampled | None] = [None] * len(samplers)
        self._saves_start = every_step or (bool(self._pending) and self._pending[-1] == t0)
        if self._saves_start:
            self._save([t0], self.y1[None])
            self._pending = self._pending[:-1]

    def attempt(self, t: float, dt: float) -> Step:
        """Take one step from the end of the last accepted one."""
        if self._last is not None:
            self._start = self._method.complete(self._last)
            self._last = None
        if self._room is not None:
            self._method.with_graph, self._operations = self._room.has_a_place, operations_so_far()
        return self._method.attempt(t, dt, self._start)

    def judge(self, step: Step) -> float:
        """The error that the step control is handed, for which the host waits once."""
        if self._rounding is None or step.sizes is None:
            return error_of(step)
        self._latest = self._rounding.judge_parts(step.sizes, step.dt)
        return self._latest.error

    def accept(self, step: Step, t_end: float) -> None:
        """Keep what was asked for of an accepted step."""
        index = self._accepted
        self._accepted += 1
        self._save_inside(step, t_end)
        self._sample(index, step, t_end)
        if self._dense:
            self._method.extend(step)
            self.nodes.append(step.y0)
            self.slopes.append(self._method.slopes.clone())
        if self._rounding is not None:
            self.judged.append(self._latest)
        stiffness = self._method.stiffness(step)
        if stiffness is not None:
            self.stiffness.append(stiffness)
        if step.scaled_error is not None:
            self.errors.append(step.scaled_error)
        if self._keep_mode is Keep.STAGES or self._has_room(step):
            self.steps.append(step)
        elif self._keep_mode is Keep.STATES:
            self._kept.keep(index, step.y0)
        elif self._keep_mode is Keep.CHECKPOINTS and (index == 0 or self.saves[index - 1] is not None):
            self._kept.states[index] = step.y0
        self._last, self.y1 = step, step.y1

    def trajectory(self, result: March[Step]) -> Trajectory:
        """Everything that was kept."""
        none = self.y1.new_full((self._accepted,), math.nan)
        return Trajectory(
            march=result,
            y1=self.y1,
            times=self.times,
            saved=torch.cat(self.saved) if self.saved else self.y1.new_empty(0, self.y1.shape[0]),
            saves_start=self._saves_start,
            saves=self.saves,
            scaled_error=torch.stack(self.errors) if self.errors else none,
            stiffness=torch.stack(self.stiffness) if self.stiffness else none,
            states=self._kept.states,
            steps=self.steps,
            nodes=torch.stack(self.nodes) if self.nodes else None,
            slopes=torch.stack(self.slopes) if self.slopes else None,
            samples=self.samples,
            judged=None if self._rounding is None else self.judged,
        )

    def _has_room(self, step: Step) -> bool:
        """Whether there was room for the graphs of the latest step."""
        if self._room is None or not self._method.with_graph:
            return False
        evaluations = max(self._method.tableau.end, len(step.stages) - 1)  # its end may still have to be evaluated
        return self._room.take(evaluations, operations_so_far() - self._operations)

    def _save(self, times: list[float], states: Tensor) -> None:
        self.times.extend(times)
        self.saved.append(states)

    def _save_inside(self, step: Step, t_end: float) -> None:
        if self._every_step:
            self.saves.append(
                SavedInStep(len(self.times), torch.empty(0, dtype=torch.float64, device="cpu"), True, True)
            )
            self._save([t_end], step.y1[None])
            return
        inside: list[float] = []
        while self._pending and (self._pending[-1] - t_end) * step.dt < 0:
            inside.append(self._pending.pop())
        at_end = bool(self._pending) and self._pending[-1] == t_end
        if not inside and not at_end:
            self.saves.append(None)
            return
        theta = (torch.tensor(inside, dtype=torch.float64, device="cpu") - step.t) / step.dt
        self.saves.append(SavedInStep(len(self.times), theta, at_end, False))
        if inside:
            self._save(inside, self._interpolate(step, theta))
        if at_end:
            self._save([self._pending.pop()], step.y1[None])

    def _sample(self, index: int, step: Step, t_end: float) -> None:
        for k, sampler in enumerate(self._samplers):
            theta = sampler.choose(step.t, t_end)
            if theta is None:
                continue
            state = step.y0
            if theta > 0.0:
                state = self._interpolate(step, torch.tensor([theta], dtype=torch.float64, device="cpu"))[0]
            self.samples[k] = Sampled(step.t + theta * (t_end - step.t), index, theta, state)

    def _interpolate(self, step: Step, theta: Tensor) -> Tensor:
        self._method.extend(step)
        weights = extension_weights(self._method.coefficients.weights, theta, step.y0)
        return interpolate(weights, step.y0, self._method.slopes, step.dt)


def integrate(
    method: ExplicitRungeKutta,
    controller: Controller | Plan,
    start: Stage,
    first_step: float,
    t0: float,
    t1: float,
    *,
    times: tuple[float, ...],
    every_step: bool,
    dense: bool,
    keep: Keep,
    checkpoints: int | None,
    max_steps: int,
    room: Room | None = None,
    samplers: Sequence[Sampler] = (),
    rounding: Rounding | None = None,
) -> Trajectory:
    """Solve from t0 to t1.

    Args:
        method: the method, which knows f, tolerances and whether graphs are kept.
        controller: step-size control.
        start: the stage at (t0, y0).
        first_step: length of the first step, > 0, in the problem's time units; NaN if f is not finite at t0.
        t0, t1: ends of the interval, in the problem's time units.
        times, every_step, dense: what is saved.
        keep, checkpoints: what is kept for a backward pass.
        max_steps: limit on attempted steps.
        room: for graphs of the first steps.
        samplers: choose points of the solution.
        rounding: tells rounding from errors; None where the tolerance is far above it, or steps are planned.
    """
    recorder = Recorder(
        method,
        start,
        t0=t0,
        times=times,
        every_step=every_step,
        dense=dense,
        keep=keep,
        checkpoints=checkpoints,
        room=room,
        samplers=samplers,
        rounding=rounding,
    )
    result = march(recorder.attempt, recorder.accept, controller, t0, t1, first_step, max_steps, judge=recorder.judge)
    return recorder.trajectory(result)
