"""A state and the one vector that it is solved as."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.ivp import StateLayout

shapes = st.lists(st.lists(st.integers(1, 3), max_size=3).map(tuple), min_size=1, max_size=4)


def numbered(shape, start):
    return torch.arange(start, start + math.prod(shape), dtype=torch.float64).reshape(shape)


@given(shapes=shapes, is_tuple=st.booleans(), leading=st.lists(st.integers(0, 2), max_size=2).map(tuple))
def test_a_state_comes_back_as_it_was_whatever_its_shapes(shapes, is_tuple, leading):
    parts = tuple(numbered(shape, 100 * i) for i, shape in enumerate(shapes))
    state = parts if is_tuple else parts[0]
    layout = StateLayout.of(state)
    vector = layout.flatten(state)
    assert vector.shape == (layout.size,)
    back = layout.unflatten(vector.expand(*leading, -1))
    originals, found = (parts, back) if is_tuple else ((state,), (back,))
    assert isinstance(back, tuple) == is_tuple
    for original, part in zip(originals, found, strict=True):
        assert torch.equal(part, original.expand((*leading, *original.shape)))


def test_the_parts_of_a_tuple_follow_each_other_in_the_vector():
    state = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(5.0), torch.tensor([6.0]))
    assert StateLayout.of(state).flatten(state).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    ("state", "shape"), [(torch.ones(2, 3), (2, 3)), (torch.ones(()), ()), ((torch.ones(2, 3),), (6,))]
)
def test_inside_a_solver_one_tensor_keeps_its_shape_and_a_tuple_is_flat(state, shape):
    assert StateLayout.of(state).solver_shape == shape


def test_a_tuple_of_one_tensor_stays_a_tuple():
    layout = StateLayout.of((torch.ones(2),))
    assert layout.is_tuple
    assert isinstance(layout.unflatten(torch.ones(2)), tuple)
