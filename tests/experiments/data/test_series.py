"""Irregular series: selected, moved and split without losing track of what was observed."""

import pytest
import torch

from pyndereg.experiments.data.series import IrregularSeries, split_series


def numbered(count):
    """Series whose only feature is their own number, observed in the first half of the times."""
    numbers = torch.arange(count, dtype=torch.float64)[:, None, None].expand(count, 4, 1)
    return IrregularSeries(
        torch.linspace(0, 1, 4), numbers, torch.tensor([1.0, 1.0, 0.0, 0.0])[:, None].expand(count, 4, 1)
    )


def numbers_of(series):
    return series.values[:, 0, 0].tolist()


def test_series_are_selected_by_number_or_by_mark():
    assert numbers_of(numbered(4).select(torch.tensor([2, 0]))) == [2, 0]
    assert numbers_of(numbered(4).select(torch.tensor([False, True, False, True]))) == [1, 3]


def test_both_parts_of_a_split_share_no_series_and_leave_none_out():
    split = split_series(numbered(10), used=1.0, test_fraction=0.2, seed=0)
    assert (len(split.train), len(split.test)) == (8, 2)
    assert sorted(numbers_of(split.train) + numbers_of(split.test)) == list(range(10))
    assert torch.equal(split.train.times, split.test.times)


def test_only_the_part_that_is_used_is_split():
    split = split_series(numbered(100), used=0.8, test_fraction=0.2, seed=0)
    assert (len(split.train), len(split.test)) == (64, 16)
    assert len({*numbers_of(split.train), *numbers_of(split.test)}) == 80


def test_equal_seeds_split_alike_and_others_do_not():
    def train_of(seed):
        return numbers_of(split_series(numbered(50), used=0.8, test_fraction=0.2, seed=seed).train)

    assert train_of(5) == train_of(5)
    assert train_of(5) != train_of(6)


@pytest.mark.parametrize(("used", "test_fraction"), [(0.1, 0.5), (1.0, 0.01), (1.0, 0.99)])
def test_an_empty_part_is_refused(used, test_fraction):
    with pytest.raises(ValueError, match="choose used and test_fraction so that both parts hold some"):
        split_series(numbered(10), used=used, test_fraction=test_fraction, seed=0)


def test_series_move_to_a_device_with_their_times_and_masks():
    moved = split_series(numbered(10), used=1.0, test_fraction=0.2, seed=0).to("meta")
    for part in (moved.train, moved.test):
        assert {part.times.device.type, part.values.device.type, part.mask.device.type} == {"meta"}
