"""One stochastic solve by the embedded engine: from a problem and options to tensors that carry gradients."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyndereg.engines.embedded.control import control_of, one_step_of
from pyndereg.engines.embedded.stochastic_start import begin
from pyndereg.ivp import (
    Backprop,
    BacksolveAdjoint,
    DiscreteAdjoint,
    SaveAt,
    SDEProblem,
    Solution,
    SolveOptions,
    State,
    Statistics,
    Status,
    StepRecord,
)
from pyndereg.ivp.sampling import Sample, Sampler
from pyndereg.ivp.sde import BrownianMotion
from pyndereg.ivp.state import StateLayout
from pyndereg.noise import BrownianPath
from pyndereg.solver.control import Controller
from pyndereg.solver.field import DiffusionField, Field
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.interpolation import check_inside
from pyndereg.solver.plans import OneStep, Plan, Schedule
from pyndereg.solver.stochastic.adjoint import ReplayedStochasticSolve, StochasticSolve
from pyndereg.solver.stochastic.backsolve import (
    BacksolvedSolve,
    BacksolvedStochasticSolve,
    stratonovich_correction,
)
from pyndereg.solver.stochastic.control import first_step_sde, method_control
from pyndereg.solver.stochastic.integration import (
    StochasticRecorder,
    StochasticTrajectory,
    integrate,
)
from pyndereg.solver.stochastic.methods import StochasticMethod, get_method
from pyndereg.solver.stochastic.path import RememberedPath, grid_times, on_grid, path_of
from pyndereg.solver.stochastic.steps import StepTaker
from pyndereg.solver.times import time_dtype


def solve_stochastic(problem: SDEProblem, options: SolveOptions, samplers: Sequence[Sampler] = ()) -> Solution:
    """The solution of a stochastic problem on one path; see `pyndereg.solve`."""
    _check(problem, options)
    method = get_method(str(options.method), problem.noise, problem.interpretation)
    control = stochastic_control(problem, options)
    _warn_of_coarse_times(problem)
    path = path_of(problem, control)
    if isinstance(options.gradient, BacksolveAdjoint) and not isinstance(path, BrownianPath):
        path = RememberedPath(path)
    return _solution(_Run(problem, options, method, control, problem.t1, path), samplers)


def _warn_of_coarse_times(problem: SDEProblem) -> None:
    if time_dtype(*problem.interval, problem.layout.dtype) != problem.layout.dtype:
        warnings.warn(
            f"f and g get times in float32, which has few between t0={problem.t0} and t1={problem.t1}; count time from "
            "the start of the interval, or pass y0 in float64",
            stacklevel=5,
        )


def stochastic_control(problem: SDEProblem, options: SolveOptions) -> Controller | Plan:
    """What decides on a stochastic method's steps; see `control_of`."""
    method = get_method(str(options.method), problem.noise, problem.interpretation)
    return control_of(options, problem.interval, method.name, method_control(method))


def fresh_stochastic_step(problem: SDEProblem, options: SolveOptions) -> Solution:
    """The first step of a solve, of automatic length and along a path of its own, whatever its error is."""
    method = get_method(str(options.method), problem.noise, problem.interpretation)
    one, control = one_step_of(options)
    path = _IndependentIncrements(problem)
    return _solution(_Run(problem, one, method, control, problem.t1, path), ())


def _check(problem: SDEProblem, options: SolveOptions) -> None:
    gradient = options.gradient
    if not isinstance(gradient, Backprop | DiscreteAdjoint | BacksolveAdjoint):
        raise ValueError(
            f"gradient is {type(gradient).__name__}, which stochastic solves do not have; pass DiscreteAdjoint(), "
            "Backprop() or BacksolveAdjoint()"
        )
    if isinstance(gradient, BacksolveAdjoint):
        _check_backsolve(problem, gradient)
    if options.uncontrolled:
        raise ValueError(f"uncontrolled is {options.uncontrolled}, which stochastic solves do not have; pass 0")


def _check_backsolve(problem: SDEProblem, gradient: BacksolveAdjoint) -> None:
    if problem.interpretation == "ito" and problem.noise in ("scalar", "general"):
        raise ValueError(
            f"noise is {problem.noise!r}, and BacksolveAdjoint takes Itô equations with diagonal or additive noise; "
            "pass DiscreteAdjoint(), or the equation in Stratonovich form"
        )
    for name in ("rtol", "atol", "vjp", "method", "norm"):
        value = getattr(gradient, name)
        if value is not None:
            raise ValueError(
                f"{name} of BacksolveAdjoint is {value!r}, but stochastic solves go back over their own steps; "
                "pass None"
            )


class _IndependentIncrements:
    """Increments for one step that no other step shares."""

    def __init__(self, problem: SDEProblem) -> None:
        self._shape, self._like = problem.noise_shape, problem.layout

    def increments(self, s: float, t: float) -> tuple[Tensor, Tensor]:
        """Drawn from torch's generator."""
        drawn = torch.randn(2, *self._shape, dtype=self._like.dtype, device="cpu") * math.sqrt(abs(t - s))
        dW, dZ = drawn.to(self._like.device).unbind()
        return dW, dZ


@dataclass(frozen=True)
class _Run:
    """A stochastic problem, how its steps are taken, and the path that they are taken along.

    Attributes:
        problem, options, method: the question, the choices, the method.
        control: step-size control.
        t1: where to stop, in the problem's time units.
        path: of the Brownian motion.
        captured: f and g as they were at an earlier solve, to be solved with instead of as they are now.
    """

    problem: SDEProblem
    options: SolveOptions
    method: StochasticMethod
    control: Controller | Plan
    t1: float
    path: BrownianMotion
    captured: Captured | None = None

    @property
    def snap(self) -> Callable[[float, float], float] | None:
        """Where adaptive steps end: at times that the path is cheap to ask at, at most a 16th of a step away."""
        if isinstance(self.control, Plan) or not isinstance(self.path, BrownianPath):
            return None
        nearest_time = self.path.nearest_time
        # A coarser grid would round the growth of a step, an eighth at most, away again and again.
        return lambda t, dt: nearest_time(t + dt, dt / 8)

    @property
    def grid_times(self) -> tuple[float, ...]:
        """Ends of the steps, where they are known beforehand; none otherwise."""
        control = self.control
        return () if not isinstance(control, Plan) else grid_times(control, self.problem.t0, self.t1)

    def again(self, saveat: SaveAt, steps: Schedule, t_reached: float, captured: Captured | None) -> "_Run":
        """The same steps once more, saving something else."""
        options = replace(self.options, saveat=saveat, max_steps=len(steps.dts))
        if captured is not None and isinstance(options.gradient, Backprop):
            # The copies' own graphs do not lead to the user's tensors.
            options = replace(options, gradient=DiscreteAdjoint())
        return replace(self, options=options, control=steps, t1=t_reached, captured=captured)


@dataclass(frozen=True)
class _Motion:
    """f dt + g dW in Stratonovich form; see `backsolve.Motion`."""

    drift: Field
    diffusion: Field
    noise: str
    interpretation: str

    def __call__(self, t: float, dt: float, y: Tensor, dW: Tensor) -> Tensor:
        """At a state, which has a graph. Shape of the state."""
        time = torch.full((), t, dtype=y.dtype, device=y.device)
        f, g = self.drift(time, y), self.diffusion(time, y)
        if self.interpretation == "ito" and self.noise == "diagonal":
            f = f - stratonovich_correction(g, y)
        noise = (g @ dW.unsqueeze(-1)).squeeze(-1) if self.noise == "general" else g * dW
        return f * dt + noise


@dataclass
class _Fields:
    """Drift and diffusion, counting, and the step that is made of them."""

    run: _Run
    drift: Field
    diffusion: Field

    def __post_init__(self) -> None:
        run = self.run
        path = on_grid(run.path, run.grid_times)
        self.take_step = StepTaker(
            self.drift, self.diffusion, run.problem.layout, run.options, run.method, path, run.t1
        )

    def first_step(self, y0: Tensor) -> float:
        """Length of the first step, > 0."""
        run = self.run
        if isinstance(run.control, Plan) and not isinstance(run.control, OneStep):
            return math.inf  # never used: a plan has lengths of its own
        given = run.options.dt or run.options.first_step
        if given is not None:
            return given
        assert run.method.controller_order is not None
        return first_step_sde(
            self.drift,
            self.diffusion,
            run.problem.t0,
            run.t1,
            y0.detach(),
            run.method.controller_order,
            run.options.rtol,
            run.options.atol,
            self.take_step.norm,
        )


def _solution(run: _Run, samplers: Sequence[Sampler]) -> Solution:
    layout = run.problem.layout
    trajectory, outputs, fields, captured = _solve(run, samplers)
    y1, saved, errors, stiffness, sampled = outputs
    result = trajectory.march
    saves_end_only = run.options.saveat.times is None and not run.options.saveat.every_step
    points = [point for point in trajectory.samples if point is not None]
    return Solution(
        t=y1.new_tensor([result.t_reached] if saves_end_only else trajectory.times),
        y=_parts(layout, y1[None].clone() if saves_end_only else saved),
        y1=_parts(layout, y1),
        steps=StepRecord(y1.new_tensor(result.t), y1.new_tensor(result.dt), errors, stiffness),
        stats=Statistics(
            nfe=fields.drift.evaluations,
            accepted=len(result.t),
            rejected=result.rejected,
            diffusion_nfe=fields.diffusion.evaluations,
            **result.first((run.method.controller_order or math.nan) + 0.5),
        ),
        status=_status(trajectory),
        t_reached=result.t_reached,
        interpolate=_StochasticDense(
            run,
            Schedule(tuple(result.dt), tuple(result.t)),
            result.t_reached,
            captured,
            trajectory.y1.detach().clone(),
            errors.detach().clone(),
        ),
        samples=tuple(Sample(point.t, _parts(layout, y)) for point, y in zip(points, sampled, strict=True)),
    )


def _solve(
    run: _Run, samplers: Sequence[Sampler]
) -> tuple[StochasticTrajectory, tuple[Tensor, ...], _Fields, Captured | None]:
    """Run the solve, differentiably if anything asks for a gradient."""
    y0 = run.problem.layout.flatten(run.problem.y0).view(run.problem.layout.solver_shape)
    surroundings = Surroundings.now(y0.device) if run.captured is None else run.captured.surroundings
    with surroundings.of_solver():
        start = begin(
            run.problem, run.options, y0, surroundings, run.captured, adaptive=not isinstance(run.control, Plan)
        )
        fields = _Fields(run, start.drift, start.diffusion)
        if start.captured is None:
            with torch.set_grad_enabled(start.with_graph):
                trajectory = _forward(run, fields, samplers, keep_states=False)(y0)
            return trajectory, trajectory.outputs(), fields, start.again
        return *_replayed(run, fields, start.captured, start.slope, y0, samplers), fields, start.again


def _replayed(
    run: _Run, fields: _Fields, captured: Captured, slope: Tensor, y0: Tensor, samplers: Sequence[Sampler]
) -> tuple[StochasticTrajectory, tuple[Tensor, ...]]:
    """Run the solve as an autograd Function."""
    gradient, kept = run.options.gradient, captured.for_backward()
    drift, diffusion = kept.fields
    replays = isinstance(gradient, DiscreteAdjoint)
    forward = _forward(run, fields, samplers, keep_states=replays)
    if replays:
        take_step = fields.take_step
        solve = StochasticSolve(forward, take_step.on(drift, diffusion), kept, take_step.norm)
        outputs = ReplayedStochasticSolve.apply(solve, y0, *captured.inputs)
    else:
        assert isinstance(gradient, BacksolveAdjoint)
        assert isinstance(diffusion, DiffusionField)
        motion = _Motion(drift, diffusion, run.problem.noise, run.problem.interpretation)
        solve = BacksolvedSolve(
            forward,
            motion,
            run.path,
            gradient.checkpointing,
            kept,
            run.problem.t0,
            slope.detach(),
        )
        outputs = BacksolvedStochasticSolve.apply(solve, y0, *captured.inputs)
    assert solve.trajectory is not None
    return solve.trajectory, outputs


def _forward(
    run: _Run, fields: _Fields, samplers: Sequence[Sampler], *, keep_states: bool
) -> Callable[[Tensor], StochasticTrajectory]:
    """The forward solve, from the initial state in the solver's shape."""
    problem, options = run.problem, run.options
    times = options.saveat.checked_times(problem.t0, problem.t1)

    def forward(y: Tensor) -> StochasticTrajectory:
        recorder = StochasticRecorder(
            fields.take_step,
            y,
            t0=problem.t0,
            times=tuple(t for t in times if t <= run.t1),
            every_step=options.saveat.every_step,
            keep_states=keep_states,
            checkpoints=options.gradient.checkpoints if isinstance(options.gradient, DiscreteAdjoint) else None,
            samplers=samplers,
        )
        with torch.no_grad():
            length = fields.first_step(y)
        return integrate(recorder, run.control, problem.t0, run.t1, length, options.max_steps, run.snap)

    return forward


def _parts(layout: StateLayout, states: Tensor) -> State:
    """The user's state from one in the solver's shape; leading axes (times, say) are kept."""
    return layout.result(states) if layout.is_tuple else states


def _status(trajectory: StochasticTrajectory) -> Status:
    """How the solve ended; steps of one length look at their errors at the end only."""
    status = trajectory.march.status
    return status if bool(torch.isfinite(trajectory.y1).all()) else Status.NON_FINITE


@dataclass(frozen=True)
class _StochasticDense:
    """Dense output of a stochastic solve: lines between ends of steps, which are taken again along the same path."""

    run: _Run
    steps: Schedule
    t_reached: float
    captured: Captured | None
    y1: Tensor
    errors: Tensor

    def __call__(self, t: Tensor) -> State:
        """The state at times of any shape (float64, CPU), all within the solved interval."""
        if not self.steps.dts:
            raise ValueError("the solve accepted no step, so there is nothing to interpolate; look at solution.status")
        layout = self.run.problem.layout
        inside = check_inside(t.reshape(-1), self.run.problem.t0, self.t_reached)
        times, inverse = torch.unique(inside, return_inverse=True)
        again = self.run.again(SaveAt(times=times), self.steps, self.t_reached, self.captured)
        if self.captured is None:
            _, outputs, _, _ = _solve(again, ())
        else:
            _, outputs, _, _ = self.captured.replay(lambda: _solve(again, ()))
        self._compare(outputs[0].detach(), outputs[2].detach())
        saved = outputs[1][inverse.to(outputs[1].device)]
        return _parts(layout, saved.reshape(*t.shape, *saved.shape[1:]))

    def _compare(self, y1: Tensor, errors: Tensor) -> None:
        agreement = Agreement(y1.dtype, 0.0 if self.captured is None else self.captured.coarsest)
        y0 = self.run.problem.layout.flatten(self.run.problem.y0).detach()
        agreement.compare(self.t_reached, y1, self.y1, self.y1.reshape(-1) - y0)
        agreement.check()
        agreement.check_errors(errors, self.errors, self.y1, self.run.options.rtol, self.run.options.atol)
