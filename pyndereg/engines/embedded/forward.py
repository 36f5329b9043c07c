"""The forward solve of one problem by the embedded engine, ready to be run from an initial state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyndereg.engines.embedded.control import control_of
from pyndereg.ivp import (
    Backprop,
    ContinuousAdjoint,
    DiscreteAdjoint,
    Gradient,
    ODEProblem,
    QuadratureAdjoint,
    SolveOptions,
)
from pyndereg.ivp.sampling import Sampler
from pyndereg.solver.continuous import what_to_keep
from pyndereg.solver.control import Controller, PIController, first_step
from pyndereg.solver.field import Field
from pyndereg.solver.forward_sensitivity import SensitivityField
from pyndereg.solver.graph import undeclared_leaf
from pyndereg.solver.integration import Keep, Trajectory, integrate
from pyndereg.solver.plans import OneStep, Plan
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, FieldFunction, Stage, evaluate
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.times import time_dtype


@dataclass(frozen=True)
class Forward:
    """A problem, how its steps are taken, and what is kept of them.

    Attributes:
        problem, options, tableau: the question, the choices, the method.
        f: the right-hand side, which counts its evaluations.
        t1: where to stop, in the problem's time units.
        times: save times in order, checked.
        controller: step-size control.
        samplers: choose points of the solution.
        constant_start: the first stage is a constant of the gradient.
        grad_mode, with_grad, with_time: whether gradients may be asked for at all, whether anything asks for one, and
            whether t0 or t1 does.
    """

    problem: ODEProblem
    options: SolveOptions
    tableau: Tableau
    f: Field
    t1: float
    times: tuple[float, ...]
    controller: Controller | Plan
    samplers: Sequence[Sampler]
    constant_start: bool
    grad_mode: bool
    with_grad: bool
    with_time: bool

    @property
    def keep(self) -> Keep:
        """What is kept of the accepted steps."""
        return keep_for(self.options.gradient) if self.with_grad else Keep.NOTHING

    @property
    def _time_dtype(self) -> torch.dtype:
        return time_dtype(*self.problem.interval, self.problem.layout.dtype)

    def method(self, with_graph: bool = False) -> ExplicitRungeKutta:
        """The method on f."""
        return self.method_on(self.f, self.problem.layout.solver_shape, with_graph=with_graph)

    def method_on(self, field: FieldFunction, shape: torch.Size, *, with_graph: bool = False) -> ExplicitRungeKutta:
        """The method on a right-hand side whose state begins with the problem's."""
        layout, options = self.problem.layout, self.options
        return ExplicitRungeKutta(
            self.tableau,
            field,
            shape,
            dtype=layout.dtype,
            device=layout.device,
            rtol=options.rtol,
            atol=options.atol,
            stiffness=STIFFNESS_ESTIMATES[options.stiffness],
            controlled=layout.controlled_size(options.uncontrolled),
            with_graph=with_graph,
            with_time=self.with_time,
            time_dtype=self._time_dtype,
        )

    def __call__(self, y: Tensor) -> Trajectory:
        """Solve from a flat initial state. Shape (size,)."""
        keep = self.keep
        method = self.method(with_graph=keep is Keep.STAGES)
        start = self._start(y)
        if self.constant_start or not method.with_graph:
            start = Stage(start.t, start.y.detach(), start.slope.detach())
        return self._integrate(method, start, keep)

    def with_tangents(self, y: Tensor, field: SensitivityField) -> Trajectory:
        """Solve from a flat initial state, together with its derivatives in some directions."""
        start = self._start(y)
        state, slope = field.start(start)
        method = self.method_on(field, state.shape)
        return self._integrate(method, Stage(start.t, state, slope), Keep.NOTHING)

    def _integrate(self, method: ExplicitRungeKutta, start: Stage, keep: Keep) -> Trajectory:
        saveat, gradient = self.options.saveat, self.options.gradient
        start = method.adopt(start)
        t0 = self.problem.interval[0]
        return integrate(
            method,
            self.controller,
            start,
            self._first_step(method, start),
            t0,
            self.t1,
            times=tuple(t for t in self.times if (t - self.t1) * (self.t1 - t0) <= 0),
            every_step=saveat.every_step,
            dense=saveat.dense or (self.with_grad and isinstance(gradient, QuadratureAdjoint)),
            keep=keep,
            checkpoints=gradient.checkpoints if isinstance(gradient, DiscreteAdjoint) else None,
            max_steps=self.options.max_steps,
            samplers=self.samplers,
        )

    def _start(self, y: Tensor) -> Stage:
        """The first stage, with a graph; one that it must not have, because nobody declared its leaf, is refused.

        Raises:
            ValueError: f depends on a tensor that asks for a gradient and is not among the parameters.
        """
        t = torch.full((), self.problem.interval[0], dtype=self._time_dtype, device=y.device)
        shaped = y.view(self.problem.layout.solver_shape)
        stage = evaluate(self.f, t, shaped, with_graph=self.grad_mode, with_time=self.with_time)
        params = self.problem.parameters
        leaf = undeclared_leaf(stage.slope, (stage.y, stage.t, *params)) if self.grad_mode else None
        if leaf is not None:
            raise ValueError(
                f"f depends on a tensor of shape {tuple(leaf.shape)} that requires a gradient but is no parameter of "
                "the problem, so its gradient would be lost; pass it in params=, or detach it"
            )
        return stage

    def _first_step(self, method: ExplicitRungeKutta, start: Stage) -> float:
        options, controller = self.options, self.controller
        if isinstance(controller, Plan) and not isinstance(controller, OneStep):
            return math.inf  # never used: a plan has lengths of its own
        if options.dt is not None:
            return float(options.dt)

        def flat(t: Tensor, y: Tensor) -> Tensor:
            return method.field(t, y.view(method.shape)).reshape(-1)

        return first_step(
            flat,
            self.problem.interval[0],
            self.t1,
            start.y.detach().reshape(-1),
            start.slope.detach().reshape(-1),
            method.tableau.order,
            options.rtol,
            options.atol,
            self.problem.layout.controlled_size(options.uncontrolled),
            start.t.dtype,
        )


def keep_for(gradient: Gradient) -> Keep:
    """What a forward solve keeps of its steps for a gradient."""
    if isinstance(gradient, Backprop):
        return Keep.STAGES
    return what_to_keep(gradient) if isinstance(gradient, ContinuousAdjoint) else Keep.STATES


def step_control(options: SolveOptions, tableau: Tableau, interval: tuple[float, float]) -> Controller | Plan:
    """What decides on a method's steps; see `control_of`."""
    controller = None if tableau.b_error is None else PIController.of(tableau)
    return control_of(options, interval, tableau.name, controller)
