"""CIFAR-10: photographs of 32 by 32 pixels in three colours."""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyndereg.experiments.data.downloads import PublicFile, find_files
from pyndereg.experiments.data.images import CLASSES, LabelledImages

CHANNELS, SIDE = 3, 32
INTENSITY_LEVELS = 255
RECORD_BYTES = 1 + CHANNELS * SIDE * SIDE  # the label, then the image: red, green and blue, each row by row
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
# The checksum is that of the archive whose MD5 its authors give: c32a1d4ab5d03f1284b67883e8d87530.
ARCHIVE = PublicFile(
    name="cifar-10-binary.tar.gz",
    unpacked=FOLDER,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    addresses=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
# Mean and standard deviation of each colour, as in the published configuration of [@pal2023locally].
COLOUR_MEANS = (0.4914, 0.4822, 0.4465)
COLOUR_DEVIATIONS = (0.2023, 0.1994, 0.2010)


def load_cifar10(folder: Path | None, *, dtype: torch.dtype) -> LabelledImages:
    """CIFAR-10 as published: 50,000 images for training, 10,000 for testing.

    Args:
        folder: where the binary version's archive or its unpacked folder is. None: the user's cache, after a download.
        dtype: floating-point type of the images.
    Returns:
        Images of shape (images, 3, 32, 32), intensities in [0, 1]; see `normalize_colours`.
    Raises:
        FileNotFoundError: a file is missing and cannot be downloaded.
        ModuleNotFoundError: there is no folder, and pooch is not installed.
        ValueError: a file is damaged.
    Source: Krizhevsky, Learning multiple layers of features from tiny images (2009).
    """
    (place,) = find_files([ARCHIVE], folder, data="CIFAR-10")
    contents = dict(_folder_files(place) if place.is_dir() else _archive_files(place))
    missing = [name for name in (*TRAIN_FILES, *TEST_FILES) if name not in contents]
    if missing:
        raise FileNotFoundError(f"{place} lacks {', '.join(missing)}; unpack {ARCHIVE.name} there again")
    train = _join(parse_batch(contents[name], name=f"{place}/{name}", dtype=dtype) for name in TRAIN_FILES)
    test = _join(parse_batch(contents[name], name=f"{place}/{name}", dtype=dtype) for name in TEST_FILES)
    return LabelledImages(*train, *test)


def parse_batch(content: bytes, *, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The images and labels of one file of the binary version.

    Args:
        content: the file's bytes.
        name: its name, for messages.
        dtype: floating-point type of the images.
    Returns:
        Images of shape (images, 3, 32, 32) in [0, 1], and labels of shape (images,), int64.
    Raises:
        ValueError: the file is cut short, or holds a label above 9.
    """
    if not content or len(content) % RECORD_BYTES:
        raise ValueError(
            f"{name} has {len(content)} bytes, where CIFAR-10's files hold {RECORD_BYTES} for each image; "
            f"unpack {ARCHIVE.name} again"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    labels = torch.tensor(records[:, 0], dtype=torch.int64)
    if int(labels.max()) >= CLASSES:
        raise ValueError(
            f"{name} holds the label {int(labels.max())}, where CIFAR-10's go from 0 to 9; unpack {ARCHIVE.name} again"
        )
    images = torch.tensor(records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE), dtype=dtype) / INTENSITY_LEVELS
    return images, labels


def normalize_colours(images: LabelledImages) -> LabelledImages:
    """The images with each colour shifted by its mean and divided by its standard deviation over CIFAR-10.

    Source: the published configuration of [@pal2023locally].
    """
    means = images.train_images.new_tensor(COLOUR_MEANS)[:, None, None]
    deviations = images.train_images.new_tensor(COLOUR_DEVIATIONS)[:, None, None]
    return replace(
        images,
        train_images=(images.train_images - means) / deviations,
        test_images=(images.test_images - means) / deviations,
    )


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in (*TRAIN_FILES, *TEST_FILES):
        if (folder / name).is_file():
            yield name, (folder / name).read_bytes()


def _archive_files(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    yield Path(member.name).name, content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} is a damaged archive ({error}); download it again") from None


def _join(parts: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(labels)
