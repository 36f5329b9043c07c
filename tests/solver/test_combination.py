"""Linear combinations of vectors: one value, whatever the form that suits their size."""

import numpy as np
import pytest
import torch

from pyndereg.solver.combination import CHAINED_SIZE, ORDERED_SIZE, LinearCombination

WEIGHTS = (0.3, 0.0, -1.7, 2.5)
SIZES = [1, ORDERED_SIZE, ORDERED_SIZE + 1, CHAINED_SIZE - 1, CHAINED_SIZE, CHAINED_SIZE + 5]


def vectors(size, dtype=torch.float64):
    generator = torch.Generator().manual_seed(size)
    return torch.randn(6, size, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [WEIGHTS, WEIGHTS[:1], (0.0, 0.0)])
@pytest.mark.parametrize("size", SIZES)
def test_the_sum_is_the_same_in_every_form(size, weights, dtype):
    rows = vectors(size, dtype)
    base = torch.linspace(-1.0, 1.0, size, dtype=dtype)
    found = LinearCombination(rows, weights)(base, -0.25)
    terms = rows[: len(weights)].double().numpy()
    expected = base.double().numpy() - 0.25 * np.einsum("i,ij->j", np.array(weights), terms)
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=tolerance, atol=10 * tolerance)
    assert found.dtype == dtype


@pytest.mark.parametrize("size", SIZES)
def test_the_vectors_are_read_anew_at_every_call_and_left_alone(size):
    rows, base = vectors(size), torch.ones(size, dtype=torch.float64)
    combination = LinearCombination(rows, WEIGHTS)
    first = combination(base, 1.0)
    rows.mul_(2.0)
    copies = rows.clone(), base.clone()
    second = combination(base, 1.0)
    torch.testing.assert_close(second - 1.0, 2 * (first - 1.0), rtol=1e-12, atol=1e-12)
    assert torch.equal(rows, copies[0])
    assert torch.equal(base, copies[1])
    assert second.data_ptr() != base.data_ptr()
