"""Fields that ask for more than values: for a tensor's type, its attributes, its identity; and those that remember."""

import dataclasses
import enum
import functools
import types
import weakref

import torch
from torch import nn

from tests.engines.changing.world import OF_EQUATION, kind

# The gradients that call a copy of f, in which tensors and modules are others; the default does in stochastic solves.
COPIED = ("default", "discrete", "discrete, 2 checkpoints", "discrete, some graphs", *OF_EQUATION)


class Decay(nn.Module):
    """Its rate is a parameter, or a number."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, t, y):
        rate = self.rate if isinstance(self.rate, nn.Parameter) else torch.full((3,), self.rate, dtype=y.dtype)
        return torch.sin(rate * y)


@kind
def f_asks_whether_it_has_a_parameter(world):
    world.backward(world.solve(Decay(world.watch(nn.Parameter(world.constant(3))))))


class Tagged(nn.Module):
    """Parameters may have been marked as frozen, or with a scale."""

    def __init__(self, world):
        super().__init__()
        self.a, self.b = (world.watch(nn.Parameter(world.constant(3))) for _ in range(2))
        self.b.frozen, self.a.scale = True, 2.0

    def forward(self, t, y):
        a, b = (p.detach() if getattr(p, "frozen", False) else p for p in (self.a, self.b))
        return torch.sin(self.a.scale * a * y) * b


@kind
def parameters_have_attributes(world):
    world.backward(world.solve(Tagged(world)))


@kind(may_refuse=COPIED)
def f_asks_whether_a_tensor_is_a_leaf(world):
    weight = torch.exp(world.leaf(3))
    world.backward(world.solve(lambda t, y: torch.sin((weight.detach() if weight.is_leaf else weight) * y), [weight]))


@kind(may_refuse=COPIED)
def f_looks_a_tensor_up_by_its_identity(world):
    weight = world.leaf(3)
    trained = {id(weight)}
    f = lambda t, y: torch.sin((weight if id(weight) in trained else weight.detach()) * y)  # noqa: E731
    world.backward(world.solve(f, [weight]))


@kind(may_refuse=COPIED)
def layers_are_frozen_by_a_list_of_them(world):
    layers = [world.watch(world.fill(nn.Linear(3, 3).to(world.dtype))) for _ in range(2)]
    known = types.SimpleNamespace(frozen=[layers[0]])

    def f(t, y):
        for layer in layers:
            change = torch.tanh(layer(y))
            y = y + (change.detach() if layer in known.frozen else change)
        return y

    world.backward(world.solve(f, [p for layer in layers for p in layer.parameters()]))


@kind(may_refuse=True)
def a_weight_is_memoised(world):
    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = world.watch(nn.Parameter(world.constant(3, 3)))
            self.register_buffer("calls", torch.zeros(()))

        @functools.cache  # noqa: B019
        def weight(self):
            return self.a @ self.a.T

        def forward(self, t, y):
            self.calls += 1
            return torch.tanh(y @ self.weight())

    world.backward(world.solve(Remembering()))


@kind(may_refuse=True)
def a_parameter_is_reached_in_two_ways(world):
    net = world.net()
    known = types.SimpleNamespace(net=net)
    world.backward(world.solve(lambda t, y: (known.net if t < 0.5 else net)(t, y), net.parameters()))


class Own(torch.Tensor):
    """A type of tensors that changes nothing."""


@kind
def a_parameter_has_a_type_of_its_own(world):
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = world.watch(nn.Parameter(world.constant(3).as_subclass(Own)))

        def forward(self, t, y):
            return torch.sin(self.w * y).as_subclass(torch.Tensor)

    world.backward(world.solve(Typed()))


@kind(without=("forward",))
def a_matrix_is_sparse(world):
    matrix = world.watch(world.constant(3, 3).to_sparse().requires_grad_())
    world.backward(world.solve(lambda t, y: torch.sin(torch.sparse.mm(matrix, y.T).T), [matrix]))


class Plain:
    """A class without slots."""


@dataclasses.dataclass(slots=True)
class Slotted(Plain):
    """Keeps its weight outside of its dictionary."""

    weight: torch.Tensor

    def __call__(self, t, y):
        return torch.sin(self.weight * y)


@kind
def a_callable_has_slots_and_a_dictionary(world):
    weight = world.leaf(3)
    world.backward(world.solve(Slotted(weight), [weight]))


class Parameters(dict):
    """A dictionary with a right-hand side."""

    def rhs(self, t, y):
        return torch.sin(self["w"] * y)


@kind
def f_is_a_method_of_a_dictionary(world):
    weight = world.leaf(3)
    world.backward(world.solve(Parameters(w=weight).rhs, [weight]))


@kind
def f_reaches_a_module_by_a_proxy(world):
    net = world.net()
    proxy = weakref.proxy(net)
    world.backward(world.solve(lambda t, y: proxy(t, y), net.parameters()))


class Pair(tuple):
    """Its constructor takes two arguments."""

    __slots__ = ()

    def __new__(cls, a, b):
        return super().__new__(cls, (a, b))


@kind
def tensors_lie_in_a_tuple_of_a_class_of_its_own(world):
    pair = Pair(world.leaf(3), world.leaf(3))
    world.backward(world.solve(lambda t, y: torch.sin(pair[0] * y) * pair[1], list(pair)))


class Activation(enum.Enum):
    """Compares itself with its members."""

    TANH = "tanh"

    def __call__(self, x):
        return torch.tanh(x) if self is Activation.TANH else x


@kind
def f_has_a_member_of_an_enumeration(world):
    weight, activation = world.leaf(3), Activation.TANH
    world.backward(world.solve(lambda t, y: activation(weight * y), [weight]))


@kind
def f_writes_into_its_time(world):
    weight = world.leaf(3)

    def f(t, y):
        t -= 0.25
        return torch.sin(weight * y) * t

    world.backward(world.solve(f, [weight]))
