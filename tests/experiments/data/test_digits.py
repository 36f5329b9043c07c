"""The digits: the right images, split fairly and always alike."""

import pytest
import torch
from sklearn.datasets import load_digits

from pyndereg.experiments.data import load_handwritten_digits


def load(test_fraction=0.2, seed=0, dtype=torch.float64):
    return load_handwritten_digits(test_fraction=test_fraction, seed=seed, dtype=dtype)


def test_both_parts_together_are_the_1797_digits_with_intensities_from_0_to_1():
    images = load()
    together = torch.cat([images.train_images, images.test_images])
    expected = torch.tensor(load_digits().data) / 16
    assert together.shape == (1797, 64)
    assert (together.min(), together.max()) == (0.0, 1.0)
    torch.testing.assert_close(
        torch.tensor(sorted(together.tolist())), torch.tensor(sorted(expected.tolist())), rtol=0, atol=0
    )


def test_each_label_still_belongs_to_its_image():
    labels = {tuple(image): label for image, label in zip(load_digits().data / 16, load_digits().target, strict=True)}
    images = load()
    for image, label in zip(images.test_images.tolist(), images.test_labels.tolist(), strict=True):
        assert labels[tuple(image)] == label


def test_no_image_is_in_both_parts():
    images = load()
    assert not {tuple(row) for row in images.train_images.tolist()} & {
        tuple(row) for row in images.test_images.tolist()
    }


def test_both_parts_hold_each_digit_equally_often():
    images = load()
    assert len(images.test_labels) == 360
    train, test = torch.bincount(images.train_labels), torch.bincount(images.test_labels)
    assert ((test / (train + test) - 0.2).abs() < 0.01).all()


def test_equal_seeds_split_alike_and_others_do_not():
    assert torch.equal(load(seed=5).test_images, load(seed=5).test_images)
    assert not torch.equal(load(seed=5).test_images, load(seed=6).test_images)


def test_images_have_the_type_that_was_asked_for():
    assert load(dtype=torch.float32).train_images.dtype == torch.float32


def test_a_part_too_small_for_every_digit_is_refused():
    with pytest.raises(ValueError, match="test_size"):
        load(test_fraction=0.001)
