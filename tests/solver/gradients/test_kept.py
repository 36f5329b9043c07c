"""What kept graphs lead to, and what shows that they are no longer those of the solve."""

import pytest
import torch
from torch import nn

import pyndereg as nde
from pyndereg.solver.gradients.guard import Guard
from pyndereg.solver.gradients.kept import Contents, KeptGraphs, PatientGuard


def numbers():
    return torch.linspace(-1.0, 2.0, 6, dtype=torch.float64)


def doubled(x):
    x.data.mul_(2)


def clamped(x):
    x.data.clamp_(0.0, 1.0)


def written_through_numpy(x):
    x.detach().numpy()[3] = 7.0


@pytest.mark.parametrize("change", [doubled, clamped, written_through_numpy], ids=lambda change: change.__name__)
def test_contents_differ_after_a_change_that_autograd_does_not_see(change):
    x, other = nn.Parameter(numbers()), torch.arange(3)
    version = x._version
    contents = Contents([other, x, torch.ones(2, dtype=torch.float32)])
    assert contents.are_the_same()
    change(x)
    assert x._version == version
    assert not contents.are_the_same()


def test_contents_of_no_tensor_are_the_same():
    assert Contents([]).are_the_same()
    assert Contents([torch.arange(3), torch.eye(2).to_sparse()]).are_the_same()


def graphs_of(x):
    return KeptGraphs((x,), ((x, x.data_ptr()),))


def test_graphs_are_those_of_the_solve_until_a_leaf_gets_a_hook_or_other_memory():
    x = nn.Parameter(numbers())
    assert graphs_of(x).are_those_of_the_solve()
    handle = x.register_hook(lambda gradient: gradient)
    assert not graphs_of(x).are_those_of_the_solve()
    handle.remove()
    graphs = graphs_of(x)
    assert graphs.are_those_of_the_solve()
    x.data = 2 * numbers()
    assert not graphs.are_those_of_the_solve()


def test_a_refusal_waits_until_it_is_asked_for():
    known, foreign = (numbers().requires_grad_() for _ in range(2))
    guard, time = PatientGuard(Guard({id(known)}, looks_at_all=True)), torch.zeros(())

    def look(evaluate):
        first = torch.autograd._get_sequence_nr()
        slope = evaluate()
        if not guard.skips(first):
            guard.check(evaluate, slope, (time,), first)

    look(lambda: torch.sin(known))
    guard.give_refusal()
    look(lambda: known * foreign)
    look(lambda: torch.sin(known))  # is not looked at any longer
    for _ in range(2):
        with pytest.raises(nde.GradientRefused, match="params="):
            guard.give_refusal()
