"""Torchdiffeq's solver in the place of ours, so that both train the same model in one table."""

import importlib
from collections.abc import Iterable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from pyndereg.ivp import Solution, State, Statistics, Status, StepRecord
from pyndereg.models.neural_ode import NeuralODE, number


class TorchdiffeqODE(NeuralODE):
    """`torchdiffeq.odeint` with its method dopri5 and backpropagation, called like a `NeuralODE`.

    What torchdiffeq does not tell is NaN: the steps' errors and stiffness. There is no dense output.

    Args:
        field: right-hand side, called as `field(t, y)`.
        t1, rtol, atol: see `NeuralODE`.
    Raises:
        ModuleNotFoundError: torchdiffeq is not installed.
    Source: [@chen2018neural].
    """

    def __init__(self, field: nn.Module, /, *, t1: float, rtol: float, atol: float) -> None:
        super().__init__(field, t1=t1, rtol=rtol, atol=atol, method="dp5", first_step="search")
        if find_spec("torchdiffeq") is None:
            raise ModuleNotFoundError(
                'torchdiffeq is not installed; run pip install "pyndereg[experiments]", or choose another engine'
            )
        # Not at the top: only who compares with it has to have it.
        self._odeint = importlib.import_module("torchdiffeq").odeint

    def forward(self, y0: State, params: Iterable[Tensor] = ()) -> tuple[State, Solution]:
        """The final state, and what is known of the solve; see `NeuralODE`."""
        assert isinstance(y0, Tensor)
        assert isinstance(self.field, nn.Module)
        observed = _Observed(self.field)
        times = torch.tensor([0.0, number(self.t1)], dtype=y0.dtype, device=y0.device)
        rtol, atol = self.options["rtol"], self.options["atol"]
        states = self._odeint(observed, y0, times, rtol=rtol, atol=atol, method="dopri5")
        t, dt = (torch.tensor(column, dtype=y0.dtype, device=y0.device) for column in (observed.t, observed.dt))
        unknown = torch.full_like(t, torch.nan)
        solution = Solution(
            t=times[1:],
            y=states[1:],
            y1=states[1],
            steps=StepRecord(t, dt, unknown, unknown),
            stats=Statistics(observed.nfe, len(observed.t), observed.rejected),
            status=Status.SUCCESS,
            t_reached=number(self.t1),
            interpolate=_no_dense_output,
        )
        return states[1], solution


def _no_dense_output(t: Tensor) -> State:
    raise NotImplementedError("torchdiffeq hands out no dense output; solve with another engine")


class _Observed(nn.Module):
    """A field that counts its evaluations and is told of the steps."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field
        self.nfe = self.rejected = 0
        self.t: list[float] = []
        self.dt: list[float] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """f(t, y), shape of y."""
        self.nfe += 1
        return self.field(t, y)

    def callback_accept_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """A step from t0 was accepted."""
        self.t.append(t0.item())
        self.dt.append(dt.item())

    def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """A step from t0 was rejected."""
        self.rejected += 1
