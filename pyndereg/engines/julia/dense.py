"""Dense output of a solve in Julia."""

import torch
from torch import Tensor

from pyndereg.engines.julia.autograd import DifferentiableRun, InterpolateInJulia, as_tensors
from pyndereg.engines.julia.convert import pointer
from pyndereg.engines.julia.forward import JuliaSolve, Outcome
from pyndereg.engines.julia.session import call
from pyndereg.ivp import DiscreteAdjoint, Gradient, ODEProblem, State
from pyndereg.solver.gradients.agreement import Agreement
from pyndereg.solver.interpolation import check_inside
from pyndereg.torch_modes import version


class JuliaDense:
    """The state at any time of a solve, by the method's own interpolant.

    Args:
        problem: what was solved.
        run: how, and what came of it; its dense output is used if it was kept, otherwise the solve runs again.
    """

    def __init__(self, problem: ODEProblem, run: DifferentiableRun) -> None:
        self._problem, self._gradient = problem, run.gradient
        assert run.outcome is not None
        self._solve, self._first = run.solve, run.outcome
        self._kept: Outcome | None = run.outcome if run.solve.keep_solution else None
        self._is_discrete = isinstance(run.gradient, DiscreteAdjoint)
        self._versions, self._y1 = self._current_versions(), run.outcome.y1.detach().clone()

    def __call__(self, t: Tensor) -> State:
        """The state at times of any shape (float64, CPU), all within the solved interval. -> (*t.shape, *state)."""
        first = self._first
        if first.steps == 0:
            raise ValueError("the solve accepted no step, so there is nothing to interpolate; look at solution.status")
        flat = check_inside(t.reshape(-1), self._solve.t0, first.t_reached)
        y0 = self._problem.layout.flatten(self._problem.y0)
        ends = as_tensors((self._problem.t0, self._problem.t1))
        inputs = (y0, *ends, *self._solve.field.inputs)
        with_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        outcome = self._outcome(with_states=with_grad)
        run = DenseRun(self._solve, self._gradient, outcome, flat)
        states = InterpolateInJulia.apply(run, *inputs) if with_grad else run.values()
        return self._problem.layout.unflatten(states.view(*t.shape, -1))

    def _outcome(self, *, with_states: bool) -> Outcome:
        if self._kept is None or (with_states and not self._solve.keep_states and self._is_discrete):
            if self._current_versions() != self._versions:
                raise RuntimeError(
                    "y0 or a parameter of f was changed since the solve, so its steps cannot be replayed; call the "
                    "solution before the change, or solve with SaveAt(dense=True)"
                )
            self._solve = self._solve.with_everything()
            with torch.no_grad():
                self._kept = self._solve.run(self._problem.layout.flatten(self._problem.y0))
            self._compare(self._kept)
        return self._kept

    def _compare(self, again: Outcome) -> None:
        """Refuse dense output of another f than the one that was solved with."""
        y0, y1 = self._problem.layout.flatten(self._problem.y0).detach(), self._y1
        captured = self._solve.field.captured
        agreement = Agreement(y1.dtype, 0.0 if captured is None else captured.coarsest)
        agreement.compare(self._first.t_reached, again.y1, y1, torch.stack([y1 - y0, y1]))
        agreement.check()

    def _current_versions(self) -> tuple[int, ...]:
        y0 = self._problem.y0 if isinstance(self._problem.y0, tuple) else (self._problem.y0,)
        return tuple(version(tensor) for tensor in (*y0, *self._solve.field.inputs))


class DenseRun:
    """Times at which a kept solution is evaluated.

    Args:
        solve, gradient, outcome: of the solve.
        times: float64 on the CPU. Shape (points,).
    """

    def __init__(self, solve: JuliaSolve, gradient: Gradient, outcome: Outcome, times: Tensor) -> None:
        self.solve, self.gradient, self.outcome, self._times = solve, gradient, outcome, times.contiguous()

    def sorted_times(self) -> tuple[tuple[float, ...], Tensor]:
        """The times in the direction of integration, and the order that puts them there."""
        ordered, order = self._times.sort(descending=self.solve.t1 < self.solve.t0)
        return tuple(ordered.tolist()), order

    def values(self) -> Tensor:
        """The states. Shape (points, size)."""
        layout, times, held = self.solve.layout, self._times, self.outcome.held
        assert held is not None
        result = torch.empty(times.shape[0], layout.size, dtype=layout.dtype, device="cpu")
        if times.numel() > 0:
            call(
                lambda bridge: self.solve.enter(
                    lambda: bridge.interpolate(held.number, pointer(times), times.shape[0], pointer(result))
                )
            )
        return result
