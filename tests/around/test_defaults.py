"""Neither `torch.set_default_device` nor `torch.set_default_dtype` moves what a solve makes for itself."""

import contextlib

import pytest
import torch

import pyndereg as nde

GRADIENTS = [
    None,
    nde.Backprop(),
    nde.DiscreteAdjoint(),
    nde.DiscreteAdjoint(checkpoints=2),
    nde.BacksolveAdjoint(),
    nde.InterpolatingAdjoint(),
    nde.InterpolatingAdjoint(checkpointing=True),
    nde.QuadratureAdjoint(),
    nde.GaussAdjoint(),
    nde.ForwardSensitivity(),
]
# Loose, as the steps of a random equation are many.
LOOSE = {"rtol": 0.1, "atol": 0.1}
STOCHASTIC = [None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2), nde.BacksolveAdjoint()]


@contextlib.contextmanager
def default_device(device):
    """Tensors without a device= are made there; on "meta" they hold no numbers, so that using one fails."""
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


ELSEWHERE = {
    "device": lambda: default_device("meta"),
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
}


def ode(gradient, **options):
    def work(field, diffusion, x):
        model = nde.NeuralODE(field, gradient=gradient, **options)
        y, solution = model(x)
        loss = y.sum() + solution(0.3).sum()
        for penalty in solution.penalties:
            loss = loss + penalty
        return loss

    return work


def sde(gradient, **options):
    def work(field, diffusion, x):
        y, solution = nde.NeuralSDE(field, diffusion, gradient=gradient, **LOOSE, **options)(x, seed=3)
        return y.sum() + solution(0.3).sum() + sum(solution.penalties)

    return work


def ends(field, diffusion, x):
    t1 = x.detach().sum().to(torch.float64).requires_grad_()
    solution = nde.solve(nde.ODEProblem(field, x, 0.0, t1), saveat=nde.SaveAt([0.1, 0.2], dense=True), method="vern7")
    return solution.y1.sum() + solution(0.15).sum() + solution.steps.scaled_error.sum()


def sampled_times(field, diffusion, x):
    end = nde.NeuralODE(field, end_time_sampling=nde.EndTimeSampling(0.2))
    series = nde.NeuralODE(field, saveat=[0.0, 0.4, 1.0], end_time_sampling=nde.EndTimeSampling())
    return end(x)[0].sum() + series(x)[0].sum()


def paths(field, diffusion, x):
    path = nde.BrownianPath(0.0, 1.0, x.shape, seed=2, cells=8, dtype=x.dtype)
    kept = path.record([0.0, 0.25, 0.5, 0.75, 1.0])
    problems = [nde.SDEProblem(field, diffusion, x, brownian=one) for one in (path, kept)]
    y1 = [nde.solve(problem, method="sosri", adaptive=False, dt=0.25).y1.sum() for problem in problems]
    return y1[0] + y1[1] + kept.increments(0.0, 1.0).dZ.sum()


def fixed_steps(field, diffusion, x):
    problem = nde.SDEProblem(field, diffusion, x, seed=5)
    milstein = nde.solve(problem, method="milstein", dt=0.25, gradient=nde.Backprop()).y1.sum()
    return milstein + nde.solve(nde.ODEProblem(field, x), method="rk4", dt=0.1).y1.sum()


REGULARIZERS = [
    nde.regularizers.LocalError(),
    nde.regularizers.LocalStiffness(sampling="biased"),
    nde.regularizers.KineticEnergy(),
    nde.regularizers.TaylorDerivative(2),
    nde.regularizers.JacobianFrobenius(),
    nde.regularizers.JacobianFrobenius(probe="rademacher"),
]
WORKS = {
    **{f"ode {gradient}": ode(gradient, saveat=[0.0, 0.5, 1.0], t1=1.0) for gradient in GRADIENTS},
    **{f"every step {gradient}": ode(gradient, saveat=nde.SaveAt(every_step=True)) for gradient in GRADIENTS[:3]},
    **{f"sde {gradient}": sde(gradient, saveat=[0.0, 0.5, 1.0]) for gradient in STOCHASTIC},
    "regularizers": ode(nde.DiscreteAdjoint(), regularizers=REGULARIZERS),
    "stochastic regularizers": sde(nde.DiscreteAdjoint(), regularizers=REGULARIZERS[:1]),
    "ends": ends,
    "sampled times": sampled_times,
    "paths": paths,
    "fixed steps": fixed_steps,
}


def run(work, dtype, elsewhere=contextlib.nullcontext):
    torch.manual_seed(7)
    field, diffusion = (nde.fields.TimeConcatMLP(2, hidden=5).to(dtype) for _ in range(2))
    x = torch.rand(3, 2, dtype=dtype, requires_grad=True)
    with elsewhere():
        loss = work(field, diffusion, x)
        return loss.detach(), torch.autograd.grad(loss, (x, *field.parameters()))


@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_defaults_do_not_change_what_a_solve_gives(work, elsewhere):
    right, found = run(work, torch.float32), run(work, torch.float32, elsewhere)
    assert torch.equal(found[0], right[0])
    for one, other in zip(found[1], right[1], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
def test_defaults_do_not_change_what_a_latent_ode_gives(elsewhere):
    torch.manual_seed(7)
    model, values, times = (
        nde.LatentODE(2, latent=3, hidden=4, state=5, first_step="search"),
        torch.rand(2, 3, 2),
        torch.tensor([0.1, 0.4, 1.0]),
    )
    mask = torch.ones_like(values)

    def losses():
        torch.manual_seed(8)
        return model(values, mask, times).reconstruction.square().sum()

    right = losses()
    with elsewhere():
        found = losses()
        found.backward()
    assert torch.equal(found, right)


def test_the_tables_of_a_method_are_right_when_first_used_under_other_defaults():
    problem = nde.ODEProblem(lambda t, y: -y, torch.ones(2, dtype=torch.float64))
    right = nde.solve(problem, method="vern9").y1
    nde.solver.combination.weights_tensor.cache_clear()
    nde.solver.runge_kutta.coefficients.cache_clear()
    with default_device("meta"), default_dtype(torch.float16):
        assert torch.equal(nde.solve(problem, method="vern9").y1, right)
