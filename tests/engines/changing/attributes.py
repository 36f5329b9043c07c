"""Attributes, items and functions that are rebound between a solve and its backward pass."""

import copy
from types import MethodType, SimpleNamespace

import torch
from torch import nn
from torch.func import functional_call

from tests.engines.changing.world import Net, kind


@kind
def a_float_attribute_of_a_module_is_rebound(world):
    net = world.net()
    y1 = world.solve(net)
    net.scale = 3.0
    world.backward(y1)


@kind
def a_float_attribute_of_a_module_inside_a_module_is_rebound(world):
    outer = nn.Module()
    outer.net = world.net()
    outer.forward = lambda t, y: outer.net(t, torch.sin(y))
    y1 = world.solve(outer)
    outer.net.scale = 3.0
    world.backward(y1)


@kind
def a_tensor_attribute_of_a_module_is_rebound(world):
    net = world.net()
    net.scale = world.leaf(3)
    y1 = world.solve(net, [net.scale])
    net.scale = world.leaf(3)
    world.backward(y1)


@kind
def a_computed_tensor_attribute_of_a_module_is_rebound(world):
    net, context = world.net(), world.leaf(3)
    net.scale = torch.exp(context)
    y1 = world.solve(net, [net.scale])
    net.scale = torch.exp(2 * context)
    world.backward(y1)


@kind
def a_layer_of_a_module_is_replaced(world):
    net = world.net()
    y1 = world.solve(net)
    net.inner = world.watch(nn.Linear(3, 4).to(world.dtype))
    world.backward(y1)


@kind
def a_parameter_of_a_module_is_replaced(world):
    net = world.net()
    y1 = world.solve(net)
    net.inner.weight = nn.Parameter(2 * net.inner.weight.detach())
    world.backward(y1)


@kind
def two_solves_share_a_module_whose_attribute_is_rebound_between_them(world):
    net = world.net()
    first = world.solve(net)
    net.scale = 1.0
    second = world.solve(net)
    net.scale = 3.0
    world.backward(first, second)


@kind(may_refuse=True)
def a_float_of_a_plain_object_is_rebound(world):
    net, settings = world.net(), SimpleNamespace(scale=2.0)
    y1 = world.solve(lambda t, y: settings.scale * net(t, y), net.parameters())
    settings.scale = 3.0
    world.backward(y1)


@kind(may_refuse=True)
def a_tensor_of_a_plain_object_is_rebound(world):
    settings = SimpleNamespace(scale=world.leaf(3))
    y1 = world.solve(lambda t, y: torch.sin(settings.scale * y), [settings.scale])
    settings.scale = world.leaf(3)
    world.backward(y1)


@kind
def a_tensor_of_a_plain_object_stays(world):
    settings = SimpleNamespace(scale=world.leaf(3))
    settings.doubled = 2 * settings.scale
    y1 = world.solve(lambda t, y: torch.sin(settings.scale * y) * settings.doubled, [settings.scale, settings.doubled])
    world.backward(y1)


@kind(may_refuse=True)
def a_float_in_a_dictionary_is_rebound(world):
    net, settings = world.net(), {"scale": 2.0}
    y1 = world.solve(lambda t, y: settings["scale"] * net(t, y), net.parameters())
    settings["scale"] = 3.0
    world.backward(y1)


@kind
def a_tensor_in_a_dictionary_is_rebound(world):
    settings = {"scale": world.leaf(3), "shift": 0.5}
    y1 = world.solve(lambda t, y: torch.sin(settings["scale"] * y + settings["shift"]), [settings["scale"]])
    settings.update(scale=world.leaf(3), shift=1.0)
    world.backward(y1)


@kind
def a_tensor_in_a_list_that_is_an_attribute_is_replaced(world):
    net = world.net()
    net.scales = [world.leaf(3), (world.leaf(3), 2.0)]
    net.forward = lambda t, y: Net.forward(net, t, y) * net.scales[0] + net.scales[1][0]
    y1 = world.solve(net, [net.scales[0], net.scales[1][0]])
    net.scales[0] = world.leaf(3)
    net.scales.pop()
    world.backward(y1)


@kind
def modules_in_a_plain_list_are_replaced(world):
    nets = [world.net(), world.net()]
    y1 = world.solve(lambda t, y: sum(net(t, y) for net in nets), [x for net in nets for x in net.parameters()])
    nets[1] = world.net()
    world.backward(y1)


class Scaled(Net):
    """A network with a factor that all its instances share."""

    factor = 1.5

    def forward(self, t, y):
        return self.factor * super().forward(t, y)


@kind(may_refuse=True)
def an_attribute_of_a_class_is_rebound(world):
    net = world.watch(world.fill(Scaled().to(world.dtype)))
    y1 = world.solve(net)
    Scaled.factor = 1.0
    try:
        world.backward(y1)
    finally:
        Scaled.factor = 1.5


@kind(may_refuse=True)
def a_method_of_a_class_is_rebound(world):
    net, before = world.watch(world.fill(Scaled().to(world.dtype))), Scaled.forward
    y1 = world.solve(net)
    Scaled.forward = Net.forward
    try:
        world.backward(y1)
    finally:
        Scaled.forward = before


@kind
def a_method_of_a_module_is_rebound(world):
    net = world.net()
    net.forward = MethodType(lambda self, t, y: torch.sin(Net.forward(self, t, y)), net)
    y1 = world.solve(net)
    net.forward = MethodType(lambda self, t, y: self.outer(self.inner(y)), net)
    world.backward(y1)


class Field:
    """A callable object."""

    def __init__(self, weight, scale):
        self.weight, self.scale = weight, scale

    def __call__(self, t, y):
        return torch.sin(self.weight * y + t) * self.scale

    def slope(self, t, y):
        return self(t, y) - y


@kind
def an_attribute_of_a_callable_object_is_rebound(world):
    field = Field(world.leaf(3), 2.0)
    y1 = world.solve(field, [field.weight])
    field.weight, field.scale = world.leaf(3), 1.0
    world.backward(y1)


@kind
def the_object_of_a_bound_method_changes(world):
    field = Field(world.leaf(3), 2.0)
    y1 = world.solve(field.slope, [field.weight])
    field.weight, field.scale = world.leaf(3), 1.0
    world.backward(y1)


@kind
def the_module_of_a_bound_method_changes(world):
    net = world.net()
    y1 = world.solve(net.forward, net.parameters())
    net.scale = 1.0
    net.inner = nn.Linear(3, 4).to(world.dtype)
    world.backward(y1)


class Slotted:
    """A callable object without a dictionary."""

    __slots__ = ("scale", "weight")

    def __init__(self, weight, scale):
        self.weight, self.scale = weight, scale

    def __call__(self, t, y):
        return torch.sin(self.weight * y + t) * self.scale


@kind(may_refuse=True)
def a_slot_of_a_callable_object_is_rebound(world):
    field = Slotted(world.leaf(3), 2.0)
    y1 = world.solve(field, [field.weight])
    field.scale = 1.0
    world.backward(y1)


@kind
def a_callable_object_with_slots_stays(world):
    field = Slotted(world.leaf(3), torch.exp(world.leaf(3)))
    world.backward(world.solve(field, [field.weight, field.scale]))


class Shared:
    """A field whose weight belongs to its class."""

    weight: torch.Tensor

    @classmethod
    def slope(cls, t, y):
        return torch.sin(cls.weight * y + t)


@kind
def a_class_method_uses_a_tensor_of_its_class(world):
    Shared.weight = world.leaf(3)
    world.backward(world.solve(Shared.slope, [Shared.weight]))


@kind(may_refuse=True)
def a_tensor_of_a_class_is_rebound(world):
    Shared.weight = world.leaf(3)
    y1 = world.solve(Shared.slope, [Shared.weight])
    Shared.weight = world.leaf(3)
    world.backward(y1)


@kind
def weights_are_swapped_in_around_the_solve(world):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = world.net()
            self.register_buffer("shift", world.constant(3))

        def forward(self, y0):
            return world.solve(self.slope, self.parameters(), y0=y0)

        def slope(self, t, y):
            return self.net(t, y + self.shift)

    model = Model()
    fast = {name: x - 0.1 * torch.sin(x) for name, x in model.named_parameters()}
    y1 = functional_call(model, (fast, {"shift": world.leaf(3)}), (world.y0,))
    world.backward(y1)


@kind
def weights_are_swapped_in_around_a_module_that_is_solved(world):
    net = world.net()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, y0):
            return world.solve(self.net, y0=y0)

    fast = {f"net.{name}": (x * 0.9).detach().requires_grad_() for name, x in net.named_parameters()}
    for x in fast.values():
        world.watch(x)
    world.backward(functional_call(Model(), fast, (world.y0,)))


@kind
def weights_are_swapped_in_inside_f(world):
    net = world.net()
    fast = {name: x - 0.1 * torch.sin(x) for name, x in net.named_parameters()}
    y1 = world.solve(lambda t, y: functional_call(net, fast, (t, y)), fast.values())
    fast["inner.bias"] = world.leaf(4)
    world.backward(y1)


@kind
def a_module_is_copied_and_the_copy_is_solved(world):
    net = world.net()
    other = world.watch(copy.deepcopy(net))
    y1 = world.solve(lambda t, y: net(t, y) + other(t, torch.sin(y)), [*net.parameters(), *other.parameters()])
    net.scale = other.scale = 1.0
    world.backward(y1)


@kind
def modules_of_a_module_dictionary_are_chosen_by_an_attribute(world):
    net = nn.Module()
    net.choices = nn.ModuleDict({"one": world.net(), "two": world.net()})
    net.chosen = "one"
    net.forward = lambda t, y: net.choices[net.chosen](t, y)
    y1 = world.solve(net)
    net.chosen = "two"
    world.backward(y1)


@kind
def the_data_of_a_parameter_is_replaced(world):
    net = world.net()
    y1 = world.solve(net)
    if world.is_ours:  # autograd itself would go on with other numbers
        net.inner.weight.data = 2 * net.inner.weight.data
    world.backward(y1)


@kind(may_refuse=True, without=("forward",))  # whose derivatives are there already
def the_data_of_a_parameter_is_changed_behind_autograd(world):
    net = world.net()
    y1 = world.solve(net)
    net.inner.weight.data.mul_(2)  # autograd itself does not notice
    world.backward(y1)


@kind
def gradients_are_there_already(world):
    net = world.net()
    for param in net.parameters():
        param.grad = torch.ones_like(param)
    y1 = world.solve(net)
    world.backward(y1, retain_graph=True)  # of y0
    world.backward(world.solve(net))


@kind
def only_some_gradients_are_asked_for(world):
    net = world.net()
    y1 = world.solve(net)
    for gradient in torch.autograd.grad(world.loss(y1), [net.inner.weight, net.outer.bias]):
        world.note(gradient)


@kind
def a_dictionary_of_numbers_is_changed(world):
    net, known = world.net(), {"scale": 1.0, "shifts": [0.1, 0.2]}

    def f(t, y):
        return known["scale"] * net(t, y) + known["shifts"][1]

    y1 = world.solve(f, net.parameters())
    known["scale"], known["shifts"][1] = 3.0, 5.0
    world.backward(y1)


@kind
def f_counts_its_calls_in_a_list(world):
    net, calls = world.net(), [0]

    def f(t, y):
        calls[0] += 1
        return net(t, y)

    world.backward(world.solve(f, net.parameters()))


@kind
def a_registry_and_a_module_hold_each_other(world):
    net, registry = world.net(), {}
    registry["net"], net.registry = net, registry
    y1 = world.solve(lambda t, y: net.registry["net"](t, y), net.parameters())
    net.scale = 3.0
    world.backward(y1)
