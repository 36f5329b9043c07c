"""The strong error of every stochastic method falls with the step at the rate that its order states.

Root-mean-square error at t = 1 over 2,000 paths of seed 11, steps from 1/16 to 1/256; over 500 or 200 paths where the
solution comes from a finer grid.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from pyndereg.solver.stochastic import METHODS
from tests.equations import FLOAT64
from tests.solver.stochastic.paths import GridPath, draw

STEPS = (16, 32, 64, 128, 256)
A, B = 1.2, 0.8
ROTATION = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=FLOAT64)


@dataclass(frozen=True)
class Equation:
    """An equation with its solution at t = 1 as a function of the finest path."""

    noise: str
    interpretation: str
    drift: Callable
    diffusion: Callable
    y0: tuple[float, ...]
    noises: int
    solution: Callable[[GridPath], Tensor]
    cells: int = 256
    paths: int = 2000


def end(path):
    return path.dW.sum(0)


def growth(rate):
    """Geometric Brownian motion: the Itô solution for `rate` = A - B^2/2, Stratonovich's for A."""
    return lambda path: 0.7 * torch.exp(rate + B * end(path))


def turned(path):
    """The circle that one noise turns: exp(A) times the rotation by B W."""
    angle = B * end(path)
    return math.exp(A) * torch.cat([torch.cos(angle), torch.sin(angle)], -1)


def integral(path):
    """X1 = 0.5 + 0.9 W and X2, its exponential integral: the area of the path decides X2."""
    w, area = end(path)[..., 0], path.with_cells(1).areas[0, :, 0]
    return torch.stack([0.5 + 0.9 * w, torch.exp(0.5 + 0.9 * area)], -1)


def square_integral(path):
    """X1 = 0.5 + 0.9 W and X2, the integral of X1^2, cell by cell: a bridge's mean square stands for what is inside."""
    start = 0.5 + 0.9 * (path.dW.cumsum(0) - path.dW)
    inside = path.dt * (path.dW**2 / 3 + path.dt / 6)
    cells = path.dt * start**2 + 1.8 * start * path.areas + 0.81 * inside
    return torch.stack([0.5 + 0.9 * end(path)[..., 0], cells.sum(0)[..., 0]], -1)


def levy_area(path):
    """X1 = W1 and X2, the integral of W1 over W2, from a grid far finer than the steps."""
    start = path.dW.cumsum(0) - path.dW / 2
    return torch.stack([end(path)[..., 0], (start[..., 0] * path.dW[..., 1]).sum(0)], -1)


def first_only(t, y):
    return torch.tensor([0.9, 0.0], dtype=FLOAT64).expand_as(y)


def product_rule(t, y):
    return torch.stack([torch.zeros_like(y[..., 0]), y[..., 0] * y[..., 1]], -1)


def square_rule(t, y):
    return torch.stack([torch.zeros_like(y[..., 0]), y[..., 0] ** 2], -1)


def triangular(t, y):
    one, zero = torch.ones_like(y[..., 0]), torch.zeros_like(y[..., 0])
    return torch.stack([one, zero, zero, y[..., 0]], -1).unflatten(-1, (2, 2))


def hyperbola(t, y):
    return B * torch.sqrt(1 + y**2)


EQUATIONS = {
    "geometric": Equation("diagonal", "ito", lambda t, y: A * y, lambda t, y: B * y, (0.7,), 1, growth(A - B**2 / 2)),
    "geometric_stratonovich": Equation(
        "diagonal", "stratonovich", lambda t, y: A * y, lambda t, y: B * y, (0.7,), 1, growth(A)
    ),
    "hyperbolic": Equation(
        "diagonal",
        "ito",
        lambda t, y: B**2 * y / 2,
        hyperbola,
        (math.sinh(0.3),),
        1,
        lambda path: torch.sinh(0.3 + B * end(path)),
    ),
    "hyperbolic_stratonovich": Equation(
        "diagonal",
        "stratonovich",
        lambda t, y: 0 * y,
        hyperbola,
        (math.sinh(0.3),),
        1,
        lambda path: torch.sinh(0.3 + B * end(path)),
    ),
    "turned": Equation(
        "scalar", "ito", lambda t, y: (A - B**2 / 2) * y, lambda t, y: B * y @ ROTATION.T, (1.0, 0.0), 1, turned
    ),
    "turned_stratonovich": Equation(
        "scalar", "stratonovich", lambda t, y: A * y, lambda t, y: B * y @ ROTATION.T, (1.0, 0.0), 1, turned
    ),
    # Solutions from finer grids. With 16 times as many cells at order 1.5 their errors are 1.6 % of the smallest ones
    # found; with 64 times as many at order 0.5 they are 12 %, which adds 0.8 % to a root of a sum of squares.
    "squares": Equation(
        "additive", "ito", square_rule, first_only, (0.5, 0.0), 2, square_integral, cells=4096, paths=500
    ),
    "levy_area": Equation(
        "general", "ito", lambda t, y: 0 * y, triangular, (0.0, 0.0), 2, levy_area, cells=16384, paths=200
    ),
    "levy_area_stratonovich": Equation(
        "general", "stratonovich", lambda t, y: 0 * y, triangular, (0.0, 0.0), 2, levy_area, cells=16384, paths=200
    ),
}
CASES = [
    (method, name)
    for name, equation in EQUATIONS.items()
    for method in METHODS
    if method.solves(equation.noise, equation.interpretation)
]


def integrate(method, equation, path, y, reverse=False):
    sign = -1 if reverse else 1
    order = range(len(path.dW))
    for i in reversed(order) if reverse else order:
        t = (i + 1) * path.dt if reverse else i * path.dt
        dZ = None if reverse else path.dZ[i]
        y = method.step(equation.drift, equation.diffusion, t, sign * path.dt, y, sign * path.dW[i], dZ).y1
    return y


@cache
def finest_path(name):
    equation = EQUATIONS[name]
    return draw(equation.cells, equation.paths, equation.noises, seed=11)


def errors(method, equation, finest, steps=STEPS):
    solution = equation.solution(finest)
    y0 = torch.tensor(equation.y0, dtype=FLOAT64).expand(equation.paths, -1)
    ends = [integrate(method, equation, finest.with_cells(n), y0) for n in steps]
    return [(y1 - solution).square().mean().sqrt().item() for y1 in ends]


def slope(steps, errors) -> float:
    return float(-np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.mark.parametrize(("method", "name"), CASES, ids=lambda x: x if isinstance(x, str) else x.name)
def test_the_strong_error_falls_with_the_order_of_the_method(method, name):
    equation = EQUATIONS[name]
    found = errors(method, equation, finest_path(name))
    assert slope(STEPS, found) == pytest.approx(method.strong_order[equation.noise], abs=0.25)


AREA = Equation("additive", "ito", product_rule, first_only, (0.5, 1.0), 2, integral)


@pytest.mark.parametrize("name", ["sra1", "sosra", "sriw1", "sosri", "sosri2"])
def test_an_exact_solution_that_depends_on_the_area_is_met_with_order_two_where_dZ_is_used(name):
    """The drift's second derivative along the noise vanishes here, which leaves errors of order two."""
    method = next(method for method in METHODS if method.name == name)
    finest = draw(AREA.cells, AREA.paths, AREA.noises, seed=11)
    assert slope(STEPS, errors(method, AREA, finest)) == pytest.approx(2.0, abs=0.25)
    solution = AREA.solution(finest)
    y0 = torch.tensor(AREA.y0, dtype=FLOAT64).expand(AREA.paths, -1)
    ends = [integrate(method, AREA, GridPath(p.dt, p.dW, 0 * p.dZ), y0) for p in map(finest.with_cells, STEPS)]
    blind = [(y1 - solution).square().mean().sqrt().item() for y1 in ends]
    assert slope(STEPS, blind) == pytest.approx(1.0, abs=0.25)


def test_heun_solves_a_stratonovich_equation_backward_along_the_reversed_path():
    equation, finest = EQUATIONS["hyperbolic_stratonovich"], finest_path("hyperbolic_stratonovich")
    heun = next(method for method in METHODS if method.name == "heun")
    y1 = equation.solution(finest)
    starts = [integrate(heun, equation, finest.with_cells(n), y1, reverse=True) for n in STEPS]
    found = [(y0 - equation.y0[0]).square().mean().sqrt().item() for y0 in starts]
    assert slope(STEPS, found) == pytest.approx(1.0, abs=0.25)


def test_coarse_cells_keep_the_increment_and_the_area_of_the_path():
    fine = draw(8, 5, 2, seed=11)
    coarse = fine.with_cells(1)
    starts = fine.dW.cumsum(0) - fine.dW
    torch.testing.assert_close(coarse.dW[0], fine.dW.sum(0), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(coarse.areas[0], (fine.areas + starts * fine.dt).sum(0), rtol=1e-14, atol=1e-14)
