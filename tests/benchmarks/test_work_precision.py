"""What the comparison with other libraries is made of: choices at equal error, turns, records, tables and pages."""

import json
import math
import sys

import pytest
import torch
from torch import nn

from benchmarks.work_precision import __main__ as command
from benchmarks.work_precision.environments import Environment, Missing, last_line
from benchmarks.work_precision.equal_error import Solved, cheapest, fastest, quartiles, worth_timing
from benchmarks.work_precision.libraries import Counting, Floor, Pyndereg
from benchmarks.work_precision.measure import FLOOR, Bench, Effort, Log, in_turns
from benchmarks.work_precision.outcome import MOST_EVALUATIONS, GaveUp, Outcome
from benchmarks.work_precision.pages import insert
from benchmarks.work_precision.picture import draw
from benchmarks.work_precision.problems import Problem, make_problem
from benchmarks.work_precision.report import Report
from benchmarks.work_precision.settings import RECOMMENDED, SEARCHED, Setting
from benchmarks.work_precision.tables import tables
from benchmarks.work_precision.workers import Stopped, Worker


def solved(method, tolerance, error, evaluations, library="ours"):
    return Solved(library, f"{method} setting", method, tolerance, error, evaluations)


SOLVES = [
    solved("five", 1e-2, 3e-2, 20),
    solved("five", 1e-3, 9e-4, 40),
    solved("five", 1e-4, 2e-3, 50),  # a tighter tolerance with a larger error
    solved("seven", 1e-2, 8e-4, 45),
    solved("seven", 1e-3, 1e-5, 60),
    solved("five", 1e-3, 1e-4, 30, library="theirs"),
    solved("failed", 1e-3, math.inf, 0),
]


def test_equal_error_takes_of_each_method_the_fewest_evaluations_that_reach_it():
    assert cheapest(SOLVES, "ours", 1e-3) == [SOLVES[1], SOLVES[3]]
    assert cheapest(SOLVES, "ours", 1e-4) == [SOLVES[4]]
    assert cheapest(SOLVES, "ours", 1e-6) == []


def test_what_is_timed_is_each_librarys_cheapest_for_every_target_and_each_once():
    one_method = worth_timing(SOLVES, (1e-1, 1e-3, 1e-4), methods=1)
    assert one_method == [SOLVES[0], SOLVES[5], SOLVES[1], SOLVES[4]]
    assert SOLVES[3] in worth_timing(SOLVES, (1e-3,), methods=2)


def test_the_fastest_is_the_one_with_the_least_median_among_the_cheapest():
    seconds = {SOLVES[1].key: [3.0, 1.0, 2.0], SOLVES[3].key: [0.1, 1.5, 1.6], SOLVES[4].key: [0.5]}
    assert fastest(SOLVES, seconds, "ours", 1e-3) == SOLVES[3]
    assert fastest(SOLVES, {SOLVES[1].key: []}, "ours", 1e-3) is None


def test_quartiles_of_few_values():
    assert quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_each_round_asks_everyone_before_the_next_begins_and_the_first_one_does_not_count():
    asked = []

    def measure(name):
        asked.append(name)
        return float(len(asked))

    measures = {name: lambda name=name: measure(name) for name in "abc"}
    seconds, failures = in_turns(measures, Effort(repeats=2, budget=math.inf))
    assert "".join(asked) == "cba" + "abc" + "cba"
    assert seconds == {"a": [4.0, 9.0], "b": [5.0, 8.0], "c": [6.0, 7.0]}
    assert failures == {}


def test_rounds_end_with_the_budget_but_not_before_the_third():
    seconds, _ = in_turns({"a": lambda: 1.0}, Effort(repeats=50, budget=-1.0))
    assert len(seconds["a"]) == 3


def test_one_that_fails_is_asked_no_more_and_says_why():
    asked = []

    def fail():
        asked.append("b")
        raise ArithmeticError("no step is short enough")

    seconds, failures = in_turns({"a": lambda: 1.0, "b": fail}, Effort(repeats=2, budget=math.inf))
    assert failures == {"b": "ArithmeticError: no step is short enough"}
    assert len(asked) == 1
    assert seconds == {"a": [1.0, 1.0]}


@pytest.mark.parametrize("reason", [ImportError("No module named 'torchode'"), Missing("pip cannot install it")])
def test_a_library_that_cannot_be_had_is_named_and_left_out(reason, capsys):
    def missing():
        raise reason

    libraries, left_out = command.available({"torchode": missing, "ours": Pyndereg}, ["torchode", "ours"])
    assert list(libraries) == ["ours"]
    assert left_out == {"torchode": str(reason)}
    assert f"torchode is left out: {reason}" in capsys.readouterr().err


def test_an_environment_that_pip_cannot_fill_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.work_precision.environments.ROOT", tmp_path)
    monkeypatch.setattr("venv.create", lambda folder, **_: folder.mkdir())
    environment = Environment("nothing", ("no-such-package",))
    monkeypatch.setattr(Environment, "python", property(lambda _: "false"))
    with pytest.raises(Missing, match="pip cannot install it: no message"):
        environment.ready()
    assert last_line("first\n last \n\n") == "last"


class Here:
    """An environment that is there already."""

    def ready(self):
        return sys.executable


WORKER = """
import sys
sys.path.insert(0, {folder!r})
from serve import serve

def explore(file, scratch, tolerance, **_):
    if tolerance < 1e-3:
        raise ValueError("too tight")
    import numpy as np
    np.save(scratch + "/states.npy", np.load(file)["y0"][None])
    print("a library may print what it likes")
    return {{"states": scratch + "/states.npy", "evaluations": 5}}

def stop():
    sys.exit("the end")

def measure(**_):
    return {{"seconds": 2.0}}

def versions():
    return {{"peer": "1"}}

serve({{"versions": versions, "explore": explore, "measure": measure, "stop": stop}})
"""


@pytest.fixture
def worker(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(folder=str(command.Path(command.__file__).parent)))
    worker = Worker(Here(), str(script))
    yield worker
    worker.close()


def test_a_library_in_another_process_answers_one_question_at_a_time(worker, problem):
    setting = Setting("peer", "method")
    assert worker.versions() == {"peer": "1"}
    outcome = worker.explore(problem, setting, 1e-2)
    assert outcome == Outcome(problem.error(problem.y0[None]), 5)
    assert worker.measure(problem, setting, 1e-2, "forward", 0.0) == 2.0
    assert worker.explore(problem, setting, 1e-4) == Outcome(failure="ValueError: too tight")
    with pytest.raises(Stopped, match="its process ended at 'stop', with code 1: the end"):
        worker.ask(do="stop")


class Decay(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(1.0))

    def forward(self, t, y):
        return -self.rate * y


@pytest.fixture(scope="module")
def problem():
    return Problem("decay", "decay, 2 states", "decay", Decay(), torch.tensor([[1.0, 2.0]]), (0.0, 0.5, 1.0))


def test_an_error_is_relative_to_the_solution_over_all_times_but_the_first(problem):
    exact = torch.exp(-torch.tensor([0.5, 1.0])).reshape(2, 1, 1) * problem.y0
    assert problem.error(exact) < 1e-7
    assert problem.error(1.01 * exact) == pytest.approx(0.01, rel=1e-4)


def test_a_problem_in_float64_has_the_numbers_of_the_one_in_float32():
    single, double = make_problem("network-8x3"), make_problem("network-8x3", "float64")
    assert double.precision == "float64"
    assert torch.equal(double.y0, single.y0.double())
    for one, other in zip(double.parameters, single.parameters, strict=True):
        assert torch.equal(one, other.double())


def test_an_unknown_problem_is_told_those_that_there_are():
    with pytest.raises(ValueError, match="problem is 'mnits'; choose from mnist"):
        make_problem("mnits")


def test_a_solve_that_never_ends_is_given_up():
    counting = Counting(nn.Identity())
    counting.evaluations = MOST_EVALUATIONS
    with pytest.raises(GaveUp):
        counting(torch.zeros(()), torch.zeros(1))


@pytest.mark.parametrize("setting", [RECOMMENDED[0], SEARCHED[0]], ids=lambda setting: setting.library)
def test_ours_counts_its_evaluations_and_reaches_the_tolerance(setting, problem):
    outcome = Pyndereg().explore(problem, setting, 1e-4)
    assert outcome.error < 1e-3
    assert outcome.evaluations >= 7
    assert outcome.failure == ""


def test_a_remembered_start_takes_fewer_evaluations_than_a_searched_one(problem):
    ours = Pyndereg()
    remembered = ours.explore(problem, Setting("pyndereg", "tsit5", {"control": "PI", "start": "remembered"}), 1e-3)
    assert remembered.evaluations < ours.explore(problem, SEARCHED[0], 1e-3).evaluations


class Scripted:
    """A library whose error is its tolerance, and that takes evaluations, and milliseconds, by its order."""

    def versions(self):
        return {"scripted": "1"}

    def explore(self, problem, setting, tolerance):
        if tolerance > 0.05:
            return Outcome(failure="GaveUp: too loose")
        return Outcome(tolerance, round(10 * tolerance ** (-1 / setting.options["order"])))

    def measure(self, problem, setting, tolerance, passes, least):
        return 1e-3 * self.explore(problem, setting, tolerance).evaluations * (3 if passes == "both" else 1)


class ScriptedFloor(Floor):
    def measure(self, problem, passes, least):
        return 1e-4


TWO = (Setting("pyndereg", "tsit5", {"order": 5}), Setting("torchdiffeq", "dopri5", {"order": 4}))


@pytest.fixture(scope="module")
def written(problem, tmp_path_factory):
    """Records of a run with two scripted libraries."""
    path = tmp_path_factory.mktemp("bench") / "results.jsonl"
    log = Log(path)
    log.write(record="run", versions={"scripted": "1"}, left_out={}, targets={"decay": [1e-2, 1e-4]}, machine="here")
    libraries = {"pyndereg": Scripted(), "torchdiffeq": Scripted()}
    bench = Bench(libraries, log, Effort(repeats=3, budget=math.inf, least=0.0), floor=ScriptedFloor())
    bench.equal_error(problem, [*TWO, Setting("absent", "method")], (1e-2, 1e-4))
    bench.equal_tolerance("equal tolerance", problem, TWO, (1e-3,))
    return path


def test_records_are_lines_of_json_that_say_what_failed(written):
    records = [json.loads(line) for line in written.read_text().splitlines()]
    failed = [record for record in records if record["record"] == "solve" and record["failure"]]
    assert {record["library"] for record in failed} == {"pyndereg", "torchdiffeq"}
    assert all("error" not in record for record in failed)
    timed = [record for record in records if record["record"] == "times"]
    assert all(len(record["seconds"]) == len(record["floor"]) == 3 for record in timed)
    assert FLOOR not in {(record["library"], record["setting"], record["tolerance"]) for record in timed}


def test_tables_have_evaluations_times_and_floors_of_the_records(written):
    found = {table.name: table for table in tables(Report.read(written))}
    assert set(found) == {"equal-error-ode", "compared-ode", "equal-tolerance"}
    assert found["equal-error-ode"].rows[0][3:] == ("pyndereg", "25: 25 [25, 25] / 2.5", "63: 63 [63, 63] / 6.3")
    assert found["compared-ode"].rows == [
        ("decay, 2 states", "float32", "forward", "0.78 0.78", "0.63 0.63"),
        ("decay, 2 states", "float32", "with gradient", "0.78 0.78", "0.63 0.63"),
    ]
    assert found["equal-tolerance"].rows[0][3:] == ("0.001", "pyndereg", "1.0e-03", "40", "40 [40, 40]", "4", "0.71")
    assert "| pyndereg | 25: 25 [25, 25] / 2.5 |" in found["equal-error-ode"].markdown()


def test_a_measurement_that_is_repeated_counts_in_the_place_of_the_former(written):
    records = [json.loads(line) for line in written.read_text().splitlines()]
    again = [{**record, "seconds": [0.5]} for record in records if record["record"] == "times"]
    best = Report([*records, *again]).best("decay", "float32", "forward", "pyndereg", 1e-2)
    assert best.quartiles == (0.5, 0.5, 0.5)


def test_a_page_gets_the_tables_that_it_has_a_place_for(written, tmp_path):
    report = Report.read(written)
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- bench: compared-ode -->\nold\n<!-- bench end -->\n\nafter\n")
    assert insert(page, tables(report), report.machine()) == ["compared-ode"]
    text = page.read_text()
    assert "old" not in text
    assert "| decay, 2 states | float32 | forward | 0.78 0.78 | 0.63 0.63 |" in text
    assert text.startswith("before\n\n<!-- bench: compared-ode -->\n")
    assert text.endswith("\n<!-- bench end -->\n\nafter\n")
    insert(page, tables(report), report.machine())
    assert page.read_text() == text
    (tmp_path / "other.md").write_text("nothing here")
    with pytest.raises(ValueError, match="has no place for a table"):
        insert(tmp_path / "other.md", tables(report), report.machine())


def test_the_picture_is_drawn_from_the_records(written, tmp_path):
    draw(Report.read(written), tmp_path / "picture.png", "float32", "both")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
