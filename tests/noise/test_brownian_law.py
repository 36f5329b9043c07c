"""The law of a Brownian path: increments, areas, bridges, and the true area of the true path.

A path of many components is a sample of independent paths; SAMPLE = 100,000 of them with seed 11 unless said otherwise.
"""

import math
from itertools import pairwise

import pytest
import torch

from pyndereg.noise import BrownianPath
from tests.noise.laws import check_normal, check_uncorrelated

SAMPLE = 100_000
T0, T1, CELLS = 0.5, 2.5, 20  # a cell is 0.1, a block of this many components is 8 cells, the last one 4

INTERVALS = {
    "a cell": (0.9, 1.0),
    "a dyadic part of a cell": (0.9 + 0.1 * 3 / 8, 0.9 + 0.1 * 7 / 16),
    "off the grid within a cell": (0.9123, 0.9314),
    "off the grid over cells": (0.9123, 1.3719),
    "off the grid over blocks": (1.0771, 2.4113),
    "cells over blocks": (1.6, 2.0),
    "the last cell of the short block": (2.4, 2.5),
    "the whole interval": (0.5, 2.5),
}


@pytest.fixture(scope="module")
def path():
    return BrownianPath(T0, T1, (SAMPLE,), seed=11, cells=CELLS)


@pytest.mark.parametrize(("s", "t"), INTERVALS.values(), ids=INTERVALS)
def test_increment_and_area_are_independent_normals_with_the_variance_of_the_length(path, s, t):
    dW, dZ = path.increments(s, t)
    check_normal(dW, t - s)
    check_normal(dZ, t - s)
    check_uncorrelated(dW, dZ)
    check_uncorrelated(dW**2, dZ**2)


@pytest.mark.parametrize(("s", "t"), INTERVALS.values(), ids=INTERVALS)
def test_the_area_given_the_increment_is_as_normal_as_without_it(path, s, t):
    dW, dZ = path.increments(s, t)
    median = math.sqrt(t - s) * 0.6745
    for part in (dW > median, dW < -median, dW.abs() < median):
        check_normal(dZ[part], t - s)


def test_disjoint_intervals_are_independent(path):
    times = [0.5, 0.5371, 0.6, 0.61, 0.6125, 0.65, 0.9, 1.7123, 1.75, 1.8, 2.4113, 2.5]
    increments = [path.increments(s, t) for s, t in pairwise(times)]
    samples = [row for dW_dZ in increments for row in dW_dZ]
    check_uncorrelated(*samples)
    check_uncorrelated(*[sample**2 for sample in samples])


@pytest.mark.parametrize(
    ("s", "m", "t"),
    [(0.9, 0.95, 1.0), (0.9, 0.925, 1.0), (0.9123, 0.9271, 0.9314), (0.6, 1.1, 2.5), (0.5371, 1.7123, 2.4113)],
)
def test_a_value_given_its_neighbours_is_that_of_a_brownian_bridge(path, s, m, t):
    W_s, W_m, W_t = path(s), path(m), path(t)
    bridge = W_m - W_s - (m - s) / (t - s) * (W_t - W_s)
    check_normal(bridge, (m - s) * (t - m) / (t - s))
    check_uncorrelated(bridge, W_s, W_t - W_s)


@pytest.mark.parametrize(("s", "t"), [(0.9, 1.0), (0.9 + 0.1 / 8, 0.9 + 0.1 / 4)])
def test_the_middle_given_increment_and_area_is_that_of_the_optimal_polynomial_approximation(path, s, t):
    """W_m = W/2 + 3/2 H + N(0, h/16), H = dZ / sqrt(12)."""
    whole, half = path.increments(s, t), path.increments(s, (s + t) / 2)
    residual = half.dW - whole.dW / 2 - 1.5 * whole.dZ / math.sqrt(12)
    check_normal(residual, (t - s) / 16)
    check_uncorrelated(residual, whole.dW, whole.dZ)


@pytest.mark.parametrize(("s", "t"), INTERVALS.values(), ids=INTERVALS)
def test_the_area_is_that_of_the_path_itself(s, t):
    """The trapezoidal sum of 400 values misses the integral by N(0, h^3 / (12 400^2)); 500 components, five sigma."""
    path, pieces = BrownianPath(T0, T1, (500,), seed=11, cells=CELLS, depth=20), 400
    h = t - s
    W = path.values([s + h * k / pieces for k in range(pieces)] + [t]) - path(s)
    integral = (W.sum(0) - (W[0] + W[-1]) / 2) * h / pieces
    dW, dZ = path.increments(s, t)
    missing = (h / 2 * (dW + dZ / math.sqrt(3)) - integral) / (h**1.5 / (pieces * math.sqrt(12)))
    assert missing.abs().max() < 5
    assert missing.std().item() == pytest.approx(1.0, abs=0.15)


def test_the_steps_of_one_path_on_its_grid_are_independent_and_normal():
    """16,384 cells, seed 5: blocks are 32 long, so a fault at their joints shows at these lags."""
    dW, dZ = BrownianPath(0.0, 1.0, (), seed=5, cells=2**14).on_grid(torch.linspace(0, 1, 2**14 + 1).double())
    for sample in (dW, dZ):
        check_normal(sample, 2.0**-14)
        for lag in (1, 2, 31, 32, 33, 1024):
            check_uncorrelated(sample[lag:], sample[:-lag])
    check_uncorrelated(dW, dZ)


def test_the_steps_of_one_path_within_one_cell_are_independent_and_normal():
    """4096 twelfth halves of one cell, each from its own seed; seed 5."""
    path, steps = BrownianPath(0.0, 1.0, (), seed=5, cells=1), 2**12
    dW, dZ = path.on_grid([k / steps for k in range(steps + 1)])
    for sample in (dW, dZ):
        check_normal(sample, 1 / steps)
        for lag in (1, 2, 3, 64, 1024):
            check_uncorrelated(sample[lag:], sample[:-lag])
    assert (dW**2).sum().item() == pytest.approx(1.0, abs=5 * math.sqrt(2 / steps))  # quadratic variation


def test_paths_of_neighbouring_seeds_are_independent():
    """4000 seeds of one component: the ends are normal, and uncorrelated from seed to seed."""
    ends = torch.stack([BrownianPath(0.0, 1.0, (), seed=seed, cells=4)(0.6) for seed in range(4000)])
    check_normal(ends, 0.6)
    check_uncorrelated(ends[1:], ends[:-1])
