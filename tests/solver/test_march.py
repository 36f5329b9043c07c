"""The loop, with a scripted step and a scripted controller: nothing here integrates anything."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.ivp import Status
from pyndereg.solver.control import PIController
from pyndereg.solver.march import march
from pyndereg.solver.plans import FixedStep, GridSteps, OneStep, Schedule, step_count

# A step whose error is not finite is tried this often again.
TRIES = 20


@dataclass
class ScriptedStep:
    scaled_error: torch.Tensor | None


@dataclass(frozen=True)
class ScriptedController:
    """Accepts what the script accepts, and proposes the lengths of the script; keeps the last one when it ends."""

    lengths: tuple[float, ...]
    longest: float = math.inf

    def accepts(self, scaled_error):
        return scaled_error <= 1

    def after_acceptance(self, dt, scaled_error):
        return self._next(dt)

    def after_rejection(self, dt, scaled_error):
        return self._next(dt)

    def _next(self, dt):
        if not self.lengths:
            return dt, self
        return self.lengths[0], ScriptedController(self.lengths[1:], self.longest)


@dataclass
class Script:
    """Steps whose errors are written down; remembers what the loop asked for and told."""

    errors: list[float | None]
    attempts: list[tuple[float, float]] = field(default_factory=list)
    accepted: list[tuple[ScriptedStep, float]] = field(default_factory=list)

    def attempt(self, t, dt):
        self.attempts.append((t, dt))
        # Small enough that a PI controller lets its steps grow once the script has ended.
        error = self.errors.pop(0) if self.errors else 0.1
        return ScriptedStep(None if error is None else torch.tensor(error, dtype=torch.float64))

    def accept(self, step, t_end):
        self.accepted.append((step, t_end))


def run(errors, controller, t0=0.0, t1=1.0, dt=0.25, max_steps=1000):
    script = Script(list(errors))
    return script, march(script.attempt, script.accept, controller, t0, t1, dt, max_steps)


def test_accepted_steps_follow_each_other_and_rejected_ones_are_tried_again_from_the_same_time():
    script, result = run([0.5, 2.0, 3.0, 0.5], ScriptedController((0.5, 0.25, 0.125, 1.0)))
    assert script.attempts == [(0.0, 0.25), (0.25, 0.5), (0.25, 0.25), (0.25, 0.125), (0.375, 0.625)]
    assert (result.t, result.dt) == ([0.0, 0.25, 0.375], [0.25, 0.125, 0.625])
    assert (result.rejected, result.status, result.t_reached) == (2, Status.SUCCESS, 1.0)


def test_only_accepted_steps_are_told_with_the_time_at_which_they_end():
    script, _ = run([0.5, 2.0, 0.25, 0.5], ScriptedController((0.5, 0.25, 0.5)))
    assert [end for _, end in script.accepted] == [0.25, 0.5, 1.0]
    assert [step.scaled_error.item() for step, _ in script.accepted] == [0.5, 0.25, 0.5]


def test_the_last_step_is_cut_to_end_at_the_end():
    script, result = run([], ScriptedController(()), dt=0.3)
    assert len(script.attempts) == 4
    assert result.dt[-1] == pytest.approx(0.1)
    assert result.t_reached == 1.0


def test_an_error_of_exactly_one_is_accepted():
    _, result = run([1.0], ScriptedController(()), dt=1.0)
    assert (result.t, result.rejected) == ([0.0], 0)


def test_backwards_in_time_lengths_are_negative_and_the_end_is_exact():
    script, result = run([0.5, 2.0], ScriptedController((0.5, 0.25)), t0=1.0, t1=0.0)
    assert script.attempts[:3] == [(1.0, -0.25), (0.75, -0.5), (0.75, -0.25)]
    assert result.dt == [-0.25, -0.25, -0.25, -0.25]
    assert (result.t_reached, result.status) == (0.0, Status.SUCCESS)


@pytest.mark.parametrize("t0", [0.0, 3.0, -2.0])
def test_a_step_that_ends_within_a_hundred_units_in_the_last_place_of_the_end_ends_there(t0):
    t1 = t0 + 1.0
    unit = math.ulp(max(abs(t0), abs(t1)))
    near, result = run([], ScriptedController(()), t0=t0, t1=t1, dt=1.0 - 90 * unit)
    assert len(near.attempts) == 1
    assert result.t_reached == t1
    far, _ = run([], ScriptedController(()), t0=t0, t1=t1, dt=1.0 - 110 * unit)
    assert len(far.attempts) == 2


def test_the_first_step_is_no_longer_than_the_interval():
    script, result = run([], ScriptedController(()), dt=50.0)
    assert script.attempts == [(0.0, 1.0)]
    assert result.dt == [1.0]


def test_the_loop_stops_after_max_steps_attempts_rejected_ones_included():
    script, result = run([0.5, 2.0, 0.5], ScriptedController((0.25, 0.25, 0.25)), max_steps=3)
    assert len(script.attempts) == 3
    assert (result.status, len(result.t), result.rejected, result.t_reached) == (Status.MAX_STEPS, 2, 1, 0.5)


def test_reaching_the_end_with_the_last_allowed_step_is_a_success():
    _, result = run([], ScriptedController(()), max_steps=4)
    assert (result.status, len(result.t)) == (Status.SUCCESS, 4)


def test_a_rejected_step_too_short_to_advance_time_is_an_underflow():
    script, result = run([2.0, 2.0, 2.0], ScriptedController((1e-3, 1e-17, 1e-17)), t0=1.0, t1=2.0)
    assert len(script.attempts) == 2
    assert (result.status, result.rejected, result.t_reached) == (Status.STEP_UNDERFLOW, 2, 1.0)


def test_the_step_after_an_accepted_one_is_long_enough_to_advance_time():
    script, _ = run([], ScriptedController((1e-30, 0.5)), t0=1.0, t1=2.0)
    assert script.attempts[1] == (1.25, math.ulp(1.25))
    assert script.attempts[2][0] > 1.25


def test_a_pi_controller_whose_steps_are_always_rejected_underflows():
    _, result = run([7.0] * 200, PIController(0.1, 0.05), t0=1.0, t1=2.0)
    assert result.status is Status.STEP_UNDERFLOW
    assert result.t == []


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_a_step_whose_error_is_not_finite_is_tried_again_shorter_until_the_tries_are_used_up(error):
    script, result = run([error] * 100, PIController(0.1, 0.05))
    assert len(script.attempts) == TRIES + 1
    assert [dt for _, dt in script.attempts[:3]] == pytest.approx([0.25, 0.05, 0.01])
    assert (result.status, result.rejected) == (Status.NON_FINITE, TRIES + 1)


def test_tries_after_nan_are_counted_anew_after_a_finite_error():
    errors = [math.nan] * TRIES + [0.5] + [math.nan] * TRIES + [2.0] + [math.nan] * TRIES
    script, result = run(errors, ScriptedController(()), dt=0.25)
    assert result.status is Status.SUCCESS
    assert len(script.attempts) == len(errors) + 3


def test_a_length_that_is_nan_says_that_f_was_not_finite_at_the_start():
    script, result = run([], PIController(0.1, 0.05), dt=math.nan)
    assert script.attempts == []
    assert (result.status, result.t_reached) == (Status.NON_FINITE, 0.0)


def test_the_error_of_a_planned_step_is_never_waited_for():
    class NeverRead:
        @property
        def scaled_error(self):
            raise AssertionError("the error was asked for")

    taken = []
    result = march(lambda t, dt: NeverRead(), lambda step, end: taken.append(end), FixedStep(0.5), 0.0, 1.0, 0.5, 9)
    assert (taken, result.status) == ([0.5, 1.0], Status.SUCCESS)


def test_a_schedule_is_taken_again_step_by_step():
    lengths = (0.2, 0.3, 0.1, 0.4)
    script, result = run([7.0] * 4, Schedule(lengths), dt=lengths[0])
    assert result.dt == pytest.approx(lengths)
    assert result.status is Status.SUCCESS
    assert len(script.attempts) == 4


def test_a_schedule_with_starts_is_taken_again_at_the_same_times_to_the_last_bit():
    _, first = run([], FixedStep(0.1), t0=0.3, t1=1.3)
    _, again = run([], Schedule(tuple(first.dt), tuple(first.t)), t0=0.3, t1=1.3)
    assert (again.t, again.dt, again.t_reached) == (first.t, first.dt, first.t_reached)


@pytest.mark.parametrize("steps", [3, 10, 49, 869, 9973])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (-0.7, 2.6), (1e6, 1e6 + 1.0)])
def test_steps_asked_for_by_the_length_of_equal_parts_are_as_many_as_the_parts(steps, ends):
    t0, t1 = ends
    _, result = run([], FixedStep(abs(t1 - t0) / steps), t0=t0, t1=t1, max_steps=10_000)
    assert (len(result.t), result.t_reached, result.status) == (steps, t1, Status.SUCCESS)
    assert result.dt == pytest.approx([(t1 - t0) / steps] * steps, rel=1e-9)
    assert math.fsum(result.dt) == pytest.approx(t1 - t0, rel=1e-15 * steps)
    assert result.t[-1] == t0 + (steps - 1) * math.copysign(abs(t1 - t0) / steps, t1 - t0)


def test_the_last_of_the_allowed_planned_steps_may_reach_the_end():
    _, result = run([], FixedStep(1e-3), t1=1.0, max_steps=1000)
    assert (len(result.t), result.status) == (1000, Status.SUCCESS)
    _, result = run([], FixedStep(1e-3), t1=1.0, max_steps=999)
    assert (len(result.t), result.status, result.t_reached) == (999, Status.MAX_STEPS, 0.999)


def test_a_length_that_does_not_divide_the_interval_has_a_shorter_last_step():
    _, result = run([], FixedStep(0.3), t1=1.0)
    assert result.dt == pytest.approx([0.3, 0.3, 0.3, 0.1])


@pytest.mark.parametrize(
    ("dt", "steps"), [(5e-324, 2**53), (50.0, 1), (0.1 + 1e-12, 10), (0.1 - 1e-12, 10), (0.09, 12)]
)
def test_the_number_of_steps_is_a_whole_number_whatever_their_length(dt, steps):
    assert step_count(0.0, 1.0, dt) == steps


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_steps_of_a_grid_end_exactly_at_its_times(sign):
    grid = tuple(sign * t for t in (0.0, 0.4, 0.7, 0.9, 1.0))
    script, result = run([], GridSteps(grid), t0=0.0, t1=sign)
    assert [end for _, end in script.accepted] == list(grid[1:])
    assert result.dt == [end - start for start, end in pairwise(grid)]


def test_a_grid_is_followed_from_and_to_any_times_in_either_direction():
    _, result = run([], GridSteps((0.0, 0.25, 0.5, 1.0)), t0=0.75, t1=0.125)
    assert (result.t, result.t_reached) == ([0.75, 0.5, 0.25], 0.125)


def test_a_single_step_has_the_length_that_was_found_for_it():
    script, result = run([7.0], OneStep(), dt=0.25)
    assert (script.attempts, result.t_reached) == ([(0.0, 0.25)], 0.25)
    script, result = run([7.0], OneStep(longest=0.125), dt=0.25)
    assert script.attempts == [(0.0, 0.125)]


@pytest.mark.parametrize("t0", [1e6, -1e6, 1e9, 1e15])
def test_far_from_zero_the_lengths_of_steps_add_up_to_the_interval(t0):
    t1 = t0 + (1e-5 if abs(t0) < 1e10 else 16.0)
    length = t1 - t0
    _, result = run([0.5, 2.0, 0.5], PIController(7 / 50, 2 / 25), t0=t0, t1=t1, dt=length / 50)
    assert (result.status, result.t_reached) == (Status.SUCCESS, t1)
    assert len(result.t) > 3
    assert math.fsum(result.dt) == pytest.approx(length, rel=1e-12)


def test_no_step_is_longer_than_the_longest():
    script, result = run([], ScriptedController((0.5, 0.5, 0.01), longest=0.125), dt=0.4, t1=0.5)
    assert [dt for _, dt in script.attempts[:3]] == [0.125, 0.125, 0.125]
    assert (result.status, result.t_reached) == (Status.SUCCESS, 0.5)


def test_a_time_that_a_path_is_cheap_at_does_not_make_a_step_longer_than_the_longest():
    script = Script([])
    controller = ScriptedController((), longest=0.1)
    march(script.attempt, script.accept, controller, 0.0, 1.0, 0.1, 100, lambda t, dt: t + 1.2 * dt)
    assert max(dt for _, dt in script.attempts) <= 0.1


@given(
    errors=st.lists(st.floats(1e-6, 30.0), max_size=30),
    t0=st.floats(-5.0, 5.0),
    length=st.floats(0.01, 20.0),
    backwards=st.booleans(),
    dt=st.floats(1e-3, 5.0),
)
def test_whatever_is_accepted_the_steps_are_contiguous_and_end_exactly_at_the_end(errors, t0, length, backwards, dt):
    t1 = t0 - length if backwards else t0 + length
    script, result = run(errors, PIController(7 / 50, 2 / 25), t0=t0, t1=t1, dt=dt)
    assert result.status is Status.SUCCESS
    assert result.t[0] == t0
    assert result.t_reached == t1 == script.accepted[-1][1]
    ends = [end for _, end in script.accepted]
    assert ends[:-1] == result.t[1:]
    assert all(start + step == end for start, step, end in zip(result.t, result.dt, ends[:-1], strict=False))
    assert all(step * (t1 - t0) > 0 for step in result.dt)
    assert len(result.t) + result.rejected == len(script.attempts)


def test_a_step_that_is_tried_again_is_shorter_even_where_it_would_be_cheap_to_end_as_before():
    def tenths(t, dt):
        return round(10 * (t + dt)) / 10

    script = Script([1.02, 0.5])
    result = march(script.attempt, script.accept, ScriptedController((0.09, 0.1)), 0.0, 1.0, 0.1, 1000, tenths)
    assert [dt for _, dt in script.attempts[:2]] == [0.1, 0.09]
    assert script.attempts[2] == (0.09, pytest.approx(0.11))
    assert (result.rejected, result.status) == (1, Status.SUCCESS)
