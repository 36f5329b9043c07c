"""One step against the textbook's sums, for every method."""

import math

import numpy as np
import pytest
import torch

from pyndereg.solver.runge_kutta import ExplicitRungeKutta
from pyndereg.solver.stiffness import STIFFNESS_ESTIMATES
from pyndereg.solver.tableaus import TABLEAUS
from tests.equations import Counted
from tests.solver.plain import plain_step

RTOL, ATOL = 1e-3, 1e-2
T, DT = 0.3, 0.6
# Long enough for the two stages that estimate stiffness to differ by more than rounding.
LONG_DT = 1.1


def numpy_field(t, y):
    return np.sin(2.0 * y + t) + 0.4 * np.roll(y, 1) * np.cos(t)


def torch_field(t, y):
    return torch.sin(2.0 * y + t) + 0.4 * y.roll(1) * torch.cos(t)


def make(method, field, size, stiffness="rms", dtype=torch.float64):
    return ExplicitRungeKutta(
        TABLEAUS[method],
        field,
        torch.Size((size,)),
        dtype=dtype,
        device=torch.device("cpu"),
        rtol=RTOL,
        atol=ATOL,
        stiffness=STIFFNESS_ESTIMATES[stiffness],
    )


def state(size):
    return np.linspace(-1.0, 1.3, size)


# Slopes are summed in another form for small, for larger and for very large states: all must be the same step.
@pytest.mark.parametrize("size", [3, 400, 70_000])
@pytest.mark.parametrize("dt", [DT, -DT])
@pytest.mark.parametrize("name", sorted(TABLEAUS))
@torch.no_grad()
def test_a_step_is_the_textbook_s(name, dt, size):
    tableau, y0 = TABLEAUS[name], state(size)
    expected = plain_step(tableau, numpy_field, T, y0, dt, RTOL, ATOL)
    rk = make(name, torch_field, size)
    step = rk.attempt(T, dt, rk.start(T, torch.tensor(y0)))
    assert (step.t, step.dt) == (T, dt)
    np.testing.assert_allclose(step.y0.numpy(), y0, rtol=0)
    np.testing.assert_allclose(step.y1.numpy(), expected.y1, rtol=1e-12, atol=1e-12)
    for stage, slope in zip(step.stages, expected.slopes, strict=True):
        np.testing.assert_allclose(stage.slope.numpy(), slope, rtol=1e-12, atol=1e-12)
    if tableau.b_error is None:
        assert step.scaled_error is None
    else:
        assert step.scaled_error.item() == pytest.approx(expected.scaled_error, rel=1e-12)


@pytest.mark.parametrize("definition", ["rms", "max"])
@pytest.mark.parametrize("name", sorted(TABLEAUS))
@torch.no_grad()
def test_a_step_s_stiffness_is_the_textbook_s_in_both_definitions(name, definition):
    tableau, y0 = TABLEAUS[name], state(3)
    expected = plain_step(tableau, numpy_field, T, y0, LONG_DT, RTOL, ATOL)
    rk = make(name, torch_field, 3, definition)
    step = rk.attempt(T, LONG_DT, rk.start(T, torch.tensor(y0)))
    rk.complete(step)
    if tableau.stiffness_stages is None:
        assert rk.stiffness(step) is None
    else:
        assert rk.stiffness(step).item() == pytest.approx(expected.stiffness[definition], rel=1e-12)


@torch.no_grad()
def test_the_stiffness_of_a_linear_field_is_its_eigenvalue():
    for definition in ("rms", "max"):
        rk = make("tsit5", lambda t, y: -7.5 * y, 4, definition)
        step = rk.attempt(0.0, 0.2, rk.start(0.0, torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)))
        assert rk.stiffness(step).item() == pytest.approx(7.5, rel=1e-9)


@pytest.mark.parametrize("name", sorted(TABLEAUS))
@torch.no_grad()
def test_a_step_evaluates_f_once_per_stage_and_never_twice_at_a_node(name):
    tableau = TABLEAUS[name]
    field = Counted(torch_field)
    rk = make(name, field, 3)
    start = rk.start(T, torch.tensor(state(3)))
    step = rk.attempt(T, DT, start)
    assert field.calls == tableau.stages
    end = rk.complete(step)
    assert rk.complete(step) is end
    assert field.calls == tableau.end + 1
    rk.extend(step)
    rk.extend(step)
    assert field.calls == len(tableau.nodes_c)
    np.testing.assert_allclose(end.y.view(-1).numpy(), step.y1.numpy(), rtol=0)
    assert end.t.item() == pytest.approx(T + DT, rel=1e-15)


@torch.no_grad()
def test_a_replayed_step_is_the_step_itself():
    for name in sorted(TABLEAUS):
        rk = make(name, torch_field, 3)
        first = rk.attempt(T, DT, rk.start(T, torch.tensor(state(3))))
        end = rk.complete(first)
        slopes = [stage.slope.clone() for stage in first.stages]
        again = rk.replay(T, DT, first.y0, end)
        assert torch.equal(again.y1, first.y1)
        assert all(torch.equal(stage.slope, slope) for stage, slope in zip(again.stages, slopes, strict=True))


@torch.no_grad()
def test_float32_steps_stay_in_float32_and_near_the_float64_ones():
    for name in sorted(TABLEAUS):
        y0 = state(5)
        expected = plain_step(TABLEAUS[name], numpy_field, T, y0, DT, RTOL, ATOL)
        rk = make(name, torch_field, 5, dtype=torch.float32)
        step = rk.attempt(T, DT, rk.start(T, torch.tensor(y0, dtype=torch.float32)))
        assert step.y1.dtype == torch.float32
        # vern9's coefficients reach 36 and cancel: a few hundred units of 6e-8.
        np.testing.assert_allclose(step.y1.numpy(), expected.y1, rtol=3e-5, atol=3e-5)
        assert math.isfinite(float(step.y1.sum()))
