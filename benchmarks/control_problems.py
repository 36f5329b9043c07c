"""Twenty problems on which step controls are compared: smooth, oscillating, mildly stiff, and networks."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import pyndereg as nde

Field = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """dy/dt = f(t, y) from y0 at 0 to t1, all in float64."""

    name: str
    kind: str
    f: Field
    y0: Tensor
    t1: float

    @property
    def problem(self) -> nde.ODEProblem:
        return nde.ODEProblem(self.f, self.y0, t1=self.t1)


def plain(name: str, kind: str, f: Callable[..., tuple[float, ...]], y0: list[float], t1: float) -> Problem:
    """A small problem as a function of numbers, f(t, *y), which is evaluated faster than one of tensors."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        return y.new_tensor(f(t.item(), *y.tolist()))

    return Problem(name, kind, field, torch.tensor(y0, dtype=torch.float64), t1)


def conflict(t: float, u: float, v: float) -> tuple[float, ...]:
    return 2 * (u - u * v), u * v - v


def lotka_volterra(t: float, u: float, v: float) -> tuple[float, ...]:
    return 1.5 * u - u * v, u * v - 3 * v


def rigid_body(t: float, u: float, v: float, w: float) -> tuple[float, ...]:
    return v * w, -u * w, -0.51 * u * v


def orbit(t: float, x: float, y: float, vx: float, vy: float) -> tuple[float, ...]:
    cubed = math.hypot(x, y) ** 3
    return vx, vy, -x / cubed, -y / cubed


def arenstorf(t: float, x: float, y: float, vx: float, vy: float) -> tuple[float, ...]:
    mu = 0.012277471
    earth, moon = math.hypot(x + mu, y) ** 3, math.hypot(x - 1 + mu, y) ** 3
    ax = x + 2 * vy - (1 - mu) * (x + mu) / earth - mu * (x - 1 + mu) / moon
    return vx, vy, ax, y - 2 * vx - (1 - mu) * y / earth - mu * y / moon


def pendulum(t: float, x: float, v: float) -> tuple[float, ...]:
    return v, -math.sin(x) - 0.1 * v + math.cos(2 * t)


def van_der_pol(t: float, x: float, v: float) -> tuple[float, ...]:
    return v, 5 * (1 - x * x) * v - x


def brusselator(t: float, u: float, v: float) -> tuple[float, ...]:
    return 1 + u * u * v - 4 * u, 3 * u - u * u * v


def fitzhugh_nagumo(t: float, v: float, w: float) -> tuple[float, ...]:
    return v - v**3 / 3 - w + 0.5, 0.08 * (v + 0.7 - 0.8 * w)


def relaxing(t: float, y: float) -> tuple[float, ...]:
    return (-100 * (y - math.cos(t)) - math.sin(t),)


def heat(t: Tensor, y: Tensor) -> Tensor:
    """u_t = u_xx / 10 with u = 0 at both ends, on as many points as y has."""
    padded = torch.nn.functional.pad(y, (1, 1))
    return 0.1 * (len(y) + 1) ** 2 * (padded[2:] - 2 * y + padded[:-2])


class Cubed(nn.Module):
    """A 2-50-2 network on y^3, as in the spiral example."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y**3)


def rings(count: int) -> tuple[Tensor, Tensor]:
    """Points of two rings, one inside the other, in the first two of eight coordinates, and which one they are of."""
    which = torch.arange(count) % 2
    angle = 2 * math.pi * torch.rand(count)
    radius = 0.5 + which + 0.1 * torch.randn(count)
    points = torch.zeros(count, 8)
    points[:, 0], points[:, 1] = radius * torch.cos(angle), radius * torch.sin(angle)
    return points, which


def trained(weight: float, updates: int = 300) -> tuple[nn.Module, Tensor]:
    """A network that tells the rings apart, trained with this weight of `error_estimate`, and states to solve from."""
    torch.manual_seed(1)
    field = nde.fields.TimeConcatMLP(8, hidden=32)
    model = nde.NeuralODE(field, rtol=1e-5, atol=1e-5, first_step=nde.Remembered(), gradient=nde.Backprop())
    head = nn.Linear(8, 2)
    points, which = rings(128)
    optimizer = torch.optim.Adam([*field.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(updates):
        y1, solution = model(points)
        loss = nn.functional.cross_entropy(head(y1), which)
        loss = loss + weight * nde.regularizers.error_estimate(solution.steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return field.requires_grad_(False).double(), points[:32].double()


def network(name: str, field: nn.Module, y0: Tensor, t1: float = 1.0) -> Problem:
    return Problem(name, "network", field.requires_grad_(False).double(), y0.double(), t1)


def scaled(size: int, factor: float) -> nn.Module:
    """A network before training; with factor 10 or more as hard to solve as trained ones."""
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(size, hidden=64)
    with torch.no_grad():
        for parameter in list(field.parameters())[-2:]:
            parameter.mul_(factor)
    return field


def cubed() -> nn.Module:
    torch.manual_seed(0)
    field = Cubed()
    with torch.no_grad():
        field.net[2].weight.mul_(20)
    return field


def make_problems() -> list[Problem]:
    torch.manual_seed(0)
    batch = torch.rand(32, 64)
    at_start = torch.tensor([2.0, 0.0]) + 0.3 * torch.randn(16, 2)
    line = torch.linspace(0, math.pi, 22, dtype=torch.float64)[1:-1]
    return [
        plain("growth", "smooth", lambda t, y: (y * math.cos(t),), [1.0], 10.0),
        plain("logistic", "smooth", lambda t, y: (y / 4 * (1 - y / 20),), [1.0], 20.0),
        plain("curve", "smooth", lambda t, y: ((y - t) / (y + t),), [4.0], 20.0),
        plain("rigid body", "smooth", rigid_body, [0.0, 1.0, 1.0], 10.0),
        plain("conflict", "oscillating", conflict, [1.0, 3.0], 10.0),
        plain("oscillator", "oscillating", lambda t, x, v: (5 * v, -5 * x), [1.0, 0.0], 4.0),
        plain("Lotka-Volterra", "oscillating", lotka_volterra, [1.0, 1.0], 6.0),
        plain("orbit", "oscillating", orbit, [0.5, 0.0, 0.0, math.sqrt(3.0)], 7.0),
        plain("Arenstorf", "oscillating", arenstorf, [0.994, 0.0, 0.0, -2.00158510637908252240537862224], 8.0),
        plain("pendulum", "oscillating", pendulum, [1.0, 0.0], 10.0),
        plain("van der Pol", "mildly stiff", van_der_pol, [2.0, 0.0], 8.0),
        plain("Brusselator", "mildly stiff", brusselator, [1.5, 3.0], 10.0),
        plain("FitzHugh-Nagumo", "mildly stiff", fitzhugh_nagumo, [-1.0, 1.0], 40.0),
        plain("relaxing", "mildly stiff", relaxing, [1.0], 1.5),
        Problem("heat", "mildly stiff", heat, torch.sin(line) + torch.sin(3 * line), 0.5),
        network("untrained", scaled(64, 1.0), batch),
        network("scaled", scaled(64, 20.0), batch),
        network("scaled, y^3", cubed(), at_start),
        network("trained", *trained(0.0)),
        network("regularized", *trained(0.1)),
    ]
