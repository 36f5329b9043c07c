"""solution(t) after a change of f: the state of the solve and its gradient, or a refusal."""

import pytest
import torch
from torch import nn

import pyndereg as nde
from tests.engines.changing.world import GRADIENTS, Choice, Ours
from tests.sentences import check_sentence

PAIRS = [(equation, name) for equation, gradients in GRADIENTS.items() for name in gradients]


def an_attribute(net):
    net.scale = 3.0


def a_layer(net):
    net.inner = nn.Linear(3, 4).double()


def the_data_of_a_parameter(net):
    net.inner.weight.data = 2 * net.inner.weight.data


def a_parameter_in_place(net):
    with torch.no_grad():
        net.inner.weight.mul_(2)


def a_hook(net):
    net.inner.register_forward_hook(lambda module, args, output: 2 * output)


def its_mode(net):
    net.eval()


CHANGES = {  # and whether it may be refused
    an_attribute: False,
    a_layer: True,
    the_data_of_a_parameter: False,
    a_parameter_in_place: True,
    a_hook: False,
    its_mode: False,
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize(("equation", "name"), PAIRS)
@pytest.mark.parametrize("saveat", [None, nde.SaveAt(dense=True)], ids=["replayed", "dense"])
def test_dense_output_after_a_change_of_f_is_that_of_the_solve_or_refused(equation, name, change, saveat):
    choice = Choice(equation=equation, gradient=name)
    found = []
    for changes in (False, True):
        world = Ours(choice, torch.float64)
        net = world.net()
        world.solve(net)
        solution = world.solutions[0]
        if changes:
            change(net)
        try:
            found.append(solution(0.3).detach())
        except RuntimeError as refusal:
            assert changes
            assert CHANGES[change]
            check_sentence(refusal)
            return
    assert torch.equal(*found)
    assert found[0].any()


@pytest.mark.parametrize(("equation", "name"), PAIRS)
def test_the_gradient_of_dense_output_after_a_change_of_f_is_that_before_it(equation, name):
    found = []
    for changes in (False, True):
        world = Ours(Choice(equation=equation, gradient=name), torch.float64)
        net = world.net()
        world.solve(net)
        params = list(net.parameters())
        if changes:
            net.scale = 3.0
            net.inner.register_forward_hook(lambda module, args, output: 2 * output)
        world.backward(world.solutions[0](0.3))
        found.append([param.grad for param in params])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert one.any()
