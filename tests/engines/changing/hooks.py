"""Hooks of modules and of tensors, added and removed around a solve."""

import torch
from torch.nn.modules.module import register_module_forward_hook

from tests.engines.changing.world import kind


def halved(module, args, output):
    return 0.5 * output


@kind
def a_forward_hook_is_removed_between(world):
    net = world.net()
    handle = net.inner.register_forward_hook(halved)
    y1 = world.solve(net)
    handle.remove()
    world.backward(y1)


@kind
def a_forward_hook_is_added_between(world):
    net = world.net()
    y1 = world.solve(net)
    net.inner.register_forward_hook(halved)
    world.backward(y1)


@kind
def a_forward_pre_hook_of_the_field_is_removed_between(world):
    net = world.net()
    handle = net.register_forward_pre_hook(lambda module, args: (args[0], torch.sin(args[1])))
    y1 = world.solve(net)
    handle.remove()
    world.backward(y1)


@kind
def a_forward_pre_hook_is_added_between(world):
    net = world.net()
    y1 = world.solve(net)
    net.outer.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    world.backward(y1)


@kind
def a_forward_hook_uses_a_parameter(world):
    net, factor = world.net(), world.leaf(4)
    net.inner.register_forward_hook(lambda module, args, output: output * factor)
    world.backward(world.solve(net, [factor]))


@kind(may_refuse=True)
def a_hook_of_all_modules_is_added_between(world):
    net = world.net()
    y1 = world.solve(net)
    handle = register_module_forward_hook(halved)
    try:
        world.backward(y1)
    finally:
        handle.remove()


@kind
def a_full_backward_hook_scales_what_passes(world):
    net = world.net()
    net.outer.register_full_backward_hook(lambda module, arriving, leaving: (0.5 * arriving[0],))
    world.backward(world.solve(net))


@kind
def a_full_backward_hook_is_added_between(world):
    net = world.net()
    y1 = world.solve(net)
    net.outer.register_full_backward_hook(lambda module, arriving, leaving: (0.5 * arriving[0],))
    world.backward(y1)


def scaled(gradient):
    return 0.5 * gradient


def clamped(gradient):
    return gradient.clamp(-0.01, 0.01)


def shifted(gradient):
    return gradient + 1


def with_a_hook_on_a_parameter(world, hook):
    net = world.net()
    net.inner.weight.register_hook(hook)
    world.backward(world.solve(net))


@kind
def a_parameter_has_a_hook_that_scales(world):
    with_a_hook_on_a_parameter(world, scaled)


@kind(tolerance=1e-7)
def a_parameter_has_a_hook_that_clamps(world):
    with_a_hook_on_a_parameter(world, clamped)


@kind
def a_parameter_has_a_hook_that_shifts(world):
    with_a_hook_on_a_parameter(world, shifted)


@kind
def a_parameter_of_a_closure_has_a_hook_that_shifts(world):
    weight = world.leaf(3)
    weight.register_hook(shifted)
    world.backward(world.solve(lambda t, y: torch.sin(weight * y), [weight]))


@kind
def a_computed_tensor_of_a_closure_has_a_hook_that_shifts(world):
    source = world.leaf(3)
    weight = 2 * source
    weight.register_hook(shifted)
    world.backward(world.solve(lambda t, y: torch.sin(weight * y), [weight]))


@kind(may_refuse=True)
def a_parameter_gets_a_hook_between(world):
    net = world.net()
    y1 = world.solve(net)
    net.inner.weight.register_hook(shifted)
    world.backward(y1)


@kind
def a_parameter_loses_its_hook_between(world):
    net = world.net()
    handle = net.inner.weight.register_hook(shifted)
    y1 = world.solve(net)
    handle.remove()
    world.backward(y1)


@kind(may_refuse=True)
def a_computed_tensor_gets_a_hook_between(world):
    source = world.leaf(3)
    weight = 2 * source
    y1 = world.solve(lambda t, y: torch.sin(weight * y), [weight])
    weight.register_hook(shifted)
    world.backward(y1)


@kind
def the_initial_state_has_a_hook(world):
    net = world.net()
    if world.y0.requires_grad:
        world.y0.register_hook(shifted)
    world.backward(world.solve(net))


@kind
def the_solution_has_a_hook(world):
    net = world.net()
    y1 = world.solve(net)
    y1.register_hook(shifted)
    world.backward(y1)


@kind
def an_activation_inside_f_has_a_hook(world):
    weight = world.leaf(3)

    def f(t, y):
        inner = torch.sin(weight * y)
        if inner.requires_grad:
            inner.register_hook(scaled)
        return inner * torch.cos(inner)

    world.backward(world.solve(f, [weight]))


@kind
def a_hook_after_accumulation_counts_its_calls(world):
    net, calls = world.net(), []
    net.inner.weight.register_post_accumulate_grad_hook(lambda param: calls.append(param.grad.clone()))
    world.backward(world.solve(net))
    world.note(len(calls))


@kind
def a_computed_tensor_retains_its_gradient(world):
    source = world.leaf(3)
    weight = 2 * source
    weight.retain_grad()
    y1 = world.solve(lambda t, y: torch.sin(weight * y), [weight])
    world.backward(y1)
    world.note(weight.grad)


@kind(may_refuse=True)
def a_hook_counts_how_often_it_runs(world):
    weight, other, calls = world.leaf(3), world.leaf(3), []
    weight.register_hook(lambda gradient: calls.append(None))
    computed = weight * other
    computed.register_hook(lambda gradient: calls.append(None))
    world.backward(world.solve(lambda t, y: torch.sin(computed * y) * weight, [weight, computed]))
    world.note(len(calls))


@kind
def one_graph_is_gone_back_through_twice(world):
    net = world.net()
    y1 = world.solve(net)
    world.backward(y1, retain_graph=True)
    net.scale = 3.0
    world.backward(y1)
