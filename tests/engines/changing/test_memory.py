"""Circles through a field and its solution are collected, and solves in a row hold none of those before them."""

import gc
import weakref

import pytest
import torch
from torch import nn

import pyndereg as nde
from tests.engines.changing.world import GRADIENTS

PAIRS = [(equation, name) for equation, gradients in GRADIENTS.items() for name in gradients]
SAVES = {"end": None, "times": [0.5, 1.0], "dense": nde.SaveAt(dense=True)}


class Field(nn.Module):
    """Uses a parameter, a computed tensor and an attribute that a solve sets."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.trajectory = None

    def forward(self, t, y):
        return -torch.sin(self.weight * y)


class Token:
    """Hangs on a node of a graph, and goes with it."""


def with_token(result):
    """A weak reference that lives as long as the graph behind a result."""
    token = Token()
    result.grad_fn.metadata["token"] = token
    return weakref.ref(token)


def solved(field, equation, name, saves="times", y0=None):
    y0 = torch.ones(2, 3, dtype=torch.float64) if y0 is None else y0
    options = {"gradient": GRADIENTS[equation][name], "saveat": SAVES[saves], "dt": 0.25}
    if equation == "ode":
        return nde.solve(nde.ODEProblem(field, y0), "rk4", **options)
    kind, method = ("stratonovich", "heun") if name == "backsolve" else ("ito", "em")
    problem = nde.SDEProblem(field, lambda t, y: 0.1 * field(t, y), y0, seed=1, interpretation=kind)
    return nde.solve(problem, method, **options)


@pytest.mark.parametrize(("equation", "name"), PAIRS)
@pytest.mark.parametrize("backward", [False, True], ids=["solved", "differentiated"])
@pytest.mark.parametrize("kept", ["trajectory", "solution"])
def test_a_field_that_keeps_its_own_solution_is_collected(equation, name, backward, kept):
    field = Field()
    solution = solved(field, equation, name)
    field.trajectory = solution if kept == "solution" else solution.y
    if backward:
        solution.y.sum().backward()
    gone = [weakref.ref(x) for x in (field, field.weight, solution, solution.y)]
    del field, solution
    gc.collect()
    assert [reference() for reference in gone] == [None] * 4


@pytest.mark.parametrize(("equation", "name"), PAIRS)
def test_a_field_without_circles_goes_at_once(equation, name):
    gc.collect()
    gc.disable()
    try:
        field = Field()
        solution = solved(field, equation, name)
        solution.y.sum().backward()
        gone = [weakref.ref(x) for x in (field, field.weight, solution)]
        del field, solution
        assert [reference() for reference in gone] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.parametrize(("equation", "name"), PAIRS)
@pytest.mark.parametrize("saves", sorted(SAVES))
def test_solves_whose_field_keeps_the_latest_trajectory_hold_none_of_the_earlier_ones(equation, name, saves):
    field, gone, storages = Field(), [], []
    for _ in range(4):
        solution = solved(field, equation, name, saves)
        gone.append(with_token(solution.y))
        storages.append(weakref.ref(solution.y))
        field.trajectory = solution.y
    gc.collect()
    assert [reference() is None for reference in gone] == [True, True, True, False]
    assert [reference() is None for reference in storages] == [True, True, True, False]
    field.trajectory.sum().backward()
    assert field.weight.grad.any()


@pytest.mark.parametrize(("equation", "name"), PAIRS)
def test_a_solve_that_starts_from_a_detached_end_holds_nothing_of_the_solve_before(equation, name):
    field, y0, gone = Field(), None, []
    for _ in range(3):
        solution = solved(field, equation, name, "end", y0)
        gone.append(with_token(solution.y1))
        assert gone[-1]() is not None
        y0 = solution.y1.detach()
        del solution
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
