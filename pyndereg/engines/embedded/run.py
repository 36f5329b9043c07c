"""One solve by the embedded engine: from a problem and options to tensors that carry gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyndereg.engines.embedded.forward import Forward, Stepper, step_control
from pyndereg.engines.embedded.start import Start, begin, begin_again
from pyndereg.ivp import ContinuousAdjoint, ForwardSensitivity, ODEProblem, QuadratureAdjoint, SolveOptions
from pyndereg.ivp.sampling import Sampler
from pyndereg.solver.adjoints import DifferentiableSolve, Solve, StepsAgain
from pyndereg.solver.continuous import AdjointSolve, ContinuousAdjointSolve
from pyndereg.solver.control import Controller
from pyndereg.solver.forward_sensitivity import ForwardModeSolve, TangentSolve
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.integration import Sampled, Trajectory
from pyndereg.solver.march import March
from pyndereg.solver.plans import Plan
from pyndereg.solver.rounding import Judged
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, FieldFunction, Step
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.tableaus import get_tableau

# A limit that the forward solve keeps, or fails by, says little about its adjoint: steps between two jumps at least.
LEAST_LIMIT = 100_000


@dataclass(frozen=True)
class Run:
    """A finished forward solve; its tensors carry gradients. Shapes as in `DifferentiableSolve`.

    Attributes:
        judged: per step, what rounding is in its error; None where it was not looked at.
    """

    march: March[Step]
    judged: list[Judged] | None
    nfe: int
    captured: Captured | None
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
    captured: Captured | None = None,
) -> Run:
    """Solve up to t1, differentiably if anything asks for a gradient.

    Args:
        samplers: choose points of the solution.
        constant_start: the first stage is a constant of the gradient.
        captured: f as it was at an earlier solve, to be solved with instead of f as it is now.
    """
    y0, times = problem.layout.flatten(problem.y0), options.saveat.checked_times(*problem.interval)
    ends = [
        t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64, device="cpu")
        for t in (problem.t0, problem.t1)
    ]
    with_time = torch.is_grad_enabled() and any(t.requires_grad for t in ends)
    surroundings = Surroundings.now(y0.device) if captured is None else captured.surroundings
    with surroundings.of_solver():
        if captured is None:
            start = begin(
                problem,
                options,
                tableau,
                y0,
                surroundings,
                with_time=with_time,
                adaptive=not isinstance(controller, Plan),
            )
        else:
            start = begin_again(problem, options, y0, captured, with_time=with_time)
        forward = Forward(
            problem,
            options,
            Stepper.of(problem, options, tableau, with_time=with_time),
            start.field,
            start.stage,
            start.coarsest,
            t1,
            times,
            controller,
            samplers,
            constant_start=constant_start,
            keep=start.keep,
            room=start.room,
            keeps_slopes=start.captured is not None and isinstance(options.gradient, QuadratureAdjoint),
        )
        trajectory, outputs = _outputs(forward, start, y0, ends)
    samples = [sampled for sampled in trajectory.samples if sampled is not None]
    return Run(
        trajectory.march,
        trajectory.judged,
        start.field.evaluations,
        start.captured,
        trajectory.times,
        samples,
        *outputs,
    )


def _outputs(
    forward: Forward, start: Start, y0: Tensor, ends: Sequence[Tensor]
) -> tuple[Trajectory, tuple[Tensor, ...]]:
    """Run the solve; as an autograd Function if anything asks for a gradient."""
    if start.captured is None:
        with torch.no_grad():
            trajectory = forward(y0)
            return trajectory, trajectory.outputs()
    solve, function = _differentiable(forward, start, start.captured)
    outputs = function.apply(solve, y0, *ends, *start.captured.inputs)
    trajectory = solve.trajectory
    assert trajectory is not None
    return trajectory, outputs


def _differentiable(
    forward: Forward, start: Start, captured: Captured
) -> tuple[Solve | AdjointSolve | TangentSolve, type[torch.autograd.Function]]:
    """The solve with all that its gradient needs, and the autograd Function that runs it."""
    gradient, kept = forward.options.gradient, captured.for_backward()
    if isinstance(gradient, ContinuousAdjoint):
        return _adjoint_solve(forward, gradient, kept), ContinuousAdjointSolve
    if isinstance(gradient, ForwardSensitivity):
        solve = TangentSolve(
            forward.with_tangents,
            forward.f,
            forward.problem.layout.solver_shape,
            forward.problem.interval[0],
            forward.options.saveat.every_step,
            () if start.graphs is None else start.graphs.targets,
            captured.aliases,
            kept,
        )
        return solve, ForwardModeSolve
    again = StepsAgain(forward.stepper.tableau, forward.stepper, start.keep, kept, start.graphs)
    return Solve(forward, again), DifferentiableSolve


def _adjoint_solve(forward: Forward, gradient: ContinuousAdjoint, captured: Captured) -> AdjointSolve:
    """The backward solve: the forward solve's choices, where the adjoint has none of its own."""
    problem, options, layout = forward.problem, forward.options, forward.problem.layout
    chosen = replace(options, first_step=None)
    if gradient.method is not None:
        chosen = replace(chosen, method=gradient.method, grid=None, steps=None)
    tableau = get_tableau(str(chosen.method))
    if tableau.b_error is None:
        chosen = replace(chosen, control=None, norm=None)
    rtol = options.rtol if gradient.rtol is None else gradient.rtol
    atol = options.atol if gradient.atol is None else gradient.atol
    if rtol == 0 == atol:
        raise ValueError(
            f"rtol and atol of the backward solve of {type(gradient).__name__} are both 0; pass a positive number for "
            "one of them"
        )
    stiffness, forward_time_dtype = options.stiffness, forward.stepper.time_dtype

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
            stiffness=STIFFNESS_ESTIMATES[stiffness],
            time_dtype=forward_time_dtype,
        )

    return AdjointSolve(
        gradient=gradient,
        run=forward,
        captured=captured,
        shape=layout.solver_shape,
        stepper=forward.stepper,
        backward=backward,
        controller=controller,
        dt=math.inf if isinstance(controller, Plan) else None,  # a plan has lengths of its own
        rtol=rtol,
        atol=atol,
        max_steps=max(options.max_steps, LEAST_LIMIT),
        t0=problem.interval[0],
        every_step=options.saveat.every_step,
        dense=options.saveat.dense,
        start_slope=forward.start.slope.detach().reshape(-1),
    )
