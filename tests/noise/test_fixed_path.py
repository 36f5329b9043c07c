"""A path that was handed in, or read back from a Brownian path."""

import math

import pytest
import torch

from pyndereg.noise import BrownianPath, FixedPath
from tests.sentences import check_sentence

TIMES = [0.0, 0.1, 0.25, 0.7, 1.0]


def brownian():
    return BrownianPath(0.0, 1.0, (4, 2), seed=8, cells=10)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_a_record_answers_as_the_path_it_was_read_from():
    path = brownian()
    record = path.record(TIMES)
    assert (record.t0, record.t1, record.shape, record.dtype) == (0.0, 1.0, (4, 2), torch.float64)
    assert record.device == path.device
    for s in TIMES:
        close(record(s), path(s))
        for t in TIMES:
            close(record.dW(s, t), path.dW(s, t))
            close(record.increments(s, t).dW, path.increments(s, t).dW)
            close(record.increments(s, t).dZ, path.increments(s, t).dZ)


@pytest.mark.parametrize("times", [TIMES, TIMES[1:4], [0.0, 0.25, 1.0], [1.0, 0.7, 0.1]])
def test_a_record_answers_on_grids_of_its_times(times):
    path = brownian()
    record = path.record(TIMES)
    for found, expected in zip(record.on_grid(times), path.on_grid(times), strict=True):
        close(found, expected)
    close(record.values(times), path.values(times))


def test_areas_of_neighbours_are_combined_as_integrals():
    """Two intervals of 1 and 3: I = I_1 + I_2 + 3 dW_1, by hand."""
    values, areas = torch.tensor([[0.0], [2.0], [1.0]]).double(), torch.tensor([[0.5], [-1.0]]).double()
    path = FixedPath([0.0, 1.0, 4.0], values, areas)
    whole = 0.5 * (2 + 0.5 / math.sqrt(3)) + 1.5 * (-1 - 1 / math.sqrt(3)) + 3 * 2
    dW, dZ = path.increments(0.0, 4.0)
    assert dW.item() == 1.0
    assert dZ.item() == pytest.approx(math.sqrt(3) * (2 * whole / 4 - 1), rel=1e-14)


def test_a_path_may_begin_anywhere_and_lies_where_its_tensors_lie():
    path = FixedPath(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0]))
    assert path(1.0).item() == 3.0
    assert path.dW(2.0, 1.0).item() == -2.0
    assert path.dtype == torch.float32


def test_gradients_flow_to_the_tensors_that_were_handed_in():
    values = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    areas = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)

    def increments(values, areas):
        return FixedPath(TIMES, values, areas).increments(0.1, 1.0)

    assert torch.autograd.gradcheck(increments, (values, areas))


def test_times_are_recognised_in_spite_of_rounding():
    path = FixedPath([0.0, 0.1 + 0.2, 1.0], torch.zeros(3, 2))
    assert path(0.3).shape == (2,)


def test_areas_that_were_not_handed_in_raise_a_sentence_and_increments_do_not():
    path = FixedPath(TIMES, torch.zeros(5, 2))
    assert path.dW(0.0, 0.7).shape == (2,)
    for ask in (lambda: path.areas, lambda: path.increments(0.0, 0.7), lambda: path.on_grid(TIMES)):
        with pytest.raises(ValueError, match="areas") as raised:
            ask()
        check_sentence(raised.value)


@pytest.mark.parametrize("t", [0.11, -1.0, math.nan])
def test_times_that_are_not_listed_raise_a_sentence(t):
    with pytest.raises(ValueError, match="is not one of the 5 times") as raised:
        brownian().record(TIMES).increments(0.0, t)
    check_sentence(raised.value)


@pytest.mark.parametrize(
    ("times", "values", "areas"),
    [
        ([0.0], torch.zeros(1, 2), None),
        ([0.0, 1.0, 1.0], torch.zeros(3, 2), None),
        ([0.0, math.inf], torch.zeros(2, 2), None),
        ([0.0, 1.0], torch.zeros(3, 2), None),
        ([0.0, 1.0], torch.zeros(2, 2), torch.zeros(2, 2)),
        ([0.0, 1.0], torch.zeros(2, 2), torch.zeros(1, 3)),
    ],
)
def test_tensors_that_do_not_fit_raise_a_sentence(times, values, areas):
    with pytest.raises(ValueError, match="pass") as raised:
        FixedPath(times, values, areas)
    check_sentence(raised.value)
