"""Norms against numbers worked out by hand, and the samples that rounding is judged in."""

import math
from dataclasses import replace

import pytest
import torch

from pyndereg.ivp import StateLayout
from pyndereg.ivp.errors import GradientRefused
from pyndereg.ivp.norm import RMS as RMS_VALUE
from pyndereg.ivp.norm import LargestOfSamples
from pyndereg.solver.chosen_norm import LargestRootMeanSquare, UsersNorm, chosen_norm
from pyndereg.solver.norms import RMS, rms, size_of
from pyndereg.solver.rounding import Rounding
from pyndereg.solver.tableaus import get_tableau
from tests.equations import FLOAT64
from tests.sentences import check_sentence

# Two samples of a pair of tensors, (2, 2) and (2, 1): (3, 4, 0) and (1, -1, 5).
PAIR = torch.tensor([3.0, 4.0, 1.0, -1.0, 0.0, 5.0], dtype=FLOAT64)
LAYOUT = StateLayout.of((torch.ones(2, 2, dtype=FLOAT64), torch.ones(2, 1, dtype=FLOAT64)))
LARGEST = LargestRootMeanSquare(LAYOUT)


def test_the_default_is_the_root_mean_square_itself():
    assert chosen_norm(None, LAYOUT) is chosen_norm(RMS_VALUE(), LAYOUT) is RMS
    assert RMS.of is rms


def test_the_largest_of_samples_is_that_of_the_worst_sample_over_all_its_tensors():
    assert LARGEST.of(PAIR).item() == pytest.approx(math.sqrt(27 / 3), rel=1e-15)
    one = chosen_norm(LargestOfSamples(), StateLayout.of(torch.ones(3, 2, 1, dtype=FLOAT64)))
    flat = PAIR.view(3, 2, 1)
    assert one.of(flat).item() == one.of(flat.reshape(-1)).item() == pytest.approx(math.sqrt(12.5), rel=1e-15)


def test_a_function_gets_the_state_in_the_users_shapes_and_memory_of_its_own():
    kept = []

    def norm(error):
        kept.append(error)
        return error[0].abs_().max() + 10 * error[1].abs().max()

    users = UsersNorm(norm, LAYOUT)
    assert users.of(PAIR).item() == 54.0
    assert [part.shape for part in kept[-1]] == [(2, 2), (2, 1)]
    assert PAIR[3] == -1.0
    assert kept[-1][0].untyped_storage().data_ptr() != PAIR.untyped_storage().data_ptr()


@pytest.mark.parametrize("norm", [LARGEST, UsersNorm(lambda e: e[0].square().mean().sqrt() + e[1].norm(), LAYOUT), RMS])
def test_the_gradient_of_a_norm_is_that_of_finite_differences(norm):
    assert torch.autograd.gradcheck(norm.of, (PAIR.clone().requires_grad_(),))


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_sizes_whose_squares_float32_cannot_hold_are_right_for_samples_too(size):
    norm = LargestRootMeanSquare(StateLayout.of(torch.ones(2, 2)))
    assert size_of(torch.tensor([3.0, 4.0, 1.0, 1.0]) * size, norm) == pytest.approx(math.sqrt(12.5) * size, rel=1e-6)


def test_a_sample_that_is_not_finite_makes_the_norm_so():
    for bad in (torch.nan, torch.inf):
        assert not LARGEST.of(torch.where(PAIR == 1.0, bad, PAIR)).isfinite()


def test_a_function_that_changed_is_found():
    weight = torch.tensor([1.0, 2.0], dtype=FLOAT64)
    norm = UsersNorm(lambda e: (weight * e[0]).norm(), LAYOUT)
    norm.check()
    weight *= 1.01
    with pytest.raises(GradientRefused, match="norm is no longer what it was") as raised:
        norm.check()
    check_sentence(raised.value, "call backward before")


# Rounding, sample by sample.

ROUNDING = Rounding(get_tableau("tsit5"), torch.finfo(torch.float32).eps, 0.0, 1.0)
# Error, state and slope. The first is hidden in its rounding, the second is an error, the third is small.
SAMPLES = [(40.0, 1e9, 1e9), (1.5, 1.0, 1.0), (0.1, 1.0, 1.0)]


def test_parts_of_the_sizes_are_the_norms_of_each_sample():
    scaled, others = PAIR, torch.stack([2 * PAIR, -PAIR])
    found = LARGEST.of_parts(scaled, LARGEST.of(scaled), others)
    each = torch.tensor([math.sqrt(25 / 3), math.sqrt(9)], dtype=FLOAT64)
    torch.testing.assert_close(found, torch.stack([each, 2 * each, each]), rtol=1e-14, atol=0.0)
    whole = RMS.of_parts(scaled, RMS.of(scaled), others)
    users = UsersNorm(lambda e: torch.cat([e[0].reshape(-1), e[1].reshape(-1)]).norm() / math.sqrt(6), LAYOUT)
    expected = math.sqrt(52 / 6) * torch.tensor([[1.0], [2.0], [1.0]], dtype=FLOAT64)
    torch.testing.assert_close(whole, expected, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(users.of_parts(scaled, users.of(scaled), others), expected, rtol=1e-14, atol=0.0)


def test_a_sample_s_error_is_not_hidden_by_another_one_s_rounding():
    alone = [ROUNDING.judge(*sample, 0.5) for sample in SAMPLES]
    assert alone[0].error < 1 < alone[0].allowed
    assert alone[1].error == pytest.approx(1.5, rel=1e-3)
    found = ROUNDING.judge_parts(torch.tensor(SAMPLES, dtype=FLOAT64).t(), 0.5)
    assert found.error == pytest.approx(max(one.error for one in alone), rel=1e-14)
    # The record is of the sample whose error is the scaled error.
    assert (found.rounding, found.allowed) == (alone[0].rounding, alone[0].allowed)


def test_the_judgement_of_many_samples_is_the_worst_of_all_judgements():
    generator = torch.Generator().manual_seed(2)
    sizes = torch.rand(3, 200, generator=generator, dtype=FLOAT64).mul_(-20).exp_()
    sizes = sizes * torch.tensor([[1e3], [1e9], [1e9]])
    sizes[:, 7] = 0.0
    for rounding in (ROUNDING, replace(ROUNDING, own=1e-4)):
        for samples in (sizes, sizes[:, 5:10], sizes * torch.tensor([[1e-6], [1.0], [1.0]])):
            expected = max(rounding.judge(*sample, 0.3).error for sample in samples.t().tolist())
            assert rounding.judge_parts(samples, 0.3).error == pytest.approx(expected, rel=1e-14)


def test_one_part_is_judged_as_the_whole():
    one = torch.tensor([[0.3], [1e6], [2e6]], dtype=FLOAT64)
    assert ROUNDING.judge_parts(one, 0.1) == ROUNDING.judge(0.3, 1e6, 2e6, 0.1)


def test_a_sample_that_is_not_finite_is_not_hidden_by_rounding():
    sizes = torch.tensor([[0.3, math.nan], [1e6, 1e6], [1.0, 1.0]])
    assert math.isnan(ROUNDING.judge_parts(sizes, 0.1).error)
    sizes = torch.tensor([[0.3, 0.2], [1e6, math.inf], [1.0, 1.0]], dtype=FLOAT64)
    assert ROUNDING.judge_parts(sizes, 0.1).error >= 0.2
