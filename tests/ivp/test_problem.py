"""The question: what a problem accepts, and one sentence for each thing that it refuses."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from pyndereg.ivp import ODEProblem, SDEProblem
from tests.equations import FLOAT64, decay
from tests.sentences import check_sentence

Y0 = torch.ones(2, 3)


def refused(error, *parts, **change):
    arguments = {"f": decay, "y0": Y0, "t0": 0.0, "t1": 1.0, **change}
    with pytest.raises(error) as raised:
        ODEProblem(**arguments)
    check_sentence(raised.value, *parts)


def test_the_unit_interval_is_the_default():
    assert ODEProblem(decay, Y0).interval == (0.0, 1.0)


@pytest.mark.parametrize("f", [None, 3.0, torch.ones(2, 3)])
def test_f_has_to_be_callable(f):
    refused(TypeError, f"f is a {type(f).__name__}", "f(t, y)", f=f)


@pytest.mark.parametrize(
    ("y0", "found"), [([1.0, 2.0], "a list"), (1.0, "a float"), (np.ones(2), "a ndarray"), ((Y0, 1.0), "a float")]
)
def test_a_state_that_is_no_tensor_is_refused(y0, found):
    refused(TypeError, "y0 holds", found, "torch.Tensor", y0=y0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bfloat16, torch.complex64, torch.bool])
def test_a_state_of_another_dtype_is_refused(dtype):
    refused(TypeError, f"dtype {dtype}", "float32", y0=torch.ones(2).to(dtype))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_is_refused(value):
    refused(ValueError, "NaN or infinity", "finite state", y0=torch.tensor([1.0, value]))
    refused(ValueError, "NaN or infinity", "finite state", y0=(Y0, torch.tensor([value])))


@pytest.mark.parametrize("y0", [torch.empty(0), torch.empty(3, 0), ()])
def test_an_empty_state_is_refused(y0):
    refused(ValueError, "y0 is empty", "at least one number", y0=y0)


def test_a_tuple_that_mixes_dtypes_or_devices_is_refused():
    refused(ValueError, "mixes torch.float32", "torch.float64", "one dtype and device", y0=(Y0, Y0.double()))
    refused(ValueError, "on meta", "one dtype and device", y0=(Y0, Y0.to("meta")))


def test_a_tuple_with_one_empty_tensor_is_a_state():
    assert ODEProblem(decay, (Y0, torch.empty(0))).layout.size == 6


@pytest.mark.parametrize("t", [2.0, torch.tensor(2.0), torch.tensor([2.0], dtype=FLOAT64)])
def test_an_empty_interval_is_refused(t):
    refused(ValueError, "t0 and t1 are both 2.0", "non-zero length", t0=t, t1=2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, torch.tensor(math.nan), torch.tensor(-math.inf)])
def test_a_time_that_is_not_finite_is_refused(value):
    refused(ValueError, f"t1 is {float(value)}", "finite time", t1=value)


@pytest.mark.parametrize(
    ("t", "found"), [(torch.zeros(2), "shape (2,)"), (torch.tensor(True), "torch.bool"), (torch.tensor(1j), "complex")]
)
def test_a_time_that_is_no_real_scalar_is_refused(t, found):
    refused(ValueError, "t0 is a tensor", found, "scalar", t0=t)


@pytest.mark.parametrize(("t", "found"), [("0", "a str"), (None, "a NoneType"), (True, "a bool"), ([0.0], "a list")])
def test_a_time_that_is_no_number_is_refused(t, found):
    refused(TypeError, "t0 is", found, "number", t0=t)


def test_times_may_be_whole_numbers_numpy_numbers_or_tensors():
    problem = ODEProblem(decay, Y0, 2, np.float32(0.5))
    assert problem.interval == (2.0, 0.5)
    ends = torch.tensor(1.0, requires_grad=True), torch.tensor([3.0], dtype=FLOAT64)
    problem = ODEProblem(decay, Y0, *ends)
    assert (problem.t0, problem.t1) == ends
    assert problem.interval == (1.0, 3.0)


@pytest.mark.parametrize("params", [[1.0], [torch.ones(2), None], {"w": torch.ones(2)}])
def test_params_that_are_no_tensors_are_refused(params):
    refused(TypeError, "params holds", "tensors that f uses", params=params)


def test_params_may_be_one_tensor_or_an_iterator():
    w = torch.ones(2, requires_grad=True)
    assert ODEProblem(decay, Y0, params=w).parameters == (w,)
    assert ODEProblem(decay, Y0, params=iter([w])).parameters == (w,)


def test_a_module_finds_its_own_parameters_and_each_is_listed_once():
    module, extra = nn.Linear(3, 3), torch.ones(2, requires_grad=True)
    problem = ODEProblem(module, Y0, params=(extra, module.weight, extra, torch.ones(1)))
    assert [id(param) for param in problem.parameters] == [id(module.weight), id(module.bias), id(extra)]


def test_a_frozen_parameter_is_not_listed():
    module = nn.Linear(3, 3)
    module.weight.requires_grad_(False)
    assert ODEProblem(module, Y0).parameters == (module.bias,)


@dataclass
class Path:
    """What a path says of itself; it is never asked."""

    shape: tuple[int, ...] = (4, 2)
    dtype: torch.dtype = torch.float32
    device: torch.device = Y0.device
    t0: float = 0.0
    t1: float = 1.0

    def increments(self, s, t):
        raise AssertionError("a path is asked in a solve")


def noisy(path, **options):
    return SDEProblem(lambda t, y: -y, lambda t, y: y, torch.ones(4, 2), brownian=path, **options)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (Path(shape=(1, 2)), ("shape (1, 2)", "(4, 2)")),
        (Path(shape=(3,)), ("shape (3,)", "(4, 2)")),
        (Path(dtype=torch.float64), ("torch.float64", "dtype=torch.float32")),
        (Path(device=torch.device("meta")), ("meta", "device=cpu")),
        (Path(t1=0.5), ("from 0.0 to 0.5", "whole interval")),
        (Path(t0=0.5), ("from 0.5 to 1.0", "whole interval")),
    ],
)
def test_a_path_that_does_not_fit_the_problem_is_refused(path, parts):
    with pytest.raises(ValueError, match="build the path") as caught:
        noisy(path)
    check_sentence(caught.value, *parts)


def test_a_path_that_fits_the_noise_is_taken_and_one_that_says_nothing_too():
    assert noisy(Path(t0=-1.0, t1=2.0)).brownian is not None
    assert noisy(Path(shape=(4, 1)), noise="scalar").brownian is not None
    assert noisy(Path(shape=(4, 3)), noise="general", noise_size=3).brownian is not None
    assert noisy(object()).brownian is not None
