"""Stochastic solves by the embedded engine: paths, steps, gradients, what is refused."""

import math

import pytest
import torch

import pyndereg as nde
from tests.equations import FLOAT64
from tests.sentences import check_sentence

ADAPTIVE = ("sosri", "sosri2", "sriw1")
GRADIENTS = (None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=3))

adaptive = pytest.mark.parametrize("method", ADAPTIVE)


def start(paths=8):
    return torch.tensor([2.0, 0.0], dtype=FLOAT64).repeat(paths, 1)


def spiral(t, y):
    return y**3 @ torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=FLOAT64)


def problem(y0=None, seed=3, **options):
    return nde.SDEProblem(spiral, lambda t, y: 0.2 * y, start() if y0 is None else y0, seed=seed, **options)


# --- solutions


def geometric(**options):
    """dX = 0.5 X dt + 0.7 X dW, whose solution is known along every path."""
    return nde.SDEProblem(lambda t, y: 0.5 * y, lambda t, y: 0.7 * y, torch.ones(64, 1, dtype=FLOAT64), **options)


def geometric_solution(path, t):
    return torch.exp((0.5 - 0.5 * 0.7**2) * t + 0.7 * path(t))


@adaptive
def test_an_adaptive_solve_follows_the_path_that_it_was_given(method):
    path = nde.BrownianPath(0.0, 1.0, (64, 1), seed=5)
    found = nde.solve(geometric(brownian=path), method, rtol=1e-3, atol=1e-3)
    assert (found.y1 - geometric_solution(path, 1.0)).square().mean().sqrt() < 0.02


def strong_error(make, method, tolerance, seeds):
    errors = []
    for seed in seeds:
        stochastic, exact = make(seed)
        found = nde.solve(stochastic, method, rtol=tolerance, atol=tolerance)
        errors.append((found.y1 - exact).abs().mean())
    return torch.stack(errors).mean().item()


def make_geometric(seed):
    path = nde.BrownianPath(0.0, 1.0, (64, 1), seed=seed)
    return geometric(brownian=path), geometric_solution(path, 1.0)


def make_sinh(seed):
    """dX = (X/2 + sqrt(1 + X²)) dt + sqrt(1 + X²) dW, with X = sinh(t + W)."""
    path = nde.BrownianPath(0.0, 1.0, (64, 1), seed=seed)

    def root(t, y):
        return torch.sqrt(1 + y * y)

    def drift(t, y):
        return 0.5 * y + root(t, y)

    y0 = torch.zeros(64, 1, dtype=FLOAT64)
    return nde.SDEProblem(drift, root, y0, brownian=path), torch.sinh(1.0 + path(1.0))


def make_additive(seed):
    """dX = (2 X / (1 + t) + (1 + t)²) dt + (1 + t)² dW, with X = (1 + t)² (X0 + t + W)."""
    path = nde.BrownianPath(0.0, 1.0, (64, 1), seed=seed)

    def drift(t, y):
        return 2 * y / (1 + t) + (1 + t) ** 2

    def diffusion(t, y):
        return ((1 + t) ** 2).expand_as(y)

    y0 = torch.ones(64, 1, dtype=FLOAT64)
    return nde.SDEProblem(drift, diffusion, y0, brownian=path), 4.0 * (2.0 + path(1.0))


@pytest.mark.parametrize("make", [make_geometric, make_sinh, make_additive])
@pytest.mark.parametrize("method", ["sosri", "sriw1"])
def test_halving_the_tolerance_lowers_the_strong_error(make, method):
    # Mean absolute error of 3 x 64 paths, seeds 0 to 2.
    errors = [strong_error(make, method, tolerance, range(3)) for tolerance in (0.04, 0.02, 0.01)]
    assert errors[0] > errors[1] > errors[2], errors


def test_the_seed_alone_makes_the_path():
    one, same, other = (nde.solve(problem(seed=seed), "em", dt=0.01).y1 for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    torch.manual_seed(0)
    drawn = nde.solve(problem(seed=None), "em", dt=0.01).y1
    torch.manual_seed(0)
    assert torch.equal(drawn, nde.solve(problem(seed=None), "em", dt=0.01).y1)


def test_steps_of_a_given_length_are_taken_and_the_last_one_is_cut():
    for dt, lengths in ((0.25, [0.25] * 4), (0.3, [0.3, 0.3, 0.3, 0.1])):
        found = nde.solve(geometric(seed=1), "sosri", dt=dt, adaptive=False)
        assert found.steps.dt.tolist() == pytest.approx(lengths, rel=1e-9)
        assert (found.stats.accepted, found.stats.rejected) == (len(lengths), 0)


def test_the_record_and_the_counts_are_true():
    calls = {"f": 0, "g": 0}

    def f(t, y):
        calls["f"] += 1
        return spiral(t, y)

    def g(t, y):
        calls["g"] += 1
        return 0.2 * y

    found = nde.solve(nde.SDEProblem(f, g, start(), seed=1), "sosri2", rtol=0.05, atol=0.05)
    assert (found.stats.nfe, found.stats.diffusion_nfe) == (calls["f"], calls["g"])
    steps = found.steps
    torch.testing.assert_close(steps.t[1:], (steps.t + steps.dt)[:-1], rtol=1e-12, atol=1e-14)
    assert bool((steps.scaled_error <= 1).all())
    assert bool((steps.stiffness > 0).all())
    assert bool(nde.solve(problem(), "sosri", rtol=0.05, atol=0.05).steps.stiffness.isnan().all())


def test_saved_states_lie_on_lines_between_the_ends_of_steps():
    times = [0.0, 0.21, 0.5, 1.0]
    gentle = nde.SDEProblem(lambda t, y: -y, lambda t, y: 0.2 * y, start(), seed=3)
    found = nde.solve(gentle, "em", dt=0.1, saveat=times)
    ends = nde.solve(gentle, "em", dt=0.1, saveat=nde.SaveAt(every_step=True))
    assert found.t.tolist() == times
    assert torch.equal(found.y[0], start())
    assert torch.equal(found.y[-1], found.y1)
    torch.testing.assert_close(found.y[1], torch.lerp(ends.y[2], ends.y[3], 0.1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found(torch.tensor(times, dtype=FLOAT64)), found.y, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="lies outside"):
        found(1.1)


@pytest.mark.parametrize(
    ("noise", "method", "shape"),
    [
        ("scalar", "sosri", (8, 2)),
        ("additive", "sosra", (8, 2)),
        ("general", "em", (8, 2, 3)),
        ("general", "heun", (8, 2, 3)),
    ],
)
def test_every_kind_of_noise_has_its_shapes(noise, method, shape):
    interpretation = "stratonovich" if method == "heun" else "ito"
    size = 3 if noise == "general" else None

    def diffusion(t, y):
        return 0.1 * torch.ones(shape, dtype=FLOAT64)

    stochastic = nde.SDEProblem(
        lambda t, y: -y, diffusion, start(), noise=noise, noise_size=size, interpretation=interpretation, seed=0
    )
    options = {"dt": 0.05} if noise == "general" else {"rtol": 0.1, "atol": 0.1}
    assert nde.solve(stochastic, method, **options).y1.shape == (8, 2)


def test_defaults_are_those_of_the_kind_of_equation():
    def short(**options):
        return nde.SDEProblem(lambda t, y: -y, lambda t, y: 0.1 + 0 * y, start(), 0.0, 0.1, seed=1, **options)

    tolerances = {"rtol": 1e-2, "atol": 1e-2}
    assert nde.solve(short()).stats == nde.solve(short(), "sosri", **tolerances).stats
    assert nde.solve(short(noise="additive")).stats == nde.solve(short(noise="additive"), "sosra", **tolerances).stats
    stratonovich = short(interpretation="stratonovich")
    assert torch.equal(nde.solve(stratonovich, dt=0.01).y1, nde.solve(stratonovich, "heun", dt=0.01).y1)


def test_fixed_steps_that_run_away_are_noticed_at_the_end():
    with pytest.raises(nde.SolveFailed) as raised:
        nde.solve(problem(), "em", dt=0.1)
    assert raised.value.status is nde.Status.NON_FINITE


def test_the_state_may_be_a_tuple_and_float32():
    y0 = (torch.ones(4, 2), torch.zeros(3))
    stochastic = nde.SDEProblem(lambda t, y: (-y[0], 1 - y[1]), lambda t, y: (0.1 * y[0], 0.2 + 0 * y[1]), y0, seed=0)
    found = nde.solve(stochastic, "sosri", rtol=0.1, atol=0.1, saveat=[0.5])
    assert [part.shape for part in found.y] == [(1, 4, 2), (1, 3)]
    assert found.y1[0].dtype == torch.float32


# --- gradients


def everything(gradient, method="sosri2"):
    matrix = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=FLOAT64, requires_grad=True)
    scale = torch.tensor(0.2, dtype=FLOAT64, requires_grad=True)
    y0 = start().requires_grad_()
    stochastic = nde.SDEProblem(lambda t, y: y**3 @ matrix, lambda t, y: scale * y, y0, params=(matrix, scale), seed=7)
    found = nde.solve(stochastic, method, rtol=0.1, atol=0.1, gradient=gradient, saveat=[0.0, 0.3, 0.31, 0.9])
    loss = found.y1.square().sum() + found.y.sum() + found(0.6).sum()
    loss = loss + (found.steps.scaled_error * found.steps.dt).sum() + found.steps.stiffness.mean()
    return torch.autograd.grad(loss, (matrix, scale, y0))


def test_all_gradients_agree_in_states_errors_and_stiffness():
    expected = everything(GRADIENTS[0])
    for gradient in GRADIENTS[1:]:
        for one, other in zip(everything(gradient), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("gradient", GRADIENTS, ids=repr)
@pytest.mark.parametrize("method", ["em", "milstein", "sriw1", "sosri"])
def test_gradients_on_a_fixed_grid_are_those_of_finite_differences(method, gradient):
    y0 = torch.tensor([[0.4, -0.7]], dtype=FLOAT64, requires_grad=True)
    weights = torch.tensor([0.8, -0.3], dtype=FLOAT64, requires_grad=True)

    def outputs(y0, weights):
        stochastic = nde.SDEProblem(
            lambda t, y: torch.tanh(weights * y),
            lambda t, y: 0.3 + 0.2 * torch.sin(weights * y),
            y0,
            params=(weights,),
            seed=2,
        )
        options = {"dt": 0.25, "adaptive": False, "rtol": 1e-2, "atol": 1e-2}
        found = nde.solve(stochastic, method, gradient=gradient, saveat=[0.4], **options)
        estimates = (found.steps.scaled_error,) if method in ADAPTIVE else ()
        return found.y1, found.y, *estimates

    assert torch.autograd.gradcheck(outputs, (y0, weights))


def backsolved(gradient, dt, **kind):
    """Gradients of a loss by a fixed grid of steps, along one path whatever the grid is."""
    y0 = torch.tensor([[0.4, -0.7], [1.1, 0.2]], dtype=FLOAT64, requires_grad=True)
    weights = torch.tensor([0.8, -0.3], dtype=FLOAT64, requires_grad=True)
    path = nde.BrownianPath(0.0, 1.0, (2, 2), seed=4)

    def diffusion(t, y):
        return 0.3 + (0.0 * y if kind.get("noise") == "additive" else 0.2 * torch.sin(weights * y))

    stochastic = nde.SDEProblem(
        lambda t, y: torch.tanh(weights * y) - y, diffusion, y0, params=(weights,), brownian=path, **kind
    )
    method = "heun" if kind.get("interpretation") == "stratonovich" else "milstein"
    found = nde.solve(stochastic, method, dt=dt, gradient=gradient, saveat=[0.25, 0.5, 1.0])
    return torch.autograd.grad(found.y.sum() + found.y1.square().sum(), (y0, weights))


@pytest.mark.parametrize("kind", [{}, {"interpretation": "stratonovich"}, {"noise": "additive"}])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_adjoint_that_is_solved_backwards_converges_to_the_gradient_of_the_solution(kind, checkpointing):
    exact = backsolved(nde.DiscreteAdjoint(), 2.0**-9, **kind)
    errors = []
    for dt in (2.0**-4, 2.0**-7):
        found = backsolved(nde.BacksolveAdjoint(checkpointing=checkpointing), dt, **kind)
        errors.append(max(((x - y).norm() / y.norm()).item() for x, y in zip(found, exact, strict=True)))
    assert errors[1] < 0.01
    assert errors[1] < 0.6 * errors[0]


def test_the_adjoint_that_is_solved_backwards_knows_no_steps():
    y0 = start().requires_grad_()
    found = nde.solve(problem(y0), rtol=0.1, atol=0.1, gradient=nde.BacksolveAdjoint())
    with pytest.raises(RuntimeError, match="has no gradient") as raised:
        torch.autograd.grad(found.steps.scaled_error.sum(), y0)
    check_sentence(raised.value, "BacksolveAdjoint", "DiscreteAdjoint()")


@pytest.mark.parametrize("sampling", ["unbiased", "biased"])
def test_a_local_regularizer_takes_one_fresh_step_along_a_path_of_its_own(sampling):
    weight = torch.tensor(0.2, dtype=FLOAT64, requires_grad=True)
    stochastic = nde.SDEProblem(spiral, lambda t, y: weight * y, start(), params=(weight,), seed=7)
    options = {"rtol": 0.1, "atol": 0.1}
    local = nde.regularizers.LocalError(sampling=sampling, generator=torch.Generator().manual_seed(0))
    found = nde.solve(stochastic, "sosri", regularizers=[local], **options)
    plain = nde.solve(stochastic, "sosri", **options)
    assert torch.equal(found.y1, plain.y1)
    assert found.stats.local_nfe == 6  # four stages, and two for the step's length
    assert found.stats.nfe == plain.stats.nfe + 6
    (gradient,) = torch.autograd.grad(found.penalties[0], weight)
    assert gradient.abs() > 0


# --- what is refused


@pytest.mark.parametrize(
    ("make", "options", "found", "remedy"),
    [
        (lambda: problem(), {"method": "tsit5"}, "'tsit5'", "sosri"),
        (lambda: problem(), {"method": "sra1"}, "diagonal", "sosri"),
        (lambda: problem(interpretation="stratonovich"), {"method": "sosri"}, "stratonovich", "heun"),
        (lambda: problem(), {"method": "em"}, "no error estimate", "dt="),
        (lambda: problem(), {"gradient": nde.GaussAdjoint()}, "GaussAdjoint", "DiscreteAdjoint()"),
        (lambda: problem(), {"gradient": nde.BacksolveAdjoint(rtol=0.1)}, "rtol of BacksolveAdjoint", "pass None"),
        (lambda: problem(noise="scalar"), {"gradient": nde.BacksolveAdjoint()}, "'scalar'", "DiscreteAdjoint()"),
        (lambda: problem(), {"uncontrolled": 1}, "uncontrolled is 1", "pass 0"),
        (lambda: problem(), {"regularizers": [nde.regularizers.KineticEnergy()]}, "KineticEnergy", "local"),
        (lambda: problem(t0=1.0, t1=0.0), {}, "1.0 and 0.0", "t0 < t1"),
        (lambda: problem(noise="pink"), {}, "'pink'", "'diagonal'"),
        (lambda: problem(noise="general"), {}, "no noise_size", "noise_size="),
        (lambda: problem(t1=torch.tensor(1.0, requires_grad=True)), {}, "t1 asks for a gradient", "detach"),
    ],
)
def test_what_cannot_be_solved_is_said_in_a_sentence(make, options, found, remedy):
    with pytest.raises(ValueError, match=r"\w") as raised:
        nde.solve(make(), **options)
    check_sentence(raised.value, found, remedy)


def test_a_diffusion_of_the_wrong_shape_is_refused():
    stochastic = nde.SDEProblem(spiral, lambda t, y: torch.ones(3, dtype=FLOAT64), start())
    with pytest.raises(ValueError, match="g returned shape") as raised:
        nde.solve(stochastic)
    check_sentence(raised.value, "the diffusion", "(8, 2)", "noise='diagonal'")


def test_a_failed_solve_holds_what_was_computed():
    found = nde.solve(problem(), "sosri", max_steps=5, rtol=1e-3, atol=1e-3, raise_on_failure=False)
    assert found.status is nde.Status.MAX_STEPS
    assert 0 < found.t_reached < 1.0
    assert math.isfinite(found.y1.sum().item())
