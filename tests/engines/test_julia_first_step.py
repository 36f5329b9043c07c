"""What the julia engine says of the first step, and what it starts with."""

import math

import pytest
import torch

import pyndereg as nde
from tests.equations import FLOAT64
from tests.sentences import check_sentence

pytestmark = pytest.mark.julia


def decay(t, y):
    return -y * torch.tensor([1.0, 30.0], dtype=y.dtype)


def problem(**interval):
    return nde.ODEProblem(decay, torch.tensor([[1.0, 2.0]], dtype=FLOAT64), **interval)


@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "vern7"])
@pytest.mark.parametrize("first_step", [None, 1e-3, 1.0])
def test_both_engines_say_the_same_of_the_first_step(method, first_step):
    solutions = [
        nde.solve(problem(), method, engine=engine, first_step=first_step, rtol=1e-7, atol=1e-7)
        for engine in ("embedded", "julia")
    ]
    ours, theirs = (solution.stats for solution in solutions)
    assert theirs.first_rejected == ours.first_rejected
    assert theirs.first_rejected > 0 or first_step != 1.0
    # The packages' controller has an approximate power function.
    assert theirs.first_step == pytest.approx(ours.first_step, rel=1e-3)
    assert theirs.first_growth == pytest.approx(ours.first_growth, rel=1e-2)


def test_solves_in_julia_remember():
    start = nde.Remembered()
    counts = [nde.solve(problem(t1=0.1), engine="julia", first_step=start).stats.nfe for _ in range(4)]
    assert counts[-1] < counts[0]
    same = nde.solve(problem(t1=0.1), first_step=start.length)
    assert same.stats.nfe == counts[-1]


def test_an_implicit_algorithm_has_an_order_and_one_of_varying_order_has_none():
    stiff = nde.solve(problem(), nde.julia.method("Rodas5P"), engine="julia", first_step=1e-4)
    assert stiff.stats.first_step == pytest.approx(1e-4)
    error = stiff.steps.scaled_error[0].item()
    assert stiff.stats.first_growth == pytest.approx(0.9 * error ** (-1 / 5))
    start = nde.Remembered()
    varying = nde.solve(problem(), nde.julia.method("QNDF"), engine="julia", first_step=start)
    assert math.isnan(varying.stats.first_growth)
    assert start.length is None


def test_stochastic_solves_in_julia_remember_along_the_same_path():
    equation = nde.SDEProblem(decay, lambda t, y: 0.1 * y, torch.ones(3, 2, dtype=FLOAT64), seed=1)
    solutions = [nde.solve(equation, engine=engine, first_step=1e-3) for engine in ("embedded", "julia")]
    ours, theirs = (solution.stats for solution in solutions)
    assert theirs.first_growth > 0
    assert theirs.first_rejected == ours.first_rejected
    assert theirs.first_step == pytest.approx(ours.first_step, rel=0.2)  # ends of steps are snapped to the path's times
    start = nde.Remembered()
    nde.solve(equation, engine="julia", first_step=start)
    assert start.length > 0


def test_a_first_step_where_steps_are_planned_is_refused():
    for method, options in (("rk4", {}), ("tsit5", {"adaptive": False}), ("tsit5", {"adaptive": False, "dt": 0.1})):
        with pytest.raises(ValueError, match="first_step") as raised:
            nde.solve(problem(), method, engine="julia", first_step=0.1, **options)
        check_sentence(raised.value, "dt=")
    equation = nde.SDEProblem(decay, decay, torch.ones(1, 2, dtype=FLOAT64))
    with pytest.raises(ValueError, match="first_step"):
        nde.solve(equation, "em", engine="julia", first_step=0.1)
