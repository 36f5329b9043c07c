"""Stochastic solves by the julia engine: the embedded engine's path, steps, errors and gradients."""

import pytest
import torch
from torch import nn

import pyndereg as nde
from pyndereg.engines.julia.stochastic_methods import rkmil_stratonovich_step
from pyndereg.solver.stochastic import first_step_sde, get_method, scaled_error
from tests.equations import FLOAT64
from tests.sentences import check_sentence

pytestmark = pytest.mark.julia

METHODS = ("em", "milstein", "sriw1", "sosri", "sosri2")
ADDITIVE = ("sra1", "sosra")


class Unsnapped:
    """A Brownian path at whose times adaptive steps need not end, and the increments that were asked for."""

    def __init__(self, path):
        self.path = path

    def increments(self, s, t):
        return self.path.increments(s, t)


def start(paths=3, dtype=FLOAT64):
    return torch.tensor([[1.0, 0.5]], dtype=dtype).repeat(paths, 1) + torch.arange(paths, dtype=dtype)[:, None] / 10


def drift(t, y):
    return torch.stack([y[..., 1] - 0.1 * y[..., 0], -(y[..., 0] ** 3) + torch.cos(t)], dim=-1)


def diffusion(t, y):
    return 0.2 * torch.sin(y) + 0.1 * t


def additive(t, y):
    return (0.2 + 0.1 * t) * torch.ones_like(y)


def matrix(t, y):
    return torch.stack([0.2 * torch.sin(y), 0.1 * y, 0.1 * torch.ones_like(y)], dim=-1)


def problem(noise="diagonal", y0=None, **options):
    g = {"additive": additive, "general": matrix}.get(noise, diffusion)
    size = {"noise_size": 3} if noise == "general" else {}
    settings = {"seed": 4} if "brownian" not in options else {}
    return nde.SDEProblem(drift, g, start() if y0 is None else y0, noise=noise, **size, **settings, **options)


def in_julia(stochastic, method=None, **options):
    return nde.solve(stochastic, method, engine="julia", **options)


CASES = [
    *((method, noise, "ito") for method in METHODS for noise in ("diagonal", "scalar")),
    *((method, "additive", "ito") for method in (*METHODS, *ADDITIVE)),
    *(("heun", noise, "stratonovich") for noise in ("diagonal", "scalar", "additive", "general")),
    ("em", "general", "ito"),
]


@pytest.mark.parametrize(("method", "noise", "interpretation"), CASES)
def test_steps_of_one_length_are_those_of_the_embedded_engine(method, noise, interpretation):
    asked = problem(noise, interpretation=interpretation)
    # 0.3 does not divide the interval: the last step is shorter.
    for dt in (0.125, 0.3):
        options = {"dt": dt, "adaptive": False, "saveat": nde.SaveAt(every_step=True)}
        one, other = nde.solve(asked, method, **options), in_julia(asked, method, **options)
        torch.testing.assert_close(other.t, one.t, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(other.y, one.y, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(other.steps.dt, one.steps.dt, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(other.steps.scaled_error, one.steps.scaled_error, rtol=1e-10, atol=0, equal_nan=True)
        torch.testing.assert_close(other.steps.stiffness, one.steps.stiffness, rtol=1e-8, atol=0, equal_nan=True)
        assert (other.stats.accepted, other.stats.rejected) == (one.stats.accepted, 0)


def test_float32_steps_are_those_of_the_embedded_engine():
    for method, noise in (("sosri", "diagonal"), ("em", "general")):
        asked = problem(noise, start(dtype=torch.float32))
        one, other = (nde.solve(asked, method, dt=0.1, adaptive=False, engine=e) for e in ("embedded", "julia"))
        assert other.y1.dtype == other.steps.t.dtype == torch.float32
        torch.testing.assert_close(other.y1, one.y1, rtol=1e-5, atol=1e-6)


def test_a_recorded_path_gives_the_same_steps_as_the_path_that_it_was_recorded_from():
    times = torch.linspace(0.0, 1.0, 9, dtype=FLOAT64)
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=2)
    for method in ("em", "sosri"):
        found = [
            in_julia(problem(brownian=brownian), method, dt=0.125, adaptive=False).y1
            for brownian in (path, path.record(times))
        ]
        torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="is not one of the 9 times"):
        in_julia(problem(brownian=path.record(times)), "em", dt=0.1)


@pytest.mark.parametrize(
    ("method", "noise"), [*((m, "diagonal") for m in METHODS[2:]), *((m, "additive") for m in ADDITIVE)]
)
def test_an_adaptive_solve_starts_like_the_embedded_one_and_its_steps_have_the_errors_that_it_says(method, noise):
    path = Unsnapped(nde.BrownianPath(0.0, 1.0, (3, 2), seed=6))
    asked = problem(noise, brownian=path)
    tolerance = 1e-2
    found = in_julia(asked, method, rtol=tolerance, atol=tolerance, saveat=nde.SaveAt(every_step=True))
    chosen = get_method(method, noise, "ito")
    first = first_step_sde(drift, asked.g, 0.0, 1.0, asked.y0, chosen.controller_order, tolerance, tolerance)
    # The powers in the search are those of an approximate function.
    if found.stats.rejected == 0:
        assert found.steps.dt[0].item() == pytest.approx(first, rel=1e-4)
    atol = torch.tensor(tolerance, dtype=FLOAT64)
    for i in range(len(found.steps)):
        t, dt, y0 = found.steps.t[i].item(), found.steps.dt[i].item(), found.y[i]
        dW, dZ = path.increments(t, min(t + dt, 1.0))
        step = chosen.step(drift, asked.g, t, dt, y0, dW, dZ)
        torch.testing.assert_close(found.y[i + 1], step.y1, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(
            found.steps.scaled_error[i], scaled_error(step, y0, tolerance, atol), rtol=1e-10, atol=0
        )
        if step.stiffness_pair is not None:
            slopes, states = step.stiffness_pair
            torch.testing.assert_close(found.steps.stiffness[i], slopes.norm() / states.norm(), rtol=1e-8, atol=0)
    assert found.steps.scaled_error.max() <= 1


def test_adaptive_solves_of_both_engines_follow_one_path():
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=7)
    found = [nde.solve(problem(brownian=path), "sosri", rtol=1e-2, atol=1e-2, engine=e) for e in ("embedded", "julia")]
    torch.testing.assert_close(found[0].y1, found[1].y1, rtol=1e-2, atol=1e-2)
    assert abs(found[0].stats.accepted - found[1].stats.accepted) <= 0.1 * found[0].stats.accepted


@pytest.mark.parametrize("make", [nde.DiscreteAdjoint, lambda: nde.DiscreteAdjoint(checkpoints=3)])
@pytest.mark.parametrize(("method", "noise"), [("em", "general"), ("milstein", "diagonal"), ("sosri2", "scalar")])
def test_gradients_are_those_of_the_embedded_engine(method, noise, make):
    gradients = []
    for engine in ("embedded", "julia"):
        y0 = start().requires_grad_()
        rate = torch.tensor(0.7, dtype=FLOAT64, requires_grad=True)
        asked = problem(noise, y0)
        asked = nde.SDEProblem(
            lambda t, y, rate=rate: rate * drift(t, y),
            lambda t, y, rate=rate, g=asked.g: rate * g(t, y),
            y0, noise=noise, noise_size=asked.noise_size, seed=4, params=rate,
        )  # fmt: skip
        found = nde.solve(
            asked, method, dt=0.1, adaptive=False, saveat=[0.0, 0.25, 0.5, 1.0], gradient=make(), engine=engine
        )
        loss = found.y1.square().sum() + (found.y * torch.arange(1.0, 5.0, dtype=FLOAT64)[:, None, None]).sum()
        if method == "sosri2":
            loss = loss + nde.regularizers.error_estimate(found.steps) + found.steps.stiffness.sum()
        gradients.append(torch.autograd.grad(loss, (y0, rate)))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-10)


def test_the_gradient_of_milstein_in_stratonovich_form_is_that_of_rkmil():
    y0 = start().requires_grad_()
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=1, cells=8)
    asked = problem(y0=y0, interpretation="stratonovich", brownian=path)
    found = in_julia(asked, "milstein", dt=0.125)
    y = y0
    for i in range(8):
        y = rkmil_stratonovich_step(drift, diffusion, i / 8, 0.125, y, path.increments(i / 8, (i + 1) / 8).dW).y1
    torch.testing.assert_close(found.y1, y, rtol=1e-12, atol=1e-14)
    (one,), (other,) = (torch.autograd.grad(end.square().sum(), y0) for end in (found.y1, y))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_milstein_in_stratonovich_form_converges():
    # dX = X dW in Stratonovich form has X = X0 exp(W); linear noise, where RKMil has order 1. 100 paths, seed 0.
    y0 = torch.ones(100, 1, dtype=FLOAT64)
    path = nde.BrownianPath(0.0, 1.0, (100, 1), seed=0)
    asked = nde.SDEProblem(lambda t, y: 0 * y, lambda t, y: y, y0, interpretation="stratonovich", brownian=path)
    errors = [
        (in_julia(asked, "milstein", dt=dt).y1 - torch.exp(path(1.0))).abs().mean().item() for dt in (1 / 16, 1 / 64)
    ]
    assert errors[1] < errors[0] / 2.5, errors


def test_counts_are_true_and_the_solution_lies_on_lines_between_the_steps():
    calls = {"f": 0, "g": 0}

    def f(t, y):
        calls["f"] += 1
        return drift(t, y)

    def g(t, y):
        calls["g"] += 1
        return diffusion(t, y)

    with torch.no_grad():
        found = in_julia(nde.SDEProblem(f, g, start(), seed=1), "sosri", saveat=nde.SaveAt(every_step=True))
        assert (found.stats.nfe, found.stats.diffusion_nfe) == (calls["f"], calls["g"])
        assert found.stats.accepted == len(found.steps) == len(found.t) - 1
        middle = (found.t[:-1] + found.t[1:]) / 2
        torch.testing.assert_close(found(middle), (found.y[:-1] + found.y[1:]) / 2, rtol=1e-9, atol=1e-12)


def test_dense_output_has_a_gradient():
    gradients = []
    for engine in ("embedded", "julia"):
        y0 = start().requires_grad_()
        found = nde.solve(problem(y0=y0), "em", dt=0.1, engine=engine)
        gradients.append(torch.autograd.grad(found(torch.tensor([0.13, 0.77], dtype=FLOAT64)).square().sum(), y0)[0])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_the_seed_alone_makes_the_path():
    one, same, other = (in_julia(problem(brownian=None, seed=seed), "em", dt=0.1).y1 for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_networks_are_solved_natively():
    torch.manual_seed(0)
    f = nde.fields.Autonomous(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))).double()
    g = nde.fields.Autonomous(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2), nn.Sigmoid())).double()
    gradients = []
    for options in ({"engine": "embedded"}, {"engine": "julia", "field": "native"}):
        found = nde.solve(nde.SDEProblem(f, g, start(), seed=4), "sosri", dt=0.1, adaptive=False, **options)
        gradients.append((found.y1, *torch.autograd.grad(found.y1.sum(), [*f.parameters(), *g.parameters()])))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="g is the Python function") as raised:
        in_julia(nde.SDEProblem(f, diffusion, start()), "em", dt=0.1, field="native")
    check_sentence(raised.value)


def test_drift_and_diffusion_may_be_julia_functions(tmp_path):
    file = tmp_path / "growth.jl"
    file.write_text("growth!(du, u, p, t) = (du .= p[1] .* u; nothing)\nnoise(u, p, t) = p[1] .* sin.(u)\n")
    f, g = (
        nde.julia.function(name=name, path=str(file), parameters=torch.tensor([value], dtype=FLOAT64))
        for name, value in (("growth!", -0.5), ("noise", 0.2))
    )
    found = in_julia(nde.SDEProblem(f, g, start(), seed=4), "sosri", dt=0.1, adaptive=False)
    same = nde.SDEProblem(lambda t, y: -0.5 * y, lambda t, y: 0.2 * torch.sin(y), start(), seed=4)
    torch.testing.assert_close(found.y1, nde.solve(same, "sosri", dt=0.1, adaptive=False).y1, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="f is the Julia function growth!") as raised:
        in_julia(nde.SDEProblem(f, g, start().requires_grad_()), "sosri")
    check_sentence(raised.value)


def test_any_algorithm_of_stochasticdiffeq_is_there_by_name():
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=9)
    expected = nde.solve(problem("additive", brownian=path), "sosra", rtol=3e-3, atol=3e-3).y1
    for method in (nde.julia.method("SKenCarp"), nde.julia.method("SOSRA2"), nde.julia.method("LambaEM")):
        with torch.no_grad():
            found = in_julia(problem("additive", brownian=path), method, rtol=1e-2, atol=1e-2)
        assert found.stats.accepted > 1
        # The tolerance is one of each step, and LambaEM has order 1/2.
        torch.testing.assert_close(found.y1, expected, rtol=0.1, atol=0.1)
    scalar = problem("scalar", interpretation="stratonovich")
    general, elementwise = (in_julia(scalar, m, dt=0.1).y1 for m in (nde.julia.method("EulerHeun"), "heun"))
    torch.testing.assert_close(general, elementwise, rtol=1e-12, atol=1e-14)


def test_general_noise_of_several_samples_has_adaptive_algorithms_too():
    asked = problem("general", brownian=nde.BrownianPath(0.0, 1.0, (3, 3), seed=4))
    found = in_julia(asked, nde.julia.method("LambaEM"), rtol=0.05, atol=0.05)
    assert found.stats.accepted > 1
    assert found.steps.scaled_error.max() <= 1
    torch.testing.assert_close(found.y1, in_julia(asked, "em", dt=1e-3).y1, rtol=0.1, atol=0.1)


def test_a_solve_that_fails_says_how_and_keeps_what_it_had():
    found = in_julia(problem(), "em", dt=0.1, max_steps=4, raise_on_failure=False)
    assert (found.status.name, found.stats.accepted) == ("MAX_STEPS", 4)
    assert found.t_reached == pytest.approx(0.4)
    stuck = nde.SDEProblem(lambda t, y: torch.where(t < 0.5, y, y * float("nan")), diffusion, start(), seed=1)
    for method, options in (("em", {"dt": 0.1}), ("sosri", {})):
        found = in_julia(stuck, method, raise_on_failure=False, **options)
        assert found.status.name in ("NON_FINITE", "STEP_UNDERFLOW")

    def broken(t, y):
        raise RuntimeError("broken")

    for f, g in ((broken, diffusion), (drift, broken)):
        with pytest.raises(RuntimeError, match="broken"):
            in_julia(nde.SDEProblem(f, g, start()), "em", dt=0.1)


@pytest.mark.parametrize(
    ("change", "method", "options", "match"),
    [
        ({}, "sosrj", {}, "unknown stochastic method"),
        ({}, "em", {}, "no step length was given"),
        ({}, "sosri", {"adaptive": False}, "no step length was given"),
        ({}, nde.julia.method("SOSRJ"), {}, "no algorithm"),
        ({}, nde.julia.method("EulerHeun"), {"dt": 0.1}, "solves Stratonovich equations"),
        ({"noise": "general"}, nde.julia.method("SRIW2"), {}, "does not solve equations with noise of this kind"),
        ({}, nde.julia.method("W2Ito1"), {}, "draws random numbers of its own"),
        ({}, "em", {"dt": 0.1, "gradient": nde.Backprop()}, "Backprop"),
        ({"y0": start().requires_grad_()}, "em", {"dt": 0.1, "gradient": nde.GaussAdjoint()}, "GaussAdjoint"),
        ({"y0": start().requires_grad_()}, nde.julia.method("SRIW2"), {}, "has no step in torch"),
    ],
)
def test_what_there_is_not_is_refused_in_a_sentence(change, method, options, match):
    with pytest.raises(ValueError, match=match) as raised:
        in_julia(problem(**change), method, **options)
    check_sentence(raised.value)
