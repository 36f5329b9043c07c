"""Other libraries that solve with PyTorch."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

import pyndereg as nde
from benchmarks.work_precision.libraries import Counting, Solve, TorchLibrary
from benchmarks.work_precision.problems import Problem
from benchmarks.work_precision.settings import Setting


class Torchdiffeq(TorchLibrary):
    """`odeint`, which backpropagates through its steps."""

    packages = ("torchdiffeq",)

    def __init__(self) -> None:
        self.odeint: Any = importlib.import_module("torchdiffeq").odeint

    def solver(self, problem: Problem, setting: Setting, tolerance: float, field: nn.Module) -> Solve:
        times = torch.tensor(problem.times, dtype=problem.y0.dtype)
        length = problem.times[-1] - problem.times[0]
        options = {name: part * length for name, part in setting.options.items()}

        def solve(y0: Tensor) -> Tensor:
            given = {"rtol": tolerance, "atol": tolerance, "method": setting.method, "options": options or None}
            return self.odeint(field, y0, times, **given)[1:]

        return solve


class Torchode(TorchLibrary):
    """`AutoDiffAdjoint`, which gives each sample steps of its own."""

    packages = ("torchode",)

    def __init__(self) -> None:
        self.torchode: Any = importlib.import_module("torchode")

    def solver(self, problem: Problem, setting: Setting, tolerance: float, field: nn.Module) -> Solve:
        ode = self.torchode
        if problem.y0.ndim > 2:
            raise ValueError("torchode solves states of shape (batch, dim)")
        term = ode.ODETerm(per_sample(field))
        method = {"tsit5": ode.Tsit5, "dopri5": ode.Dopri5}[setting.method](term=term)
        controller = ode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        adjoint = ode.AutoDiffAdjoint(method, controller)
        t_eval = torch.tensor(problem.times, dtype=problem.y0.dtype)

        def solve(y0: Tensor) -> Tensor:
            batch = y0 if y0.ndim == 2 else y0[None]
            given = ode.InitialValueProblem(y0=batch, t_eval=t_eval.expand(len(batch), -1))
            return adjoint.solve(given).ys.transpose(0, 1)[1:].reshape(-1, *y0.shape)

        return solve


def per_sample(field: nn.Module) -> Any:
    """The field for times of shape (batch,), one for each sample; what does not see time is as it is."""
    inner = field.field if isinstance(field, Counting) else field
    if not isinstance(inner, nde.fields.TimeConcatMLP):
        return field
    count = field if isinstance(field, Counting) else None

    def slope(t: Tensor, y: Tensor) -> Tensor:
        if count is not None:
            count.count()
        for layer, activation in (
            (inner.hidden_layer, inner.activation),
            (inner.output_layer, inner.output_activation),
        ):
            y = linear(y, layer.weight, layer.bias) + t[:, None] * layer.time_weight
            y = y if activation is None else activation(y)
        return y

    return slope


class Torchdyn(TorchLibrary):
    """`odeint` of torchdyn.numerics, which backpropagates through its steps; it ends a step at each save time."""

    packages = ("torchdyn",)

    def __init__(self) -> None:
        self.odeint: Any = importlib.import_module("torchdyn.numerics").odeint

    def solver(self, problem: Problem, setting: Setting, tolerance: float, field: nn.Module) -> Solve:
        times = torch.tensor(problem.times, dtype=problem.y0.dtype)

        def solve(y0: Tensor) -> Tensor:
            return self.odeint(field, y0, times, solver=setting.method, rtol=tolerance, atol=tolerance)[1][1:]

        return solve
