"""The embedded engine on a GPU takes the steps that it takes on the CPU."""

import pytest
import torch

import pyndereg as nde

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]


def _solve_on(
    device: str, gradient: nde.Backprop | nde.DiscreteAdjoint | None
) -> tuple[nde.Solution, list[torch.Tensor]]:
    torch.manual_seed(0)
    field = nde.fields.TimeConcatMLP(6, hidden=16).to(device, torch.float64)
    y0 = torch.linspace(-1.0, 1.0, 24, dtype=torch.float64).reshape(4, 6).to(device).requires_grad_()
    problem = nde.ODEProblem(field, y0, 0.0, 2.0)
    solution = nde.solve(problem, "tsit5", rtol=1e-6, atol=1e-6, saveat=[0.3, 1.1, 2.0], gradient=gradient)
    loss = solution.y.square().sum() + solution.steps.scaled_error.sum() + solution.steps.stiffness.sum()
    return solution, list(torch.autograd.grad(loss, [y0, *field.parameters()]))


@pytest.mark.parametrize("gradient", [None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=3)])
def test_a_gpu_gives_the_steps_states_and_gradients_of_the_cpu(
    gradient: nde.Backprop | nde.DiscreteAdjoint | None,
) -> None:
    on_cpu, gradients_on_cpu = _solve_on("cpu", gradient)
    on_gpu, gradients_on_gpu = _solve_on("cuda", gradient)
    assert on_gpu.stats == on_cpu.stats
    torch.testing.assert_close(on_gpu.y.cpu(), on_cpu.y, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(on_gpu.steps.dt.cpu(), on_cpu.steps.dt, rtol=1e-5, atol=0.0)
    for found, expected in zip(gradients_on_gpu, gradients_on_cpu, strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-8)


def test_a_slope_on_another_device_is_refused() -> None:
    problem = nde.ODEProblem(lambda t, y: torch.zeros(2), torch.zeros(2, device="cuda"))
    with pytest.raises(ValueError, match="on cpu; return dy/dt with shape"):
        nde.solve(problem)
