"""The path of a Brownian motion that a stochastic solve goes along."""

import math
from collections.abc import Sequence
from itertools import islice

from pyndereg.ivp import SDEProblem
from pyndereg.ivp.sde import BrownianMotion
from pyndereg.noise import BrownianPath
from pyndereg.noise.brownian import MOST_CELLS
from pyndereg.noise.grid import GridIncrements
from pyndereg.solver.control import Controller
from pyndereg.solver.plans import FixedStep, GridSteps, OneStep, Plan, step_count

# Of the path of an adaptive solve.
CELLS = 256


def path_of(problem: SDEProblem, control: Controller | Plan | None) -> BrownianMotion:
    """The problem's path, or a new one from its seed; where steps have one length, with a cell for each of them.

    Args:
        control: what decides on the steps; None for an error estimate.
    """
    if problem.brownian is not None:
        return problem.brownian
    layout, t1, cells = problem.layout, problem.t1, CELLS
    if isinstance(control, FixedStep):
        steps = step_count(problem.t0, t1, control.dt)
        if steps <= MOST_CELLS:
            t1, cells = max(t1, problem.t0 + steps * control.dt), steps
    elif isinstance(control, GridSteps):
        cells = min(max(CELLS, len(control.times) - 1), MOST_CELLS)
    return BrownianPath(
        problem.t0, t1, problem.noise_shape, seed=problem.seed, cells=cells, dtype=layout.dtype, device=layout.device
    )


def grid_times(plan: Plan, t0: float, t1: float) -> tuple[float, ...]:
    """The start and all ends of the steps of a plan; none if they are too many, or not yet known."""
    if isinstance(plan, OneStep):
        return ()
    times = (t0, *(end for _, _, end in islice(plan.steps(t0, t1, math.inf), MOST_CELLS + 1)))
    return times if len(times) <= MOST_CELLS + 1 else ()


def on_grid(path: BrownianMotion, times: Sequence[float]) -> BrownianMotion:
    """The same path, drawn many steps at a time where its steps end at these times."""
    return GridIncrements(path, times) if times and isinstance(path, BrownianPath) else path
