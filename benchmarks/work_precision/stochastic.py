"""The neural spiral with noise: strong errors and times, ours and torchsde's."""

import importlib
import math
import statistics
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import pyndereg as nde
from benchmarks.spiral_sde import SharedPath, Spiral, fitted_spiral
from benchmarks.work_precision.libraries import WARM_UP, Installed, seconds_of
from benchmarks.work_precision.outcome import Outcome
from benchmarks.work_precision.problems import PRECISIONS, Posed
from benchmarks.work_precision.settings import Setting

NAME = "spiral-sde"
# Relative to the solution. Methods of order 1/2 to 3/2 do not come further in any time.
SDE_TARGETS = (1e-1, 3e-2, 1e-2, 3e-3)
SDE_TOLERANCES = (1e-1, 1e-2)
PATHS, FINE_STEPS = 3, 4096


@dataclass(frozen=True)
class StochasticProblem(Posed):
    """100 trajectories of dy = network(y^3) dt + 0.2 y dW over [0, 1], told at the end."""

    field: Spiral
    y0: Tensor
    name: str = NAME
    title: str = "spiral SDE, 2 states, 100 trajectories"

    def ladder(self, setting: Setting, *, coarse: bool) -> tuple[float, ...]:
        """Lengths 1/8 to 1/2048 of fixed steps; tolerances from 30 to 1e-3, two in each decade."""
        if setting.options.get("fixed"):
            return tuple(2.0**-k for k in range(3, 12))
        return tuple(10.0 ** (-k / 2) for k in range(-3, 7))

    @cached_property
    def references(self) -> list[tuple[nde.BrownianPath, Tensor]]:
        """Paths, and the state at the end of each, by many steps of `sriw1`."""
        found = []
        for seed in range(PATHS):
            path = nde.BrownianPath(0.0, 1.0, self.y0.shape, seed=seed, cells=FINE_STEPS, dtype=self.y0.dtype)
            problem = nde.SDEProblem(self.field.f, self.field.g, self.y0, brownian=path)
            with torch.no_grad():
                fine: Any = nde.solve(problem, "sriw1", dt=1 / FINE_STEPS, adaptive=False).y1
            found.append((path, fine))
        return found


def make_stochastic(precision: str) -> StochasticProblem:
    """The problem in a precision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        field = fitted_spiral()
    y0 = torch.tensor([2.0, 0.0]).repeat(100, 1)
    return StochasticProblem(field.to(PRECISIONS[precision]), y0.to(PRECISIONS[precision]))


class StochasticLibrary(Installed, ABC):
    """What ours and torchsde have in common: strong errors on given paths, times on fresh ones."""

    @abstractmethod
    def end(self, problem: Any, setting: Setting, tolerance: float, path: nde.BrownianPath | None) -> Tensor:
        """The state at t1, on this path or on one that is drawn."""

    def explore(self, problem: Any, setting: Setting, tolerance: float) -> Outcome:
        errors = []
        field = problem.field
        try:
            for path, exact in problem.references:
                field.evaluations.update(f=0, g=0)
                with torch.no_grad():
                    y1 = self.end(problem, setting, tolerance, path)
                errors.append(((y1 - exact).square().mean() / exact.square().mean()).sqrt().item())
        except Exception as failure:  # whatever a library raises is its outcome
            return Outcome(evaluations=field.evaluations["f"], failure=f"{type(failure).__name__}: {failure}"[:200])
        error = statistics.median(errors)
        return Outcome(error if math.isfinite(error) else math.inf, field.evaluations["f"])

    def measure(self, problem: Any, setting: Setting, tolerance: float, passes: str, least: float) -> float:
        def once() -> None:
            if passes == "forward":
                with torch.no_grad():
                    self.end(problem, setting, tolerance, None)
            else:
                loss = self.end(problem, setting, tolerance, None).square().mean()
                torch.autograd.grad(loss, problem.parameters)

        return seconds_of(once, least)


class PynderegSDE(StochasticLibrary):
    """`solve`; with an adaptive method after a remembered start."""

    packages = ("pyndereg", "torch")

    def __init__(self) -> None:
        self._memories: dict[tuple[str, str, float], nde.Remembered] = {}

    def end(self, problem: Any, setting: Setting, tolerance: float, path: nde.BrownianPath | None) -> Tensor:
        field = problem.field
        equation = nde.SDEProblem(field.f, field.g, problem.y0, params=problem.parameters, brownian=path)
        options: dict[str, Any] = {"dt": tolerance, "adaptive": False}
        if not setting.options.get("fixed"):
            memory = self._memory(problem, setting, tolerance)
            options = {"rtol": tolerance, "atol": tolerance, "first_step": memory.length}
        y1: Any = nde.solve(equation, setting.method, **options).y1
        return y1

    def _memory(self, problem: Any, setting: Setting, tolerance: float) -> nde.Remembered:
        key = (problem.precision, setting.name, tolerance)
        if key not in self._memories:
            memory = self._memories[key] = nde.Remembered()
            for seed in range(WARM_UP):
                equation = nde.SDEProblem(problem.field.f, problem.field.g, problem.y0, seed=seed)
                with torch.no_grad():
                    nde.solve(equation, setting.method, rtol=tolerance, atol=tolerance, first_step=memory)
        return self._memories[key]


class Drift(nn.Module):
    def __init__(self, field: Spiral) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field.f(t, y)


class Diffusion(Drift):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field.g(t, y)


class ModelSDE(StochasticLibrary):
    """`NeuralSDE` as it is by default, after training solves, as in a training loop."""

    packages = ("pyndereg", "torch")

    def __init__(self) -> None:
        self._models: dict[tuple[str, float], nde.NeuralSDE] = {}

    def end(self, problem: Any, setting: Setting, tolerance: float, path: nde.BrownianPath | None) -> Tensor:
        key = (problem.precision, tolerance)
        if key not in self._models:
            drift, diffusion = Drift(problem.field), Diffusion(problem.field)
            self._models[key] = nde.NeuralSDE(drift, diffusion, rtol=tolerance, atol=tolerance)
            with torch.enable_grad():
                for _ in range(WARM_UP):
                    self._models[key](problem.y0)
        model = self._models[key].train(torch.is_grad_enabled())
        return model(problem.y0, brownian=path)[0]


class Torchsde(StochasticLibrary):
    """`sdeint`, which backpropagates through its steps; its path is told the length of the steps beforehand."""

    packages = ("torchsde",)

    def __init__(self) -> None:
        self.torchsde: Any = importlib.import_module("torchsde")

    def end(self, problem: Any, setting: Setting, tolerance: float, path: nde.BrownianPath | None) -> Tensor:
        fixed = setting.options.get("fixed")
        dt = tolerance if fixed else 0.01
        options: dict[str, Any] = {} if fixed else {"adaptive": True, "rtol": tolerance, "atol": tolerance}
        area = "space-time" if setting.method == "srk" else "none"
        shape, dtype = tuple(problem.y0.shape), problem.y0.dtype
        own = {"dt": dt, "dtype": dtype, "levy_area_approximation": area}
        bm = self.torchsde.BrownianInterval(0.0, 1.0, shape, **own) if path is None else SharedPath(path)
        times = torch.tensor([0.0, 1.0], dtype=dtype)
        return self.torchsde.sdeint(problem.field, problem.y0, times, bm=bm, method=setting.method, dt=dt, **options)[
            -1
        ]
