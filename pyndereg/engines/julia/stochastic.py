"""One stochastic solve by the julia engine: StochasticDiffEq takes the steps, along the path that torch knows."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyndereg.engines.julia.checks import check_options, pass_on
from pyndereg.engines.julia.convert import StochasticReply, StochasticRequest, address, pointer, tensor_at
from pyndereg.engines.julia.fields import JuliaField, stochastic_fields
from pyndereg.engines.julia.forward import Asked, JuliaSolve, Outcome, states_at, step_length
from pyndereg.engines.julia.noise import INCREMENTS_ADDRESS, HostNoise
from pyndereg.engines.julia.session import call, number_of, without_gil
from pyndereg.engines.julia.start import Begun, begin
from pyndereg.engines.julia.stochastic_methods import (
    ChosenMethod,
    check_replayable,
    chosen_method,
    stochastic_method_number,
)
from pyndereg.ivp import (
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
from pyndereg.ivp.julia import JuliaFunction
from pyndereg.ivp.sde import BrownianMotion
from pyndereg.ivp.stepping import refuse_first_step
from pyndereg.solver.field import DiffusionField, Field
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.interpolation import check_inside
from pyndereg.solver.march import March
from pyndereg.solver.plans import FixedStep
from pyndereg.solver.stochastic.adjoint import ReplayedStochasticSolve, StochasticSolve
from pyndereg.solver.stochastic.integration import SavedBetween, StochasticTrajectory, TakenStep
from pyndereg.solver.stochastic.path import grid_times, on_grid, path_of
from pyndereg.solver.stochastic.steps import StepTaker


def solve_stochastic(problem: SDEProblem, options: SolveOptions) -> Solution:
    """The solution of a stochastic problem on one path; see `pyndereg.solve`."""
    check_options(problem.layout, options)
    chosen = chosen_method(problem, options)
    dt = _fixed_length(options, chosen)
    plan = None if dt is None else FixedStep(dt)
    path = path_of(problem, plan)
    times = () if plan is None else grid_times(plan, problem.t0, problem.t1)
    return _solution(_Run(problem, options, chosen, on_grid(path, times)))


def _fixed_length(options: SolveOptions, chosen: ChosenMethod) -> float | None:
    """Length of every step; None where an error estimate decides.

    Raises:
        ValueError: a length is needed and there is none.
    """
    if chosen.has_estimate and options.adaptive:
        return None
    name = chosen.algorithm.name
    reason = "was asked for with adaptive=False" if chosen.has_estimate else "has no error estimate"
    refuse_first_step(options.first_step, name, reason)
    if options.dt is None:
        raise ValueError(f"method {name!r} {reason} and no step length was given; pass dt=, e.g. dt=0.01")
    return float(options.dt)


@dataclass(frozen=True)
class _Run:
    """A stochastic problem, how it is solved, and the path that its steps are taken along."""

    problem: SDEProblem
    options: SolveOptions
    chosen: ChosenMethod
    path: BrownianMotion

    @property
    def in_julia(self) -> tuple[Tensor, ...]:
        """The parameters of Julia functions that ask for a gradient."""
        own = (part.parameters for part in (self.problem.f, self.problem.g) if isinstance(part, JuliaFunction))
        return tuple(p for p in own if p is not None and p.requires_grad)

    @property
    def repeats_noise(self) -> bool:
        """Whether scalar noise is handed to Julia once for every element of the state.

        The shared methods take scalar noise element by element; other algorithms see it as general noise.
        """
        return self.problem.noise == "scalar" and self.chosen.method is not None

    @property
    def noises(self) -> int:
        """Number of noises of a sample, where Julia sees them as general noise; 0 otherwise."""
        noise = self.problem.noise
        if noise == "diagonal" or noise == "additive" or self.repeats_noise:
            return 0
        return self.problem.noise_shape[-1]


@dataclass
class _SolveInJulia:
    """A stochastic solve that is ready to run.

    Attributes:
        run: the question.
        drift, diffusion: f and g for Julia.
        replayed: keep what a replay needs.
        outcome, diffusion_nfe: what the solve left, once it ran.
    """

    run: _Run
    drift: JuliaField
    diffusion: JuliaField
    replayed: bool
    outcome: Outcome | None = None
    diffusion_nfe: int = 0

    def __call__(self, y0: Tensor) -> StochasticTrajectory:
        """Solve from a flat state. Shape (size,)."""
        solve, noise = self._solve(), self._noise()
        outcome, states = call(lambda bridge: self._ask(bridge, solve, noise, y0.detach().contiguous()))
        self.outcome = outcome
        t, dt = (row.tolist() for row in outcome.rows[:2])
        march: March[TakenStep] = March(outcome.t_reached, outcome.status, t, dt, outcome.rejected)
        scaled_error, stiffness = outcome.rows[2:].to(y0.dtype, copy=True).unbind()
        increments = {i: noise.asked[start] for i, start in enumerate(t) if start in noise.asked}
        return StochasticTrajectory(
            march=march,
            y1=outcome.y1,
            times=list(outcome.times),
            saved=outcome.saved,
            saves_start=bool(outcome.times) and outcome.times[0] == solve.t0,
            saves=saves_between(t, outcome.t_reached, outcome.times),
            scaled_error=scaled_error,
            stiffness=stiffness,
            states=states,
            increments=increments,
            samples=[],
        )

    def _solve(self) -> JuliaSolve:
        problem, options = self.run.problem, self.run.options
        checkpoints = options.gradient.checkpoints if isinstance(options.gradient, DiscreteAdjoint) else None
        return JuliaSolve(
            field=self.drift,
            method=self.run.chosen.algorithm,
            layout=problem.layout,
            t0=problem.t0,
            t1=problem.t1,
            times=options.saveat.checked_times(problem.t0, problem.t1),
            every_step=options.saveat.every_step,
            rtol=options.rtol,
            atol=options.atol,
            dt=step_length(options.dt or options.first_step),
            adaptive=options.adaptive,
            max_steps=options.max_steps,
            stiffness=options.stiffness,
            keep_states=self.replayed,
            checkpoints=0 if options.saveat.every_step else checkpoints or 0,
            keep_solution=False,
        )

    def _noise(self) -> HostNoise:
        run = self.run
        layout, gradient = run.problem.layout, run.options.gradient
        shape = run.problem.noise_shape if run.noises else layout.solver_shape
        keep = self.replayed and isinstance(gradient, DiscreteAdjoint) and gradient.checkpoints is None
        return HostNoise(run.path, run.problem.interval, shape, layout.dtype, keep=keep)

    def _ask(self, bridge: Any, solve: JuliaSolve, noise: HostNoise, y0: Tensor) -> tuple[Outcome, dict[int, Tensor]]:
        """What the solve left, and the states at the starts of its steps; on the Julia thread."""
        problem, diffusion = self.run.problem, self.diffusion
        asked = Asked(bridge, solve, y0, stochastic_method_number(bridge, solve.method))
        request = StochasticRequest(
            asked.request,
            number_of(bridge, diffusion.key, diffusion.make),
            pointer(diffusion.p),
            diffusion.p.numel(),
            self.run.noises,
            INCREMENTS_ADDRESS,
            noise.token,
            int(self.run.chosen.has_estimate),
            -1 if problem.noise == "additive" else int(problem.interpretation == "stratonovich"),
        )
        reply = StochasticReply()
        solve_in_julia = without_gil(bridge, "solve_stochastic_request")
        self._enter(noise, lambda: solve_in_julia(address(request), address(reply)))
        self.diffusion_nfe = reply.diffusion_evaluations
        kept = tensor_at(reply.kept, reply.kept_steps, torch.int64).tolist()
        states = dict(zip((step - 1 for step in kept), states_at(reply.reply, len(kept), solve.layout), strict=True))
        return asked.outcome(reply.reply), states

    def _enter(self, noise: HostNoise, function: Any) -> None:
        """function(), which lets Julia call f, g and the path.

        Raises:
            BaseException: what one of them raised, or what Julia did.
        """
        fields = [field.torch_field for field in (self.drift, self.diffusion) if field.torch_field is not None]
        parts = (*fields, noise)
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(part)
            try:
                function()
                return
            except Exception:
                failure = next((part.error for part in parts if part.error is not None), None)
                if failure is None:
                    raise
                for part in parts:
                    part.error = None
        raise failure


def saves_between(t: list[float], t_reached: float, times: tuple[float, ...]) -> list[SavedBetween]:
    """The save points of each step, from the starts of the steps."""
    ends = [*t[1:], t_reached]
    row = 1 if times and t and times[0] == t[0] else 0
    found = []
    for start, end in zip(t, ends, strict=True):
        first, thetas = row, []
        while row < len(times) and times[row] <= end:
            thetas.append(1.0 if times[row] == end else (times[row] - start) / (end - start))
            row += 1
        found.append(SavedBetween(tuple(range(first, row)), tuple(thetas)))
    return found


def _solve(
    run: _Run, captured: Captured | None = None
) -> tuple[_SolveInJulia, tuple[Tensor, ...], StochasticTrajectory, Captured | None]:
    """Run the solve, differentiably if anything asks for a gradient; f and g as they are, to take its steps again."""
    problem, layout = run.problem, run.problem.layout
    begun = None
    if captured is not None:
        begun = Begun(captured.fields, captured, ())
    elif not any(isinstance(part, JuliaFunction) for part in (problem.f, problem.g)):
        begun = begin(problem, [Field(problem), DiffusionField(problem)], run.options)
        captured = begun.captured
    y0, inputs = layout.flatten(problem.y0), () if captured is None else captured.inputs
    with_grad = torch.is_grad_enabled() and (y0.requires_grad or bool(inputs) or bool(run.in_julia))
    method = check_replayable(run.chosen, problem, run.options) if with_grad else None
    solve = _SolveInJulia(run, *stochastic_fields(problem, layout, run.options.field, begun), replayed=with_grad)
    if method is None:
        with torch.no_grad():
            trajectory = solve(y0)
        return solve, trajectory.outputs(), trajectory, captured
    assert captured is not None
    drift, diffusion = captured.fields
    take_step = StepTaker(drift, diffusion, layout, run.options, method, run.path, problem.t1)
    replayed = StochasticSolve(solve, take_step, captured.for_backward())
    outputs = ReplayedStochasticSolve.apply(replayed, y0, *captured.inputs)
    assert replayed.trajectory is not None
    return solve, outputs, replayed.trajectory, captured


def _solution(run: _Run) -> Solution:
    layout, options = run.problem.layout, run.options
    solve, outputs, trajectory, captured = _solve(run)
    outcome = solve.outcome
    assert outcome is not None
    pass_on(outcome.warnings, outcome.status)
    y1, saved, errors, stiffness, _ = outputs
    saves_end_only = options.saveat.times is None and not options.saveat.every_step
    return Solution(
        t=y1.new_tensor([outcome.t_reached] if saves_end_only else trajectory.times),
        y=layout.result(y1[None].clone() if saves_end_only else saved),
        y1=layout.result(y1),
        steps=StepRecord(y1.new_tensor(trajectory.march.t), y1.new_tensor(trajectory.march.dt), errors, stiffness),
        stats=Statistics(
            nfe=outcome.nfe,
            accepted=outcome.steps,
            rejected=outcome.rejected,
            diffusion_nfe=solve.diffusion_nfe,
            **(outcome.first if options.adaptive else {}),
        ),
        # Steps of one length are not looked at after the last one.
        status=outcome.status if bool(torch.isfinite(y1).all()) else Status.NON_FINITE,
        t_reached=outcome.t_reached,
        interpolate=partial(_interpolated, run, captured, outcome.steps, outcome.t_reached),
    )


def _interpolated(run: _Run, captured: Captured | None, steps: int, t_reached: float, t: Tensor) -> State:
    """Dense output: lines between ends of steps, which are taken again along the same path.

    Args:
        t: times of any shape (float64, CPU), all within the solved interval.
    """
    if steps == 0:
        raise ValueError("the solve accepted no step, so there is nothing to interpolate; look at solution.status")
    layout = run.problem.layout
    times, inverse = torch.unique(check_inside(t.reshape(-1), run.problem.t0, t_reached), return_inverse=True)
    again = replace(run, options=replace(run.options, saveat=SaveAt(times=times)))
    if captured is None:
        _, outputs, *_ = _solve(again)
    else:
        _, outputs, *_ = captured.replay(lambda: _solve(again, captured))
    return layout.result(outputs[1][inverse].reshape(*t.shape, layout.size))
