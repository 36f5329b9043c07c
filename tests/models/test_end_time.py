"""Random ends and save times by themselves."""

import itertools
import math

import pytest
import torch

from pyndereg.models import EndTimeSampling
from tests.sentences import check_sentence

EVEN = tuple(i / 8 for i in range(9))
UNEVEN = (0.1, 0.11, 0.5, 0.51, 0.52, 0.95)


def series(times, t0, t1, draws=400, seed=0):
    sampling = EndTimeSampling(generator=torch.Generator().manual_seed(seed))
    drawn = torch.tensor([sampling.sample_series(times, t0, t1) for _ in range(draws)], dtype=torch.float64)
    assert drawn.shape == (draws, len(times))
    return drawn


@pytest.mark.parametrize("times", [EVEN, UNEVEN, (1.0,), (0.0,), (0.3, 1.0)])
def test_drawn_times_are_strictly_monotone_and_inside_the_interval_in_both_directions(times):
    forwards = series(times, 0.0, 1.0)
    backwards = 1.0 - series([1.0 - t for t in times], 1.0, 0.0)
    for drawn in (forwards, backwards):
        assert bool((drawn.diff(dim=1) > 0).all())
        assert drawn.min() >= 0.0
        assert drawn.max() <= 1.0


def test_on_an_even_series_a_time_is_uniform_within_half_the_distance_to_the_one_before():
    """Kolmogorov-Smirnov over 2000 draws, seed 1; 1.95 / sqrt(n) is the limit at p = 1e-3 of each of 7 times."""
    drawn = series(EVEN, 0.0, 1.0, draws=2000, seed=1)
    ranks = torch.arange(2000) / 2000
    for i in range(1, 8):
        uniform = (drawn[:, i].sort().values - EVEN[i]) * 8 + 0.5
        assert (uniform - ranks).abs().max() < 1.95 / math.sqrt(2000)
        assert -1e-12 <= uniform.min() < 0.01
        assert 0.99 < uniform.max() <= 1.0 + 1e-12


def test_the_start_stays_and_half_of_the_last_times_are_clamped_to_the_end():
    drawn = series(EVEN, 0.0, 1.0, draws=2000)
    assert bool((drawn[:, 0] == 0.0).all())
    # Binomial with n = 2000: five standard deviations are 0.056.
    assert (drawn[:, -1] == 1.0).double().mean().item() == pytest.approx(0.5, abs=0.056)


def test_a_first_time_after_the_start_moves_within_half_its_distance_to_it():
    drawn = series((0.4, 1.0), 0.0, 1.0)[:, 0]
    assert 0.2 <= drawn.min() < 0.21
    assert 0.59 < drawn.max() <= 0.6


def test_a_time_with_a_close_neighbour_moves_by_half_that_distance():
    drawn = series(UNEVEN, 0.0, 1.0)
    for i, t in enumerate(UNEVEN[:-1]):
        half = min(t - (0.0, *UNEVEN)[i], UNEVEN[i + 1] - t) / 2
        moved = (drawn[:, i] - t).abs()
        assert 0.95 * half < moved.max() <= half + 1e-15


def test_neighbours_that_are_one_rounding_apart_never_meet():
    times = [1.0]
    for _ in range(20):
        times.append(math.nextafter(times[-1], 2.0))
    for drawn in series(times, 0.5, times[-1]).tolist():
        assert all(one < other for one, other in itertools.pairwise(drawn))


def test_a_seed_repeats_a_series():
    assert torch.equal(series(EVEN, 0.0, 1.0, 3, seed=5), series(EVEN, 0.0, 1.0, 3, seed=5))
    assert not torch.equal(series(EVEN, 0.0, 1.0, 3, seed=5), series(EVEN, 0.0, 1.0, 3, seed=6))


@pytest.mark.parametrize("b", [0.0, -0.1, math.nan, math.inf])
def test_a_half_width_that_is_not_positive_is_refused(b):
    with pytest.raises(ValueError, match="half width") as raised:
        EndTimeSampling(b)
    check_sentence(raised.value, f"b is {b}", "> 0")
