"""The neural spiral with noise, for benchmarks of stochastic equations, and our paths in torchsde's words."""

import math

import torch
from torch import Tensor, nn

import pyndereg as nde


class Spiral(nn.Module):
    """dy = network(y^3) dt + 0.2 y dW, counting its evaluations; `f` and `g` are torchsde's names."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(2, 50), nn.Linear(50, 2)
        self.diffusion = nn.Parameter(torch.tensor(0.2))
        self.evaluations = {"f": 0, "g": 0}

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations["f"] += 1
        return self.last(torch.tanh(self.hidden(y**3)))

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations["g"] += 1
        return self.diffusion * y

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """One evaluation of each, added up."""
        return self.f(t, y) + self.g(t, y)


def fitted_spiral() -> Spiral:
    """A field whose last layer is fitted to the spiral, for the stiffness of a trained network."""
    field = Spiral()
    hidden, last = field.hidden, field.last
    cubes = 16 * torch.rand(2000, 2) - 8
    with torch.no_grad():
        hidden.weight.mul_(0.1)
        features = torch.cat([torch.tanh(hidden(cubes)), torch.ones(2000, 1)], 1).double()
        truth = cubes.double() @ torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)
        fitted = torch.linalg.lstsq(features, truth).solution
        last.weight.copy_(fitted[:-1].T)
        last.bias.copy_(fitted[-1])
    return field


class SharedPath:
    """A path of ours in torchsde's words: W, and the integral U of W - W(s) from s to t."""

    levy_area_approximation = "space-time"

    def __init__(self, path: nde.BrownianPath) -> None:
        self.path, self.shape, self.dtype, self.device = path, path.shape, path.dtype, path.device

    def __call__(self, s: Tensor, t: Tensor, return_U: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        W, Z = self.path.increments(float(s), float(t))
        return (W, float(t - s) / 2 * (W + Z / math.sqrt(3))) if return_U else W
