"""The gradient by replay takes several steps at a time where states are small, one where they are large."""

import numpy as np
import pytest
import torch

import pyndereg as nde
from pyndereg.solver.stochastic import adjoint


def solve(size, gradient):
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y0 = torch.linspace(0.5, 1.5, size, dtype=torch.float64).requires_grad_()
    problem = nde.SDEProblem(lambda t, y: -rate * y, lambda t, y: 0.3 * rate * y.sin(), y0, params=[rate], seed=1)
    solution = nde.solve(problem, "sosri2", dt=1 / 40, adaptive=False, gradient=gradient, saveat=[0.31, 0.5, 1.0])
    loss = solution.y.square().sum() + solution.steps.scaled_error.sum() + solution.steps.stiffness.square().sum()
    return torch.autograd.grad(loss, (y0, rate))


@pytest.mark.parametrize(("size", "longest"), [(3, 16), (4_000, 4), (20_000, 1)])
def test_the_graph_of_a_backward_pass_is_that_of_a_few_steps(monkeypatch, size, longest):
    lengths = []
    pull = adjoint._pull

    def counted(again, *arguments):
        lengths.append(len(again))
        return pull(again, *arguments)

    monkeypatch.setattr(adjoint, "_pull", counted)
    solve(size, nde.DiscreteAdjoint())
    assert max(lengths) == longest
    assert sum(lengths) == 40


@pytest.mark.parametrize("checkpoints", [None, 3])
def test_segments_of_any_length_give_the_gradient_of_the_whole_graph(monkeypatch, checkpoints):
    whole = solve(3, nde.Backprop())
    for longest in (1, 7, 16, 100):
        monkeypatch.setattr(adjoint, "LONGEST_SEGMENT", longest)
        replayed = solve(3, nde.DiscreteAdjoint(checkpoints=checkpoints))
        for one, other in zip(replayed, whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


class Redrawn:
    """A path that draws anew whenever it is asked."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def increments(self, s, t):
        drawn = torch.randn(3, dtype=torch.float64, generator=self.generator) * abs(t - s) ** 0.5
        return drawn, torch.zeros_like(drawn)


def path_of_numbers(seed=0):
    numbers = np.random.RandomState(seed).randn(9, 3) * 0.3
    numbers[0] = 0.0
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    return numbers, nde.FixedPath(times, torch.from_numpy(numbers), torch.zeros(8, 3, dtype=torch.float64))


def solved_back(path, factor):
    problem = nde.SDEProblem(
        lambda t, y: -y,
        lambda t, y: factor * torch.cos(y),
        torch.ones(3, dtype=torch.float64),
        brownian=path,
        interpretation="stratonovich",
    )
    return nde.solve(problem, "heun", dt=1 / 8, gradient=nde.BacksolveAdjoint()).y1


@pytest.mark.parametrize("change", [lambda x: np.multiply(x, 2, out=x), lambda x: np.negative(x, out=x)])
def test_a_path_that_is_changed_before_it_is_solved_back_along_is_refused(change):
    factor = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    numbers, path = path_of_numbers()
    y1 = solved_back(path, factor)
    change(numbers)
    with pytest.raises(nde.GradientRefused, match="another increment over the step from t="):
        y1.sum().backward()


def test_a_path_that_draws_anew_is_refused_and_one_that_stays_is_not():
    factor = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(nde.GradientRefused, match="another increment over the step from t="):
        solved_back(Redrawn(), factor).sum().backward()
    y1 = solved_back(path_of_numbers()[1], factor).sum()
    for _ in range(2):
        y1.backward(retain_graph=True)
    assert factor.grad is not None
