"""Fields that draw random numbers."""

import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.engines.changing.world import kind


class Dropping(nn.Module):
    """A network with dropout."""

    def __init__(self, world):
        super().__init__()
        self.net, self.dropout = world.net(), nn.Dropout(0.4)

    def forward(self, t, y):
        return self.dropout(self.net(t, y))


@kind(may_refuse=True, is_fixed=True)
def dropout_is_in_training(world):
    torch.manual_seed(world.choice.seed)
    world.backward(world.solve(Dropping(world)))


@kind(may_refuse=True, is_fixed=True)
def dropout_is_in_training_and_then_evaluated(world):
    field = Dropping(world)
    torch.manual_seed(world.choice.seed)
    y1 = world.solve(field)
    field.eval()
    world.backward(y1)


@kind
def dropout_is_evaluated_and_then_in_training(world):
    field = Dropping(world).eval()
    y1 = world.solve(field)
    field.train()
    world.backward(y1)


@kind(may_refuse=True, is_fixed=True)
def dropout_is_a_function(world):
    net = world.net()
    torch.manual_seed(world.choice.seed)
    world.backward(world.solve(lambda t, y: functional.dropout(net(t, y), 0.4), net.parameters()))


@kind(may_refuse=True, is_fixed=True)
def noise_comes_from_torch_s_generator(world):
    net = world.net()
    torch.manual_seed(world.choice.seed)
    world.backward(world.solve(lambda t, y: net(t, y) * torch.rand_like(y), net.parameters()))
    world.note(torch.rand(1))


@kind(may_refuse=True, is_fixed=True)
def noise_comes_from_a_generator_of_the_user(world):
    net, generator = world.net(), torch.Generator().manual_seed(world.choice.seed)
    f = lambda t, y: net(t, y) * torch.rand(2, 3, generator=generator, dtype=y.dtype)  # noqa: E731
    world.backward(world.solve(f, net.parameters()))


@kind(may_refuse=True, is_fixed=True)
def noise_comes_from_python(world):
    net = world.net()
    random.seed(world.choice.seed)
    world.backward(world.solve(lambda t, y: net(t, y) * random.random(), net.parameters()))


@kind(may_refuse=True, is_fixed=True)
def noise_comes_from_numpy(world):
    net, numbers = world.net(), np.random.default_rng(world.choice.seed)
    world.backward(world.solve(lambda t, y: net(t, y) * numbers.random(), net.parameters()))


@kind
def noise_is_drawn_before_the_solve(world):
    net, noise = world.net(), world.constant(2, 3)
    y1 = world.solve(lambda t, y: net(t, y) * noise, net.parameters())
    noise = world.constant(2, 3)
    world.backward(y1)


@kind
def each_call_seeds_its_own_generator(world):
    net = world.net()
    f = lambda t, y: net(t, y) * torch.rand(2, 3, generator=torch.Generator().manual_seed(3), dtype=y.dtype)  # noqa: E731
    world.backward(world.solve(f, net.parameters()))


@kind
def each_call_forks_the_generator(world):
    net = world.net()

    def f(t, y):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return net(t, y) * torch.rand_like(y)

    world.backward(world.solve(f, net.parameters()))


@kind(may_refuse=True, is_fixed=True)
def only_late_stages_draw(world):
    net = world.net()
    torch.manual_seed(world.choice.seed)
    world.backward(
        world.solve(lambda t, y: functional.dropout(net(t, y), 0.4, training=bool(t > 0.5)), net.parameters())
    )


@kind(may_refuse=True, is_fixed=True)
def random_numbers_do_not_matter(world):
    net = world.net()

    def f(t, y):
        torch.rand(1)
        return net(t, y)

    world.backward(world.solve(f, net.parameters()))
