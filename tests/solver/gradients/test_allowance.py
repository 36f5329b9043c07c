"""What the graph of an evaluation holds, against what its operations are known to save."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pyndereg.solver.gradients import allowance
from pyndereg.solver.gradients.allowance import BYTES_PER_OPERATION, Room
from pyndereg.solver.gradients.graph import reached_from

SIZE = 8 * 10  # bytes of ten numbers


def bytes_held(slope, y, shared):
    return allowance.bytes_held(slope, y, reached_from(slope, [y], 0).operations, shared)


def state(*shape):
    return torch.linspace(0.1, 1.0, 10, dtype=torch.float64).view(shape or (10,)).requires_grad_()


class Doubled(torch.autograd.Function):
    """Saves its argument and one tensor besides."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x, None, x + 1)
        return 2 * x

    @staticmethod
    def backward(ctx, cotangent):
        return 2 * cotangent


def test_a_state_and_a_slope_are_held_once_each_whoever_saved_them():
    y = state()
    assert bytes_held(torch.exp(y), y, []) == 2 * SIZE  # exp saves its result
    assert bytes_held(torch.sin(y), y, []) == 2 * SIZE  # sin its argument
    assert bytes_held(y + 1, y, []) == 2 * SIZE  # a sum neither


def test_what_operations_in_between_saved_is_held():
    y = state()
    assert bytes_held(torch.sin(torch.sin(torch.sin(y))), y, []) == 4 * SIZE
    assert bytes_held(torch.sin(y) * torch.cos(y), y, []) == 4 * SIZE
    assert bytes_held(Doubled.apply(y), y, []) == 3 * SIZE
    assert bytes_held(y[torch.arange(10)], y, []) == 3 * SIZE


def test_parameters_and_other_tensors_that_were_found_are_not_held():
    y, net = state(1, 10), nn.Linear(10, 10).double()
    constant = torch.ones(10, dtype=torch.float64)
    slope = net(y) * constant
    found = [*net.parameters(), constant]
    # The product saves what the layer returned and, for its other factor, the constant.
    assert bytes_held(slope, y, found) == 2 * SIZE
    assert bytes_held(slope, y, []) > bytes_held(slope, y, found)
    hidden = torch.tanh(net(y)).square()
    assert bytes_held(hidden, y, found) == 3 * SIZE


def test_views_of_one_memory_count_once():
    y = state()
    assert bytes_held(torch.sin(y.view(2, 5)) * y.view(2, 5), y, []) == 3 * SIZE


def test_a_checkpointed_part_holds_nothing_and_is_not_computed_again():
    calls = []

    def part(y):
        calls.append(1)
        return torch.sin(torch.sin(y))

    y = state()
    slope = checkpoint(part, y, use_reentrant=False)
    assert bytes_held(slope, y, []) == 2 * SIZE
    assert len(calls) == 1
    slope.sum().backward()
    assert y.grad.any()


def test_a_slope_without_a_graph_holds_itself_and_the_state():
    assert bytes_held(torch.ones(10, dtype=torch.float64), state(), []) == 2 * SIZE


@pytest.mark.parametrize("operations", [0, 3])
def test_steps_get_places_until_the_allowance_is_used_up(operations):
    evaluation = 100 + BYTES_PER_OPERATION * (operations + 1)
    room = Room(evaluation * (1 + 3 * 6) + evaluation // 2, 100, operations, 6)
    for _ in range(3):
        assert room.has_a_place
        assert room.take(6, 6 * operations)
    assert not room.has_a_place
    assert not room.take(6, 6 * operations)


def test_an_allowance_smaller_than_a_step_has_no_place():
    evaluation = 100 + 4 * BYTES_PER_OPERATION
    assert not Room(7 * evaluation - 1, 100, 3, 6).has_a_place
    assert Room(7 * evaluation, 100, 3, 6).has_a_place


def test_a_step_of_more_operations_counts_for_more_and_ends_the_places_where_it_does_not_fit():
    evaluation = 100 + 4 * BYTES_PER_OPERATION
    room = Room(evaluation * (1 + 4 * 2), 100, 3, 2)
    assert room.take(2, 6)
    assert not room.take(2, 3 * 7)  # as much as 7 evaluations, where 6 would fit
    assert not room.has_a_place
    assert Room(evaluation * (1 + 4 * 2), 100, 3, 2).take(2, 3 * 8)
