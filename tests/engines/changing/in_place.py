"""Changes in place: by the user between the passes, and by f itself."""

import torch
from torch import nn

from tests.engines.changing.world import kind

# Autograd refuses such a backward pass, or, where it did not keep the tensor, goes on: the plain loop has no change.


@kind(may_refuse=True)
def an_optimizer_steps_between(world):
    net = world.net()
    y1 = world.solve(net)
    if world.is_ours:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for param in net.parameters():
            param.grad = torch.ones_like(param)
        optimizer.step()
        optimizer.zero_grad()
    world.backward(y1)


@kind(may_refuse=True)
def other_weights_are_loaded_between(world):
    net = world.net()
    y1 = world.solve(net)
    if world.is_ours:
        net.load_state_dict({name: 2 * x for name, x in net.state_dict().items()})
    world.backward(y1)


class Shifted(nn.Module):
    """A network with a buffer."""

    def __init__(self, world):
        super().__init__()
        self.net = world.net()
        self.register_buffer("shift", world.constant(3))

    def forward(self, t, y):
        return self.net(t, y * self.shift)


@kind(may_refuse=True)
def a_buffer_is_changed_between(world):
    field = Shifted(world)
    y1 = world.solve(field)
    if world.is_ours:
        field.shift.add_(1)
    world.backward(y1)


@kind(may_refuse=True)
def the_initial_state_is_changed_between(world):
    net, start = world.net(), world.y0
    y1 = world.solve(net)
    if world.is_ours:
        with torch.no_grad():
            start.add_(1)
    world.backward(y1)


@kind(may_refuse=True)
def a_constant_that_f_uses_is_changed_between(world):
    net, context = world.net(), world.constant(2, 3)
    y1 = world.solve(lambda t, y: net(t, y) * context, net.parameters())
    if world.is_ours:
        context.zero_()
    world.backward(y1)


@kind(may_refuse=True)
def a_computed_tensor_that_f_uses_is_changed_between(world):
    context = torch.sin(world.leaf(3))
    y1 = world.solve(lambda t, y: torch.sin(y * context), [context])
    if world.is_ours:
        context.detach().zero_()
    world.backward(y1)


@kind(may_refuse=True)
def a_constant_that_only_late_stages_use_is_changed_between(world):
    net, context = world.net(), world.constant(2, 3)
    f = lambda t, y: net(t, y) if t <= 0.5 else net(t, y) + (2 * t - 1) ** 6 * context * y  # noqa: E731
    y1 = world.solve(f, net.parameters())
    if world.is_ours:
        context.zero_()
    world.backward(y1)


@kind
def the_solution_is_changed_in_place(world):
    net = world.net()
    y1 = world.solve(net)
    y1 = y1 * 1.0 if not world.is_ours else y1
    y1.mul_(2)
    world.backward(y1)


@kind
def f_writes_into_its_argument(world):
    net = world.net()

    def f(t, y):
        y.mul_(2)
        return net(t, y)

    world.backward(world.solve(f, net.parameters()))


@kind
def f_writes_into_what_it_computed(world):
    net = world.net()
    world.backward(world.solve(lambda t, y: net(t, y).add_(t).mul_(0.5), net.parameters()))


@kind(may_refuse=True, is_fixed=True)
def f_returns_a_tensor_that_it_keeps(world):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = world.net()
            self.register_buffer("slope", world.constant(2, 3) * 0)

        def forward(self, t, y):
            self.slope = self.slope.detach()
            self.slope.copy_(self.net(t, y))
            return self.slope

    world.backward(world.solve(Keeping()))


def overwriting(net, slope):
    def f(t, y):
        slope.detach_().copy_(net(t, y))
        return slope

    return f


@kind(may_refuse=True, is_fixed=True)
def f_writes_into_a_tensor_of_a_closure(world):
    net = world.net()
    world.backward(world.solve(overwriting(net, world.constant(2, 3)), net.parameters()))


@kind(may_refuse=True, is_fixed=True)
def two_solves_write_into_one_tensor(world):
    net = world.net()
    f = overwriting(net, world.constant(2, 3))
    first = world.solve(f, net.parameters())
    world.backward(first, world.solve(f, net.parameters()))


@kind(may_refuse=True, is_fixed=True)
def drift_and_diffusion_write_into_one_tensor(world):
    net = world.net()
    f = overwriting(net, world.constant(2, 3))
    size = 0.03 if world.choice.is_continuous else 0.3
    world.backward(world.solve(f, net.parameters(), g=lambda t, y: size * torch.tanh(f(t, y))))


@kind(may_refuse=True)
def f_changes_a_computed_tensor_in_place(world):
    net, factor = world.net(), torch.ones(3, dtype=world.dtype, requires_grad=True) * 1.0
    world.backward(world.solve(lambda t, y: factor.mul_(1.0) * net(t, y), net.parameters()))


@kind
def f_keeps_what_it_computed_last(world):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.last = world.net(), None

        def forward(self, t, y):
            self.last = torch.tanh(self.net(t, y))
            return self.last + 1

    world.backward(world.solve(Keeping()))


class Counting(nn.Module):
    """A network that counts its calls."""

    def __init__(self, world):
        super().__init__()
        self.net, self.nfe = world.net(), 0

    def forward(self, t, y):
        self.nfe += 1
        return self.net(t, y)


@kind(is_fixed=True)
def a_module_counts_its_calls(world):
    field = Counting(world)
    y1 = world.solve(field)
    if world.is_ours and world.choice.noise == "own":
        assert field.nfe == world.solutions[0].stats.nfe
    world.backward(y1)


@kind
def a_closure_counts_its_calls(world):
    net, calls, times = world.net(), 0, []

    def f(t, y):
        nonlocal calls
        calls += 1
        times.append(float(t))
        return net(t, y)

    y1 = world.solve(f, net.parameters())
    assert calls == len(times) > 0
    world.backward(y1)


@kind(may_refuse=True, is_fixed=True)
def a_tensor_counts_its_calls(world):
    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = world.net()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def forward(self, t, y):
            self.calls += 1
            return self.net(t, y)

    world.backward(world.solve(Field()))


@kind(may_refuse=True, is_fixed=True)
def a_tensor_counts_its_calls_and_matters(world):
    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = world.net()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def forward(self, t, y):
            self.calls += 1
            return self.net(t, y) / self.calls.clone()

    world.backward(world.solve(Field()))
