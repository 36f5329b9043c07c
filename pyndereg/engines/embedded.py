"""The embedded engine: explicit Runge–Kutta methods in PyTorch, on the device of the state."""

import math
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from pyndereg.ivp import (
    Backprop,
    DiscreteAdjoint,
    ODEProblem,
    SaveAt,
    Solution,
    SolveOptions,
    State,
    Statistics,
    StepRecord,
)
from pyndereg.ivp.julia import JuliaFunction, JuliaMethod, JuliaSensealg
from pyndereg.solver.adjoints import DifferentiableSolve, Solve
from pyndereg.solver.control import Controller, FixedStep, PIController, Schedule, first_step
from pyndereg.solver.field import Field
from pyndereg.solver.graph import undeclared_leaf
from pyndereg.solver.integration import Keep, Trajectory, integrate
from pyndereg.solver.interpolation import DenseOutput
from pyndereg.solver.march import March
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, Stage, Step, coefficients, evaluate
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.tableaus import get_tableau


class EmbeddedEngine:
    """Solves ordinary differential equations with the steps of OrdinaryDiffEq 7, in pure PyTorch."""

    name = "embedded"

    def solve(self, problem: ODEProblem, options: SolveOptions) -> Solution:
        """The solution of a problem; see `pyndereg.solve`."""
        _refuse_what_only_julia_has(problem, options)
        tableau = get_tableau(str(options.method))
        run = _run(problem, options, tableau, problem.interval[1], _controller(options, tableau))
        layout, result, y1 = problem.layout, run.march, run.y1
        saves_end_only = options.saveat.times is None and not options.saveat.every_step
        return Solution(
            t=y1.new_tensor([result.t_reached] if saves_end_only else run.times),
            y=layout.unflatten(y1[None] if saves_end_only else run.saved),
            y1=layout.unflatten(y1),
            steps=StepRecord(y1.new_tensor(result.t), y1.new_tensor(result.dt), run.scaled_error, run.stiffness),
            stats=Statistics(nfe=run.nfe, accepted=len(result.t), rejected=result.rejected),
            status=result.status,
            t_reached=result.t_reached,
            interpolate=_dense(problem, tableau, run)
            if run.nodes.numel()
            else _ReplayedDense(problem, options, result),
        )


def _refuse_what_only_julia_has(problem: ODEProblem, options: SolveOptions) -> None:
    found = None
    if isinstance(problem.f, JuliaFunction):
        found = f"f is the Julia function {problem.f.name}"
    elif isinstance(options.method, JuliaMethod):
        found = f"method is the Julia algorithm {options.method.name}"
    elif options.field is not None:
        found = f"field is {options.field!r}"
    elif not isinstance(options.gradient, Backprop | DiscreteAdjoint):
        name = options.gradient.name if isinstance(options.gradient, JuliaSensealg) else type(options.gradient).__name__
        found = f"gradient is {name}"
    if found is not None:
        raise ValueError(f"{found}, which engine='embedded' does not have; pass engine='julia'")


@dataclass(frozen=True)
class _Run:
    """A finished forward solve; its tensors carry gradients. Shapes as in `DifferentiableSolve`."""

    march: March[Step]
    nfe: int
    times: list[float]
    y1: Tensor
    saved: Tensor
    scaled_error: Tensor
    stiffness: Tensor
    nodes: Tensor
    slopes: Tensor


def _controller(options: SolveOptions, tableau: Tableau) -> Controller:
    if tableau.b_error is not None and options.adaptive:
        return PIController.of(tableau)
    if options.dt is None:
        reason = "has no error estimate" if tableau.b_error is None else "was asked for with adaptive=False"
        raise ValueError(f"method {tableau.name!r} {reason} and no step length was given; pass dt=, e.g. dt=0.01")
    return FixedStep(float(options.dt))


def _run(problem: ODEProblem, options: SolveOptions, tableau: Tableau, t1: float, controller: Controller) -> _Run:
    """Solve up to t1, differentiably if anything asks for a gradient."""
    layout, params, f = problem.layout, problem.parameters, Field(problem)
    t0, end = problem.interval
    y0 = layout.flatten(problem.y0)
    ends = [t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64) for t in (problem.t0, problem.t1)]
    grad_mode = torch.is_grad_enabled()
    with_time = grad_mode and any(t.requires_grad for t in ends)
    with_grad = grad_mode and (with_time or y0.requires_grad or bool(params))
    keep = Keep.NOTHING
    if with_grad:
        keep = Keep.STAGES if isinstance(options.gradient, Backprop) else Keep.STATES
    method = partial(
        ExplicitRungeKutta,
        tableau,
        f,
        layout.solver_shape,
        dtype=layout.dtype,
        device=layout.device,
        rtol=options.rtol,
        atol=options.atol,
        stiffness=STIFFNESS_ESTIMATES[options.stiffness],
        with_time=with_time,
    )
    times = options.saveat.checked_times(t0, end)

    def forward(y: Tensor) -> Trajectory:
        rk = method(with_graph=keep is Keep.STAGES)
        start = _start(rk, f, t0, y, params, grad_mode)
        checkpoints = options.gradient.checkpoints if isinstance(options.gradient, DiscreteAdjoint) else None
        return integrate(
            rk,
            controller,
            start,
            _first_step(options, controller, rk, t0, t1, start),
            t0,
            t1,
            times=tuple(t for t in times if (t - t1) * (t1 - t0) <= 0),
            every_step=options.saveat.every_step,
            dense=options.saveat.dense,
            keep=keep,
            checkpoints=checkpoints,
            max_steps=options.max_steps,
        )

    solve = Solve(
        tableau=tableau, run=forward, method=lambda with_graph: method(with_graph=with_graph), keep=keep, params=params
    )
    if with_grad:
        outputs = DifferentiableSolve.apply(solve, y0, *ends, *params)
    else:
        with torch.no_grad():
            outputs = DifferentiableSolve.outputs(solve, y0)
    assert solve.trajectory is not None
    return _Run(solve.trajectory.march, f.evaluations, solve.trajectory.times, *outputs)


def _start(
    rk: ExplicitRungeKutta, f: Field, t0: float, y: Tensor, params: tuple[Tensor, ...], grad_mode: bool
) -> Stage:
    """The first stage; a graph that it must not have, because nobody declared its leaf, is refused.

    Raises:
        ValueError: f depends on a tensor that asks for a gradient and is not among the parameters.
    """
    t = torch.full((), t0, dtype=y.dtype, device=y.device)
    stage = evaluate(f, t, y.view(rk.shape), with_graph=grad_mode, with_time=rk.with_time)
    leaf = undeclared_leaf(stage.slope, (stage.y, stage.t, *params)) if grad_mode else None
    if leaf is not None:
        raise ValueError(
            f"f depends on a tensor of shape {tuple(leaf.shape)} that requires a gradient but is no parameter of the "
            "problem, so its gradient would be lost; pass it in params=, or detach it"
        )
    return stage if rk.with_graph else Stage(t, stage.y.detach(), stage.slope.detach())


def _first_step(
    options: SolveOptions, controller: Controller, rk: ExplicitRungeKutta, t0: float, t1: float, start: Stage
) -> float:
    if isinstance(controller, Schedule):
        return controller.dts[0] if controller.dts else math.nan
    if options.dt is not None:
        return float(options.dt)
    y, slope = start.y.detach().view(-1), start.slope.detach().reshape(-1)

    def flat(t: Tensor, y: Tensor) -> Tensor:
        return rk.field(t, y.view(rk.shape)).reshape(-1)

    return first_step(flat, t0, t1, y, slope, rk.tableau.order, options.rtol, options.atol)


def _dense(problem: ODEProblem, tableau: Tableau, run: _Run) -> DenseOutput:
    """Dense output; step lengths are constants, but the steps move with t0 and the last one ends at t1."""
    weights = coefficients(tableau, run.y1.dtype, run.y1.device).weights
    t0, t1 = (torch.as_tensor(t, dtype=torch.float64, device="cpu") for t in (problem.t0, problem.t1))
    t = torch.tensor([*run.march.t, run.march.t_reached], dtype=torch.float64)
    dt = torch.tensor(run.march.dt, dtype=torch.float64)
    if t0.requires_grad or t1.requires_grad:
        t = t + (t0 - t0.detach())
        if run.march.status.succeeded:
            dt = torch.cat([dt[:-1], dt[-1:] + (t1 - t1.detach()) - (t0 - t0.detach())])
    return DenseOutput(problem.layout, weights, t, dt, run.nodes, run.slopes)


@dataclass
class _ReplayedDense:
    """Dense output of a solve that did not keep its slopes: its accepted steps are taken again at the first call."""

    problem: ODEProblem
    options: SolveOptions
    march: March[Step]
    kept: dict[bool, DenseOutput] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._versions = self._current_versions()

    def __call__(self, t: Tensor) -> State:
        grad_mode = torch.is_grad_enabled()
        if grad_mode not in self.kept:
            self.kept[grad_mode] = self._replay()
        return self.kept[grad_mode](t)

    def _current_versions(self) -> tuple[int, ...]:
        y0 = self.problem.y0 if isinstance(self.problem.y0, tuple) else (self.problem.y0,)
        return tuple(tensor._version for tensor in (*y0, *self.problem.parameters))

    def _replay(self) -> DenseOutput:
        if not self.march.dt:
            raise ValueError("the solve accepted no step, so there is nothing to interpolate; look at solution.status")
        if self._current_versions() != self._versions:
            raise RuntimeError(
                "y0 or a parameter of f was changed since the solve, so its steps cannot be replayed; call the "
                "solution before the change, or solve with SaveAt(dense=True)"
            )
        options = replace(self.options, saveat=SaveAt(dense=True), max_steps=len(self.march.dt))
        schedule = Schedule(tuple(abs(dt) for dt in self.march.dt))
        tableau = get_tableau(str(options.method))
        return _dense(self.problem, tableau, _run(self.problem, options, tableau, self.march.t_reached, schedule))
