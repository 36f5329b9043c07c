"""Threads that share one module: each solve and each backward pass is what it is alone."""

import threading

import pytest
import torch

import pyndereg as nde

THREADS, TIMES = 4, 100


class Net(torch.nn.Module):
    """A network with a float, a computed tensor, and a tensor that only an exchange reaches."""

    def __init__(self, store):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(3, 4).double(), torch.nn.Linear(4, 3).double()
        self.scale, self.store = 0.5, store

    def forward(self, t, y):
        return self.scale * self.outer(torch.tanh(self.inner(y) + t)) * self.store.weight


class Store:
    """No module, and nothing that is called: its tensors are not copied."""

    def __init__(self):
        self.weight = torch.rand(3, dtype=torch.float64, requires_grad=True)


def gradients_of(net, seed, gradient):
    """Of one solve, from an initial state that the seed chooses."""
    generator = torch.Generator().manual_seed(seed)
    y0 = torch.rand(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    found = nde.solve(nde.ODEProblem(net, y0), "tsit5", rtol=1e-4, atol=1e-4, gradient=gradient)
    return torch.autograd.grad(found.y1.square().sum(), [y0, net.store.weight, *net.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [None, nde.DiscreteAdjoint(), nde.Backprop()], ids=str)
def test_gradients_of_four_threads_with_one_module_are_those_of_one_thread_bit_for_bit(gradient):
    net = Net(Store())
    expected = [gradients_of(net, seed, gradient) for seed in range(THREADS * TIMES)]
    found = [None] * len(expected)
    ready = threading.Barrier(THREADS)

    def work(first):
        ready.wait()
        for seed in range(first, len(expected), THREADS):
            found[seed] = gradients_of(net, seed, gradient)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, alone in zip(found, expected, strict=True):
        assert ours is not None, "a thread ended early"
        assert all(torch.equal(one, other) for one, other in zip(ours, alone, strict=True))
    assert not torch.equal(expected[0][0], expected[1][0])
