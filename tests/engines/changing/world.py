"""What a script about a changing field is run in: once by the solver, once by a plain loop."""

import contextvars
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

import pyndereg as nde
from tests.engines.changing import plain
from tests.sentences import check_sentence

EXACT = {
    "backprop": nde.Backprop(),
    "discrete": nde.DiscreteAdjoint(),
    "discrete, 2 checkpoints": nde.DiscreteAdjoint(checkpoints=2),
    "default": None,
    "discrete, some graphs": nde.DiscreteAdjoint(allowance=130_000),
}
OF_STEPS = {**EXACT, "forward": nde.ForwardSensitivity()}
OF_EQUATION = {
    "interpolating": nde.InterpolatingAdjoint(),
    "interpolating, checkpointing": nde.InterpolatingAdjoint(checkpointing=True),
    "backsolve": nde.BacksolveAdjoint(),
    "quadrature": nde.QuadratureAdjoint(quadrature_rtol=1e-4, quadrature_atol=1e-4),
    "gauss": nde.GaussAdjoint(),
}
GRADIENTS = {
    "ode": {**OF_STEPS, **OF_EQUATION},
    "sde": {**EXACT, "backsolve": nde.BacksolveAdjoint()},
}
# A continuous adjoint differs from the gradient of the steps by the error of both solves; a changed field by more.
CONTINUOUS_STEPS = {"ode": 6, "sde": 12}
CONTINUOUS_TOLERANCE = {"ode": 1e-2, "sde": 5e-2}


@dataclass(frozen=True)
class Choice:
    """All that a script leaves open.

    Attributes:
        equation: "ode" or "sde".
        gradient: a name in `GRADIENTS[equation]`.
        method: of an ordinary equation; "tsit5" chooses its steps itself.
        steps: how many, where the method does not choose them.
        refined: how many times as many, for a continuous adjoint.
        start: what y0 is: a "leaf", "computed" from one, or a "constant".
        saves: whether the loss looks at saved states.
        declares: whether captured tensors are listed in params=.
        noise: of a stochastic equation: a function of its "own", or one that calls the drift ("shared").
        seed: of all numbers.
    """

    equation: str = "ode"
    gradient: str = "discrete"
    method: str = "rk4"
    steps: int = 4
    refined: int = 1
    start: str = "leaf"
    saves: bool = False
    declares: bool = False
    noise: str = "own"
    seed: int = 0

    @property
    def is_continuous(self) -> bool:
        return self.gradient in OF_EQUATION

    @property
    def grid(self) -> int:
        return CONTINUOUS_STEPS[self.equation] * self.refined if self.is_continuous else self.steps

    @property
    def tolerance(self) -> float:
        return CONTINUOUS_TOLERANCE[self.equation] if self.is_continuous else 1e-9


@dataclass
class World:
    """One run of a script.

    Attributes:
        choice: what the script leaves open.
        dtype: of all that the script makes.
        steps: starts and lengths of the steps of every solve so far.
        notes: results to compare, in order.
        watched: leaves whose gradients are compared.
    """

    choice: Choice
    dtype: torch.dtype
    steps: list[tuple[list[float], list[float]]] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    watched: list[Tensor] = field(default_factory=list)
    is_ours: bool = False
    _y0: Tensor | None = None

    def __post_init__(self) -> None:
        torch.manual_seed(self.choice.seed)
        random.seed(self.choice.seed)
        self._numbers = torch.Generator().manual_seed(self.choice.seed + 1)

    # --- what scripts are written in

    def constant(self, *shape: int) -> Tensor:
        """Numbers of either sign, about 0.5 large."""
        return (torch.rand(*shape, generator=self._numbers, dtype=torch.float64) - 0.5).mul(1.6).to(self.dtype)

    def leaf(self, *shape: int) -> Tensor:
        """A tensor whose gradient is compared."""
        return self.watch(self.constant(*shape).requires_grad_())

    def watch(self, thing: Any) -> Any:
        """Compare the gradients of a tensor, or of all parameters of a module."""
        self.watched += [thing] if isinstance(thing, Tensor) else list(thing.parameters())
        return thing

    def net(self) -> "Net":
        """A small network with numbers of its own."""
        net = Net().to(self.dtype)
        self.fill(net)
        return self.watch(net)

    def fill(self, module: nn.Module) -> nn.Module:
        """Give a module's parameters numbers that depend on the seed alone."""
        with torch.no_grad():
            for param in module.parameters():
                param.copy_(self.constant(*param.shape))
        return module

    @property
    def y0(self) -> Tensor:
        """The initial state, shape (2, 3); the same object every time."""
        if self._y0 is None:
            start = self.choice.start
            self._y0 = self.constant(2, 3) if start == "constant" else self.leaf(2, 3)
            self._y0 = self._y0 * 1.5 if start == "computed" else self._y0
        return self._y0

    def diffusion(self, f: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A diffusion where the script has none of its own."""
        size = 0.03 if self.choice.is_continuous else 0.3
        if self.choice.noise == "shared":
            return lambda t, y: size * torch.tanh(f(t, y))
        width = self.leaf(3)
        return lambda t, y: size * torch.cos(width * y)

    def note(self, value: Any) -> None:
        """Compare a number or a tensor of both runs."""
        self.notes.append(value.detach().clone() if isinstance(value, Tensor) else value)

    def solve(self, f, declare=(), *, g=None, y0=None) -> Tensor:
        """y1, or saved states, shape (2, 3) or (2, 2, 3); `declare` are the captured tensors that may be declared."""
        y0 = self.y0 if y0 is None else y0
        states = self._solve(f, tuple(declare), g, y0)
        self.note(states)
        return states

    def loss(self, *outputs: Tensor) -> Tensor:
        """A number that every element of the outputs counts for differently."""
        weights = (torch.cos(torch.arange(x.numel(), dtype=x.dtype, device="cpu")).view(x.shape) for x in outputs)
        return sum((weight * x * x for weight, x in zip(weights, outputs, strict=True)), outputs[0].new_zeros(())).sum()

    def backward(self, *outputs: Tensor, **options: Any) -> None:
        """Differentiate their loss."""
        self.loss(*outputs).backward(**options)

    @property
    def has_graphs_alone(self) -> bool:
        """Whether autograd goes through the steps by itself: a stochastic solve with Backprop."""
        return (self.choice.equation, self.choice.gradient) == ("sde", "backprop")

    def results(self) -> list[Any]:
        """Notes, and gradients as they are now."""
        return [*self.notes, *(None if x.grad is None else x.grad.detach().clone() for x in self.watched)]

    # --- the runs

    def _solve(self, f, declare, g, y0) -> Tensor:
        raise NotImplementedError

    def _times(self) -> tuple[list[float], list[float]]:
        grid = self.choice.grid
        return [i / grid for i in range(grid)], [1 / grid] * grid

    def _path(self) -> Tensor:
        """Values of the Brownian motion at the ends of the steps. Shape (steps + 1, 2, 3)."""
        grid = self.choice.grid
        numbers = torch.Generator().manual_seed(self.choice.seed + 7 + len(self.steps))
        moved = torch.randn(grid, 2, 3, generator=numbers, dtype=torch.float64).to(self.dtype) / math.sqrt(grid)
        return torch.cat([torch.zeros(1, 2, 3, dtype=self.dtype), moved.cumsum(0)])


class Ours(World):
    """The solver's run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.is_ours = True
        self.solutions: list[nde.Solution] = []

    def _solve(self, f, declare, g, y0) -> Tensor:
        choice = self.choice
        gradient = GRADIENTS[choice.equation][choice.gradient]
        params = declare if choice.declares else ()
        saveat = [0.5, 1.0] if choice.saves else None
        if choice.equation == "ode":
            options: dict[str, Any] = {"dt": 1 / choice.grid, "adaptive": False}
            if choice.method == "tsit5":
                options = {"rtol": 1e-3, "atol": 1e-3}
            problem: Any = nde.ODEProblem(f, y0, params=params)
            found = nde.solve(problem, choice.method, gradient=gradient, saveat=saveat, **options)
        else:
            g = self.diffusion(f) if g is None else g
            values = self._path()
            times = torch.linspace(0, 1, choice.grid + 1, dtype=torch.float64)
            path = nde.FixedPath(times, values, torch.zeros_like(values[1:]))
            kind = "stratonovich" if choice.is_continuous else "ito"
            problem = nde.SDEProblem(f, g, y0, params=params, brownian=path, interpretation=kind)
            method = "heun" if choice.is_continuous else "em"
            found = nde.solve(problem, method, gradient=gradient, saveat=saveat, dt=1 / choice.grid)
        self.steps.append((found.steps.t.tolist(), found.steps.dt.tolist()))
        self.solutions.append(found)
        return found.y if choice.saves else found.y1


class Plain(World):
    """The plain loop's run, over the steps of a solver's run."""

    def _solve(self, f, declare, g, y0) -> Tensor:
        choice = self.choice
        starts, lengths = self._times()
        if choice.equation == "ode" and choice.method == "tsit5":
            starts, lengths = self.given[len(self.steps)]
        if choice.equation == "ode":
            states = plain.runge_kutta(choice.method, f, y0, starts, lengths)
        else:
            g = self.diffusion(f) if g is None else g
            loop = plain.heun if choice.is_continuous else plain.euler_maruyama
            states = loop(f, g, y0, starts, lengths, self._path().diff(dim=0))
        self.steps.append((starts, lengths))
        return torch.stack([states[len(starts) // 2], states[-1]]) if choice.saves else states[-1]

    given: list[tuple[list[float], list[float]]]


class Net(nn.Module):
    """A field for states (..., 3) that depends on time, with an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 3)
        self.scale: Any = 2.0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.scale * self.outer(torch.tanh(self.inner(y) + t)) - 0.3 * y


@dataclass(frozen=True)
class Kind:
    """A script, and what is known about it.

    Attributes:
        run: the script.
        dtype: of its tensors.
        tolerance: of its gradients, at least.
        may_refuse: whether a gradient may be refused rather than right; or the gradients that may be.
        is_smooth: whether continuous adjoints have the same gradient as the steps.
        is_fixed: whether it needs steps of one length.
        without: gradients that it makes no sense for.
    """

    run: Callable[[World], None]
    dtype: torch.dtype = torch.float64
    tolerance: float = 0.0
    may_refuse: bool | tuple[str, ...] = False
    is_smooth: bool = True
    is_fixed: bool = False
    without: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.run.__name__

    def accepts(self, found: str, gradient: str) -> bool:
        """Whether an outcome is a good one."""
        may = self.may_refuse if isinstance(self.may_refuse, bool) else gradient in self.may_refuse
        return found == "right" or may

    def allows(self, gradient: str) -> bool:
        """Whether a gradient is expected to be that of the plain loop."""
        return gradient not in self.without and (self.is_smooth or gradient not in OF_EQUATION)


KINDS: dict[str, Kind] = {}


def kind(run: Callable[[World], None] | None = None, **known: Any) -> Any:
    """Register a script."""

    def register(run: Callable[[World], None]) -> Callable[[World], None]:
        KINDS[run.__name__] = Kind(run, **known)
        return run

    return register if run is None else register(run)


def outcome(kind: Kind, choice: Choice) -> str:
    """Whether the gradient is "right" or "refused".

    A continuous adjoint whose steps are too long gets shorter ones: a wrong gradient stays wrong.

    Raises:
        AssertionError: a result is wrong.
    """
    for refined in (1, 4, 16, 64) if choice.is_continuous else ():
        try:
            return outcome_of_steps(kind, replace(choice, refined=refined))
        except AssertionError:
            continue
    return outcome_of_steps(kind, replace(choice, refined=256))


def outcome_of_steps(kind: Kind, choice: Choice) -> str:
    """The same for steps of given lengths."""
    ours = Ours(choice, kind.dtype)
    try:
        contextvars.copy_context().run(kind.run, ours)
    except nde.GradientRefused as refusal:
        check_sentence(refusal)
        return "refused"
    except RuntimeError as error:
        # Backprop's graphs are autograd's own, which looks after changes in place itself.
        if choice.gradient == "backprop" and "modified by an inplace operation" in str(error):
            return "refused"
        raise
    truth = Plain(choice, kind.dtype)
    truth.given = ours.steps
    contextvars.copy_context().run(kind.run, truth)
    share = 0.3 if choice.is_continuous else 0.01
    compare(ours.results(), truth.results(), max(choice.tolerance, kind.tolerance), share)
    return "right"


def compare(found: list[Any], expected: list[Any], tolerance: float, share: float) -> None:
    """Each result is the expected one: the same number, None for None, tensors up to a tolerance.

    Args:
        tolerance: relative to a tensor's largest number,
        share: or to this share of the largest number of all.
    """
    assert len(found) == len(expected)
    expected = [x.to_dense() if isinstance(x, Tensor) else x for x in expected]
    numbers = [x.abs().max().item() for x in expected if isinstance(x, Tensor) and x.numel()]
    floor = share * max(numbers, default=0.0)
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        if not isinstance(other, Tensor):
            assert one is None if other is None else one == other, f"result {place} is {one}, not {other}"
            continue
        assert isinstance(one, Tensor), f"result {place} is {one}, not a tensor"
        off = (one.to_dense() - other).abs().max().item() if other.numel() else 0.0
        size = max(other.abs().max().item(), floor) if other.numel() else 1.0
        assert off <= tolerance * size, f"result {place} is off by {off:.2g}, of {size:.2g}: {one} for {other}"
