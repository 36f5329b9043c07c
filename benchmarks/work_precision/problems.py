"""What is solved: fields, initial states and times, the same numbers for every library and precision."""

import copy
import functools
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import pyndereg as nde
from benchmarks.interleaved import LotkaVolterra
from benchmarks.work_precision.settings import Setting
from pyndereg.experiments import digits_ode
from pyndereg.experiments.convolutional_field import ConvolutionalField
from pyndereg.experiments.image_data import digits_of

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "bench"
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
# With output weights so many times larger, networks before training take as many steps as trained ones.
AS_TRAINED = 10.0
TARGETS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


class Posed:
    """What all problems tell of their field f and their initial state."""

    field: nn.Module
    y0: Tensor

    @property
    def precision(self) -> str:
        """`"float32"` or `"float64"`."""
        return str(self.y0.dtype).removeprefix("torch.")

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What the backward pass differentiates with respect to: the field's parameters, or y0 where it has none."""
        return tuple(self.field.parameters())


@dataclass(frozen=True)
class Problem(Posed):
    """dy/dt = f(t, y) from y0, to be told at all times but the first.

    Args:
        name, title: for choosing it, and for a reader.
        kind: which field it is, for libraries that cannot call modules.
        field: f, a module.
        y0: initial state. Shape (*state), float32 numbers, whatever the precision.
        times: the first one is that of y0. Shape (times,).
        precisions: those that a run of everything includes, unless it is told to include all.
    """

    name: str
    title: str
    kind: str
    field: nn.Module
    y0: Tensor
    times: tuple[float, ...] = (0.0, 1.0)
    precisions: tuple[str, ...] = ("float32", "float64")

    def to(self, precision: str) -> "Problem":
        """The same numbers in another precision."""
        dtype = PRECISIONS[precision]
        field = copy.deepcopy(self.field).to(dtype)
        return Problem(
            self.name, self.title, self.kind, field, self.y0.to(dtype), self.times, precisions=self.precisions
        )

    def ladder(self, setting: Setting, *, coarse: bool) -> tuple[float, ...]:
        """Tolerances from 1e-1 to 1e-9, two or four in each decade."""
        parts = 2 if coarse else 4
        return tuple(10.0 ** (-k / parts) for k in range(parts, 9 * parts + 1))

    @functools.cached_property
    def reference(self) -> Tensor:
        """The states at the times, the first one left out, to more digits than anyone asks for, in float64."""
        exact = self.to("float64")
        problem = nde.ODEProblem(exact.field, exact.y0, self.times[0], self.times[-1])
        with torch.no_grad():
            solution = nde.solve(problem, "vern9", rtol=1e-12, atol=1e-12, saveat=list(self.times[1:]))
        assert isinstance(solution.y, Tensor)
        return solution.y

    def error(self, states: Tensor) -> float:
        """Root mean square of the error over all times, relative to that of the solution.

        Args:
            states: at all times but the first. Shape (times - 1, *state).
        """
        return ((states - self.reference).square().mean() / self.reference.square().mean()).sqrt().item()

    def numbers(self) -> Mapping[str, np.ndarray]:
        """y0, times, and the field's parameters and buffers by name, for libraries that cannot call modules."""
        state = {f"field.{name}": value.detach().numpy() for name, value in self.field.state_dict().items()}
        times = np.asarray(self.times, dtype=self.y0.numpy().dtype)
        return {"y0": self.y0.numpy(), "times": times, **state}


def as_trained(field: nde.fields.TimeConcatMLP) -> nde.fields.TimeConcatMLP:
    """The network with larger output weights."""
    with torch.no_grad():
        field.output_layer.weight.mul_(AS_TRAINED)
    return field


def network(states: int, batch: int, t1: float = 1.0) -> Problem:
    """A network whose hidden layer is as wide as its state, at least 32."""
    field = as_trained(nde.fields.TimeConcatMLP(states, max(states, 32)))
    title = f"network, {states} states, batch {batch}" + ("" if t1 == 1.0 else f", t1 = {t1:g}")
    name = f"network-{states}x{batch}" + ("" if t1 == 1.0 else f"-to{t1:g}")
    precisions = ("float32",) if states * batch >= 64 * 2048 else ("float32", "float64")
    return Problem(name, title, "network", field, torch.randn(batch, states), (0.0, t1), precisions)


def mnist() -> Problem:
    field = as_trained(nde.fields.TimeConcatMLP(784, 100))
    title = "MNIST shape, 784 states, batch 512"
    return Problem("mnist", title, "network", field, torch.rand(512, 784), precisions=("float32",))


def lotka_volterra() -> Problem:
    y0 = torch.ones(2)
    return Problem("lotka-volterra", "Lotka-Volterra, 2 states", "lotka-volterra", LotkaVolterra(), y0, (0.0, 5.0))


def convolution() -> Problem:
    field = ConvolutionalField(8, 16).eval()
    with torch.no_grad():
        field.last.weight.mul_(AS_TRAINED / 2)
    y0 = torch.randn(8, 8, 14, 14)
    return Problem("convolution", "convolutions, 8 x 14 x 14, batch 8", "convolution", field, y0)


def latent() -> Problem:
    """The published latent ODE of PhysioNet: 49 save times."""
    field = nde.LatentODE(1).dynamics
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.mul_(2.0)
    times = tuple(i / 49 for i in range(50))
    return Problem("latent", "latent ODE, 20 states, batch 128, 49 times", "layers", field, torch.randn(128, 20), times)


def digits(which: str) -> Problem:
    """The network of the digits classifier, "before" or "after" a training, or after a "regularized" one."""
    saved = torch.load(digits_file(), weights_only=True)
    field = nde.fields.TimeConcatMLP(64, 100)
    field.load_state_dict(saved[which])
    trained = "regularized" if which == "regularized" else f"{which} training"
    return Problem(f"digits-{which}", f"digits network {trained}, batch 512", "network", field, saved["y0"])


def digits_file() -> Path:
    """Weights before training, after it, and after one that is regularized with a remembered start; made if missing."""
    path = RUNS / "digits.pt"
    if not path.exists():
        print("training two classifiers of digits", file=sys.stderr, flush=True)
        plain = digits_ode.QUICK
        regularized = replace(plain.remembering(), regularizer="error")
        torch.manual_seed(plain.seed)
        fields = {"before": digits_ode.build(plain).node.field}
        for which, config in (("after", plain), ("regularized", regularized)):
            fields[which] = digits_ode.train_classifier(config)[0].node.field
        saved = {which: as_float32(field.state_dict()) for which, field in fields.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({**saved, "y0": digits_of(plain).train_images[:512].float()}, path)
    return path


def as_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() for name, value in state.items()}


MAKERS = {
    "mnist": mnist,
    "lotka-volterra": lotka_volterra,
    "convolution": convolution,
    "latent": latent,
    "digits-before": lambda: digits("before"),
    "digits-after": lambda: digits("after"),
    "digits-regularized": lambda: digits("regularized"),
}
NETWORK = re.compile(r"network-(\d+)x(\d+)(?:-to(\d+))?")


@functools.cache
def make_problem(name: str, precision: str = "float32") -> Problem:
    """The problem of a name: one of `MAKERS`, or `"network-STATESxBATCH"`, also with `"-toEND"`.

    Raises:
        ValueError: there is none.
    """
    if precision != "float32":
        return make_problem(name).to(precision)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name in MAKERS:
            return MAKERS[name]()
        if found := NETWORK.fullmatch(name):
            return network(int(found[1]), int(found[2]), float(found[3] or 1))
    raise ValueError(f"problem is {name!r}; choose from {', '.join(MAKERS)}, or network-64x32 and the like")
