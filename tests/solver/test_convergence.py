"""The error of every method falls with the step at the rate that its order states."""

import numpy as np
import pytest
import torch

import pyndereg as nde
from pyndereg.solver.tableaus import TABLEAUS
from tests.equations import FLOAT64, circle, circle_solution


def gompertz(t, y):
    """y' = y log y: from e the solution is exp(exp t), which grows enough to show order 9 above rounding."""
    return y * torch.log(y)


def gompertz_solution(t):
    return torch.exp(torch.exp(torch.as_tensor(t, dtype=FLOAT64)))[..., None]


def damped_gompertz(t, y):
    """y' = y log(y) cos t: from e the solution is exp(exp(sin t))."""
    return y * torch.log(y) * torch.cos(t)


def damped_gompertz_solution(t):
    return torch.exp(torch.exp(torch.sin(torch.as_tensor(t, dtype=FLOAT64))))[..., None]


# Numbers of steps inside the asymptotic range: few enough to stay above rounding.
STEPS = {
    "euler": (200, 283, 400, 566),
    "midpoint": (80, 113, 160, 226),
    "heun": (80, 113, 160, 226),
    "bs3": (80, 113, 160, 226, 320),
    "rk4": (40, 57, 80, 113, 160),
    "dp5": (57, 80, 113, 160, 226),
    "tsit5": (57, 80, 113, 160, 226),
    "vern7": (14, 17, 20, 24, 28),
    "vern9": (3, 4, 5, 6, 7, 8),
}

# Longest step, from which four more follow, each shorter by 2^(1/3).
LONGEST_STEP = {
    "euler": 0.25,
    "midpoint": 0.25,
    "heun": 0.06,
    "bs3": 0.125,
    "rk4": 0.05,
    "dp5": 0.1,
    "tsit5": 0.1,
    "vern7": 0.3,
    "vern9": 0.4,
}


def slope(lengths, errors) -> float:
    return float(np.polyfit(np.log(lengths), np.log(errors), 1)[0])


@pytest.mark.parametrize("name", sorted(STEPS))
def test_the_final_error_falls_with_the_order_of_the_method(name):
    field, solution, t1 = (gompertz, gompertz_solution, 1.0) if name == "vern9" else (circle, circle_solution, 4.0)
    errors = []
    for steps in STEPS[name]:
        solved = nde.solve(nde.ODEProblem(field, solution(0.0), 0.0, t1), name, dt=t1 / steps, adaptive=False)
        assert solved.stats.accepted == steps
        errors.append((solved.y1 - solution(t1)).norm().item())
    assert min(errors) > 1e-12
    assert slope([t1 / steps for steps in STEPS[name]], errors) == pytest.approx(TABLEAUS[name].order, abs=0.2)


@pytest.mark.parametrize("name", sorted(LONGEST_STEP))
def test_the_error_inside_one_step_falls_one_order_faster_than_the_interpolant_s_order(name):
    lengths = [LONGEST_STEP[name] * 2 ** (-i / 3) for i in range(5)]
    fractions = torch.tensor([0.2, 0.45, 0.7], dtype=FLOAT64)
    errors = []
    for dt in lengths:
        problem = nde.ODEProblem(damped_gompertz, damped_gompertz_solution(0.0), 0.0, dt)
        solved = nde.solve(problem, name, dt=dt, adaptive=False)
        assert solved.stats.accepted == 1
        errors.append((solved(fractions * dt) - damped_gompertz_solution(fractions * dt)).abs().max().item())
    expected = min(TABLEAUS[name].order, TABLEAUS[name].interpolant.order) + 1
    found = slope(lengths, errors)
    if name == "vern9":
        # The error of order 10 is so small that the next ones outweigh it until rounding sets in: it falls even faster.
        assert found >= expected - 0.2
    else:
        assert found == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("name", ["bs3", "dp5", "tsit5", "vern7", "vern9"])
def test_the_error_estimate_is_an_estimate_of_the_embedded_method_s_error(name):
    longest = {"bs3": 0.1, "dp5": 0.05, "tsit5": 0.05, "vern7": 0.08, "vern9": 0.25}[name]
    lengths = [longest * 2 ** (-i / 3) for i in range(5)]
    estimates = []
    for dt in lengths:
        problem = nde.ODEProblem(damped_gompertz, damped_gompertz_solution(0.0), 0.0, dt)
        solved = nde.solve(problem, name, dt=dt, adaptive=False, rtol=1.0, atol=1.0)
        estimates.append(solved.steps.scaled_error.item())
    found, expected = slope(lengths, estimates), TABLEAUS[name].embedded_order + 1
    if name == "vern9":
        # Rounding takes over before the next order has died away.
        assert expected - 0.2 <= found <= expected + 0.5
    else:
        assert found == pytest.approx(expected, abs=0.2)
