"""Seeded blocks of normals."""

import copy

import pytest
import torch

from pyndereg.noise import stream
from pyndereg.noise.stream import NormalStream
from tests.noise.laws import check_normal, check_uncorrelated
from tests.sentences import check_sentence


def block(normals, level, index, shape=(4, 50)):
    out = torch.empty(shape)
    normals.draw(level, index, out)
    return out


def test_a_block_is_a_function_of_seed_and_place():
    first, second = NormalStream(7), NormalStream(7)
    blocks = {place: block(first, *place) for place in [(0, 0), (0, 1), (1, 0), (3, 2**40)]}
    for place in reversed(blocks):
        assert torch.equal(block(second, *place), blocks[place])
    assert not any(torch.equal(blocks[0, 0], other) for place, other in blocks.items() if place != (0, 0))


def test_seeds_and_places_that_agree_in_their_low_32_bits_differ():
    assert not torch.equal(block(NormalStream(7), 0, 0), block(NormalStream(7 + 2**32), 0, 0))
    assert not torch.equal(block(NormalStream(7), 0, 5), block(NormalStream(7), 0, 5 + 2**32))
    assert not torch.equal(block(NormalStream(2**64 - 1), 0, 0), block(NormalStream(2**63 - 1), 0, 0))


def test_blocks_are_normal_and_neighbours_in_seed_level_and_index_are_independent():
    """20,000 values for each of four neighbours."""
    size = (20_000,)
    here, seed, level, index = (
        block(NormalStream(s), l, i, size) for s, l, i in [(3, 1, 1), (4, 1, 1), (3, 2, 1), (3, 1, 2)]
    )
    check_uncorrelated(here, seed, level, index)
    check_normal(torch.stack((here, seed, level, index)), 1.0)


def test_the_first_value_over_4000_places_and_4000_seeds_is_normal():
    places, seeds = NormalStream(0), range(4000)
    of_places = torch.stack([block(places, 2, index, (16,))[0] for index in range(4000)])
    of_seeds = torch.stack([block(NormalStream(seed), 0, 0, (16,))[0] for seed in seeds])
    check_normal(of_places, 1.0)
    check_normal(of_seeds, 1.0)
    check_uncorrelated(of_places[1:], of_places[:-1])
    check_uncorrelated(of_seeds[1:], of_seeds[:-1])


def test_a_copy_draws_the_same_blocks():
    normals = NormalStream(7)
    block(normals, 0, 0)
    copied = copy.deepcopy(normals)
    assert torch.equal(block(copied, 0, 3), block(normals, 0, 3))
    assert not torch.equal(block(copied, 0, 3), block(copied, 0, 4))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    block(NormalStream(7), 0, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_that_is_kept_otherwise_raises_a_sentence(monkeypatch):
    monkeypatch.setattr(stream, "HEAD", 32)
    with pytest.raises(RuntimeError) as raised:
        NormalStream(7)
    check_sentence(raised.value, torch.__version__)
