"""The handwritten digits that scikit-learn ships: 8 by 8 pixels."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyndereg.experiments.data.images import LabelledImages, split_images
from pyndereg.experiments.data.packaged import check_installed

if TYPE_CHECKING or find_spec("sklearn") is not None:
    from sklearn.datasets import load_digits

INTENSITY_LEVELS = 16  # the digits' pixels are counts from 0 to 16
PIXELS = 64


def load_handwritten_digits(*, test_fraction: float, seed: int, dtype: torch.dtype) -> LabelledImages:
    """The 1,797 handwritten digits that scikit-learn ships, split so that both parts hold each digit equally often.

    Args:
        test_fraction: part of the images kept for testing, between 0 and 1 (dimensionless).
        seed: seed of the split.
        dtype: floating-point type of the images.
    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: a part of the split would hold fewer images than there are digits.
    Source: [@alpaydin1998optical].
    """
    check_installed("sklearn", shipped_as="scikit-learn", data="the digits")
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    return split_images(images, labels, levels=INTENSITY_LEVELS, test_fraction=test_fraction, seed=seed, dtype=dtype)
