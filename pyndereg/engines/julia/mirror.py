"""The Julia counterpart of a torch module: a description of its layers, over the same parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyndereg import fields
from pyndereg.ivp.state import StateLayout

SUPPORTED = (
    "Sequential, Linear, LayerNorm, the usual activations, Identity, Dropout in eval mode and the layers of nde.fields"
)

# The functions that TimeConcatMLP may be given, in the words of the description.
FUNCTIONS: dict[Callable[..., Any], str] = {
    torch.tanh: "tanh",
    F.tanh: "tanh",
    torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    torch.relu: "relu",
    F.relu: "relu",
    F.leaky_relu: "leaky_relu:0.01",
    F.elu: "elu:1.0",
    torch.selu: "selu",
    F.selu: "selu",
    F.softplus: "softplus:1.0:20.0",
    F.softsign: "softsign",
    F.silu: "silu",
    F.gelu: "gelu",
    torch.sin: "sin",
    torch.cos: "cos",
}

PLAIN_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.ReLU: "relu",
    nn.SELU: "selu",
    nn.Softsign: "softsign",
    nn.SiLU: "silu",
}


@dataclass(frozen=True)
class Mirror:
    """A network in the words of `NDERegEngine.NetworkField`.

    Attributes:
        description: one line per layer, after a line with the sizes of state and parameters.
        parameters: every tensor that the network reads, frozen ones too, each once. The flat parameter vector holds
            them in this order, each in row-major order.
    """

    description: tuple[str, ...]
    parameters: tuple[Tensor, ...]


def mirror(module: Any, layout: StateLayout) -> Mirror | str:
    """The native counterpart of a right-hand side, or the reason why there is none.

    Args:
        module: called as module(t, y); read as it is now: its layers, their mode and their parameters.
        layout: that of the state, (..., dim).
    Returns:
        The counterpart, or one sentence that names what has none and the remedy.
    """
    try:
        return _Reader(layout).read(module)
    except _NoCounterpart as reason:
        return f'{reason}; pass field="callback"'


class _NoCounterpart(Exception):
    """What has no counterpart, and what would have one."""


class _Reader:
    """Walks through a module's layers in the order in which they are applied.

    Attributes:
        features: size of the last axis at this point of the network.
        time_input: whether time was appended to the features and the next layer takes it.
    """

    def __init__(self, layout: StateLayout) -> None:
        self.layout = layout
        self.features = 0
        self.time_input = False
        self.lines: list[str] = []
        self.parameters: list[Tensor] = []
        self.offsets: dict[int, int] = {}
        self.count = 0

    def read(self, module: Any) -> Mirror:
        """The counterpart of a whole right-hand side."""
        dim = self._state_size()
        self.features = dim
        self._check_plain(module)
        kind = type(module)
        if kind is fields.Autonomous:
            self._layer(module.net)
        elif kind is fields.TimeConcat:
            self.time_input = True
            self._layer(module.net)
            if self.time_input:
                raise _NoCounterpart("TimeConcat around a network without a Linear layer has no native counterpart")
        elif kind is fields.TimeConcatMLP:
            self._time_linear(module.hidden_layer)
            self._function(module.activation)
            self._time_linear(module.output_layer)
            self._function(module.output_activation)
        elif kind is fields.TimeLinear:
            self._time_linear(module)
        else:
            raise _NoCounterpart(
                f"{_name(module)} has no native counterpart as a right-hand side, which must be a field of nde.fields, "
                "e.g. nde.fields.Autonomous(net)"
            )
        if self.features != dim:
            raise _NoCounterpart(f"{_name(module)} maps {dim} features to {self.features}, but dy/dt has those of y")
        if not any(not line.startswith(("residual", "end")) for line in self.lines):
            self.lines.append("elementwise activation=identity")
        return Mirror((f"field size={dim} parameters={self.count}", *self.lines), tuple(self.parameters))

    def _state_size(self) -> int:
        if self.layout.is_tuple:
            raise _NoCounterpart("a tuple state has no native counterpart, which takes one tensor")
        if not self.layout.shapes[0]:
            raise _NoCounterpart("a state of shape () has no native counterpart, which takes (..., dim)")
        if torch.is_autocast_enabled(self.layout.device.type):
            raise _NoCounterpart("under torch.autocast there is no native counterpart, which keeps to one precision")
        return self.layout.shapes[0][-1]

    def _layer(self, module: Any) -> None:
        self._check_plain(module)
        kind = type(module)
        activation = _activation(module)
        if activation is not None:
            self._elementwise(activation, module)
        elif kind is nn.Sequential:
            for inner in module:
                self._layer(inner)
        elif kind is nn.Linear:
            self._linear(module)
        elif kind is nn.LayerNorm:
            self._layernorm(module)
        elif kind is fields.Residual:
            self._residual(module)
        elif kind is nn.Dropout and module.training and module.p > 0:
            raise _NoCounterpart("Dropout in training mode has no native counterpart, in eval mode (.eval()) it has")
        elif kind not in (nn.Identity, nn.Dropout):
            raise _NoCounterpart(f"{_name(module)} has no native counterpart, which {SUPPORTED} have")

    def _linear(self, module: nn.Linear) -> None:
        outputs, inputs = module.weight.shape
        self._check_features(module, inputs, self.features + self.time_input)
        time = ""
        if self.time_input:
            inputs, time = inputs - 1, " time=last"
        weight, bias = self._parameter(module.weight), self._optional("bias", module.bias)
        self.lines.append(f"dense inputs={inputs} outputs={outputs} weight={weight}{bias}{time}")
        self.features, self.time_input = outputs, False

    def _time_linear(self, module: Any) -> None:
        self._check_plain(module)
        if type(module) is not fields.TimeLinear:
            raise _NoCounterpart(f"{_name(module)} in place of a TimeLinear has no native counterpart")
        outputs, inputs = module.weight.shape
        self._check_features(module, inputs, self.features)
        weight, bias = self._parameter(module.weight), self._optional("bias", module.bias)
        time = self._optional("time", module.time_weight)
        self.lines.append(f"dense inputs={inputs} outputs={outputs} weight={weight}{bias}{time}")
        self.features = outputs

    def _layernorm(self, module: nn.LayerNorm) -> None:
        self._refuse_time(module)
        if len(module.normalized_shape) != 1:
            axes = len(module.normalized_shape)
            raise _NoCounterpart(f"LayerNorm over {axes} axes has no native counterpart, over the last one it has")
        self._check_features(module, module.normalized_shape[0], self.features)
        weight, bias = self._optional("weight", module.weight), self._optional("bias", module.bias)
        self.lines.append(f"layernorm size={self.features} epsilon={module.eps!r}{weight}{bias}")

    def _residual(self, module: fields.Residual) -> None:
        self._refuse_time(module)
        features, start = self.features, len(self.lines) + 1
        self.lines.append("residual")
        self._layer(module.net)
        if self.features != features:
            raise _NoCounterpart(f"Residual around {features} -> {self.features} features has no native counterpart")
        if len(self.lines) == start:
            self.lines.append("elementwise activation=identity")
        self.lines.append("end")

    def _function(self, function: Any) -> None:
        """An activation given as a function or a module; None is the identity."""
        if function is None:
            return
        if isinstance(function, nn.Module):
            self._layer(function)
            return
        name = FUNCTIONS.get(function) if callable(function) and _is_hashable(function) else None
        if name is None:
            known = "torch.tanh, torch.sigmoid, torch.relu, torch.sin, torch.cos and those of torch.nn.functional"
            raise _NoCounterpart(f"the activation {_name(function)} has no native counterpart, which {known} have")
        self._elementwise(name, None)

    def _elementwise(self, activation: str, module: nn.Module | None) -> None:
        """An activation, as part of the Linear layer before it where there is one."""
        self._refuse_time(module)
        if activation == "identity":
            return
        if self.lines and self.lines[-1].startswith("dense") and "activation=" not in self.lines[-1]:
            self.lines[-1] += f" activation={activation}"
        else:
            self.lines.append(f"elementwise activation={activation}")

    def _parameter(self, parameter: Tensor) -> int:
        """How many numbers of the flat vector come before this tensor."""
        layout = self.layout
        if (parameter.dtype, parameter.device) != (layout.dtype, layout.device):
            raise _NoCounterpart(
                f"parameters of {parameter.dtype} on {parameter.device} have no native counterpart beside a state of "
                f"{layout.dtype} on {layout.device}"
            )
        if id(parameter) not in self.offsets:
            self.offsets[id(parameter)] = self.count
            self.parameters.append(parameter)
            self.count += parameter.numel()
        return self.offsets[id(parameter)]

    def _optional(self, name: str, parameter: Tensor | None) -> str:
        return "" if parameter is None else f" {name}={self._parameter(parameter)}"

    def _check_features(self, module: nn.Module, expected: int, found: int) -> None:
        if expected != found:
            raise _NoCounterpart(f"{_name(module)} takes {expected} features, but {found} arrive")

    def _refuse_time(self, module: nn.Module | None) -> None:
        if self.time_input:
            found = "an activation" if module is None else _name(module)
            raise _NoCounterpart(f"{found} directly after TimeConcat has no native counterpart, which Linear has")

    def _check_plain(self, module: Any) -> None:
        """Refuse what PyTorch calls around or in place of a module's own forward."""
        if not isinstance(module, nn.Module):
            raise _NoCounterpart(f"{_name(module)} is no torch.nn.Module and so has no native counterpart")
        own = vars(module)
        hooked = (
            own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
        )
        if hooked or "forward" in own:
            raise _NoCounterpart(f"{_name(module)} with hooks has no native counterpart, without them it has")


def _activation(module: Any) -> str | None:
    """An activation module in the words of the description; None for another module."""
    kind = type(module)
    if kind in PLAIN_ACTIVATIONS:
        return PLAIN_ACTIVATIONS[kind]
    if kind is nn.LeakyReLU and module.negative_slope >= 0:
        return f"leaky_relu:{float(module.negative_slope)!r}"
    if kind is nn.ELU and module.alpha > 0:
        return f"elu:{float(module.alpha)!r}"
    if kind is nn.Softplus and module.beta > 0:
        return f"softplus:{float(module.beta)!r}:{float(module.threshold)!r}"
    if kind is nn.GELU:
        return "gelu_tanh" if module.approximate == "tanh" else "gelu"
    if kind is fields.Power:
        return f"power:{module.exponent}"
    return None


def _name(thing: Any) -> str:
    """How to call a layer or function in a sentence."""
    if isinstance(thing, nn.Module):
        return type(thing).__name__
    return getattr(thing, "__name__", type(thing).__name__)


def _is_hashable(thing: Any) -> bool:
    return getattr(thing, "__hash__", None) is not None
