"""The path of a Brownian motion that a stochastic solve goes along."""

import math
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from pyndereg.ivp import SDEProblem
from pyndereg.ivp.errors import GradientRefused
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


class RememberedPath:
    """A path of the user's for a solve that asks for its increments again, backwards, and keeps none of them.

    Of each increment a weighted sum of its elements is kept, which differs if the path answers otherwise.

    Args:
        path: asked for increments.
    """

    def __init__(self, path: BrownianMotion) -> None:
        self._path = path
        self._sums: dict[float, Tensor] = {}
        self._again: list[tuple[float, Tensor]] = []

    def increments(self, s: float, t: float) -> tuple[Tensor, Tensor]:
        """Those of the path, which are compared with the earlier ones where t < s."""
        found = self._path.increments(s, t)
        numbers = found[0].detach().reshape(-1)
        weights = torch.arange(numbers.numel(), dtype=numbers.dtype, device=numbers.device).cos_()
        sums = torch.stack([numbers @ weights, numbers.norm()])
        if t < s:
            self._again.append((t, sums))
        else:  # what an accepted step asked for comes after what a rejected one did
            self._sums[s] = sums
        return found

    def check(self) -> None:
        """Compare the increments of a backward solve with those of the forward solve; reads them once.

        Raises:
            GradientRefused: one is another one.
        """
        if not self._again:
            return
        pairs = torch.stack([torch.stack([self._sums[t], sums]) for t, sums in self._again])
        near = 64 * math.sqrt(torch.finfo(pairs.dtype).eps)
        for (t, _), ((one, size), (other, _)) in zip(self._again, pairs.tolist(), strict=True):
            if not abs(one + other) <= near * size:
                raise GradientRefused(
                    f"the Brownian path has another increment over the step from t={t:g} in the backward pass than it "
                    "had in the solve; leave its tensors as they are until backward was called, pass a path that gives "
                    "the same answer each time, or gradient=DiscreteAdjoint(), which keeps the increments"
                )
        self._again.clear()
