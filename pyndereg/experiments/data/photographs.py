"""A stand-in for CIFAR-10 that needs no download: small patches of the two photographs that scikit-learn ships.

A small convolutional network gets about three in four of the test patches right, so there is something to learn and
something to get wrong; but an accuracy on it says nothing about CIFAR-10. Records name it `PHOTOGRAPH_PATCHES`.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyndereg.experiments.data.images import LabelledImages
from pyndereg.experiments.data.packaged import check_installed

if TYPE_CHECKING or find_spec("sklearn") is not None:
    from sklearn.datasets import load_sample_image

PHOTOGRAPH_PATCHES = "photograph-patches"
SIDE = 32
INTENSITY_LEVELS = 255
PIECES = 5  # of every region; one of them is for testing


@dataclass(frozen=True)
class Region:
    """A rectangle of a photograph that shows one thing, in pixels from the upper left corner."""

    shows: str
    photograph: str
    top: int
    left: int
    height: int
    width: int


# A class each, in this order.
REGIONS = (
    Region("sky", "china.jpg", top=0, left=330, height=180, width=210),
    Region("pagoda", "china.jpg", top=120, left=100, height=210, width=230),
    Region("lake", "china.jpg", top=205, left=340, height=85, width=205),
    Region("bushes", "china.jpg", top=320, left=340, height=107, width=220),
    Region("conifer", "china.jpg", top=170, left=560, height=257, width=80),
    Region("leaf", "flower.jpg", top=90, left=0, height=230, width=130),
    Region("petals", "flower.jpg", top=100, left=190, height=230, width=230),
    Region("shade below", "flower.jpg", top=340, left=0, height=87, width=260),
    Region("shade beside", "flower.jpg", top=60, left=450, height=230, width=190),
    Region("shade above", "flower.jpg", top=0, left=150, height=80, width=300),
)


def load_photograph_patches(*, patches_per_region: int, seed: int, dtype: torch.dtype) -> LabelledImages:
    """Stand-in for CIFAR-10: patches cut at random places from ten regions of two photographs; say which region.

    Every region is cut along its longer side into five pieces. One of them, drawn at random, gives a fifth of the
    patches, for testing; the others give the rest, for training. No pixel is in both parts.

    Args:
        patches_per_region: for training and testing together.
        seed: seed of the pieces and places.
        dtype: floating-point type of the images.
    Returns:
        Images of shape (images, 3, 32, 32), intensities in [0, 1]; labels are places in `REGIONS`.
    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: there are too few patches for both parts.
    """
    check_installed("sklearn", shipped_as="scikit-learn", data="the photographs")
    test_patches = patches_per_region // PIECES
    if test_patches == 0:
        raise ValueError(f"patches_per_region is {patches_per_region}; pass at least {PIECES}")
    generator = np.random.default_rng(seed)
    photographs = {name: load_sample_image(name) for name in {region.photograph for region in REGIONS}}
    train, test = [], []
    for region in REGIONS:
        pieces = _pieces(photographs[region.photograph], region)
        test_pieces = [pieces.pop(generator.integers(PIECES))]
        train += [_patch(pieces, generator) for _ in range(patches_per_region - test_patches)]
        test += [_patch(test_pieces, generator) for _ in range(test_patches)]
    return LabelledImages(*_labelled(train, dtype), *_labelled(test, dtype))


def _pieces(photograph: np.ndarray, region: Region) -> list[np.ndarray]:
    """The region's pieces, each of shape (height, width, colours)."""
    pixels = photograph[region.top : region.top + region.height, region.left : region.left + region.width]
    return np.array_split(pixels, PIECES, axis=0 if region.height > region.width else 1)


def _patch(pieces: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """A patch at a random place of one of the pieces. Shape (32, 32, colours)."""
    piece = pieces[generator.integers(len(pieces))]
    top, left = (generator.integers(length - SIDE + 1) for length in piece.shape[:2])
    return piece[top : top + SIDE, left : left + SIDE]


def _labelled(patches: list[np.ndarray], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The patches, as many of each region, in the regions' order, with their labels."""
    images = torch.tensor(np.stack(patches), dtype=dtype).permute(0, 3, 1, 2).contiguous() / INTENSITY_LEVELS
    return images, torch.arange(len(REGIONS)).repeat_interleave(len(patches) // len(REGIONS))
