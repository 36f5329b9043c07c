"""The images that the experiments are trained and tested on."""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

# Scikit-learn is an extra: without it this module can be imported, and says what is missing when images are asked for.
SKLEARN_IS_INSTALLED = find_spec("sklearn") is not None
if TYPE_CHECKING or SKLEARN_IS_INSTALLED:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

INTENSITY_LEVELS = 16  # the digits' pixels are counts from 0 to 16
PIXELS = 64
CLASSES = 10


@dataclass(frozen=True)
class LabelledImages:
    """Images with what they show, in two parts that share no image.

    Args:
        train_images: Shape (train, pixels), intensities in [0, 1] (dimensionless).
        train_labels: Shape (train,), int64, the class of each image.
        test_images: Shape (test, pixels), intensities in [0, 1] (dimensionless).
        test_labels: Shape (test,), int64.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def to(self, device: torch.device | str) -> "LabelledImages":
        """The same images on a device."""
        return LabelledImages(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})


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
    if not SKLEARN_IS_INSTALLED:
        raise ModuleNotFoundError(
            'the digits come with scikit-learn, which is not installed; run pip install "pyndereg[experiments]"'
        )
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=test_fraction, stratify=labels, random_state=seed
    )
    return LabelledImages(
        train_images=torch.tensor(train_images, dtype=dtype) / INTENSITY_LEVELS,
        train_labels=torch.tensor(train_labels, dtype=torch.int64),
        test_images=torch.tensor(test_images, dtype=dtype) / INTENSITY_LEVELS,
        test_labels=torch.tensor(test_labels, dtype=torch.int64),
    )
