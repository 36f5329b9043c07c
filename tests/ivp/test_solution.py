"""The answer: its record, its call, and the exception that carries it."""

import pickle

import pytest
import torch

from pyndereg.ivp import Solution, SolveFailed, Statistics, Status, StepRecord
from tests.sentences import check_sentence


def record(steps):
    ones = torch.ones(steps)
    return StepRecord(t=ones, dt=ones, scaled_error=ones, stiffness=ones)


def solution(status=Status.MAX_STEPS, interpolate=None):
    return Solution(
        t=torch.ones(1),
        y=torch.ones(1, 2),
        y1=torch.ones(2),
        steps=record(3),
        stats=Statistics(nfe=20, accepted=3, rejected=2),
        status=status,
        t_reached=0.25,
        interpolate=interpolate,
    )


def test_a_record_is_as_long_as_its_accepted_steps():
    assert len(record(3)) == 3
    assert len(record(0)) == 0


def test_only_reaching_the_end_is_a_success():
    assert [status for status in Status if status.succeeded] == [Status.SUCCESS]


@pytest.mark.parametrize("status", [status for status in Status if not status.succeeded])
def test_a_failure_says_where_it_stopped_why_and_what_to_do(status):
    error = SolveFailed(status, solution(status))
    check_sentence(error, "t=0.25", "3 accepted", "2 rejected", status.value)
    assert (error.status, error.solution.stats.nfe) == (status, 20)
    assert isinstance(error, RuntimeError)


@pytest.mark.parametrize("status", [status for status in Status if not status.succeeded])
def test_a_failure_that_knows_the_end_says_how_far_before_it_the_solve_stopped(status):
    check_sentence(SolveFailed(status, solution(status), 0.25 + 3e-9), "t=0.25, 3e-09 before t1 = 0.25", status.value)


def test_a_failure_at_a_singular_end_says_to_end_earlier():
    error = SolveFailed(Status.NON_FINITE, solution(Status.NON_FINITE), 0.2501, True)
    check_sentence(error, "0.0001 before t1 = 0.2501", "f is not finite at t1", "end the interval earlier")


def test_a_failure_at_the_end_itself_says_that_the_state_there_is_not_finite():
    error = SolveFailed(Status.NON_FINITE, solution(Status.NON_FINITE), 0.25)
    check_sentence(error, "came to t1 = 0.25", "the state there is NaN or infinite", "shorter steps")


@pytest.mark.parametrize("t", [0.1, 1, torch.tensor(0.1), [0.1, 0.2]])
def test_a_solution_is_called_with_times_of_any_kind(t):
    seen = []
    solution(interpolate=seen.append)(t)
    assert (seen[0].dtype, seen[0].device.type, seen[0].requires_grad) == (torch.float64, "cpu", False)
    assert seen[0].tolist() == (t.tolist() if isinstance(t, torch.Tensor) else t)


def test_a_time_that_asks_for_a_gradient_is_refused_where_dense_output_has_none():
    t = torch.tensor(0.1, requires_grad=True)
    with pytest.raises(ValueError, match="t asks for a gradient, which this dense output has not; pass"):
        solution(interpolate=list)(t)
    with torch.no_grad():
        assert not solution(interpolate=lambda times: times)(t).requires_grad


def test_how_a_solve_ended_is_a_named_value():
    assert Status.NON_FINITE is Status["NON_FINITE"]
    assert pickle.loads(pickle.dumps(Status.STEP_UNDERFLOW)) is Status.STEP_UNDERFLOW
