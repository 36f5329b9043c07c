"""The entry point: which engine, which options, and what happens when a solve ends badly."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.engines import ENGINES, get_engine
from pyndereg.ivp import SolveOptions
from tests.equations import decay
from tests.sentences import check_sentence

PROBLEM = nde.ODEProblem(decay, torch.ones(2))


class Recording:
    """An engine that answers with what it was asked."""

    name = "recording"

    def __init__(self, status=nde.Status.SUCCESS):
        self.status = status
        self.asked = []

    def solve(self, problem, options):
        self.asked.append((problem, options))
        empty = torch.empty(0)
        record = nde.StepRecord(empty, empty, empty, empty)
        return nde.Solution(
            t=empty,
            y=empty,
            y1=problem.y0,
            steps=record,
            stats=nde.Statistics(1, 0, 0),
            status=self.status,
            t_reached=0.0,
            interpolate=lambda t: t,
        )


@pytest.fixture
def recording(monkeypatch):
    engine = Recording()
    monkeypatch.setitem(ENGINES, "recording", engine)
    return engine


def test_the_defaults_are_tsit5_at_a_millionth_with_the_discrete_adjoint_on_the_embedded_engine(recording):
    nde.solve(PROBLEM, engine="recording")
    assert recording.asked == [(PROBLEM, SolveOptions())]
    assert SolveOptions() == SolveOptions(
        "tsit5",
        rtol=1e-6,
        atol=1e-6,
        gradient=nde.DiscreteAdjoint(allowance=2**30),
        adaptive=True,
        max_steps=100_000,
        stiffness="rms",
    )
    assert nde.solve(PROBLEM).y1.tolist() == nde.solve(PROBLEM, engine="embedded").y1.tolist()


def test_every_option_reaches_the_engine(recording):
    options = {"rtol": 1e-3, "atol": 1e-4, "dt": 0.5, "adaptive": False, "max_steps": 7, "stiffness": "max"}
    nde.solve(PROBLEM, "dp5", engine="recording", gradient=nde.Backprop(), saveat=[0.5], **options)
    (_, asked), *_ = recording.asked
    assert asked == SolveOptions("dp5", gradient=nde.Backprop(), saveat=nde.SaveAt([0.5]), **options)


@pytest.mark.parametrize(
    ("saveat", "expected"),
    [
        (None, nde.SaveAt()),
        ([0.5], nde.SaveAt(times=[0.5])),
        (torch.tensor([0.5]), nde.SaveAt(times=[0.5])),
        (nde.SaveAt(dense=True), nde.SaveAt(dense=True)),
    ],
)
def test_save_times_may_be_given_plainly(saveat, expected, recording):
    nde.solve(PROBLEM, saveat=saveat, engine="recording")
    assert recording.asked[0][1].saveat == expected


@pytest.mark.parametrize("status", [status for status in nde.Status if not status.succeeded])
def test_a_solve_that_ends_badly_raises_unless_told_not_to(status, recording):
    recording.status = status
    with pytest.raises(nde.SolveFailed) as raised:
        nde.solve(PROBLEM, engine="recording")
    assert raised.value.status is raised.value.solution.status is status
    assert nde.solve(PROBLEM, engine="recording", raise_on_failure=False).status is status


@pytest.mark.parametrize(
    ("option", "meant"),
    [("max_step", "max_steps"), ("rto", "rtol"), ("stiffnes", "stiffness"), ("adaptiv", "adaptive")],
)
def test_an_unknown_option_is_answered_with_a_suggestion_and_all_names(option, meant):
    with pytest.raises(TypeError, match="unknown option") as raised:
        nde.solve(PROBLEM, **{option: 1})
    check_sentence(raised.value, repr(option), f"did you mean {meant!r}?", "gradient", "engine", "raise_on_failure")


def test_an_unknown_option_that_resembles_none_is_answered_with_all_names():
    with pytest.raises(TypeError, match="unknown option 'zzz'") as raised:
        nde.solve(PROBLEM, zzz=1)
    assert "did you mean" not in str(raised.value)
    check_sentence(raised.value, "choose from method, rtol, atol")


@pytest.mark.parametrize("problem", [decay, (decay, torch.ones(2)), None])
def test_something_that_is_no_problem_is_refused(problem):
    with pytest.raises(TypeError, match="problem is a") as raised:
        nde.solve(problem)
    check_sentence(raised.value, type(problem).__name__, "ODEProblem(f, y0, t0, t1)")


def test_an_unknown_engine_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="unknown engine 'embeded'") as raised:
        nde.solve(PROBLEM, engine="embeded")
    check_sentence(raised.value, *ENGINES)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"rtol": -1.0}, "rtol is -1.0"),
        ({"atol": -1e-3}, "atol is -0.001"),
        ({"rtol": math.nan}, "rtol is nan"),
        ({"dt": -0.1}, "dt is -0.1"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"stiffness": "min"}, "stiffness is 'min'"),
        ({"saveat": [0.5, 0.2]}, "from 0.5 to 0.2"),
        ({"saveat": [2.0]}, "save time 2.0"),
        ({"method": "rk45"}, "unknown method 'rk45'"),
    ],
)
def test_bad_options_are_refused_before_f_is_called(options, found):
    def never(t, y):
        raise AssertionError("f was called")

    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the sentence is checked below)
        nde.solve(nde.ODEProblem(never, torch.ones(2)), **options)
    check_sentence(raised.value, found)


def test_every_engine_goes_by_its_own_name():
    assert {name: get_engine(name).name for name in ENGINES} == {name: name for name in ENGINES}
