"""The gradient by replay takes several steps at a time where states are small, one where they are large."""

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
