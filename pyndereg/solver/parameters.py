"""The parameters' part of a continuous adjoint: the integral of (df/dθ)^T a over time, in three ways."""

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pyndereg.solver.adjoint_equation import AdjointField, BackwardSolve, Pullback
from pyndereg.solver.gradients.sums import as_real, zeros_for
from pyndereg.solver.interpolation import extension_weights, interpolate
from pyndereg.solver.path import Path, Pieces
from pyndereg.solver.quadrature import gauss_legendre, integrate_adaptively
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, Step


class ParameterRule(Protocol):
    """Sums up the parameters' part while the adjoint is solved backwards."""

    gradients: list[Tensor]

    def accept(self, solve: BackwardSolve, step: Step) -> None:
        """Told of each accepted step of the backward solve."""
        ...

    def finish(self, times: Sequence[float]) -> None:
        """Told, at the end, of the times between which the adjoint is smooth, last one first."""
        ...


class AlongTheWay:
    """By the weights of the backward solve's own method, as further states of it.

    They enter no slope, so only their sums are made.

    Args:
        field: whose evaluations yield the integrand.
        method: of the backward solve.
        params: tensors inside f that receive gradients.
        atol: absolute tolerance.
    """

    def __init__(self, field: AdjointField, method: ExplicitRungeKutta, params: Sequence[Tensor], atol: float) -> None:
        self._field, self._method, self._atol = field, method, atol
        self._weights = method.coefficients.rows[method.tableau.end]
        self._size = sum(param.numel() for param in params)
        self.gradients = [zeros_for(param) for param in params]

    def accept(self, solve: BackwardSolve, step: Step) -> None:
        """See `ParameterRule`."""
        for j, weight in enumerate(self._weights):
            if weight != 0.0:
                torch._foreach_add_(self.gradients, self._field.gradients[j], alpha=-step.dt * weight)

    def finish(self, times: Sequence[float]) -> None:
        """Nothing is left to do."""

    def scaled_error(self, step: Step) -> Tensor:
        """The step's scaled error with the parameters' part as further elements of the state. Shape ()."""
        assert step.scaled_error is not None
        assert self._method.coefficients.b_error is not None
        nodes = list(self._field.gradients.items())
        total = torch.square(step.scaled_error) * step.y1.numel()
        for k, gradient in enumerate(self.gradients):
            estimate, following = torch.zeros_like(gradient), gradient.clone()
            for j, parts in nodes:
                if j < len(self._method.coefficients.b_error):
                    estimate.add_(parts[k], alpha=step.dt * self._method.coefficients.b_error[j])
                if j < len(self._weights):
                    following.sub_(parts[k], alpha=step.dt * self._weights[j])
            least = max(self._atol, torch.finfo(gradient.dtype).tiny)
            scale = least + self._method.rtol * torch.maximum(gradient.abs(), following.abs())
            total = total + torch.square((estimate / scale).abs()).sum().to(total)
        return (total / (step.y1.numel() + self._size)).sqrt()


class AtGaussPoints:
    """By a Gauss rule in every accepted step, of the order of the method's solution.

    Args:
        path: the forward solution.
        pullback: of f.
        method: of the backward solve.
    """

    def __init__(self, path: Path, pullback: Pullback, method: ExplicitRungeKutta) -> None:
        self._path, self._pullback, self._method = path, pullback, method
        self._nodes, self._weights = gauss_legendre((method.tableau.order + 1) // 2)
        self.gradients = [zeros_for(param) for param in pullback.targets]

    def accept(self, solve: BackwardSolve, step: Step) -> None:
        """See `ParameterRule`."""
        solve.extend(step)
        theta = torch.tensor(self._nodes, dtype=torch.float64, device="cpu")
        weights = extension_weights(self._method.coefficients.weights, theta, step.y0)
        adjoints = interpolate(weights, step.y0, self._method.slopes, step.dt)
        times = [step.t + node * step.dt for node in self._nodes]
        for time, y, adjoint, weight in zip(times, self._path.at(times), adjoints, self._weights, strict=True):
            t = torch.full((), time, dtype=y.dtype, device=y.device)
            _, _, found = self._pullback(t, y, adjoint, params=True)
            assert found is not None
            torch._foreach_add_(self.gradients, found, alpha=-step.dt * weight)

    def finish(self, times: Sequence[float]) -> None:
        """Nothing is left to do."""


class ByQuadrature:
    """By adaptive quadrature once the adjoint is known everywhere.

    Args:
        path: the forward solution, at any time.
        pullback: of f.
        method: of the backward solve.
        direction: 1.0 if time grows in the backward solve, else -1.0.
        rtol, atol: tolerances of the norm of the whole parameters' part.
    """

    def __init__(
        self, path: Path, pullback: Pullback, method: ExplicitRungeKutta, direction: float, rtol: float, atol: float
    ) -> None:
        self._path, self._pullback, self._method = path, pullback, method
        self._adjoint = Pieces(method.coefficients.weights, direction)
        self._rtol, self._atol = rtol, atol
        self.gradients = [zeros_for(param) for param in pullback.targets]

    def accept(self, solve: BackwardSolve, step: Step) -> None:
        """See `ParameterRule`."""
        solve.extend(step)
        self._adjoint.append(step.t, step.dt, step.y0, self._method.slopes.clone())

    def finish(self, times: Sequence[float]) -> None:
        """See `ParameterRule`.

        Raises:
            QuadratureFailed: the tolerance could not be had.
        """
        if not self.gradients:
            return
        sizes = [as_real(gradient).numel() for gradient in self.gradients]
        for later, earlier in itertools.pairwise(times):
            if later == earlier:
                continue
            value = integrate_adaptively(self._integrand, earlier, later, rtol=self._rtol, atol=self._atol)
            for gradient, part in zip(self.gradients, value.split(sizes), strict=True):
                as_real(gradient).add_(part.view(as_real(gradient).shape))

    def _integrand(self, time: float) -> Tensor:
        """(df/dθ)^T a at a time, all parameters in one vector."""
        y, adjoint = self._path.at([time])[0], self._adjoint.at([time])[0]
        t = torch.full((), time, dtype=y.dtype, device=y.device)
        _, _, found = self._pullback(t, y, adjoint, params=True)
        assert found is not None
        return torch.cat([as_real(part).reshape(-1).to(y) for part in found])
