"""Right-hand sides: modules called as field(t, y)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyndereg.numbers import at_least


class TimeLinear(nn.Module):
    """A linear layer over [y; t]: W y + w t + b, without building the concatenation.

    Weights start as in the papers' code: Glorot-uniform over all inputs, time included; biases at zero.

    Args:
        inputs, outputs: sizes of the last axis, time not counted.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inputs, outputs = at_least(inputs, 1, "inputs"), at_least(outputs, 1, "outputs")
        weight = nn.init.xavier_uniform_(torch.empty(outputs, inputs + 1))
        self.weight = nn.Parameter(weight[:, :-1].clone())
        self.time_weight = nn.Parameter(weight[:, -1].clone())
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """t () and y (..., inputs) -> (..., outputs)."""
        return F.linear(y, self.weight, torch.addcmul(self.bias, self.time_weight, t))


class TimeConcatMLP(nn.Module):
    """The papers' time-dependent network: f2(W2 [f1(W1 [y; t] + b1); t] + b2).

    [@pal2021opening] uses tanh for both layers, [@pal2023locally] leaves the output layer linear
    (`output_activation=None`).

    Args:
        dim: size of the state's last axis.
        hidden: size of the hidden layer.
        activation: of the hidden layer.
        output_activation: of the output layer; None for a linear one.
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 100,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        output_activation: Callable[[Tensor], Tensor] | None = torch.tanh,
    ) -> None:
        super().__init__()
        for name, size in (("dim", dim), ("hidden", hidden)):
            at_least(size, 1, name)
        self.hidden_layer = TimeLinear(dim, hidden)
        self.output_layer = TimeLinear(hidden, dim)
        self.activation = activation
        self.output_activation = output_activation

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """t () and y (..., dim) -> dy/dt (..., dim)."""
        dy = self.output_layer(t, self.activation(self.hidden_layer(t, y)))
        return dy if self.output_activation is None else self.output_activation(dy)


class Autonomous(nn.Module):
    """A network that does not see time, as a field: dy/dt = net(y).

    Args:
        net: keeps the shape of y.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """t () and y (..., dim) -> dy/dt (..., dim)."""
        return self.net(y)


class TimeConcat(nn.Module):
    """A network that sees time as its last input, as a field: dy/dt = net([y; t]).

    Args:
        net: takes (..., dim + 1) to (..., dim).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """t () and y (..., dim) -> dy/dt (..., dim)."""
        return self.net(torch.cat([y, t.to(y.dtype).expand(*y.shape[:-1], 1)], dim=-1))


class Residual(nn.Module):
    """The sum of a network and its input, x + net(x): a layer for use inside `torch.nn.Sequential`.

    Args:
        net: keeps the shape of x.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """x (..., dim) -> (..., dim)."""
        return x + self.net(x)


class Power(nn.Module):
    """Each number to a whole power, x^n: a layer for use inside `torch.nn.Sequential`.

    Args:
        exponent: n, at least 1.
    """

    def __init__(self, exponent: int) -> None:
        super().__init__()
        self.exponent = at_least(exponent, 1, "exponent")

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape -> the same shape."""
        return x**self.exponent

    def extra_repr(self) -> str:
        """The exponent, for printing."""
        return str(self.exponent)
