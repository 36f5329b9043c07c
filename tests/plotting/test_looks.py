"""Looks: kinds of runs can be told apart, also without colour."""

import itertools

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from pyndereg import plotting
from tests.plotting.records import make_record


def test_any_two_groups_differ_in_dashes_and_marker():
    for one, other in itertools.combinations(plotting.LOOKS, 2):
        assert one.dashes != other.dashes
        assert one.marker != other.marker


def test_no_two_looks_are_equally_light_and_neighbours_differ_by_far():
    lightness = [look.lightness for look in plotting.LOOKS]
    assert min(abs(one - other) for one, other in itertools.combinations(lightness, 2)) > 5.0
    assert min(abs(one - other) for one, other in itertools.pairwise(lightness)) > 15.0


def test_every_look_is_dark_enough_to_be_read_on_white():
    assert max(look.lightness for look in plotting.LOOKS) < 76.0


def test_lightness_is_that_of_the_grey_that_a_colour_becomes():
    grey, light = plotting.Look("#777777", (), "o"), plotting.Look("#ffffff", (), "o")
    assert round(grey.lightness, 1) == 50.0  # CIE L* of that sRGB grey is 50.03
    assert abs(light.lightness - 100.0) < 1e-9


def test_a_regularizer_looks_the_same_in_every_figure_and_no_two_look_alike():
    alone, together = plotting.choose_looks(["error"]), plotting.choose_looks(["none", "error", "error + STEER"])
    assert alone["error"] == together["error"]
    assert len(set(together.values())) == 3
    labels = [*plotting.REGULARIZERS, "none + STEER", "error @ discrete"]
    assert len(set(plotting.choose_looks(labels).values())) == len(labels) == len(plotting.LOOKS)


def test_a_png_without_its_colours_still_holds_a_shade_of_grey_for_each_group(tmp_path):
    labels = ("none", "error", "stiffness", "both")
    records = [make_record(label, nfe=(90.0, 60.0 - 10.0 * place, 50.0)) for place, label in enumerate(labels)]
    plotting.save(plotting.plot_nfe(records), tmp_path / "f.png")
    weights = np.array([0.299, 0.587, 0.114])  # of a grey scanner or printer: ITU-R BT.601
    grey = imread(tmp_path / "f.png")[..., :3] @ weights
    shades = [float(np.array(to_rgb(look.color)) @ weights) for look in plotting.LOOKS[:4]]
    assert min(abs(one - other) for one, other in itertools.combinations(shades, 2)) > 0.05
    for shade in shades:
        assert (np.abs(grey - shade) < 0.01).sum() > 100


def test_a_png_holds_lines_of_every_group(tmp_path):
    plotting.save(
        plotting.plot_comparison([make_record("none"), make_record("error", nfe=(90.0, 60.0, 50.0))]),
        tmp_path / "f.png",
    )
    pixels = imread(tmp_path / "f.png")[..., :3]
    for look in plotting.LOOKS[:2]:
        color = np.array([int(look.color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        assert (np.abs(pixels - color).max(axis=-1) < 0.02).sum() > 100
