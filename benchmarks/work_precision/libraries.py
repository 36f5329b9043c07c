"""Libraries that solve in this process with PyTorch: ours and three others."""

import importlib.metadata
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import pyndereg as nde
from benchmarks.work_precision.outcome import MOST_EVALUATIONS, GaveUp, Outcome
from benchmarks.work_precision.problems import Problem
from benchmarks.work_precision.settings import Setting

PASSES = ("forward", "both")
# Solves after which a remembered first step no longer changes much: it grows fivefold in each.
WARM_UP = 8
Solve = Callable[[Tensor], Tensor]


class Library(Protocol):
    """What explores and times the settings of one library."""

    def versions(self) -> dict[str, str]:
        """Versions of what it is made of."""
        ...

    def explore(self, problem: Problem, setting: Setting, tolerance: float) -> Outcome:
        """Solve once, forward; failures are part of the outcome."""
        ...

    def measure(self, problem: Problem, setting: Setting, tolerance: float, passes: str, least: float) -> float:
        """Seconds of one solve, the mean of as many as take `least` seconds; "forward", or "both" with the gradient."""
        ...


class Counting(nn.Module):
    """A field that counts its evaluations, and gives up after many; torchdiffeq tells it of its steps."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field, self.evaluations, self.accepted, self.rejected = field, 0, 0, 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.count()
        return self.field(t, y)

    def count(self) -> None:
        self.evaluations += 1
        if self.evaluations > MOST_EVALUATIONS:
            raise GaveUp(f"more than {MOST_EVALUATIONS} evaluations")

    def callback_accept_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.accepted += 1

    def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.rejected += 1


class Installed:
    """What is made of packages of this environment."""

    packages: tuple[str, ...] = ()

    def versions(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in self.packages}


class TorchLibrary(Installed, ABC):
    """What libraries have in common that solve with PyTorch."""

    @abstractmethod
    def solver(self, problem: Problem, setting: Setting, tolerance: float, field: nn.Module) -> Solve:
        """The function from y0 to the states at all times but the first, for this field in the problem's place."""

    def explore(self, problem: Problem, setting: Setting, tolerance: float) -> Outcome:
        counting = Counting(problem.field)
        try:
            with torch.no_grad():
                states = self.solver(problem, setting, tolerance, counting)(problem.y0)
        except Exception as failure:  # whatever a library raises, an assertion mostly, is its outcome
            return Outcome(evaluations=counting.evaluations, failure=f"{type(failure).__name__}: {failure}"[:200])
        told = counting.accepted > 0
        return Outcome(
            problem.error(states),
            counting.evaluations,
            counting.accepted if told else None,
            counting.rejected if told else None,
        )

    def measure(self, problem: Problem, setting: Setting, tolerance: float, passes: str, least: float) -> float:
        solve = self.solver(problem, setting, tolerance, problem.field)
        return seconds_of(lambda: run(solve, problem, passes), least)


def run(solve: Solve, problem: Problem, passes: str) -> None:
    """One forward pass, or one with the gradient of the mean of y(t1)^2."""
    if passes == "forward":
        with torch.no_grad():
            solve(problem.y0)
        return
    y0 = problem.y0 if problem.parameters else problem.y0.clone().requires_grad_()
    torch.autograd.grad(solve(y0)[-1].square().mean(), problem.parameters or (y0,))


def seconds_of(once: Callable[[], None], least: float) -> float:
    """Mean seconds of one call, over as many as take `least`."""
    calls, start = 0, time.perf_counter()
    while True:
        once()
        calls, elapsed = calls + 1, time.perf_counter() - start
        if elapsed >= least:
            return elapsed / calls


class Floor:
    """What no library can save: evaluations of f in a row, each with one sum, under autograd where it is asked for."""

    EVALUATIONS = 8

    def measure(self, problem: Problem, passes: str, least: float) -> float:
        """Seconds of one evaluation."""
        t = torch.zeros((), dtype=problem.y0.dtype)

        def in_a_row(y: Tensor) -> Tensor:
            for _ in range(self.EVALUATIONS):
                y = torch.add(y, problem.field(t, y), alpha=1e-3)
            return y[None]

        return seconds_of(lambda: run(in_a_row, problem, passes), least) / self.EVALUATIONS


def control_of(name: str) -> nde.control.Control:
    """`PI()`, `I()`, or `PID` with the filter of that name."""
    return {"PI": nde.control.PI, "I": nde.control.I}.get(name, lambda: nde.control.PID(name))()


class Pyndereg(TorchLibrary):
    """`solve`, with a searched start or the one that solves of the same problem have come to remember."""

    packages = ("pyndereg", "torch")

    def __init__(self) -> None:
        self._lengths: dict[tuple[str, str, str, float], float | None] = {}

    def solver(self, problem: Problem, setting: Setting, tolerance: float, field: nn.Module) -> Solve:
        control = control_of(setting.options["control"])
        options: dict[str, Any] = {"rtol": tolerance, "atol": tolerance, "control": control}
        if setting.options["start"] == "remembered":
            options["first_step"] = self._remembered(problem, setting, tolerance, options)
        t0, t1 = problem.times[0], problem.times[-1]
        saveat = list(problem.times[1:]) if len(problem.times) > 2 else None

        def solve(y0: Tensor) -> Tensor:
            solution: Any = nde.solve(nde.ODEProblem(field, y0, t0, t1), setting.method, saveat=saveat, **options)
            return solution.y

        return solve

    def _remembered(self, problem: Problem, setting: Setting, tolerance: float, options: dict[str, Any]) -> Any:
        """The length that `Remembered()` comes to; solves to find it are cut short, as only first steps count."""
        key = (problem.name, problem.precision, setting.name, tolerance)
        if key not in self._lengths:
            memory = nde.Remembered()
            equation = nde.ODEProblem(problem.field, problem.y0, problem.times[0], problem.times[-1])
            with torch.no_grad():
                for _ in range(WARM_UP):
                    nde.solve(
                        equation, setting.method, first_step=memory, max_steps=6, raise_on_failure=False, **options
                    )
            self._lengths[key] = memory.length
        return self._lengths[key]


class Model(TorchLibrary):
    """`NeuralODE` as it is by default, after training solves, as in a training loop."""

    packages = ("pyndereg", "torch")

    def __init__(self) -> None:
        self._models: dict[tuple[str, str, float], nde.NeuralODE] = {}

    def solver(self, problem: Problem, setting: Setting, tolerance: float, field: nn.Module) -> Solve:
        key = (problem.name, problem.precision, tolerance)
        if key not in self._models:
            self._models[key] = self._trained(problem, tolerance)
        model = self._models[key]
        model.field = field

        def solve(y0: Tensor) -> Tensor:
            model.training = torch.is_grad_enabled()  # the model alone: normalizations inside the field are constants
            states: Any = model(y0)[0]
            return states if len(problem.times) > 2 else states[None]

        return solve

    def _trained(self, problem: Problem, tolerance: float) -> nde.NeuralODE:
        saveat = list(problem.times[1:]) if len(problem.times) > 2 else None
        t0, t1 = problem.times[0], problem.times[-1]
        model = nde.NeuralODE(problem.field, t0=t0, t1=t1, rtol=tolerance, atol=tolerance, saveat=saveat)
        with torch.enable_grad():
            for _ in range(WARM_UP):
                model(problem.y0)
        return model


def quiet() -> None:
    """One thread, and no warnings: what libraries warn of here are tolerances that float32 does not resolve."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
