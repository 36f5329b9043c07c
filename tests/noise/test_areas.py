"""The algebra of neighbouring increments and areas, against integrals worked out by hand and exact covariances."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from pyndereg.noise.areas import join, midpoint, split, within

LENGTHS = np.array([0.3, 0.1, 0.45, 0.15])


def increment_and_area(path, s, t):
    """W and Z of a polynomial path, from its integral."""
    W = path(t) - path(s)
    integral = path.integ()(t) - path.integ()(s) - (t - s) * path(s)
    return np.array([W, math.sqrt(3) * (2 * integral / (t - s) - W)])


def conditional_covariance_of_pieces(lengths):
    """Covariance of (W_1 .. W_n, Z_1 .. Z_n) given (W, Z), by the formula for Gaussian vectors."""
    prior = np.diag(np.concatenate((lengths, lengths)))
    whole = np.stack([join(lengths, *row.reshape(2, -1, 1))[:, 0] for row in np.eye(2 * len(lengths))], axis=1)
    joint = whole @ prior
    return prior - joint.T @ np.linalg.solve(whole @ prior @ whole.T, joint)


def test_increments_and_integrals_of_neighbours_add_up():
    path = Polynomial([0.2, -1.0, 3.0, 0.5, -2.0])
    ends = 0.7 + np.concatenate(([0.0], np.cumsum(LENGTHS)))
    W, Z = np.transpose([increment_and_area(path, s, t) for s, t in pairwise(ends)])
    found = join(LENGTHS, W[:, None], Z[:, None])[:, 0]
    np.testing.assert_allclose(found, increment_and_area(path, ends[0], ends[-1]), rtol=1e-13)


def test_the_whole_of_independent_pieces_has_independent_increment_and_area_of_its_length():
    whole = split(LENGTHS).whole
    covariance = whole @ np.diag(np.concatenate((LENGTHS, LENGTHS))) @ whole.T
    np.testing.assert_allclose(covariance, LENGTHS.sum() * np.eye(2), atol=1e-15)


def test_a_split_gives_pieces_that_make_up_the_whole_with_the_conditional_covariance():
    scale, total, share = split(LENGTHS)
    np.testing.assert_allclose(total @ share, np.eye(2), atol=1e-15)
    noise = (np.eye(len(scale)) - share @ total) * scale.T
    np.testing.assert_allclose(noise @ noise.T, conditional_covariance_of_pieces(LENGTHS), atol=1e-15)


@pytest.mark.parametrize("length", [1.0, 0.3])
def test_a_midpoint_gives_the_law_of_a_split_into_two_halves(length):
    halves = np.full(2, length / 2)
    np.testing.assert_allclose(midpoint(length)[:, :2], split(halves).share, atol=1e-15)
    noise = midpoint(length)[:, 2:]
    np.testing.assert_allclose(noise @ noise.T, conditional_covariance_of_pieces(halves), atol=1e-15)


def test_a_part_of_a_leaf_is_that_of_the_parabola_with_its_increment_and_area():
    W, Z = 0.7, -1.3
    parabola = Polynomial([0.0, W + math.sqrt(3) * Z, -math.sqrt(3) * Z])
    np.testing.assert_allclose(increment_and_area(parabola, 0, 1), [W, Z], rtol=1e-14)
    np.testing.assert_allclose(within(0.2, 0.7) @ [W, Z], increment_and_area(parabola, 0.2, 0.7), rtol=1e-13)


def test_the_parabola_lacks_at_most_a_twelfth_of_the_interval_in_variance():
    p = np.linspace(0.0, 1.0, 1201)[1:]
    variance = np.array([(within(0.0, end)[0] ** 2).sum() for end in p])
    assert (p - variance).max() == pytest.approx(1 / 12, rel=1e-5)
