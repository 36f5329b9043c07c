"""Times that pass an end of the interval by rounding alone are that end, and any further beyond is refused."""

import pytest
import torch

import pyndereg as nde
from pyndereg.noise import BrownianPath
from tests.sentences import check_sentence


def decay(t0=0.0, t1=0.3, dtype=torch.float32, **asked):
    y0 = torch.ones(2, dtype=dtype, **asked)
    return nde.ODEProblem(lambda t, y: -y, y0, t0, t1)


def drift(t, y):
    return -y


def test_float32_save_times_that_round_beyond_t1_end_at_t1():
    times = torch.linspace(0, 0.3, 4)
    assert times[-1].item() > 0.3
    solution = nde.solve(decay(), saveat=times)
    assert torch.equal(solution.y[-1], solution.y1)
    assert torch.equal(solution.t, times)


def test_float64_save_times_that_round_beyond_t1_end_at_t1():
    times = [0.1 * i for i in range(4)]
    assert times[-1] > 0.3
    solution = nde.solve(decay(dtype=torch.float64), saveat=times)
    assert torch.equal(solution.y[-1], solution.y1)
    assert solution.t[-1].item() == 0.3


def test_float32_save_times_that_round_beyond_t0_start_at_y0():
    problem = decay(0.7, 1.0)
    times = torch.linspace(0.7, 1.0, 4)
    assert times[0].item() < 0.7
    assert torch.equal(nde.solve(problem, saveat=times).y[0], problem.y0)


def test_backwards_the_same_holds():
    solution = nde.solve(decay(0.3, 0.0), saveat=torch.linspace(0.3, 0.0, 4))
    assert torch.equal(solution.y[0], torch.ones(2))


@pytest.mark.parametrize(
    "gradient",
    [nde.DiscreteAdjoint(), nde.Backprop(), nde.InterpolatingAdjoint(), nde.ForwardSensitivity()],
    ids=lambda gradient: type(gradient).__name__,
)
def test_a_solution_may_be_asked_at_its_own_times(gradient):
    solution = nde.solve(decay(requires_grad=True), saveat=torch.linspace(0, 0.3, 4), gradient=gradient)
    torch.testing.assert_close(solution(solution.t), solution.y)
    end = nde.solve(decay(requires_grad=True), gradient=gradient)
    torch.testing.assert_close(end(end.t), end.y)


def test_a_stochastic_solution_may_be_asked_at_its_own_times():
    problem = nde.SDEProblem(drift, lambda t, y: 0.1 * y, torch.ones(2), t1=0.3, seed=1)
    solution = nde.solve(problem, saveat=torch.linspace(0, 0.3, 4))
    torch.testing.assert_close(solution(solution.t), solution.y)


def test_two_times_that_are_the_same_end_are_asked_for_at_once():
    solution = nde.solve(decay(requires_grad=True), gradient=nde.InterpolatingAdjoint())
    states = solution([0.3, float(torch.tensor(0.3))])
    assert torch.equal(states[0], states[1])


def test_a_path_may_be_asked_at_float32_times_of_its_interval():
    path = BrownianPath(0.0, 0.3, (2,), seed=1)
    assert torch.equal(path.values(torch.linspace(0, 0.3, 4))[-1], path(0.3))


@pytest.mark.parametrize("beyond", [0.3001, 0.3 + 1e-9, -1e-5])
def test_a_time_further_beyond_is_refused(beyond):
    solution = nde.solve(decay(dtype=torch.float64))
    for ask in (lambda: nde.solve(decay(), saveat=sorted([beyond, 0.1])), lambda: solution(beyond)):
        with pytest.raises(ValueError, match="outside") as raised:
            ask()
        check_sentence(raised.value)
