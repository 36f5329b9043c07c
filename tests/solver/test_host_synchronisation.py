"""How often the host waits for the device: once per attempted step, and not at all where no error is needed."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pyndereg as nde
from pyndereg.solver.gradients import agreement
from tests.equations import FLOAT64, Oscillator

READING = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.equal,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
}
# Checks of the problem, and the first step.
AT_THE_START = 8


class Reads(TorchDispatchMode):
    """Counts operations whose result the host has to wait for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += operation.overloadpacket in READING
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def count_reads(monkeypatch):
    """Runs a function and counts the reads, those included that no operation stands for."""

    def count(run):
        with Reads() as reads, monkeypatch.context() as patched:
            for name in ("tolist", "numpy"):
                original = getattr(torch.Tensor, name)

                def counted(self, *args, original=original, **kwargs):
                    reads.count += 1
                    return original(self, *args, **kwargs)

                patched.setattr(torch.Tensor, name, counted)
            return run(), reads.count

    return count


def problem(t1, requires_grad=False):
    y0 = torch.tensor([[2.0, 0.0], [0.5, 0.5]], dtype=FLOAT64, requires_grad=requires_grad)
    field = Oscillator() if requires_grad else Oscillator().requires_grad_(False)
    return nde.ODEProblem(field, y0, 0.0, t1)


def attempts(solution):
    return solution.stats.accepted + solution.stats.rejected


def test_the_counter_counts(count_reads):
    x = torch.arange(3.0)
    assert count_reads(lambda: x.sum().item())[1] == 1
    assert count_reads(lambda: bool(x.isfinite().all()))[1] == 1
    assert count_reads(lambda: float(x[0]))[1] == 1
    assert count_reads(lambda: x.tolist())[1] == 1
    assert count_reads(lambda: x * 2)[1] == 0


@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "vern7", "vern9"])
@pytest.mark.parametrize("saveat", [None, [0.1, 0.2, 0.9], nde.SaveAt(every_step=True), nde.SaveAt(dense=True)])
def test_an_attempted_step_costs_one_synchronisation(method, saveat, count_reads):
    found = []
    for t1 in (1.0, 8.0):
        solution, reads = count_reads(lambda t1=t1: nde.solve(problem(t1), method, saveat=saveat))
        assert reads <= attempts(solution) + AT_THE_START
        found.append((attempts(solution), reads))
    assert found[1][1] - found[0][1] == found[1][0] - found[0][0]


def test_telling_rounding_from_errors_costs_no_further_synchronisation(count_reads):
    y0 = torch.tensor([[2.0, 0.0], [0.5, 0.5]])
    field = Oscillator(torch.float32).requires_grad_(False)
    found = []
    for t1 in (1.0, 8.0):
        solution, reads = count_reads(lambda t1=t1: nde.solve(nde.ODEProblem(field, y0, 0.0, t1), "vern7"))
        assert bool((solution.steps.rounding > 0).all())
        found.append((attempts(solution), reads))
    assert found[1][1] - found[0][1] == found[1][0] - found[0][0]


@pytest.mark.parametrize("gradient", [None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(3)])
def test_gradients_cost_no_further_synchronisation_in_either_pass(gradient, count_reads, monkeypatch):
    monkeypatch.setattr(agreement, "is_read_for_free", lambda x: False)  # as on an accelerator
    solution, reads = count_reads(lambda: nde.solve(problem(4.0, requires_grad=True), gradient=gradient, saveat=[0.3]))
    assert reads <= attempts(solution) + AT_THE_START
    loss = solution.y1.sum() + solution.y.sum() + solution.steps.scaled_error.sum() + solution.steps.stiffness.sum()
    # Steps that are taken again are compared with those that were taken, once for all; on a CPU each on its own.
    assert count_reads(loss.backward)[1] == (0 if gradient == nde.Backprop() else 1)


@pytest.mark.parametrize("method", ["euler", "rk4", "tsit5"])
def test_fixed_steps_cost_none(method, count_reads):
    few, many = (
        count_reads(lambda dt=dt: nde.solve(problem(1.0), method, dt=dt, adaptive=False, saveat=[0.5]))[1]
        for dt in (0.1, 0.01)
    )
    assert few == many <= AT_THE_START
