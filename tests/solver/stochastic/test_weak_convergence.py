"""The weak error of the methods with an error estimate: of one step exactly, of adaptive solves over many paths.

The weak error is that of E[y] and of E[y²]. The documentation of StochasticDiffEq gives its methods SOSRA and
SOSRI weak order 2.0. SRA methods have it: a step is a smooth function of h, dW and dZ, so that its moments hold no half
powers of h. SRI methods have it where their half powers vanish or are small: for `sriw1` on linear equations, and in
the mean. Their diffusion stages stand at sqrt(h) B1 g, whatever the sign of dW, and in general a second moment of one
step errs by h^2.5: their weak order is then 1.5.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import Tensor

import pyndereg as nde
from pyndereg.solver.stochastic import METHODS
from pyndereg.solver.stochastic.rossler import rossler_step
from pyndereg.solver.stochastic.tableaus import SOSRI, SOSRI2, SRIW1
from tests.equations import FLOAT64

SEED = 1
SINGLE_PATHS = 200
HALVINGS = tuple(2.0**-k for k in range(5))
STEPS = tuple(2.0**-k for k in range(6, 12))


@dataclass(frozen=True, eq=False)
class Equation:
    """An equation on [0, t1] that is solved along every path.

    The last element of the state is the one that is observed.

    Attributes:
        solution: of the path, at t1. Shape (paths, 1).
        moment: (k, t) -> the mean of the k-th power of the solution at t.
        paths: how many make one batch.
    """

    drift: Callable
    diffusion: Callable
    y0: tuple[float, ...]
    t1: float
    solution: Callable[[nde.BrownianPath], Tensor]
    moment: Callable[[int, float], float]
    noise: str = "diagonal"
    paths: int = 20_000

    def problem(self, path: nde.BrownianPath) -> nde.SDEProblem:
        """One sample for each row of the path."""
        y0 = torch.tensor(self.y0, dtype=FLOAT64).repeat(*path.shape[:-1], 1)
        return nde.SDEProblem(self.drift, self.diffusion, y0, 0.0, self.t1, noise=self.noise, brownian=path)

    def path(self, samples: int, seed: int) -> nde.BrownianPath:
        """Of as many noises as the state has elements."""
        return nde.BrownianPath(0.0, self.t1, (samples, len(self.y0)), seed=seed)


def geometric(a, b, t1):
    """dX = a X dt + b X dW from 1."""
    return Equation(
        drift=lambda t, y: a * y,
        diffusion=lambda t, y: b * y,
        y0=(1.0,),
        t1=t1,
        solution=lambda path: torch.exp((a - b**2 / 2) * t1 + b * path(t1)),
        moment=lambda k, t: math.exp((k * a + k * (k - 1) * b**2 / 2) * t),
    )


def hyperbolic():
    """dX = (X/2 + sqrt(1 + X²)) dt + sqrt(1 + X²) dW from 0, with X = sinh(t + W)."""

    def root(t, y):
        return torch.sqrt(1 + y**2)

    def moment(k, t):
        return math.sinh(t) * math.exp(t / 2) if k == 1 else (math.cosh(2 * t) * math.exp(2 * t) - 1) / 2

    return Equation(
        drift=lambda t, y: y / 2 + root(t, y),
        diffusion=root,
        y0=(0.0,),
        t1=0.5,
        solution=lambda path: torch.sinh(0.5 + path(0.5)),
        moment=moment,
    )


def growing():
    """dX = (2 X / (1 + t) + (1 + t)²) dt + (1 + t)² dW from 1, with X = (1 + t)² (1 + t + W)."""
    return Equation(
        drift=lambda t, y: 2 * y / (1 + t) + (1 + t) ** 2,
        diffusion=lambda t, y: ((1 + t) ** 2).expand_as(y),
        y0=(1.0,),
        t1=1.0,
        solution=lambda path: 4 * (2 + path(1.0)),
        moment=lambda k, t: (1 + t) ** 3 if k == 1 else (1 + t) ** 4 * ((1 + t) ** 2 + t),
        noise="additive",
        paths=5_000,
    )


def exponential():
    """dX1 = 0.9 dW and dX2 = X1 X2 dt from (0.5, 1): X2 is the exponential of the integral of X1."""

    def drift(t, y):
        return torch.stack([torch.zeros_like(y[..., 0]), y[..., 0] * y[..., 1]], -1)

    def solution(path):
        dW, dZ = path.increments(0.0, 1.0)
        area = (dW + dZ / math.sqrt(3)) / 2
        return torch.exp(0.5 + 0.9 * area[..., :1])

    return Equation(
        drift=drift,
        diffusion=lambda t, y: torch.tensor([0.9, 0.0], dtype=FLOAT64).expand_as(y),
        y0=(0.5, 1.0),
        t1=1.0,
        solution=solution,
        moment=lambda k, t: math.exp(k * 0.5 * t + (k * 0.9) ** 2 * t**3 / 6),
        noise="additive",
        paths=5_000,
    )


EQUATIONS = {
    "growth": geometric(1.2, 0.3, 1.0),
    "steady_growth": geometric(1.2, 0.15, 1.0),
    "decay": geometric(-1.0, 1.0, 0.5),
    "hyperbolic": hyperbolic(),
    "growing": growing(),
    "exponential": exponential(),
}


def slope(lengths, errors) -> float:
    """Of the regression line through logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(np.abs(errors)), 1)[0])


# --- one step, exactly


def normals() -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of independent normals with weights, Gauss-Hermite: expectations of powers up to 47 are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    grid = torch.cartesian_prod(*[torch.from_numpy(nodes)] * 2)
    weights = torch.from_numpy(np.outer(weights, weights).reshape(-1) / weights.sum() ** 2)
    return grid[:, :1], grid[:, 1:], weights


def moment_error(step, equation, k, h) -> float:
    """Error of the k-th moment after one step of length h."""
    dW, dZ, weights = normals()
    y0 = torch.tensor(equation.y0, dtype=FLOAT64).expand(len(weights), -1)
    dW, dZ = (math.sqrt(h) * x.expand_as(y0) for x in (dW, dZ))
    y1 = step(equation.drift, equation.diffusion, 0.0, h, y0, dW, dZ).y1
    return (weights @ y1[:, -1] ** k).item() - equation.moment(k, h)


@pytest.mark.parametrize(
    ("name", "equation", "k", "power"),
    [
        *((name, "growing", k, 3) for name in ("sra1", "sosra") for k in (1, 2)),
        *((name, "exponential", k, 3) for name in ("sra1", "sosra") for k in (1, 2)),
        *((name, "growth", 1, 3) for name in ("sriw1", "sosri", "sosri2")),
        ("sriw1", "growth", 2, 3),
        ("sriw1", "decay", 2, 3),
        ("sriw1", "hyperbolic", 1, 3),
        ("sriw1", "hyperbolic", 2, 2.5),
        ("sosri", "decay", 2, 2.5),
        ("sosri2", "decay", 2, 2.5),
    ],
)
def test_a_moment_of_one_step_errs_by_a_power_one_above_the_weak_order(name, equation, k, power):
    method = next(method for method in METHODS if method.name == name)
    errors = [moment_error(method.step, EQUATIONS[equation], k, h) for h in STEPS]
    assert slope(STEPS, errors) == pytest.approx(power, abs=0.1)


@pytest.mark.parametrize(("tableau", "equation"), [(SRIW1, "hyperbolic"), (SOSRI, "decay"), (SOSRI2, "decay")])
def test_the_error_that_lowers_the_weak_order_changes_its_sign_with_the_root_of_the_step(tableau, equation):
    """With sqrt(h) of the other sign, so that B1 and beta2 change theirs, a tableau is as good; the mean is better."""
    b1 = tuple(tuple(-b for b in row) for row in tableau.b1)
    other = replace(tableau, b1=b1, beta2=tuple(-beta for beta in tableau.beta2))
    steps = [partial(rossler_step, table) for table in (tableau, other)]
    errors = np.array([[moment_error(step, EQUATIONS[equation], 2, h) for h in STEPS] for step in steps])
    assert slope(STEPS, errors.mean(0)) == pytest.approx(3.0, abs=0.1)


# --- adaptive solves


@dataclass(frozen=True)
class Ends:
    """What adaptive solves ended with, one row per tolerance.

    Attributes:
        lengths: mean length of an accepted step. Shape (tolerances,).
        y1: ends of the solves. Shape (tolerances, paths).
        exact: the solutions on the same paths. Shape (paths,).
    """

    lengths: np.ndarray
    y1: np.ndarray
    exact: np.ndarray

    def order(self, k: int) -> tuple[float, float]:
        """Slope of the error of the k-th moment against the mean step length, and the slope's standard error."""
        differences = self.y1**k - self.exact**k
        errors = differences.mean(1)
        x = np.log(self.lengths) - np.log(self.lengths).mean()
        # To first order the slope is linear in the errors, and so in what each path adds to all of them.
        of_each_path = (x / (x @ x) / errors) @ differences
        return slope(self.lengths, errors), of_each_path.std() / math.sqrt(len(self.exact))


@cache
def batched(method, name, tolerance, first_step) -> Ends:
    """All paths as one batch, which share their steps; tolerance and first step are halved together."""
    equation = EQUATIONS[name]
    path = equation.path(equation.paths, SEED)
    lengths, y1 = [], []
    for halving in HALVINGS:
        tolerances = {"rtol": halving * tolerance, "atol": halving * tolerance}
        found = nde.solve(equation.problem(path), method, dt=halving * first_step, **tolerances)
        lengths.append(equation.t1 / found.stats.accepted)
        y1.append(found.y1[:, -1].numpy())
    return Ends(np.array(lengths), np.stack(y1), equation.solution(path)[:, 0].numpy())


def one_by_one(method, name, tolerance, first_step) -> Ends:
    """Every path in a solve of its own, with steps of its own: the error is absolute, and the state varies."""
    equation = EQUATIONS[name]
    paths = [equation.path(1, seed) for seed in range(SINGLE_PATHS)]
    exact = np.array([equation.solution(path).item() for path in paths])
    lengths, y1 = [], []
    for halving in HALVINGS:
        tolerances = {"rtol": 1e-6, "atol": halving * tolerance}
        found = [nde.solve(equation.problem(path), method, dt=halving * first_step, **tolerances) for path in paths]
        lengths.append(equation.t1 / np.mean([one.stats.accepted for one in found]))
        y1.append([one.y1[0, -1].item() for one in found])
    return Ends(np.array(lengths), np.array(y1), exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "equation", "k", "tolerance", "first_step", "expected"),
    [
        *(("sra1", "growing", k, 0.12, 0.06, 2.0) for k in (1, 2)),
        *(("sosra", "growing", k, 0.2, 0.1, 2.0) for k in (1, 2)),
        *(("sra1", "exponential", k, 0.03, 0.015, 2.0) for k in (1, 2)),
        *(("sosra", "exponential", k, 0.05, 0.025, 2.0) for k in (1, 2)),
        *(("sriw1", "growth", k, 0.015, 0.09, 2.0) for k in (1, 2)),
        ("sosri", "growth", 1, 0.12, 0.06, 2.0),
        ("sosri2", "growth", 1, 0.12, 0.06, 2.0),
        ("sosri", "decay", 2, 0.04, 0.02, 1.5),
        ("sosri2", "decay", 2, 0.04, 0.02, 1.5),
    ],
)
def test_the_weak_error_of_adaptive_solves_falls_with_the_weak_order(
    method, equation, k, tolerance, first_step, expected
):
    """Regression over five tolerances, each half the one before; a batch of 20,000 paths, seed 1; 5,000 if additive."""
    order, standard_error = batched(method, equation, tolerance, first_step).order(k)
    assert standard_error < 0.08
    assert order == pytest.approx(expected, abs=0.25)


@pytest.mark.slow
def test_the_weak_error_falls_with_the_weak_order_where_every_path_has_steps_of_its_own():
    """Regression over five tolerances, each half of the one before; 200 paths of seeds 0 to 199, one by one."""
    order, standard_error = one_by_one("sosri", "steady_growth", 1.0, 0.5).order(1)
    assert standard_error < 0.08
    assert order == pytest.approx(2.0, abs=0.25)
