"""MNIST: its files read byte by byte, its 5,000 packaged images, and every damaged file refused in one sentence."""

import gzip
import math
import re
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.experiments.data.mnist import MNIST_PIXELS, load_mnist, load_mnist_subset, read_idx


def idx(shape, content):
    """An IDX file of bytes: zero, zero, the type's code 8, the number of dimensions, the lengths, the entries."""
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(content)


def write_mnist(folder, *, train=3, test=2, packed=True):
    """A small MNIST in the real format: image k is filled with k, and shows k."""
    for part, count in (("train", train), ("t10k", test)):
        pixels = [number for number in range(count) for _ in range(MNIST_PIXELS)]
        files = {
            f"{part}-images-idx3-ubyte": idx((count, 28, 28), pixels),
            f"{part}-labels-idx1-ubyte": idx((count,), range(count)),
        }
        for name, content in files.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_images_and_labels_are_read_from_the_four_files(tmp_path, packed):
    write_mnist(tmp_path, packed=packed)
    images = load_mnist(tmp_path, dtype=torch.float64)
    assert images.train_images.shape == (3, 784)
    assert images.test_images.shape == (2, 784)
    expected = (torch.arange(3, dtype=torch.float64) / 255)[:, None].expand(3, 784)
    torch.testing.assert_close(images.train_images, expected, rtol=0, atol=0)
    assert images.train_labels.tolist() == [0, 1, 2]
    assert images.test_labels.tolist() == [0, 1]


def test_an_image_becomes_a_row_that_holds_its_pixels_row_by_row(tmp_path):
    write_mnist(tmp_path)
    pixels = np.arange(784) % 251
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx((3, 28, 28), [*pixels] * 3)))
    first = load_mnist(tmp_path, dtype=torch.float64).train_images[0]
    torch.testing.assert_close(first * 255, torch.tensor(pixels, dtype=torch.float64))


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), packed=st.booleans(), data=st.data())
def test_an_array_comes_back_as_it_was_written(tmp_path_factory, shape, packed, data):
    size = math.prod(shape)
    content = data.draw(st.binary(min_size=size, max_size=size))
    path = tmp_path_factory.getbasetemp() / "array-idx-ubyte"
    path.write_bytes(gzip.compress(idx(shape, content)) if packed else idx(shape, content))
    read = read_idx(path)
    assert read.shape == tuple(shape)
    assert read.tobytes() == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with the bytes (none), where an IDX file of bytes begins with 00 00 08"),
        (b"<html>", "begins with the bytes 3c 68 74 6d"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 0]), "begins with the bytes 00 00 0d 01"),
        (bytes([0, 0, 8, 3, 0, 0]), "begins with the bytes 00 00 08 03"),
        (idx((2, 3), range(5)), "holds 5 entries, where its header announces 6"),
        (idx((2, 3), range(7)), "holds 7 entries, where its header announces 6"),
        (gzip.compress(idx((2, 3), range(6)))[:-9], "is a damaged gzip file"),
    ],
    ids=["empty", "a web page", "floats", "cut header", "cut short", "too long", "cut archive"],
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} {re.escape(message)}.*; download it again"):
        read_idx(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", idx((3, 784), [0] * 3 * 784), "has shape .3, 784., where MNIST's images"),
        ("train-images-idx3-ubyte.gz", idx((3, 28, 27), [0] * 3 * 28 * 27), "has shape .3, 28, 27., where MNIST's"),
        ("train-labels-idx1-ubyte.gz", idx((2,), [0, 1]), "needs one label for each of its 3 images"),
        ("train-labels-idx1-ubyte.gz", idx((3,), [0, 1, 10]), "holds the label 10, where MNIST's go from 0 to 9"),
    ],
    ids=["flat images", "another size", "too few labels", "another label"],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, name, content, message):
    write_mnist(tmp_path)
    (tmp_path / name).write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=message):
        load_mnist(tmp_path, dtype=torch.float32)


def subset(test_fraction=0.2, seed=0, dtype=torch.float32):
    return load_mnist_subset(test_fraction=test_fraction, seed=seed, dtype=dtype)


def test_the_packaged_images_are_5000_of_784_pixels_between_0_and_1():
    images = subset()
    assert images.train_images.shape == (4000, 784)
    assert images.test_images.shape == (1000, 784)
    assert images.train_images.min() == 0.0
    assert images.train_images.max() == 1.0


def test_both_parts_of_the_packaged_images_hold_each_digit_equally_often():
    images = subset()
    assert torch.bincount(images.train_labels).tolist() == [400] * 10
    assert torch.bincount(images.test_labels).tolist() == [100] * 10


def test_the_labels_of_the_packaged_images_say_what_they_show():
    # Whoever guesses each test image's digit by the nearest mean image of a training digit is right four times in five.
    images = subset()
    means = torch.stack([images.train_images[images.train_labels == digit].mean(dim=0) for digit in range(10)])
    nearest = torch.cdist(images.test_images, means).argmin(dim=1)
    assert (nearest == images.test_labels).double().mean() > 0.75


def test_the_packaged_images_of_mnist_stand_upright():
    # A one is taller than wide, which a transposed one would not be.
    images = subset()
    ones = images.train_images[images.train_labels == 1].reshape(-1, 28, 28).mean(dim=0)
    assert (ones.sum(dim=1) > 0.5).sum() > (ones.sum(dim=0) > 0.5).sum()


def test_equal_seeds_split_the_packaged_images_alike_and_others_do_not():
    assert torch.equal(subset(seed=5).test_images, subset(seed=5).test_images)
    assert not torch.equal(subset(seed=5).test_images, subset(seed=6).test_images)
