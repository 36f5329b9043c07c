"""Which point of a solution a sampler draws, from steps that are written down."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.ivp import sampling
from pyndereg.ivp.sampling import UniformStep, UniformTime

TIMES = (0.0, 0.1, 0.15, 0.6, 0.95, 1.0)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def choices(sampler, times):
    """(step, fraction) of each choice, in order."""
    found = [(i, sampler.choose(t, t_end)) for i, (t, t_end) in enumerate(pairwise(times))]
    return [(i, theta) for i, theta in found if theta is not None]


def drawn_times(times, count, seed):
    """Times that as many samplers draw, one after the other, from one generator."""
    shared = generator(seed)
    drawn = []
    for _ in range(count):
        ((i, theta),) = choices(UniformTime(times[0], times[-1], shared), times)
        drawn.append(times[i] + theta * (times[i + 1] - times[i]))
    return drawn


@pytest.mark.parametrize("times", [TIMES, tuple(reversed(TIMES))], ids=["forwards", "backwards"])
def test_a_uniform_time_is_uniform_whatever_the_steps_are(times):
    """Kolmogorov and Smirnov's distance of 4,000 draws of seed 5; p > 1e-5 is a distance below 2.47 / sqrt(4000)."""
    drawn = sorted(drawn_times(times, 4000, 5))
    distance = max(max(abs(x - i / 4000), abs(x - (i + 1) / 4000)) for i, x in enumerate(drawn))
    assert distance < 2.47 / math.sqrt(4000)


@given(
    ends=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)).filter(lambda ends: abs(ends[1] - ends[0]) > 1e-9),
    inner=st.lists(st.floats(0.001, 0.999), max_size=6, unique=True),
    drawn=st.sampled_from([0.0, 0.5, 1.0 - 2.0**-53]) | st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_uniform_time_is_chosen_once_and_lies_in_the_step_that_chooses_it(ends, inner, drawn):
    t0, t1 = ends
    times = [t0, *(t0 + (t1 - t0) * fraction for fraction in sorted(inner)), t1]
    original, sampling.uniform = sampling.uniform, lambda _: drawn
    try:
        ((i, theta),) = choices(UniformTime(t0, t1, None), times)
    finally:
        sampling.uniform = original
    assert 0.0 <= theta <= 1.0
    chosen = times[i] + theta * (times[i + 1] - times[i])
    assert chosen == pytest.approx(t0 + drawn * (t1 - t0), abs=1e-15 * max(map(abs, ends)))


def test_a_uniform_step_is_each_of_the_accepted_ones_equally_often():
    """Chi-square of 7,000 draws of seed 6 among 7 steps; p > 1e-5 with 6 degrees of freedom is below 33.1."""
    times, shared = [0.0, 0.01, 0.02, 0.05, 0.4, 0.5, 0.9, 1.0], generator(6)
    counts = [0] * 7
    for _ in range(7000):
        counts[choices(UniformStep(shared), times)[-1][0]] += 1
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 33.1


def test_a_uniform_step_is_chosen_at_its_start_and_the_first_one_is_always_a_candidate():
    for seed in range(20):
        found = choices(UniformStep(generator(seed)), TIMES)
        assert found[0][0] == 0
        assert {theta for _, theta in found} == {0.0}


def test_a_generator_with_a_seed_repeats_the_choice_and_leaves_torch_s_own_alone():
    before = torch.get_rng_state()
    for make in (lambda g: UniformTime(0.0, 1.0, g), UniformStep):
        assert choices(make(generator(4)), TIMES) == choices(make(generator(4)), TIMES)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_choice_follows_torch_s_seed():
    found = []
    for _ in range(2):
        torch.manual_seed(11)
        found.append(choices(UniformTime(0.0, 1.0, None), TIMES))
    assert found[0] == found[1]
