"""A model inside DistributedDataParallel: two processes, each with half of the batch."""

import copy
import gc

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

import pyndereg as nde

GRADIENTS = {"default": None, "backprop": nde.Backprop(), "adjoint": nde.DiscreteAdjoint()}


def model(gradient):
    torch.manual_seed(3)
    return nde.NeuralODE(nde.fields.TimeConcatMLP(3, 8), dt=0.1, adaptive=False, gradient=GRADIENTS[gradient])


def batch():
    return torch.linspace(-1.0, 1.0, 24).view(8, 3)


def loss_of(outputs):
    y1, solution = outputs
    return y1.square().mean() + nde.regularizers.error_estimate(solution.steps)


def train(rank, gradient, store, results):
    """One backward pass of one process."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    shared = DistributedDataParallel(model(gradient))
    loss_of(shared(batch()[rank::2])).backward()
    if rank == 0:
        torch.save([param.grad for param in shared.parameters()], results)
    # The model holds the process group's buckets; both processes let go of them before either ends the group's threads.
    del shared
    gc.collect()
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("gradient", sorted(GRADIENTS))
def test_gradients_are_the_mean_over_the_processes(gradient, tmp_path):
    multiprocessing.spawn(train, (gradient, tmp_path / "store", tmp_path / "grads.pt"), nprocs=2)
    halves = [copy.deepcopy(model(gradient)) for _ in range(2)]
    for rank, half in enumerate(halves):
        loss_of(half(batch()[rank::2])).backward()
    expected = [(one.grad + two.grad) / 2 for one, two in zip(*(half.parameters() for half in halves), strict=True)]
    for found, mean in zip(torch.load(tmp_path / "grads.pt"), expected, strict=True):
        torch.testing.assert_close(found, mean, rtol=1e-5, atol=1e-7)
        assert bool(mean.any())
