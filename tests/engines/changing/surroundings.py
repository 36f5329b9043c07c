"""Contexts around a solve, its backward pass, or both."""

import torch
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks

from tests.engines.changing.world import kind

HALF = {
    "dtype": torch.float32,
    "tolerance": 5e-2,
    "is_fixed": True,
    "without": ("quadrature",),
}  # whose tolerance lies below bfloat16


def cast():
    return torch.autocast("cpu", torch.bfloat16)


@kind(**HALF)
def autocast_is_around_the_solve(world):
    net = world.net()
    with cast():
        y1 = world.solve(net)
    world.backward(y1)


@kind(dtype=torch.float32, tolerance=1e-3)
def autocast_is_around_the_backward_pass(world):
    net = world.net()
    y1 = world.solve(net)
    loss = world.loss(y1)
    if not (world.is_ours or world.has_graphs_alone):
        loss.backward()
        return
    with cast():
        loss.backward()


@kind(**HALF)
def autocast_is_inside_f(world):
    net = world.net()

    def f(t, y):
        with cast():
            return net(t, y).float()

    world.backward(world.solve(f, net.parameters()))


@kind(**HALF)
def autocast_is_around_the_solve_and_a_closure(world):
    net, context = world.net(), torch.sin(world.leaf(2, 3))
    with cast():
        y1 = world.solve(lambda t, y: net(t, y) * context, [*net.parameters(), context])
    world.backward(y1)


@kind
def saved_tensors_go_to_the_cpu(world):
    net = world.net()
    with save_on_cpu():
        y1 = world.solve(net)
    world.backward(y1)


@kind
def saved_tensors_are_packed(world):
    net = world.net()
    with saved_tensors_hooks(lambda x: [x], lambda packed: packed[0]):
        y1 = world.solve(net)
        world.backward(y1)


@kind(without=("forward",))  # torch cannot batch under this mode, and warns
def anomalies_are_detected(world):
    net = world.net()
    with torch.autograd.set_detect_anomaly(True, check_nan=True):
        y1 = world.solve(net)
        world.backward(y1)


@kind
def the_default_device_is_another_around_the_backward_pass(world):
    net = world.net()
    y1 = world.solve(lambda t, y: net(t, y) + torch.ones(3, dtype=y.dtype), net.parameters())
    loss = world.loss(y1)
    with torch.device("meta"):
        loss.backward()


@kind
def the_default_device_is_set_around_the_solve(world):
    net = world.net()
    with torch.device("cpu"):
        y1 = world.solve(lambda t, y: net(t, y) + torch.ones(3, dtype=y.dtype), net.parameters())
    world.backward(y1)


@kind(may_refuse=True)
def the_default_dtype_is_another_around_the_backward_pass(world):
    net = world.net()
    y1 = world.solve(lambda t, y: net(t, y) * torch.full((3,), 0.1), net.parameters())
    loss = world.loss(y1)
    torch.set_default_dtype(torch.float64)
    try:
        loss.backward()
    finally:
        torch.set_default_dtype(torch.float32)


@kind
def the_backward_pass_is_in_a_no_grad_block(world):
    net = world.net()
    y1 = world.solve(net)
    loss = world.loss(y1)
    with torch.no_grad():
        loss.backward()


@kind
def the_solve_is_under_no_grad_and_then_again_with(world):
    net = world.net()
    with torch.no_grad():
        world.note(world.solve(net))
    world.backward(world.solve(net))


@kind
def deterministic_algorithms_are_asked_for(world):
    net = world.net()
    torch.use_deterministic_algorithms(True)
    try:
        world.backward(world.solve(net))
    finally:
        torch.use_deterministic_algorithms(False)
