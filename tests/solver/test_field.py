"""f as the solver sees it: every answer that is no slope of the state is refused by name."""

import pytest
import torch

from pyndereg.ivp import ODEProblem
from pyndereg.solver.field import Field
from tests.sentences import check_sentence

Y = torch.zeros(2, 3)
T = torch.zeros(())


def answer(value, y0=Y):
    field = Field(ODEProblem(lambda t, y: value, y0))
    y = torch.zeros(field._shape)
    return field, y


@pytest.mark.parametrize(
    ("value", "error", "found"),
    [
        (torch.zeros(3, 2), ValueError, "shape (3, 2)"),
        (torch.zeros(3), ValueError, "shape (3,)"),
        (torch.zeros(2, 3, dtype=torch.float64), ValueError, "torch.float64"),
        (torch.zeros(2, 3, device="meta"), ValueError, "on meta"),
        (0.0, TypeError, "a float"),
        (None, TypeError, "a NoneType"),
        ((torch.zeros(2, 3),), TypeError, "a tuple"),
    ],
)
def test_a_slope_of_another_shape_dtype_device_or_type_is_refused(value, error, found):
    field, y = answer(value)
    with pytest.raises(error) as raised:
        field(T, y)
    check_sentence(raised.value, "f returned", found, "return dy/dt", "shape (2, 3), torch.float32 on cpu")


@pytest.mark.parametrize(
    ("value", "error", "found", "remedy"),
    [
        (torch.zeros(9), TypeError, "a Tensor", "a tuple of 2 tensors"),
        ([torch.zeros(2, 3), torch.zeros(3)], TypeError, "a list", "a tuple of 2 tensors"),
        ((torch.zeros(2, 3),), TypeError, "a tuple of 1", "a tuple of 2 tensors"),
        ((torch.zeros(2, 3), torch.zeros(4)), ValueError, "shape (4,)", "shape (3,)"),
        ((torch.zeros(2, 3), torch.zeros(3).double()), ValueError, "torch.float64", "torch.float32"),
        ((torch.zeros(2, 3), torch.zeros(3, device="meta")), ValueError, "on meta", "on cpu"),
        ((torch.zeros(2, 3), 1.0), TypeError, "a float", "shape (3,)"),
    ],
)
def test_the_slope_of_a_tuple_is_a_tuple_of_the_same_tensors(value, error, found, remedy):
    field, y = answer(value, (torch.zeros(2, 3), torch.zeros(3)))
    with pytest.raises(error) as raised:
        field(T, y)
    check_sentence(raised.value, "f returned", found, remedy)


def test_f_is_handed_its_own_tuple_and_the_solver_gets_one_vector():
    y0 = (torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))
    seen = []

    def f(t, state):
        seen.append(state)
        return tuple(10 * part for part in state)

    field = Field(ODEProblem(f, y0))
    slope = field(T, torch.tensor([1.0, 2.0, 3.0]))
    assert [part.shape for part in seen[0]] == [(1, 2), (1,)]
    assert slope.tolist() == [10.0, 20.0, 30.0]


def test_every_call_is_counted():
    field, y = answer(torch.zeros(2, 3))
    for calls in (1, 2, 3):
        field(T, y)
        assert field.evaluations == calls
