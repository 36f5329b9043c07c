"""Whose memory slopes and states are: f may reuse its own, and what is kept holds no more than itself."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.solver.combination import LinearCombination
from tests.equations import FLOAT64


class Reusing:
    """A function that writes its result into the same memory at every call."""

    def __init__(self, function):
        self._function, self._room = function, {}

    def __call__(self, t, y):
        found = self._function(t, y)
        return self._room.setdefault(found.shape, torch.empty_like(found)).copy_(found)


def forced(t, y):
    return torch.cos(3.0 * t) * y.flip(-1) - 2.0 * y


def start(shape=(2, 3)):
    return torch.linspace(0.5, 1.5, math.prod(shape), dtype=FLOAT64).view(shape)


FIXED = {"steps": 9}


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
@pytest.mark.parametrize("saveat", [None, [0.2, 0.21, 1.0], nde.SaveAt(dense=True)])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((method, {}) for method in ("bs3", "dp5", "tsit5", "vern7", "vern9")),
        *((method, FIXED) for method in ("euler", "midpoint", "heun", "rk4")),
        ("dp5", {"dt": 1.0}),  # whose first steps are rejected
    ],
)
def test_an_f_that_reuses_its_memory_is_solved_like_one_that_does_not(method, options, saveat, shape):
    with torch.no_grad():
        expected = nde.solve(nde.ODEProblem(forced, start(shape), t1=2.0), method, saveat=saveat, **options)
        found = nde.solve(nde.ODEProblem(Reusing(forced), start(shape), t1=2.0), method, saveat=saveat, **options)
    assert found.stats == expected.stats
    assert torch.equal(found.y1, expected.y1)
    assert torch.equal(found.y, expected.y)
    assert torch.equal(found.steps.dt, expected.steps.dt)
    torch.testing.assert_close(found.steps.stiffness, expected.steps.stiffness, rtol=0, atol=0, equal_nan=True)
    times = torch.linspace(0, 2, 7, dtype=FLOAT64)
    with torch.no_grad():
        assert torch.equal(found(times), expected(times))


def test_some_of_these_steps_are_rejected():
    found = nde.solve(nde.ODEProblem(Reusing(forced), start(), t1=2.0), "dp5", dt=1.0)
    assert found.stats.rejected > 0


@pytest.mark.parametrize("method", ["em", "milstein", "sriw1", "sosri", "sosri2", "sra1", "sosra"])
def test_a_stochastic_f_and_g_that_reuse_their_memory_are_solved_like_those_that_do_not(method):
    noise = "additive" if method in ("sra1", "sosra") else "diagonal"
    options = {"steps": 9} if method in ("em", "milstein") else {}

    def g(t, y):
        return 0.2 * torch.cos(t) + (0.0 if noise == "additive" else 0.1) * y

    def solved(f, g):
        return nde.solve(nde.SDEProblem(f, g, start(), seed=4, noise=noise), method, **options)

    with torch.no_grad():
        expected, found = solved(forced, g), solved(Reusing(forced), Reusing(g))
    assert torch.equal(found.y1, expected.y1)
    assert torch.equal(found.steps.dt, expected.steps.dt)


@pytest.mark.parametrize("size", [3, 200, 300, 70_000])
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
def test_a_combination_holds_no_more_memory_than_itself(size, dtype):
    rows = torch.ones(7, size, dtype=dtype)
    found = LinearCombination(rows, (0.5, 0.25, 0.25))(torch.zeros(size, dtype=dtype), 2.0)
    assert found.untyped_storage().nbytes() == size * found.element_size()


@pytest.mark.parametrize("method", ["dp5", "tsit5", "vern7", "vern9"])
def test_states_that_are_kept_for_the_gradient_hold_no_more_memory_than_themselves(method):
    rate = torch.ones((), dtype=FLOAT64, requires_grad=True)
    y0 = torch.ones(123, dtype=FLOAT64)
    held = []

    def pack(tensor):
        held.append((tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        nde.solve(nde.ODEProblem(lambda t, y: -rate * y, y0, params=[rate]), method)
    states = [stored for size, stored in held if size == 123]
    assert len(states) > 2
    assert set(states) == {123}
