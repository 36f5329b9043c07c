"""Closures, globals, defaults, partials: what a function's names stand for, and that it changes."""

import contextvars
import functools
import itertools
import weakref
from collections import namedtuple

import torch

from tests.engines.changing.world import kind

FACTOR = 2.0
WEIGHT = torch.ones(3)
REGISTRY = {}
VARIABLE = contextvars.ContextVar("factor", default=1.0)


@kind
def a_float_of_a_closure_is_rebound(world):
    net, scale = world.net(), 2.0

    def f(t, y):
        return scale * net(t, y)

    y1 = world.solve(f, net.parameters())
    scale = 3.0
    world.backward(y1)


@kind
def a_tensor_of_a_closure_is_rebound(world):
    scale = world.leaf(3)

    def f(t, y):
        return torch.sin(scale * y + t)

    y1 = world.solve(f, [scale])
    scale = world.leaf(3)
    world.backward(y1)


@kind
def a_module_of_a_closure_is_rebound(world):
    net = world.net()

    def f(t, y):
        return net(t, y)

    y1 = world.solve(f, net.parameters())
    net = world.net()
    world.backward(y1)


@kind
def a_function_of_a_closure_is_rebound(world):
    weight, squash = world.leaf(3), torch.sin

    inner = lambda y: squash(weight * y)  # noqa: E731
    y1 = world.solve(lambda t, y: inner(y) * torch.cos(t), [weight])
    squash = torch.cos
    inner = torch.tanh
    world.backward(y1)


@kind(may_refuse=True)
def a_global_float_is_rebound(world):
    global FACTOR
    net = world.net()
    y1 = world.solve(lambda t, y: FACTOR * net(t, y), net.parameters())
    FACTOR = 3.0
    try:
        world.backward(y1)
    finally:
        FACTOR = 2.0


@kind(may_refuse=True)
def a_global_tensor_is_rebound(world):
    global WEIGHT
    WEIGHT = world.leaf(3)
    y1 = world.solve(lambda t, y: torch.sin(WEIGHT * y), [WEIGHT])
    WEIGHT = world.leaf(3)
    world.backward(y1)


@kind
def a_global_tensor_stays(world):
    global WEIGHT
    WEIGHT = world.leaf(3) * 2
    world.backward(world.solve(lambda t, y: torch.sin(WEIGHT * y), [WEIGHT]))


@kind(may_refuse=True)
def an_entry_of_a_global_dictionary_is_rebound(world):
    REGISTRY["net"] = world.net()
    y1 = world.solve(lambda t, y: REGISTRY["net"](t, y), REGISTRY["net"].parameters())
    REGISTRY["net"] = world.net()
    world.backward(y1)


def through_a_global_function(t, y):
    return FACTOR * REGISTRY["net"](t, y)


@kind(may_refuse=True)
def a_global_that_a_global_function_uses_is_rebound(world):
    global FACTOR
    REGISTRY["net"] = world.net()
    y1 = world.solve(lambda t, y: through_a_global_function(t, y) - y, REGISTRY["net"].parameters())
    FACTOR = 3.0
    try:
        world.backward(y1)
    finally:
        FACTOR = 2.0


@kind
def default_arguments_are_replaced(world):
    def f(t, y, weight=world.leaf(3), *, scale=2.0):  # noqa: B008
        return torch.sin(weight * y + t) * scale

    y1 = world.solve(f, f.__defaults__)
    f.__defaults__, f.__kwdefaults__ = (world.leaf(3),), {"scale": 1.0}
    world.backward(y1)


@kind
def the_code_of_a_function_is_replaced(world):
    weight = world.leaf(3)

    def f(t, y):
        return torch.sin(weight * y + t)

    def other(t, y):
        return torch.cos(weight * y)

    y1 = world.solve(f, [weight])
    f.__code__ = other.__code__
    world.backward(y1)


@kind
def an_attribute_of_a_function_is_rebound(world):
    def f(t, y):
        return torch.sin(f.weight * y + t) * f.scale

    f.weight, f.scale = world.leaf(3), 2.0
    y1 = world.solve(f, [f.weight])
    f.weight, f.scale = world.leaf(3), 1.0
    world.backward(y1)


@kind
def a_keyword_of_a_partial_is_replaced(world):
    def f(weight, t, y, scale):
        return torch.sin(weight * y + t) * scale

    weight = world.leaf(3)
    partial = functools.partial(f, weight, scale=2.0)
    y1 = world.solve(partial, [weight])
    partial.keywords["scale"] = 3.0
    world.backward(y1)


@kind
def a_partial_of_a_module_s_method_stays(world):
    net = world.net()
    y1 = world.solve(functools.partial(net.forward), net.parameters())
    net.scale = 3.0
    world.backward(y1)


@kind
def a_decorated_function_stays(world):
    def doubled(function):
        @functools.wraps(function)
        def inner(*args, **keywords):
            return 2 * function(*args, **keywords)

        return inner

    net = world.net()
    y1 = world.solve(doubled(lambda t, y: net(t, y)), net.parameters())
    net.scale = 3.0
    world.backward(y1)


Parts = namedtuple("Parts", ("weight", "scale"))


@kind
def a_named_tuple_of_tensors_is_rebound(world):
    parts = Parts(world.leaf(3), torch.exp(world.leaf(3)))

    def f(t, y):
        return torch.sin(parts.weight * y + t) * parts.scale

    y1 = world.solve(f, parts)
    parts = Parts(world.leaf(3), 1.0)
    world.backward(y1)


@kind(may_refuse=True)
def a_context_variable_is_set(world):
    net = world.net()
    VARIABLE.set(2.0)
    y1 = world.solve(lambda t, y: VARIABLE.get() * net(t, y), net.parameters())
    VARIABLE.set(3.0)
    world.backward(y1)


@kind
def a_module_is_reached_through_a_weak_reference(world):
    net = world.net()
    reference = weakref.ref(net)
    world.backward(world.solve(lambda t, y: reference()(t, y), net.parameters()))


@kind(may_refuse=True)
def a_module_behind_a_weak_reference_changes(world):
    net = world.net()
    reference = weakref.ref(net)
    y1 = world.solve(lambda t, y: reference()(t, y), net.parameters())
    net.scale = 3.0
    world.backward(y1)


@kind(may_refuse=True)
def a_cached_function_computes_a_weight_inside_f(world):
    weight = world.leaf(3)

    @functools.lru_cache
    def doubled():
        return 2 * weight

    world.backward(world.solve(lambda t, y: torch.sin(doubled() * y), [weight]))


@kind(may_refuse=True)
def a_cached_function_computed_a_weight_before_the_solve(world):
    weight = world.leaf(3)

    @functools.lru_cache
    def doubled():
        return 2 * weight

    world.backward(world.solve(lambda t, y: torch.sin(doubled() * y), [doubled()]))


@kind(may_refuse=True, is_fixed=True)
def a_generator_in_a_closure_yields_other_numbers_each_time(world):
    weight, numbers = world.leaf(3), itertools.cycle([0.1, 0.2, 0.4])
    world.backward(world.solve(lambda t, y: torch.sin(weight * y) * (1 + next(numbers)), [weight]))


@kind(may_refuse=True, is_fixed=True)
def a_number_that_each_call_changes(world):
    class Ageing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.age = world.net(), 1.0

        def forward(self, t, y):
            self.age *= 0.99
            return self.age * self.net(t, y)

    world.backward(world.solve(Ageing()))
