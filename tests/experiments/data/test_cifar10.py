"""CIFAR-10: its binary files read byte by byte, its colours normalized, and every damaged file refused."""

import io
import re
import tarfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.experiments.data.cifar10 import (
    ARCHIVE,
    COLOUR_DEVIATIONS,
    COLOUR_MEANS,
    FOLDER,
    TEST_FILES,
    TRAIN_FILES,
    load_cifar10,
    normalize_colours,
    parse_batch,
)


def record(label, red=0, green=0, blue=0):
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


def batches():
    """A small CIFAR-10 in the real format: training file k holds two images of k; the test file holds one of 9."""
    files = {name: record(k, red=k) + record(k, green=k) for k, name in enumerate(TRAIN_FILES)}
    return {**files, TEST_FILES[0]: record(9, blue=255)}


def write_folder(folder, files):
    (folder / FOLDER).mkdir()
    for name, content in files.items():
        (folder / FOLDER / name).write_bytes(content)


def write_archive(folder, files):
    with tarfile.open(folder / ARCHIVE.name, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("write", [write_folder, write_archive], ids=["folder", "archive"])
def test_images_and_labels_are_read_in_the_order_of_the_files(tmp_path, write):
    write(tmp_path, batches())
    images = load_cifar10(tmp_path, dtype=torch.float64)
    assert images.train_images.shape == (10, 3, 32, 32)
    assert images.train_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    colours = images.train_images.mean(dim=(2, 3)) * 255
    expected = [[k, 0, 0] if first else [0, k, 0] for k in range(5) for first in (True, False)]
    torch.testing.assert_close(colours, torch.tensor(expected, dtype=torch.float64))
    assert images.test_labels.tolist() == [9]
    assert (images.test_images[0, 2] == 1.0).all()


@given(label=st.integers(0, 9), pixels=st.binary(min_size=3072, max_size=3072))
def test_a_record_is_a_label_and_the_rows_of_red_green_and_blue(label, pixels):
    images, labels = parse_batch(bytes([label]) + pixels, name="batch", dtype=torch.float64)
    assert labels.tolist() == [label]
    for channel, row, column in ((0, 0, 1), (1, 5, 7), (2, 31, 31)):
        assert images[0, channel, row, column] == pixels[1024 * channel + 32 * row + column] / 255


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, where CIFAR-10's files hold 3073 for each image"),
        (record(1)[:-1], "has 3072 bytes, where CIFAR-10's files hold 3073 for each image"),
        (record(10), "holds the label 10, where CIFAR-10's go from 0 to 9"),
    ],
    ids=["empty", "cut short", "another label"],
)
def test_a_damaged_batch_is_named_with_the_remedy(content, message):
    with pytest.raises(ValueError, match=rf"data_batch_1\.bin {message}; unpack {re.escape(ARCHIVE.name)} again"):
        parse_batch(content, name="data_batch_1.bin", dtype=torch.float32)


def test_a_missing_batch_is_named(tmp_path):
    files = batches()
    del files["data_batch_3.bin"]
    write_folder(tmp_path, files)
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_3\.bin; unpack"):
        load_cifar10(tmp_path, dtype=torch.float32)


def test_a_damaged_archive_is_refused(tmp_path):
    write_archive(tmp_path, batches())
    path = tmp_path / ARCHIVE.name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is a damaged archive"):
        load_cifar10(tmp_path, dtype=torch.float32)


def test_normalized_colours_are_shifted_and_scaled_each_by_its_own_numbers(tmp_path):
    write_folder(tmp_path, batches())
    images = load_cifar10(tmp_path, dtype=torch.float64)
    normal = normalize_colours(images)
    for channel, (mean, deviation) in enumerate(zip(COLOUR_MEANS, COLOUR_DEVIATIONS, strict=True)):
        expected = (images.test_images[:, channel] - mean) / deviation
        torch.testing.assert_close(normal.test_images[:, channel], expected, rtol=1e-12, atol=0)
    assert torch.equal(normal.test_labels, images.test_labels)
    torch.testing.assert_close(
        normal.train_images[0, :, 0, 0], torch.tensor([-0.4914 / 0.2023, -0.4822 / 0.1994, -0.4465 / 0.2010]).double()
    )
