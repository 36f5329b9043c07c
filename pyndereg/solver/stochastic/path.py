"""The path of a Brownian motion that a stochastic solve goes along."""

import math
from collections.abc import Sequence

from pyndereg.ivp import SDEProblem
from pyndereg.ivp.sde import BrownianMotion
from pyndereg.noise import BrownianPath
from pyndereg.noise.brownian import MOST_CELLS
from pyndereg.noise.grid import GridIncrements

# Of the path of an adaptive solve.
CELLS = 256


def path_of(problem: SDEProblem, dt: float | None) -> BrownianMotion:
    """The problem's path, or a new one from its seed; where steps have one length, with a cell for each of them.

    Args:
        dt: length of every step, in the problem's time units; None where an error estimate decides.
    """
    if problem.brownian is not None:
        return problem.brownian
    layout, t1, cells = problem.layout, problem.t1, CELLS
    if dt is not None:
        steps = math.ceil((t1 - problem.t0) / dt * (1.0 - 1e-12))
        if steps <= MOST_CELLS:
            t1, cells = max(t1, problem.t0 + steps * dt), steps
    return BrownianPath(
        problem.t0, t1, problem.noise_shape, seed=problem.seed, cells=cells, dtype=layout.dtype, device=layout.device
    )


def grid_times(t0: float, t1: float, dt: float) -> tuple[float, ...]:
    """Ends of steps of one length, the last one cut to end at t1; none if they are too many."""
    if (t1 - t0) / dt > MOST_CELLS:
        return ()
    times = [t0]
    while times[-1] + dt < t1:  # solvers add lengths up in the same way
        times.append(times[-1] + dt)
    return (*times, t1)


def on_grid(path: BrownianMotion, times: Sequence[float]) -> BrownianMotion:
    """The same path, drawn many steps at a time where its steps end at these times."""
    return GridIncrements(path, times) if times and isinstance(path, BrownianPath) else path
