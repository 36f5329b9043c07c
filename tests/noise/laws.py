"""Statistics of samples: what a law predicts, and how far chance may stray from it."""

import math

import torch


def kolmogorov_smirnov(sample, variance):
    """p value of the Kolmogorov-Smirnov test that a sample is N(0, variance), by the asymptotic law of the distance.

    The series is that of Kolmogorov's limit with Stephens' correction for finite samples; thousands of values assumed.
    """
    sorted_sample = sample.double().flatten().sort().values / math.sqrt(variance)
    n = sorted_sample.numel()
    expected = torch.special.ndtr(sorted_sample)
    ranks = torch.arange(n + 1, dtype=torch.float64) / n
    distance = max((ranks[1:] - expected).max().item(), (expected - ranks[:-1]).max().item())
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101)))


def check_normal(sample, variance):
    """A sample is N(0, variance): Kolmogorov-Smirnov with p > 1e-5, and its variance to five standard deviations."""
    found = sample.double().square().mean().item() / variance
    assert abs(found - 1) < 5 * math.sqrt(2 / sample.numel()), f"variance {found:.6g} times the expected {variance:.6g}"
    p = kolmogorov_smirnov(sample, variance)
    assert p > 1e-5, f"p={p:.2g} for {sample.numel()} values, variance {variance:.6g}"


def check_uncorrelated(*samples):
    """All pairs of samples are uncorrelated to within five standard deviations of chance."""
    correlations = torch.corrcoef(torch.stack([sample.double().flatten() for sample in samples]))
    off_diagonal = correlations - torch.diag(correlations.diagonal())
    assert off_diagonal.abs().max() < 5 / math.sqrt(samples[0].numel()), correlations
