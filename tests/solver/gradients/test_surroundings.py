"""What is around a solve is put back around its backward pass, and afterwards everything is as it was."""

import contextvars

import pytest
import torch
from torch.nn.utils import parametrize

from pyndereg.solver.gradients.surroundings import Surroundings

CPU = torch.device("cpu")
VARIABLE = contextvars.ContextVar("variable", default=0)


def cast():
    return torch.autocast("cpu", torch.bfloat16)


def test_outside_of_everything_there_is_nothing_to_put_back():
    now = Surroundings.now(CPU)
    assert now.autocast == ()
    assert now.device is None
    assert now.dtype == torch.float32


def test_autocast_is_noted_with_its_dtype_put_around_f_and_taken_from_the_solver():
    with cast():
        now = Surroundings.now(CPU)
        with now.of_solver():
            assert not torch.is_autocast_enabled("cpu")
            with now.of_field():
                assert torch.is_autocast_enabled("cpu")
                assert torch.get_autocast_dtype("cpu") == torch.bfloat16
                assert not torch.is_autocast_cache_enabled()
    assert now.autocast == (("cpu", torch.bfloat16),)
    with now.of_field():
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_a_backward_pass_runs_without_the_autocast_that_is_around_it():
    now = Surroundings.now(CPU)
    with cast():
        assert not now.put_back(lambda: torch.is_autocast_enabled("cpu"))
        assert torch.is_autocast_enabled("cpu")


def test_context_variables_are_those_of_the_solve_and_what_is_set_stays_inside():
    def inside():
        token = VARIABLE.get()
        VARIABLE.set(7)
        return token

    context = contextvars.copy_context()
    context.run(VARIABLE.set, 3)
    now = context.run(Surroundings.now, CPU)
    assert now.put_back(inside) == 3
    assert now.put_back(inside) == 3
    assert VARIABLE.get() == 0


def test_the_default_device_is_that_of_the_solve():
    with torch.device("meta"):
        now = Surroundings.now(CPU)
    assert now.device == torch.device("meta")
    assert now.put_back(lambda: torch.ones(1).device.type) == "meta"
    assert torch.ones(1).device.type == "cpu"


def test_the_default_dtype_is_that_of_the_solve():
    now = Surroundings.now(CPU)
    torch.set_default_dtype(torch.float64)
    try:
        assert now.put_back(lambda: torch.ones(1).dtype) == torch.float32
        assert torch.ones(1).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_cached_parametrizations_are_switched_off_and_on_again():
    now = Surroundings.now(CPU)
    with parametrize.cached():
        assert now.put_back(lambda: parametrize._cache_enabled) == 0
        assert parametrize._cache_enabled
    assert not parametrize._cache_enabled


def test_everything_is_as_it_was_after_a_function_that_raises():
    def fail():
        raise KeyError("x")

    with torch.device("cpu"):
        now = Surroundings.now(CPU)
    with cast(), parametrize.cached():
        with pytest.raises(KeyError):
            now.put_back(fail)
        assert torch.is_autocast_enabled("cpu")
        assert parametrize._cache_enabled
