"""A watched evaluation: what entered it, what it made, changed and drew."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pyndereg as nde
from pyndereg.solver.gradients.watch import (
    Seen,
    alias_of,
    mapped,
    random_states,
    restore_random_states,
    same_states,
    watched,
)


def leaf(*shape):
    return torch.rand(*shape, requires_grad=True)


def look(function, *arguments, exchange=None):
    """What one evaluation showed, with its result."""
    arguments = arguments or (leaf(3),)
    return watched(lambda: function(*arguments), arguments, exchange)


def captured(seen):
    return list(seen.captured.values())


def is_computed(x):
    return x.grad_fn is not None


def test_leaves_and_computed_tensors_that_enter_are_captured_once_in_their_order():
    one, two = leaf(3), leaf(3)
    three = two.exp()
    _, seen = look(lambda y: y * two + one * three + one, exchange=is_computed)
    assert [id(x) for x in captured(seen)] == [id(two), id(one), id(three)]


def test_tensors_inside_lists_and_dictionaries_of_arguments_are_captured():
    one, two = leaf(3), leaf(3)
    _, seen = look(lambda y: torch.stack([y, one]).sum(0) + torch.where(condition=y > 0, input=two, other=y))
    assert [id(x) for x in captured(seen)] == [id(one), id(two)]


def test_arguments_constants_and_what_the_evaluation_makes_are_not_captured():
    constant = torch.rand(3)

    def f(y):
        made = torch.rand(3, requires_grad=True)
        return y * constant + made.exp() + y.exp()

    _, seen = look(f)
    assert captured(seen) == []
    assert id(constant) in seen.entered


def test_nothing_is_captured_without_grad_mode():
    one = leaf(3)
    with torch.no_grad():
        _, seen = look(lambda y: y * one)
    assert captured(seen) == []


def test_a_tensor_that_enters_under_no_grad_alone_is_not_captured():
    one = leaf(3)

    def f(y):
        with torch.no_grad():
            factor = one.exp()
        return y * factor

    _, seen = look(f)
    assert captured(seen) == []


def test_an_exchanged_tensor_is_replaced_by_one_alias_in_the_graph():
    source = leaf(3)
    computed = source.exp()
    result, seen = look(lambda y: y * computed + computed, exchange=is_computed)
    ((original, alias),) = seen.exchanged.values()
    assert original is computed
    assert torch.autograd.grad(result.sum(), [alias, source], allow_unused=True)[1] is None
    assert alias.data_ptr() == computed.data_ptr()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_leaf_that_a_scripted_function_uses_is_hidden():
    net = nn.Linear(3, 3)
    scripted = torch.jit.trace(net, torch.rand(3), check_trace=False)
    _, seen = look(lambda y: scripted(y))
    assert {id(x) for x in seen.hidden.values()} == {id(x) for x in scripted.parameters()}
    assert seen.captured.keys() >= seen.hidden.keys()


def test_a_computed_tensor_that_no_torch_function_received_is_refused():
    computed = leaf(3).exp()
    with pytest.raises(nde.GradientRefused, match="computed before"):
        look(lambda y: unseen_product(y, computed))


def unseen_product(y, computed):
    """A product that torch's function modes do not see."""
    with torch._C.DisableTorchFunction():
        return torch.mul(y, computed)


def test_a_tensor_that_is_changed_in_place_is_noted_and_has_not_entered():
    buffer, constant = torch.zeros(3), torch.ones(3)

    def f(y):
        buffer.copy_(y.detach())
        return y + buffer * constant

    _, seen = look(f)
    assert seen.changed.keys() == {id(buffer)}
    assert seen.entered.keys() == {id(constant)}
    assert seen.entered[id(constant)][1] == constant._version


def test_statistics_that_batch_norm_moves_are_changed_and_those_that_it_reads_are_not():
    norm = nn.BatchNorm1d(3)
    moved = {id(norm.running_mean), id(norm.running_var), id(norm.num_batches_tracked)}
    _, seen = look(norm, leaf(4, 3))
    assert seen.changed.keys() == moved
    _, seen = look(norm.eval(), leaf(4, 3))
    assert seen.changed.keys() == set()
    _, seen = look(nn.InstanceNorm1d(3, track_running_stats=True), leaf(2, 3, 4))
    assert len(seen.changed) >= 2


def test_random_numbers_are_noticed_from_torch_s_generator_and_from_another():
    generator = torch.Generator()
    assert not look(lambda y: y.exp())[1].draws
    assert look(lambda y: F.dropout(y, 0.5))[1].draws
    seen = look(lambda y: y * torch.rand(3, generator=generator))[1]
    assert seen.draws
    assert seen.generators == (generator,)


def test_the_coarsest_result_is_that_of_half_precision():
    assert look(lambda y: y.exp())[1].coarsest == torch.finfo(torch.float32).eps
    assert look(lambda y: y.bfloat16().float())[1].coarsest == torch.finfo(torch.bfloat16).eps
    assert look(lambda y: y.double().exp(), torch.rand(3).double())[1].coarsest == torch.finfo(torch.float64).eps


def test_what_two_evaluations_showed_together_is_both():
    one, two = leaf(3), leaf(3)
    first, second = look(lambda y: y * one)[1], look(lambda y: F.dropout(y * two, 0.5))[1]
    both = first.merged(second)
    assert [id(x) for x in captured(both)] == [id(one), id(two)]
    assert both.draws
    assert not Seen().merged(first).draws


def test_an_alias_is_a_leaf_over_the_same_memory():
    x = leaf(3).exp()
    alias = alias_of(x)
    assert alias.is_leaf
    assert alias.requires_grad
    assert alias.data_ptr() == x.data_ptr()


def test_a_value_is_mapped_where_tensors_lie_in_it_and_otherwise_left_alone():
    x, other = torch.ones(1), object()
    found = mapped(lambda tensor: tensor + 1, ([x, (x, other)], {"a": x}))
    assert found[0][0].item() == found[0][1][0].item() == found[1]["a"].item() == 2
    assert found[0][1][1] is other


def test_generators_that_are_put_back_draw_the_same_again():
    device, generator = torch.device("cpu"), torch.Generator()
    states = random_states(device, (generator,))
    assert same_states(states, random_states(device, (generator,)))
    drawn = torch.rand(3), torch.rand(3, generator=generator)
    assert not same_states(states, random_states(device, (generator,)))
    restore_random_states(states, device, (generator,))
    assert torch.equal(torch.rand(3), drawn[0])
    assert torch.equal(torch.rand(3, generator=generator), drawn[1])
