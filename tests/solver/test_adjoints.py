"""Gradients of adaptive solves against plain operations over the steps that were taken, which define them."""

import pytest
import torch

import pyndereg as nde
from pyndereg.solver.tableaus import TABLEAUS
from tests.equations import FLOAT64, Oscillator
from tests.solver.plain import plain_solve

RTOL = ATOL = 1e-3
GRADIENTS = {
    "backprop": nde.Backprop(),
    "adjoint": nde.DiscreteAdjoint(),
    "one_checkpoint": nde.DiscreteAdjoint(checkpoints=1),
    "three_checkpoints": nde.DiscreteAdjoint(checkpoints=3),
    "default": None,
    "some_graphs": nde.DiscreteAdjoint(allowance=700_000),
    "some_graphs_and_checkpoints": nde.DiscreteAdjoint(checkpoints=2, allowance=700_000),
}
SAVEAT = [0.31, 0.32, 1.07, 2.03]

adjoint = pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)


class Setting:
    """One adaptive solve with rejected steps, and everything that its outputs depend on."""

    def __init__(self, direction=1.0):
        self.field = Oscillator()
        self.y0 = torch.tensor([[2.0, 0.3], [-1.0, 0.5], [0.4, -0.2]], dtype=FLOAT64, requires_grad=True)
        self.t0 = torch.tensor(0.2, dtype=FLOAT64, requires_grad=True)
        self.t1 = torch.tensor(2.6, dtype=FLOAT64, requires_grad=True)
        if direction < 0:
            self.t0, self.t1 = self.t1, self.t0
        self.inputs = (self.y0, self.t0, self.t1, *self.field.parameters())

    def solve(self, method, gradient, **options):
        problem = nde.ODEProblem(self.field, self.y0, self.t0, self.t1)
        return nde.solve(problem, method, rtol=RTOL, atol=ATOL, gradient=gradient, **options)

    def plain(self, method, dts, saveat):
        return plain_solve(TABLEAUS[method], self.field, self.y0, self.t0, self.t1, dts, saveat, RTOL, ATOL)

    def differentiate(self, output):
        cotangent = torch.linspace(-0.5, 1.5, output.numel(), dtype=FLOAT64).view(output.shape)
        return torch.autograd.grad(output, self.inputs, cotangent, retain_graph=True, materialize_grads=True)


def check_gradients(setting, found, expected, rtol=1e-9):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-9)
    for one, other in zip(setting.differentiate(found), setting.differentiate(expected), strict=True):
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * scale)


@adjoint
@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "vern7", "vern9"])
def test_the_gradient_of_each_output_is_that_of_plain_operations_over_the_same_steps(method, direction, gradient):
    setting = Setting(direction)
    saveat = SAVEAT if direction > 0 else SAVEAT[::-1]
    # Far too long a first step, so that some are rejected.
    found = setting.solve(method, gradient, saveat=saveat, dt=2.3)
    assert found.stats.rejected > 0
    expected = setting.plain(method, found.steps.dt.tolist(), saveat)
    check_gradients(setting, found.y1, expected.y1)
    check_gradients(setting, found.y, expected.saved)
    # Differences of slopes that nearly cancel: a few digits are lost on both sides.
    check_gradients(setting, found.steps.scaled_error, expected.scaled_error, rtol=1e-7)
    # The stages that vern9 compares are nearly equal at these steps; long ones of a fixed grid are in the contract.
    if method not in ("bs3", "vern9"):
        for definition in ("rms", "max"):
            found = setting.solve(method, gradient, stiffness=definition, dt=2.3)
            check_gradients(setting, found.steps.stiffness, expected.stiffness[definition], rtol=1e-6)


@adjoint
@pytest.mark.parametrize("method", ["tsit5", "vern7", "rk4"])
def test_the_gradient_of_dense_output_is_that_of_plain_operations_at_the_same_times(method, gradient):
    setting = Setting()
    for saveat in (None, nde.SaveAt(dense=True)):
        found = setting.solve(method, gradient, saveat=saveat, dt=0.07)
        expected = setting.plain(method, found.steps.dt.tolist(), SAVEAT)
        check_gradients(setting, found(torch.tensor(SAVEAT, dtype=FLOAT64)), expected.saved)


@adjoint
@pytest.mark.parametrize("method", ["tsit5", "vern7", "rk4"])
def test_the_gradient_of_the_end_of_every_step_is_that_of_plain_operations(method, gradient):
    setting = Setting()
    found = setting.solve(method, gradient, saveat=nde.SaveAt(every_step=True), dt=0.07)
    expected = setting.plain(method, found.steps.dt.tolist(), [])
    check_gradients(setting, found.y, torch.stack([setting.y0, *expected.ends]))


@adjoint
@pytest.mark.parametrize("method", ["bs3", "tsit5", "vern7", "rk4"])
def test_a_save_time_at_the_end_of_a_step_stands_still_while_the_step_moves_with_the_start(method, gradient):
    setting = Setting()
    # Binary fractions: the first and the last save time are ends of steps to the last bit.
    setting.t0 = torch.tensor(0.25, dtype=FLOAT64, requires_grad=True)
    setting.inputs = (setting.y0, setting.t0, *setting.field.parameters())
    saveat = [0.75, 0.8125, 1.25]
    found = setting.solve(method, gradient, saveat=saveat, dt=0.25, adaptive=False)
    expected = setting.plain(method, found.steps.dt.tolist(), saveat)
    check_gradients(setting, found.y, expected.saved)


@adjoint
@pytest.mark.parametrize("method", ["tsit5", "vern7"])
def test_many_outputs_in_one_loss_add_up(method, gradient):
    setting = Setting()
    found = setting.solve(method, gradient, saveat=SAVEAT)
    outputs = (found.y1, found.y, found.steps.scaled_error, found.steps.stiffness)
    total = sum(output.square().sum() for output in outputs)
    together = torch.autograd.grad(total, setting.inputs, retain_graph=True)
    apart = [torch.autograd.grad(output.square().sum(), setting.inputs, retain_graph=True) for output in outputs]
    for i, gradient_of_total in enumerate(together):
        torch.testing.assert_close(gradient_of_total, sum(one[i] for one in apart), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("gradient", "replays"),
    [(nde.Backprop(), 0), (nde.DiscreteAdjoint(), 1), (nde.DiscreteAdjoint(3), 2), (nde.DiscreteAdjoint(1000), 1)],
)
def test_the_backward_pass_takes_each_accepted_step_again_once_and_twice_between_checkpoints(gradient, replays):
    field, calls = Oscillator(), []
    field.register_forward_hook(lambda *_: calls.append(1))
    y0 = torch.tensor([[2.0, 0.3]], dtype=FLOAT64, requires_grad=True)
    found = nde.solve(nde.ODEProblem(field, y0, 0.0, 3.0), dt=2.9, gradient=gradient)
    assert found.stats.rejected > 0
    del calls[:]
    (found.y1.sum() + found.steps.scaled_error.sum()).backward()
    # Six evaluations per step of tsit5, and the slope at the very end.
    once = 6 * found.stats.accepted + 1
    assert len(calls) <= replays * once
    assert len(calls) > 0.8 * replays * once or replays == 0


@adjoint
@pytest.mark.parametrize("copies", [100, 12_000])
def test_large_states_are_differentiated_like_small_ones(copies, gradient):
    # Slopes are summed in another form above 256 and again above 65,536 elements.
    small, large = Setting(), Setting()
    large.y0 = small.y0.detach().repeat(copies, 1).requires_grad_()
    one, other = (setting.solve("tsit5", gradient, dt=0.1, adaptive=False) for setting in (small, large))
    (one.y1.sum() + one.steps.scaled_error.sum() + one.steps.stiffness.sum()).backward()
    (other.y1.mean() * small.y0.numel() + other.steps.scaled_error.sum() + other.steps.stiffness.sum()).backward()
    expected = small.y0.grad.repeat(copies, 1) / copies
    torch.testing.assert_close(large.y0.grad, expected, rtol=1e-8, atol=1e-10 / copies)
    for few, many in zip(small.field.parameters(), large.field.parameters(), strict=True):
        torch.testing.assert_close(many.grad, few.grad, rtol=1e-8, atol=1e-9)


@adjoint
def test_gradients_in_float32_are_those_of_float64_to_single_precision(gradient):
    grads = []
    for dtype in (torch.float32, torch.float64):
        field = Oscillator(dtype=dtype)
        y0 = torch.tensor([[2.0, 0.3]], dtype=dtype, requires_grad=True)
        found = nde.solve(nde.ODEProblem(field, y0, 0.0, 1.0), dt=0.25, adaptive=False, gradient=gradient)
        (found.y1.sum() + found.steps.stiffness.sum()).backward()
        assert y0.grad.dtype == dtype
        grads.append(torch.cat([y0.grad.view(-1), *(param.grad.view(-1) for param in field.parameters())]).double())
    torch.testing.assert_close(*grads, rtol=1e-2, atol=1e-2)


@adjoint
def test_a_time_in_another_dtype_or_shape_gets_a_gradient_of_its_own(gradient):
    y0 = torch.ones(2)
    t0 = torch.zeros(1, dtype=FLOAT64, requires_grad=True)
    t1 = torch.tensor(1.0, dtype=torch.float32, requires_grad=True)
    nde.solve(nde.ODEProblem(lambda t, y: -y, y0, t0, t1), gradient=gradient).y1.sum().backward()
    assert (t0.grad.shape, t0.grad.dtype) == ((1,), FLOAT64)
    assert (t1.grad.shape, t1.grad.dtype) == ((), torch.float32)
    assert t1.grad.item() == pytest.approx(-2 * 0.36788, rel=1e-3)


@adjoint
def test_a_state_that_is_not_contiguous_is_differentiated_in_its_own_layout(gradient):
    y0 = torch.linspace(1.0, 2.0, 6, dtype=FLOAT64).view(2, 3).requires_grad_()
    nde.solve(nde.ODEProblem(lambda t, y: -y, y0.t(), 0.0, 1.0), gradient=gradient, rtol=1e-9).y1.sum().backward()
    torch.testing.assert_close(y0.grad, torch.full((2, 3), 0.36787944, dtype=FLOAT64), rtol=1e-6, atol=0)
