"""The statistical checks themselves: they accept what is true and notice small faults."""

import math

import pytest
import torch

from tests.noise.laws import check_normal, check_uncorrelated, kolmogorov_smirnov

SAMPLE = 100_000


def test_the_p_value_is_that_of_the_published_table_of_kolmogorovs_limit():
    """P(sqrt(n) D > 1.3581) = 0.05; an evenly spaced sample, shifted in probability, has exactly this distance."""
    n = 1_000_000
    distance = 1.3581 / n**0.5
    probabilities = ((torch.arange(n, dtype=torch.float64) + 0.5) / n + distance - 0.5 / n).clamp(max=1 - 1e-9)
    assert kolmogorov_smirnov(torch.special.ndtri(probabilities), 1.0) == pytest.approx(0.05, rel=2e-3)


def test_a_variance_that_is_wrong_by_a_fortieth_is_noticed():
    sample = torch.randn(SAMPLE, generator=torch.Generator().manual_seed(1))
    check_normal(sample, 1.0)
    with pytest.raises(AssertionError):
        check_normal(sample, 1.025)


def test_a_law_of_the_right_variance_that_is_not_normal_is_noticed():
    sample = math.sqrt(12) * (torch.rand(SAMPLE, generator=torch.Generator().manual_seed(1)) - 0.5)
    assert kolmogorov_smirnov(sample, 1.0) < 1e-5


def test_a_correlation_of_a_fortieth_is_noticed():
    x, y = torch.randn(2, SAMPLE, generator=torch.Generator().manual_seed(1))
    check_uncorrelated(x, y)
    with pytest.raises(AssertionError):
        check_uncorrelated(x, 0.025 * x + y)
