"""Dense output of a solve: from slopes that were kept, or from steps that are taken again."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from pyndereg.engines.embedded.run import Run, run
from pyndereg.ivp import ContinuousAdjoint, ForwardSensitivity, ODEProblem, SaveAt, SolveOptions, State
from pyndereg.ivp.copies import without_f
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.interpolation import DenseOutput, check_inside
from pyndereg.solver.march import March
from pyndereg.solver.plans import Schedule
from pyndereg.solver.runge_kutta import Step, coefficients
from pyndereg.solver.tableau import Tableau
from pyndereg.solver.tableaus import get_tableau
from pyndereg.torch_modes import version


def dense_output(problem: ODEProblem, options: SolveOptions, tableau: Tableau, made: Run) -> Callable[[Tensor], State]:
    """The dense output of a finished solve."""
    values: Callable[[Tensor], State]
    replayed = ReplayedDense(
        problem, options, made.march, made.captured, made.y1.detach().clone(), made.scaled_error.detach().clone()
    )
    values = _kept(problem, tableau, made) if made.nodes.numel() else replayed
    if made.y1.requires_grad and isinstance(options.gradient, ContinuousAdjoint | ForwardSensitivity):
        return SolvedAgainDense(values, replayed)
    return values


def _kept(problem: ODEProblem, tableau: Tableau, made: Run) -> DenseOutput:
    """Dense output; step lengths are constants, but the steps move with t0 and the last one ends at t1."""
    weights = coefficients(tableau, made.y1.dtype, made.y1.device).weights
    t0, t1 = (torch.as_tensor(t, dtype=torch.float64, device="cpu") for t in (problem.t0, problem.t1))
    t = torch.tensor([*made.march.t, made.march.t_reached], dtype=torch.float64, device="cpu")
    dt = torch.tensor(made.march.dt, dtype=torch.float64, device="cpu")
    if t0.requires_grad or t1.requires_grad:
        t = t + (t0 - t0.detach())
        if made.march.status.succeeded:
            dt = torch.cat([dt[:-1], dt[-1:] + (t1 - t1.detach()) - (t0 - t0.detach())])
    return DenseOutput(problem.layout, weights, t, dt, made.nodes, made.slopes)


@dataclass
class ReplayedDense:
    """Dense output of a solve that did not keep its slopes: its accepted steps are taken again at the first call.

    Attributes:
        problem, options, march: the solve.
        captured: f as it was then; None where no gradient was asked for, and f is taken as it is now.
        y1, errors: where the solve ended and the scaled errors of its steps, which taking these again must reproduce.
            Shapes (size,) and (steps,).
        kept: what was computed, with graphs and without.
    """

    problem: ODEProblem
    options: SolveOptions
    march: March[Step]
    captured: Captured | None
    y1: Tensor
    errors: Tensor
    is_smooth_in_time: ClassVar[bool] = True
    kept: dict[bool, DenseOutput] = field(default_factory=dict)

    def __post_init__(self) -> None:
        y0, captured = self.problem.y0, self.captured
        used = self.problem.parameters if captured is None else captured.inputs
        self._used = (*(y0 if isinstance(y0, tuple) else (y0,)), *used)
        self._versions = self._current_versions()

    def __call__(self, t: Tensor) -> State:
        """The state at times of any shape (float64, CPU), all within the solved interval."""
        grad_mode = torch.is_grad_enabled()
        if grad_mode not in self.kept:
            self.kept[grad_mode] = self._replay()
        return self.kept[grad_mode](t)

    def _current_versions(self) -> tuple[int, ...]:
        return tuple(map(version, self._used))

    def _replay(self) -> DenseOutput:
        return _kept(self.problem, get_tableau(str(self.options.method)), self.again(SaveAt(dense=True)))

    def again(self, saveat: SaveAt) -> Run:
        """The same steps once more, saving something else.

        Raises:
            ValueError: no step was accepted.
            RuntimeError: y0 or a parameter was changed since the solve.
        """
        if not self.march.dt:
            raise ValueError("the solve accepted no step, so there is nothing to interpolate; look at solution.status")
        if self._current_versions() != self._versions:
            raise RuntimeError(
                "y0 or a parameter of f was changed since the solve, so its steps cannot be replayed; call the "
                "solution before the change, or solve with SaveAt(dense=True)"
            )
        options = replace(self.options, saveat=saveat, max_steps=len(self.march.dt))
        schedule = Schedule(tuple(abs(dt) for dt in self.march.dt), tuple(self.march.t))
        tableau = get_tableau(str(options.method))

        def again() -> Run:
            return run(self.problem, options, tableau, self.march.t_reached, schedule, captured=self.captured)

        made = again() if self.captured is None else self.captured.replay(again)
        self._compare(made)
        return made

    def _compare(self, made: Run) -> None:
        agreement = Agreement(self.y1.dtype, 0.0 if self.captured is None else self.captured.coarsest)
        y0 = self.problem.layout.flatten(self.problem.y0).detach()
        agreement.compare(self.march.t_reached, made.y1.detach(), self.y1, torch.stack([self.y1 - y0, self.y1]))
        agreement.check()
        agreement.check_errors(made.scaled_error.detach(), self.errors, self.y1, self.options.rtol, self.options.atol)


@dataclass(frozen=True)
class SolvedAgainDense:
    """Dense output of a solve with a continuous adjoint, which differentiates saved states.

    Without grad mode it is that of any solve. With it, every call takes the accepted steps again and saves what is
    asked for.

    Attributes:
        values: the dense output without a gradient.
        replayed: takes the steps again.
    """

    values: Callable[[Tensor], State]
    replayed: ReplayedDense

    def without_f(self) -> Callable[[Tensor], State]:
        """Its values alone, if they need no f."""
        return without_f(self.values)

    def __call__(self, t: Tensor) -> State:
        """The state at times of any shape (float64, CPU), all within the solved interval."""
        if not torch.is_grad_enabled() or t.numel() == 0:
            with torch.no_grad():
                return self.values(t)
        problem, march = self.replayed.problem, self.replayed.march
        t0, t_end = problem.interval[0], march.t_reached
        times, inverse = torch.unique(check_inside(t.reshape(-1), t0, t_end), return_inverse=True)
        if t_end < t0:
            times, inverse = times.flip(0), len(times) - 1 - inverse
        saved = self.replayed.again(SaveAt(times=times)).saved
        return problem.layout.result(saved[inverse.to(saved.device)].reshape(*t.shape, problem.layout.size))
