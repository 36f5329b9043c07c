"""Fields that torch.compile has compiled: right or refused like any other.

A module of its own, since a process that has loaded the compiler evaluates every field more slowly.
"""

import pytest
import torch

from tests.engines.changing.world import Choice, Kind, outcome

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
CHOICES = [
    Choice(gradient=gradient, equation=equation)
    for equation, gradients in {
        "ode": ("default", "backprop", "discrete", "gauss", "forward"),
        "sde": ("backprop", "discrete", "backsolve"),
    }.items()
    for gradient in gradients
]


def a_module_is_compiled(world, backend):
    net = world.net()
    y1 = world.solve(torch.compile(net, backend=backend) if world.is_ours else net)
    net.scale = 3.0
    world.backward(y1)


def a_function_is_compiled(world, backend):
    net, context = world.net(), torch.sin(world.leaf(3))

    def f(t, y):
        return net(t, y) * context

    compiled = torch.compile(f, backend=backend) if world.is_ours else f
    world.backward(world.solve(compiled, [*net.parameters(), context]))


def a_compiled_module_is_part_of_f(world, backend):
    net = world.net()
    inner = torch.compile(net, backend=backend) if world.is_ours else net
    y1 = world.solve(lambda t, y: inner(t, y) - y, net.parameters())
    net.scale = 3.0
    world.backward(y1)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("script", [a_module_is_compiled, a_function_is_compiled, a_compiled_module_is_part_of_f])
def test_the_gradient_of_a_compiled_field_is_that_of_a_plain_loop(script, backend):
    for choice in CHOICES:
        # AOT's graphs have no second derivative, which forward mode needs.
        expected = ("right", "refused") if (choice.gradient, backend) == ("forward", "aot_eager") else ("right",)
        assert outcome(Kind(lambda world: script(world, backend)), choice) in expected, choice
