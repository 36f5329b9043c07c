"""Images with what they show, and how a set of them is split in two."""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

# Scikit-learn is an extra: without it this module can be imported, and says what is missing when images are asked for.
if TYPE_CHECKING or find_spec("sklearn") is not None:
    from sklearn.model_selection import train_test_split

CLASSES = 10  # of every set of images here


@dataclass(frozen=True)
class LabelledImages:
    """Images with what they show, in two parts that share no image.

    Args:
        train_images: Shape (train, pixels) or (train, channels, height, width), intensities in [0, 1] (dimensionless).
        train_labels: Shape (train,), int64, the class of each image.
        test_images: Shape (test, ...) as the train images, intensities in [0, 1] (dimensionless).
        test_labels: Shape (test,), int64.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def to(self, device: torch.device | str) -> "LabelledImages":
        """The same images on a device."""
        return LabelledImages(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})


def split_images(
    images: np.ndarray, labels: np.ndarray, *, levels: int, test_fraction: float, seed: int, dtype: torch.dtype
) -> LabelledImages:
    """Images split so that both parts hold each class equally often. Needs scikit-learn.

    Args:
        images: counts from 0 to `levels`. Shape (images, pixels).
        labels: whole numbers. Shape (images,).
        levels: the count that becomes intensity 1.
        test_fraction: part of the images kept for testing, between 0 and 1 (dimensionless).
        seed: seed of the split.
        dtype: floating-point type of the intensities.
    Raises:
        ValueError: a part of the split would hold fewer images than there are classes.
    """
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=test_fraction, stratify=labels, random_state=seed
    )
    return LabelledImages(
        train_images=torch.tensor(train_images, dtype=dtype) / levels,
        train_labels=torch.tensor(train_labels, dtype=torch.int64),
        test_images=torch.tensor(test_images, dtype=dtype) / levels,
        test_labels=torch.tensor(test_labels, dtype=torch.int64),
    )
