"""The stand-in for CIFAR-10: patches of the right regions, and no pixel both in training and in testing."""

import pytest
import torch
from sklearn.datasets import load_sample_image

from pyndereg.experiments.data.photographs import PIECES, REGIONS, SIDE, load_photograph_patches


def load(patches_per_region=50, seed=0, dtype=torch.float64):
    return load_photograph_patches(patches_per_region=patches_per_region, seed=seed, dtype=dtype)


def places_of(patch, photograph):
    """Upper left corners at which a patch is found in a photograph."""
    windows = photograph.unfold(0, SIDE, 1).unfold(1, SIDE, 1)
    fits = (windows[..., 0, 0] == patch[:, 0, 0]).all(dim=-1) & (windows[..., -1, -1] == patch[:, -1, -1]).all(dim=-1)
    return [corner for corner in fits.nonzero().tolist() if torch.equal(windows[tuple(corner)], patch)]


@pytest.fixture(scope="module")
def photographs():
    return {name: torch.tensor(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")}


def test_both_parts_hold_each_region_equally_often():
    images = load()
    assert images.train_images.shape == (400, 3, 32, 32)
    assert images.test_images.shape == (100, 3, 32, 32)
    assert torch.bincount(images.train_labels).tolist() == [40] * 10
    assert torch.bincount(images.test_labels).tolist() == [10] * 10
    assert 0.0 <= images.train_images.min() < images.train_images.max() <= 1.0


def test_every_patch_lies_in_its_region_and_no_pixel_is_in_both_parts(photographs):
    images = load(patches_per_region=20)
    owners = {name: torch.zeros(photograph.shape[:2], dtype=torch.int64) for name, photograph in photographs.items()}
    for owner, part, labels in (
        (1, images.train_images, images.train_labels),
        (2, images.test_images, images.test_labels),
    ):
        for patch, label in zip((part * 255).round().to(torch.uint8), labels, strict=True):
            region = REGIONS[label]
            inside = [
                (top, left)
                for top, left in places_of(patch, photographs[region.photograph])
                if region.top <= top <= region.top + region.height - SIDE
                and region.left <= left <= region.left + region.width - SIDE
            ]
            assert inside
            top, left = inside[0]
            owners[region.photograph][top : top + SIDE, left : left + SIDE] |= owner
    assert all((owner < 3).all() for owner in owners.values())


def test_the_regions_lie_within_their_photographs_and_apart(photographs):
    taken = {name: torch.zeros(photograph.shape[:2], dtype=torch.int64) for name, photograph in photographs.items()}
    for region in REGIONS:
        rows, columns = taken[region.photograph].shape
        assert region.top + region.height <= rows
        assert region.left + region.width <= columns
        assert max(region.height, region.width) // PIECES >= SIDE
        taken[region.photograph][region.top :, region.left :][: region.height, : region.width] += 1
    assert all(count.max() == 1 for count in taken.values())


def test_equal_seeds_cut_alike_and_others_do_not():
    assert torch.equal(load(seed=5).test_images, load(seed=5).test_images)
    assert not torch.equal(load(seed=5).test_images, load(seed=6).test_images)


def test_too_few_patches_for_both_parts_are_refused():
    with pytest.raises(ValueError, match="patches_per_region is 4; pass at least 5"):
        load(patches_per_region=4)
