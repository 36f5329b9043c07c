"""One solve by the embedded engine: from a problem and options to tensors that carry gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyndereg.engines.embedded.forward import Forward, step_control
from pyndereg.ivp import ContinuousAdjoint, ForwardSensitivity, ODEProblem, SolveOptions
from pyndereg.ivp.sampling import Sampler
from pyndereg.solver.adjoints import DifferentiableSolve, Solve
from pyndereg.solver.continuous import AdjointSolve, ContinuousAdjointSolve
from pyndereg.solver.control import Controller
from pyndereg.solver.field import Field
from pyndereg.solver.forward_sensitivity import ForwardModeSolve, TangentSolve
from pyndereg.solver.integration import Sampled
from pyndereg.solver.march import March
from pyndereg.solver.plans import Plan
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, FieldFunction, Step
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.tableaus import get_tableau
from pyndereg.solver.times import time_dtype

# A limit that the forward solve keeps, or fails by, says little about its adjoint: steps between two jumps at least.
LEAST_LIMIT = 100_000


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
    controller: Controller | Plan,
    *,
    samplers: Sequence[Sampler] = (),
    constant_start: bool = False,
) -> Run:
    """Solve up to t1, differentiably if anything asks for a gradient.

    Args:
        samplers: choose points of the solution.
        constant_start: the first stage is a constant of the gradient.
    """
    params, f, y0 = problem.parameters, Field(problem), problem.layout.flatten(problem.y0)
    ends = [t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64) for t in (problem.t0, problem.t1)]
    grad_mode = torch.is_grad_enabled()
    with_time = grad_mode and any(t.requires_grad for t in ends)
    with_grad = grad_mode and (with_time or y0.requires_grad or bool(params))
    forward = Forward(
        problem,
        options,
        tableau,
        f,
        t1,
        options.saveat.checked_times(*problem.interval),
        controller,
        samplers,
        constant_start=constant_start,
        grad_mode=grad_mode,
        with_grad=with_grad,
        with_time=with_time,
    )
    solve, function = _differentiable(forward, params)
    if with_grad:
        outputs = function.apply(solve, y0, *ends, *params)
        trajectory = solve.trajectory
        assert trajectory is not None
    else:
        with torch.no_grad():
            trajectory = forward(y0)
            outputs = trajectory.outputs()
    samples = [sampled for sampled in trajectory.samples if sampled is not None]
    return Run(trajectory.march, f.evaluations, trajectory.times, samples, *outputs)


def _differentiable(
    forward: Forward, params: tuple[Tensor, ...]
) -> tuple[Solve | AdjointSolve | TangentSolve, type[torch.autograd.Function]]:
    """The solve with all that its gradient needs, and the autograd Function that runs it."""
    gradient = forward.options.gradient
    if isinstance(gradient, ContinuousAdjoint):
        return _adjoint_solve(forward, gradient, params), ContinuousAdjointSolve
    if isinstance(gradient, ForwardSensitivity):
        t0 = forward.problem.interval[0]
        shape, every_step = forward.problem.layout.solver_shape, forward.options.saveat.every_step
        return TangentSolve(forward.with_tangents, forward.f, shape, t0, every_step, params), ForwardModeSolve
    return Solve(forward.tableau, forward, forward.method, forward.keep, params), DifferentiableSolve


def _adjoint_solve(forward: Forward, gradient: ContinuousAdjoint, params: tuple[Tensor, ...]) -> AdjointSolve:
    """The backward solve: the forward solve's choices, where the adjoint has none of its own."""
    problem, options, layout = forward.problem, forward.options, forward.problem.layout
    if gradient.vjp not in (None, "field"):
        raise ValueError(f"vjp of {type(gradient).__name__} is {gradient.vjp!r}; pass 'field', or engine='julia'")
    chosen = options if gradient.method is None else replace(options, method=gradient.method, grid=None, steps=None)
    tableau = get_tableau(str(chosen.method))
    rtol, atol = gradient.rtol or options.rtol, gradient.atol or options.atol

    controller = step_control(chosen, tableau, problem.interval)

    def backward(field: FieldFunction, size: int) -> ExplicitRungeKutta:
        return ExplicitRungeKutta(
            tableau,
            field,
            torch.Size((size,)),
            dtype=layout.dtype,
            device=layout.device,
            rtol=rtol,
            atol=atol,
            stiffness=STIFFNESS_ESTIMATES[options.stiffness],
            time_dtype=time_dtype(*problem.interval, layout.dtype),
        )

    return AdjointSolve(
        gradient=gradient,
        run=forward,
        field=forward.f,
        shape=layout.solver_shape,
        replay=forward.method,
        backward=backward,
        controller=controller,
        dt=math.inf if isinstance(controller, Plan) else None,  # a plan has lengths of its own
        rtol=rtol,
        atol=atol,
        max_steps=max(options.max_steps, LEAST_LIMIT),
        t0=problem.interval[0],
        every_step=options.saveat.every_step,
        dense=options.saveat.dense,
        params=params,
    )
