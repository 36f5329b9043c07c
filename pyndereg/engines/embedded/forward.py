"""The forward solve of one problem by the embedded engine, ready to be run from an initial state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.engines.embedded.control import control_of
from pyndereg.engines.embedded.rounding import warn_of_rounding
from pyndereg.ivp import (
    DiscreteAdjoint,
    ODEProblem,
    SolveOptions,
    StateLayout,
)
from pyndereg.ivp.sampling import Sampler
from pyndereg.solver.chosen_norm import chosen_norm
from pyndereg.solver.control import Controller, MethodControl, first_step
from pyndereg.solver.field import Field
from pyndereg.solver.forward_sensitivity import SensitivityField
from pyndereg.solver.gradients.allowance import Room
from pyndereg.solver.integration import Keep, Trajectory, integrate
from pyndereg.solver.norms import Norm
from pyndereg.solver.plans import OneStep, Plan
from pyndereg.solver.rounding import Resolution, resolution_of
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, FieldFunction, Stage
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.times import time_dtype


@dataclass(frozen=True)
class Stepper:
    """How steps are taken, whatever the right-hand side; it holds nothing of the user's but a norm.

    Attributes:
        tableau: the method.
        layout: of the state.
        rtol, atol, stiffness: as `SolveOptions`.
        controlled: how many elements at the start of the state the step control sees.
        norm: of what it sees.
        with_time: whether t0 or t1 asks for a gradient.
        time_dtype: of the times that the right-hand side is called with.
    """

    tableau: Tableau
    layout: StateLayout
    rtol: float
    atol: float
    stiffness: str
    controlled: int
    norm: Norm
    with_time: bool
    time_dtype: torch.dtype

    @staticmethod
    def of(problem: ODEProblem, options: SolveOptions, tableau: Tableau, *, with_time: bool) -> "Stepper":
        """The stepper of a solve."""
        layout = problem.layout
        controlled = layout.controlled(options.uncontrolled)
        return Stepper(
            tableau,
            layout,
            options.rtol,
            options.atol,
            options.stiffness,
            controlled.size,
            chosen_norm(options.norm, controlled),
            with_time,
            time_dtype(*problem.interval, layout.dtype),
        )

    def __call__(self, field: FieldFunction, with_graph: bool = False) -> ExplicitRungeKutta:
        """The method on a right-hand side."""
        return self.on(field, self.layout.solver_shape, with_graph=with_graph)

    def on(self, field: FieldFunction, shape: torch.Size, *, with_graph: bool = False) -> ExplicitRungeKutta:
        """The method on a right-hand side whose state begins with the problem's."""
        return ExplicitRungeKutta(
            self.tableau,
            field,
            shape,
            dtype=self.layout.dtype,
            device=self.layout.device,
            rtol=self.rtol,
            atol=self.atol,
            stiffness=STIFFNESS_ESTIMATES[self.stiffness],
            controlled=self.controlled,
            norm=self.norm,
            with_graph=with_graph,
            with_time=self.with_time,
            time_dtype=self.time_dtype,
        )


@dataclass(frozen=True)
class Forward:
    """A problem, how its steps are taken, and what is kept of them.

    Attributes:
        problem, options: the question, the choices.
        stepper: takes the steps.
        f: the right-hand side, which counts its evaluations.
        start: its first evaluation, at t0 and y0.
        coarsest: the largest unit roundoff among the results of f's operations.
        t1: where to stop, in the problem's time units.
        times: save times in order, checked.
        controller: step-size control.
        samplers: choose points of the solution.
        constant_start: the first stage is a constant of the gradient.
        keep, room, keeps_slopes: what is kept of the accepted steps, and what for graphs there is room for; slopes of
            all nodes besides.
    """

    problem: ODEProblem
    options: SolveOptions
    stepper: Stepper
    f: Field
    start: Stage
    coarsest: float
    t1: float
    times: tuple[float, ...]
    controller: Controller | Plan
    samplers: Sequence[Sampler]
    constant_start: bool
    keep: Keep
    room: Room | None
    keeps_slopes: bool

    def __call__(self, y: Tensor) -> Trajectory:
        """Solve from a flat initial state. Shape (size,)."""
        method = self.stepper(self.f, self.keep is Keep.STAGES or self.room is not None)
        start = self.start
        if self.constant_start or not method.with_graph:
            start = Stage(start.t, y.detach().view(start.y.shape), start.slope.detach())
        return self._integrate(method, start)

    def with_tangents(self, y: Tensor, field: SensitivityField) -> Trajectory:
        """Solve from a flat initial state, together with its derivatives in some directions."""
        state, slope = field.start(self.start)
        method = self.stepper.on(field, state.shape)
        return self._integrate(method, Stage(self.start.t, state, slope))

    def _integrate(self, method: ExplicitRungeKutta, start: Stage) -> Trajectory:
        saveat, gradient = self.options.saveat, self.options.gradient
        start = method.adopt(start)
        t0 = self.problem.interval[0]
        resolution = self._resolution(method, start)
        return integrate(
            method,
            self.controller,
            start,
            self._first_step(method, start, 1.0 if resolution is None else max(1.0, resolution.step)),
            t0,
            self.t1,
            times=tuple(t for t in self.times if (t - self.t1) * (self.t1 - t0) <= 0),
            every_step=saveat.every_step,
            dense=saveat.dense or self.keeps_slopes,
            keep=self.keep,
            checkpoints=gradient.checkpoints if isinstance(gradient, DiscreteAdjoint) else None,
            max_steps=self.options.max_steps,
            room=self.room,
            samplers=self.samplers,
            rounding=None if resolution is None else resolution.rounding,
        )

    def _resolution(self, method: ExplicitRungeKutta, start: Stage) -> Resolution | None:
        """What the precision resolves; None where the tolerance lies far above it, or steps are planned."""
        options, layout = self.options, self.problem.layout
        if isinstance(self.controller, Plan):
            return None
        found = resolution_of(
            lambda y: _flat(method, start.t, y),
            method.tableau,
            start.y.detach().reshape(-1),
            start.slope.detach().reshape(-1),
            rtol=options.rtol,
            atol=options.atol,
            length=abs(self.t1 - self.problem.interval[0]),
            coarsest=self.coarsest,
            aim=self.controller.aim,
            controlled=self.stepper.controlled,
            norm=self.stepper.norm,
        )
        if found is not None:
            warn_of_rounding(found, options, layout.dtype, self.coarsest)
        return found

    def _first_step(self, method: ExplicitRungeKutta, start: Stage, resolved: float) -> float:
        """Its length; the search aims at a tolerance that can be resolved, so many times the one that is asked for."""
        options, controller = self.options, self.controller
        if isinstance(controller, Plan) and not isinstance(controller, OneStep):
            return math.inf  # never used: a plan has lengths of its own
        given = options.dt or options.first_step
        if given is not None:
            return given
        return first_step(
            lambda t, y: _flat(method, t, y),
            self.problem.interval[0],
            self.t1,
            start.y.detach().reshape(-1),
            start.slope.detach().reshape(-1),
            method.tableau.order,
            options.rtol * resolved,
            options.atol * resolved,
            controlled=self.stepper.controlled,
            time_dtype=start.t.dtype,
            norm=self.stepper.norm,
        )


def _flat(method: ExplicitRungeKutta, t: Tensor, y: Tensor) -> Tensor:
    """f on flat states. Shape (size,)."""
    return method.field(t, y.view(method.shape)).reshape(-1)


def step_control(options: SolveOptions, tableau: Tableau, interval: tuple[float, float]) -> Controller | Plan:
    """What decides on a method's steps; see `control_of`."""
    own = None if tableau.b_error is None else MethodControl(tableau.error_order, *tableau.controller_exponents)
    return control_of(options, interval, tableau.name, own)
