"""One solve by the embedded engine: from a problem and options to tensors that carry gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pyndereg.ivp import Backprop, DiscreteAdjoint, ODEProblem, SolveOptions
from pyndereg.ivp.sampling import Sampler
from pyndereg.solver.adjoints import DifferentiableSolve, Solve
from pyndereg.solver.control import Controller, Schedule, first_step
from pyndereg.solver.field import Field
from pyndereg.solver.graph import undeclared_leaf
from pyndereg.solver.integration import Keep, Sampled, Trajectory, integrate
from pyndereg.solver.march import March
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, Stage, Step, evaluate
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.tableau import Tableau


@dataclass(frozen=True)
class Run:
    """A finished forward solve; its tensors carry gradients. Shapes as in `DifferentiableSolve`."""

    march: March[Step]
    nfe: int
    times: list[float]
    samples: list[Sampled]
    y1: Tensor
    saved: Tensor
    scaled_error: Tensor
    stiffness: Tensor
    nodes: Tensor
    slopes: Tensor
    sampled: Tensor


def run(
    problem: ODEProblem,
    options: SolveOptions,
    tableau: Tableau,
    t1: float,
    controller: Controller,
    *,
    samplers: Sequence[Sampler] = (),
    constant_start: bool = False,
) -> Run:
    """Solve up to t1, differentiably if anything asks for a gradient.

    Args:
        samplers: choose points of the solution.
        constant_start: the first stage is a constant of the gradient.
    """
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
    controlled = layout.controlled_size(options.uncontrolled)
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
        controlled=controlled,
        with_time=with_time,
    )
    times = options.saveat.checked_times(t0, end)

    def forward(y: Tensor) -> Trajectory:
        rk = method(with_graph=keep is Keep.STAGES)
        start = _start(rk, f, t0, y, params, grad_mode)
        if constant_start or not rk.with_graph:
            start = Stage(start.t, start.y.detach(), start.slope.detach())
        checkpoints = options.gradient.checkpoints if isinstance(options.gradient, DiscreteAdjoint) else None
        return integrate(
            rk,
            controller,
            start,
            _first_step(options, controller, rk, t0, t1, start, controlled),
            t0,
            t1,
            times=tuple(t for t in times if (t - t1) * (t1 - t0) <= 0),
            every_step=options.saveat.every_step,
            dense=options.saveat.dense,
            keep=keep,
            checkpoints=checkpoints,
            max_steps=options.max_steps,
            samplers=samplers,
        )

    solve = Solve(
        tableau=tableau, run=forward, method=lambda with_graph: method(with_graph=with_graph), keep=keep, params=params
    )
    if with_grad:
        outputs = DifferentiableSolve.apply(solve, y0, *ends, *params)
    else:
        with torch.no_grad():
            outputs = DifferentiableSolve.outputs(solve, y0)
    trajectory = solve.trajectory
    assert trajectory is not None
    samples = [sampled for sampled in trajectory.samples if sampled is not None]
    return Run(trajectory.march, f.evaluations, trajectory.times, samples, *outputs)


def _start(
    rk: ExplicitRungeKutta, f: Field, t0: float, y: Tensor, params: tuple[Tensor, ...], grad_mode: bool
) -> Stage:
    """The first stage, with a graph; one that it must not have, because nobody declared its leaf, is refused.

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
    return stage


def _first_step(
    options: SolveOptions,
    controller: Controller,
    rk: ExplicitRungeKutta,
    t0: float,
    t1: float,
    start: Stage,
    controlled: int,
) -> float:
    if isinstance(controller, Schedule):
        return controller.dts[0] if controller.dts else math.nan
    if options.dt is not None:
        return float(options.dt)
    y, slope = start.y.detach().view(-1), start.slope.detach().reshape(-1)

    def flat(t: Tensor, y: Tensor) -> Tensor:
        return rk.field(t, y.view(rk.shape)).reshape(-1)

    return first_step(flat, t0, t1, y, slope, rk.tableau.order, options.rtol, options.atol, controlled)
