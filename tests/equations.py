"""Right-hand sides that several tests share: some with known solutions, some with parameters to differentiate."""

import torch
from torch import Tensor, nn

FLOAT64 = torch.float64


def circle(t, y):
    """Rotation whose speed is the squared radius: nonlinear, and from (1, 0) the solution is (cos t, sin t)."""
    return (y * y).sum() * torch.stack([-y[1], y[0]])


def circle_solution(t):
    t = torch.as_tensor(t, dtype=FLOAT64)
    return torch.stack([torch.cos(t), torch.sin(t)], dim=-1)


def decay(t, y):
    """y' = -y."""
    return -y


def van_der_pol(t, y):
    """A few steps are rejected where the solution turns."""
    return torch.stack([y[1], 5.0 * (1 - y[0] ** 2) * y[1] - y[0]])


class Oscillator(nn.Module):
    """Van der Pol's oscillator, driven, for a batch: parameters and time both matter, and steps are rejected."""

    def __init__(self, dtype: torch.dtype = FLOAT64) -> None:
        super().__init__()
        self.damping = nn.Parameter(torch.tensor(3.0, dtype=dtype))
        self.drive = nn.Parameter(torch.tensor([0.4, 1.7], dtype=dtype))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v = y.unbind(-1)
        strength, frequency = self.drive
        return torch.stack([v, self.damping * (1 - x**2) * v - x + strength * torch.sin(frequency * t)], dim=-1)


def mixing(weights):
    """A smooth field for states (..., 3) that depends on time and on `weights` (3, 3)."""

    def field(t, y):
        return torch.tanh(y @ weights) * torch.sin(t) + 0.3 * torch.cos(3 * t) * y

    return field


class Counted:
    """A field that counts its calls."""

    def __init__(self, field) -> None:
        self.field = field
        self.calls = 0

    def __call__(self, t, y):
        self.calls += 1
        return self.field(t, y)
