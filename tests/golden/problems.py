"""The right-hand sides and cases of the reference solutions, in the order of operations in which Julia wrote them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CONTENTS = json.loads((Path(__file__).parent / "ode_nonstiff.json").read_text("utf-8"))
W1, B1, W2, B2 = (torch.tensor(CONTENTS["network"][name], dtype=torch.float64) for name in ("W1", "b1", "W2", "b2"))
MU = 0.012277471


def lotka_volterra(t, y):
    return torch.stack([1.5 * y[0] - y[0] * y[1], -3 * y[1] + y[0] * y[1]])


def spiral(t, y):
    v = y**3
    return torch.stack([-0.1 * v[0] - 2.0 * v[1], 2.0 * v[0] - 0.1 * v[1]])


def forced(t, y):
    return torch.stack([-y[0] + torch.sin(t) * y[1], -(y[1] ** 3) / 10 + torch.cos(2 * t)])


def van_der_pol(t, y):
    return torch.stack([y[1], 5.0 * (1 - y[0] ** 2) * y[1] - y[0]])


def arenstorf(t, state):
    """The restricted three-body problem on Arenstorf's periodic orbit."""
    x, y, vx, vy = state
    d1 = ((x + MU) ** 2 + y**2) ** 1.5
    d2 = ((x - 1 + MU) ** 2 + y**2) ** 1.5
    ax = x + 2 * vy - (1 - MU) * (x + MU) / d1 - MU * (x - 1 + MU) / d2
    ay = y - 2 * vx - (1 - MU) * y / d1 - MU * y / d2
    return torch.stack([vx, vy, ax, ay])


def network(t, y):
    """A small network on a batch; time is one more input of both layers."""
    time = t.expand(y.shape[0], 1)
    hidden = torch.tanh(torch.cat([y, time], 1) @ W1.T + B1)
    return torch.cat([hidden, time], 1) @ W2.T + B2


FIELDS = {
    "lotka_volterra": lotka_volterra,
    "lotka_volterra_backward": lotka_volterra,
    "spiral": spiral,
    "forced": forced,
    "van_der_pol": van_der_pol,
    "arenstorf": arenstorf,
    "network": network,
}


@dataclass(frozen=True)
class Case:
    """One reference solution; `record` holds the fields that the README lists."""

    record: dict[str, Any]

    @property
    def problem(self) -> str:
        return self.record["problem"]

    @property
    def method(self) -> str:
        """The method's name here: the automatic switch between Tsit5 and itself takes Tsit5's steps."""
        return self.record["method"].removeprefix("auto_tsit5_")

    @property
    def name(self) -> str:
        return f"{self.problem}-{self.record['method']}-{self.record['rtol']:g}"

    @property
    def field(self):
        return FIELDS[self.problem]

    @property
    def y0(self) -> torch.Tensor:
        return self.tensor("y0")

    def tensor(self, name: str) -> torch.Tensor:
        return torch.tensor(self.record[name], dtype=torch.float64)


CASES = tuple(Case(record) for record in CONTENTS["cases"])
