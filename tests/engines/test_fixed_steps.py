"""Steps that the user chose: one length, a number of them, or a grid; in ordinary and stochastic solves."""

import math
from itertools import pairwise

import pytest
import torch

import pyndereg as nde
from pyndereg.noise import BrownianPath
from tests.equations import FLOAT64
from tests.sentences import check_sentence

GRID = [0.0, 0.3, 0.35, 0.8, 1.0]


def field(t, y):
    return torch.sin(3.0 * t) - y**2


def euler_by_hand(grid, y):
    for start, end in pairwise(grid):
        y = y + (end - start) * field(torch.tensor(start, dtype=FLOAT64), y)
    return y


def start(requires_grad=False):
    return torch.tensor([[0.4, 1.1]], dtype=FLOAT64, requires_grad=requires_grad)


def problem(**options):
    return nde.ODEProblem(field, start(), **options)


def failure(*arguments, **options):
    with pytest.raises(nde.SolveFailed) as caught:
        nde.solve(*arguments, **options)
    return caught.value


@pytest.mark.parametrize(("method", "options"), [("euler", {}), ("rk4", {}), ("tsit5", {"adaptive": False})])
def test_steps_of_a_given_length_that_end_in_infinity_in_one_row_of_many_are_no_success(method, options):
    y0 = torch.full((64, 3), 0.1)
    y0[17, 1] = 50.0
    caught = failure(nde.ODEProblem(lambda t, y: y**3, y0), method, dt=0.05, **options)
    assert caught.status is nde.Status.NON_FINITE
    check_sentence(caught, "came to t1 = 1", "NaN or infinite")
    assert caught.solution.y1[0].isfinite().all()
    assert not caught.solution.y1[17].isfinite().all()
    assert len(caught.solution.steps) == 20


def test_the_states_that_were_saved_before_the_solve_became_infinite_are_kept():
    saveat = nde.SaveAt(every_step=True)
    caught = failure(nde.ODEProblem(lambda t, y: y**3, torch.tensor([3.0])), "euler", dt=0.1, saveat=saveat)
    assert caught.solution.y.shape == (11, 1)
    assert caught.solution.y[:3].isfinite().all()


@pytest.mark.parametrize("method", ["tsit5", "vern7"])
def test_a_singular_end_is_named_with_its_distance(method):
    singular = nde.ODEProblem(lambda t, y: (3.0 - y) / (2.0 - t) * (1.0 + t), torch.ones(4, 2), 0.0, 2.0)
    caught = failure(singular, method, rtol=1e-5, atol=1e-5)
    assert caught.status is nde.Status.NON_FINITE
    check_sentence(caught, "before t1 = 2", "f is not finite at t1 = 2", "end the interval earlier")


def test_a_failure_far_from_the_end_says_nothing_of_the_end():
    caught = failure(nde.ODEProblem(lambda t, y: y / (t < 0.25), start()))
    assert "f is not finite at t1" not in str(caught)
    check_sentence(caught, "before t1 = 1")


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
@pytest.mark.parametrize("steps", [7, 49, 98, 1000])
def test_so_many_steps_are_so_many_evaluations(steps, dtype):
    for chosen in ({"steps": steps}, {"dt": 1 / steps}):
        found = nde.solve(nde.ODEProblem(lambda t, y: -y, torch.ones(2, dtype=dtype)), "euler", **chosen)
        assert (found.stats.nfe, found.stats.accepted, found.t_reached) == (steps, steps, 1.0)


@pytest.mark.parametrize("grid", [GRID, torch.tensor(GRID), torch.tensor(GRID, dtype=FLOAT64)])
def test_a_grid_s_steps_are_those_by_hand(grid):
    found = nde.solve(problem(), "euler", grid=grid)
    times = torch.as_tensor(grid, dtype=FLOAT64).tolist()
    torch.testing.assert_close(found.y1, euler_by_hand(times, start()), rtol=1e-14, atol=0.0)
    assert (found.stats.nfe, found.stats.accepted) == (4, 4)


@pytest.mark.parametrize(("method", "per_step"), [("midpoint", 2), ("heun", 2), ("rk4", 4), ("tsit5", 6)])
def test_a_grid_costs_its_steps_and_nothing_else(method, per_step):
    adaptive = {"adaptive": False} if method == "tsit5" else {}
    found = nde.solve(problem(), method, grid=GRID, **adaptive)
    assert found.stats.nfe == 4 * per_step + (method == "tsit5")


def test_a_grid_is_followed_backwards_in_time():
    found = nde.solve(problem(t0=1.0, t1=0.0), "euler", grid=GRID[::-1])
    torch.testing.assert_close(found.y1, euler_by_hand(GRID[::-1], start()), rtol=1e-14, atol=0.0)


def test_the_ends_of_a_grid_may_be_rounded_to_float32():
    found = nde.solve(problem(t1=0.3), "euler", grid=torch.linspace(0.0, 0.3, 4))
    assert (found.t_reached, found.stats.accepted) == (0.3, 3)


@pytest.mark.parametrize("gradient", [None, nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2), nde.Backprop()])
def test_the_gradient_of_a_solve_on_a_grid_is_that_of_the_steps_by_hand(gradient):
    y0, by_hand = start(requires_grad=True), start(requires_grad=True)
    nde.solve(nde.ODEProblem(field, y0), "euler", grid=GRID, gradient=gradient).y1.sum().backward()
    euler_by_hand(GRID, by_hand).sum().backward()
    torch.testing.assert_close(y0.grad, by_hand.grad, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("gradient", [nde.InterpolatingAdjoint(), nde.BacksolveAdjoint(), nde.GaussAdjoint()])
@pytest.mark.parametrize("chosen", [{"steps": 64}, {"grid": torch.linspace(0, 1, 65) ** 1.5}])
def test_a_continuous_adjoint_goes_back_over_steps_that_the_user_chose(gradient, chosen):
    found, expected = start(requires_grad=True), start(requires_grad=True)
    nde.solve(nde.ODEProblem(field, found), "rk4", gradient=gradient, saveat=[0.3, 1.0], **chosen).y.sum().backward()
    nde.solve(nde.ODEProblem(field, expected), rtol=1e-10, atol=1e-10, saveat=[0.3, 1.0]).y.sum().backward()
    # The orders of rk4 and of its interpolant, three, with steps of about 1/64.
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-5, atol=0.0)


def test_an_adjoint_that_chooses_its_steps_by_their_error_forgets_the_forward_solve_s_grid():
    y0 = start(requires_grad=True)
    gradient = nde.InterpolatingAdjoint(method="tsit5")
    nde.solve(nde.ODEProblem(field, y0), "rk4", steps=64, gradient=gradient).y1.sum().backward()
    assert y0.grad.isfinite().all()


def test_dense_output_of_a_solve_on_a_grid_goes_through_its_saved_states():
    saved = nde.solve(problem(), "rk4", grid=GRID, saveat=GRID)
    replayed = nde.solve(problem(), "rk4", grid=GRID)
    torch.testing.assert_close(replayed(torch.tensor(GRID)), saved.y, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"method": "euler", "grid": GRID, "dt": 0.1}, ("dt and grid", "pass one")),
        ({"method": "euler", "steps": 4, "dt": 0.1}, ("dt and steps", "pass one")),
        ({"method": "euler", "grid": GRID, "steps": 4}, ("grid and steps", "pass one")),
        ({"grid": GRID}, ("grid", "'tsit5'", "adaptive=False", "breakpoints=")),
        ({"steps": 4}, ("steps", "'tsit5'", "adaptive=False")),
        ({"method": "euler", "grid": [0.0, 0.5]}, ("from 0.0 to 0.5", "t1=1.0")),
        ({"method": "euler", "grid": [0.1, 1.0]}, ("from 0.1 to 1.0", "t0=0.0")),
        ({"method": "euler", "grid": [0.0, 0.5, 0.4, 1.0]}, ("from 0.5 to 0.4", "sort")),
        ({"method": "euler", "grid": [0.0, 0.5, 0.5, 1.0]}, ("from 0.5 to 0.5", "without repeats")),
        ({"method": "euler", "grid": [0.0]}, ("(1,)", "at least 2")),
        ({"method": "euler", "grid": [0.0, math.nan, 1.0]}, ("NaN", "finite")),
        ({"method": "euler", "steps": 0}, ("steps is 0", "positive")),
        ({"method": "euler", "steps": 2.5}, ("steps is 2.5", "positive whole number")),
        ({"method": "euler", "steps": 200_000}, ("200000", "max_steps is 100000", "raise max_steps")),
        ({"method": "euler"}, ("no step length", "dt=", "steps=", "grid=")),
    ],
)
def test_contradictions_are_refused_in_one_sentence(options, parts):
    with pytest.raises((ValueError, TypeError)) as caught:
        nde.solve(problem(), **options)
    check_sentence(caught.value, *parts)


def noisy(**options):
    return nde.SDEProblem(lambda t, y: -y, lambda t, y: 0.3 * torch.cos(y), start(), seed=3, **options)


def em_by_hand(path, grid):
    y = start()
    for s, t in pairwise(grid):
        y = y - y * (t - s) + 0.3 * torch.cos(y) * path.dW(s, t)
    return y


@pytest.mark.parametrize("steps", [10, 49, 869])
def test_stochastic_steps_of_equal_length_are_as_many_as_were_asked_for_and_cells_of_the_path(steps):
    grid = [i / steps for i in range(steps + 1)]
    path = BrownianPath(0.0, 1.0, (1, 2), seed=3, cells=steps)
    for chosen in ({"steps": steps}, {"dt": 1 / steps}):
        found = nde.solve(noisy(), "em", **chosen)
        assert (found.stats.accepted, found.stats.nfe) == (steps, steps)
        torch.testing.assert_close(found.y1, em_by_hand(path, grid), rtol=1e-12, atol=0.0)


def test_stochastic_steps_on_a_grid_go_along_the_path_between_its_times():
    path = BrownianPath(0.0, 1.0, (1, 2), seed=5)
    problem = nde.SDEProblem(lambda t, y: -y, lambda t, y: 0.3 * torch.cos(y), start(), brownian=path)
    found = nde.solve(problem, "em", grid=GRID)
    torch.testing.assert_close(found.y1, em_by_hand(path, GRID), rtol=1e-12, atol=0.0)
    assert found.stats.nfe == 4


@pytest.mark.parametrize(("method", "options"), [("em", {"steps": 4, "dt": 0.25}), ("sosri", {"grid": GRID})])
def test_stochastic_options_that_contradict_each_other_are_refused_in_one_sentence(method, options):
    with pytest.raises(ValueError, match="pass") as caught:
        nde.solve(noisy(), method, **options)
    check_sentence(caught.value, *options)


@pytest.mark.parametrize("t0", [1e6, -1e6, 1e9])
@pytest.mark.parametrize("method", ["tsit5", "dp5", "vern9"])
def test_an_interval_far_from_zero_is_solved_to_its_end(method, t0):
    t1 = t0 + 1e-5
    rate = 3.0 / (t1 - t0)
    found = nde.solve(nde.ODEProblem(lambda t, y: -rate * y, start(), t0, t1), method, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found.y1, start() * math.exp(-3.0), rtol=1e-6, atol=0.0)
    assert found.steps.dt.sum().item() == pytest.approx(t1 - t0, rel=1e-12)


@pytest.mark.parametrize(("method", "options"), [("tsit5", {}), ("rk4", {"steps": 40})])
def test_f_gets_a_time_that_tells_the_nodes_of_a_step_apart_where_float32_cannot(method, options):
    t0 = 1e6  # where neighbours in float32 are a 16th apart
    y0 = torch.zeros(2)
    found = nde.solve(nde.ODEProblem(lambda t, y: torch.cos(t - t0) + 0.0 * y, y0, t0, t0 + 1.0), method, **options)
    torch.testing.assert_close(found.y1, torch.full((2,), math.sin(1.0)), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("interval", [(0.0, 1.0), (100.0, 101.0), (0.0, 1e6), (-3.0, 2.0)])
def test_f_gets_times_of_the_state_s_dtype_in_ordinary_intervals(interval):
    dtypes = set()

    def f(t, y):
        dtypes.add(t.dtype)
        return -y / (interval[1] - interval[0])

    nde.solve(nde.ODEProblem(f, torch.ones(2), *interval))
    assert dtypes == {torch.float32}


@pytest.mark.parametrize("method", ["em", "milstein", "sosri", "sriw1", "sosra"])
def test_stochastic_states_may_be_numbers_and_their_slopes_transposed(method):
    noise = "additive" if method == "sosra" else "diagonal"
    options = {"steps": 8} if method in ("em", "milstein") else {}
    matrix = torch.tensor([[0.3, 0.1], [-0.2, 0.4]], dtype=FLOAT64)

    def solved(f, y0):
        problem = nde.SDEProblem(f, lambda t, y: 0.1 * torch.ones_like(y), y0, seed=1, noise=noise)
        return nde.solve(problem, method, **options)

    y0 = torch.ones(3, 2, dtype=FLOAT64)
    transposed = solved(lambda t, y: (matrix @ y.mT).mT, y0)
    straight = solved(lambda t, y: y @ matrix.mT, y0)
    torch.testing.assert_close(transposed.y1, straight.y1, rtol=1e-12, atol=0.0)
    number, row = (solved(lambda t, y: -y, torch.ones(shape, dtype=FLOAT64)) for shape in ((), (1,)))
    assert number.y1.shape == ()
    torch.testing.assert_close(number.y1, row.y1[0], rtol=1e-12, atol=0.0)


def test_a_stochastic_solve_warns_of_times_that_float32_cannot_tell_apart():
    def noisy_from(t0, dtype):
        y0 = torch.ones(2, dtype=dtype)
        return nde.SDEProblem(lambda t, y: -y, lambda t, y: 0.1 * y, y0, t0, t0 + 1.0, seed=0)

    with pytest.warns(UserWarning, match="float32, which has few between t0=1000000"):
        nde.solve(noisy_from(1e6, torch.float32), "em", steps=4)
    nde.solve(noisy_from(1e6, FLOAT64), "em", steps=4)
    nde.solve(noisy_from(100.0, torch.float32), "em", steps=4)
