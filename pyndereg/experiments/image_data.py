"""The images that the experiments' configurations ask for."""

from pathlib import Path

from pyndereg.experiments.data import LabelledImages, load_handwritten_digits
from pyndereg.experiments.data.mnist import load_mnist, load_mnist_subset
from pyndereg.experiments.image_config import DigitsODEConfig, MnistODEConfig
from pyndereg.experiments.placement import PRECISIONS, check_device
from pyndereg.experiments.sde_config import DigitsSDEConfig, MnistSDEConfig


def digits_of(config: DigitsODEConfig | DigitsSDEConfig) -> LabelledImages:
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


def mnist_of(config: MnistODEConfig | MnistSDEConfig) -> LabelledImages:
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
