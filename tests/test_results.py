"""Run records: what is written is read back, nothing is lost, nothing is overwritten unasked."""

import json
import math
import os
from dataclasses import replace

import pytest

from pyndereg import results
from pyndereg.results import InvalidRecord, RunRecord, StepTrace

TRACE = StepTrace(t=(0.0, 0.25), dt=(0.25, 0.75), scaled_error=(0.1, 0.2), stiffness=(1.5, 1.25))
RECORD = RunRecord(
    experiment="digits-ode",
    config={"regularizer": "error", "steer": False, "error_weight": [30.0, 3.0], "epochs": 2},
    versions=results.installed_versions(),
    seed=3,
    device="cpu",
    curves={"nfe": (80.0, 74.0), "test_accuracy": (91.5, 92.25)},
    metrics={"nfe": 74.0, "test_accuracy": 92.25},
    steps_before=TRACE,
    steps_after=TRACE,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.json"


def damaged(path, **changes):
    """A record's file with some parts replaced; a part that is None is removed."""
    results.write(RECORD, path)
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return path


def test_a_record_is_read_back_as_it_was_written(path):
    results.write(RECORD, path)
    assert results.read(path) == RECORD


def test_numbers_are_read_back_to_the_last_bit(path):
    numbers = (0.1 + 0.2, 1e-300, 1 / 3)
    results.write(replace(RECORD, curves={"nfe": numbers}), path)
    assert results.read(path).curves["nfe"] == numbers


def test_a_number_that_is_missing_is_written_in_strict_json_and_read_back_as_nan(path):
    results.write(replace(RECORD, steps_after=replace(TRACE, stiffness=(math.nan, 2.0))), path)
    text = path.read_text()
    assert "NaN" not in text
    first, second = results.read(path).steps_after.stiffness
    assert math.isnan(first)
    assert second == 2.0


def test_an_infinite_number_is_refused_and_leaves_no_file(path):
    with pytest.raises(ValueError, match="infinite"):
        results.write(replace(RECORD, metrics={"nfe": math.inf}), path)
    assert os.listdir(path.parent) == []


def test_the_folder_of_a_record_is_made(tmp_path):
    path = tmp_path / "runs" / "today" / "run.json"
    results.write(RECORD, path)
    assert results.read(path) == RECORD


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(path):
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"run\.json exists already; .*--overwrite"):
        results.write(RECORD, path)
    assert path.read_text() == "precious"
    results.write(RECORD, path, overwrite=True)
    assert results.read(path) == RECORD


def test_a_file_that_appears_while_the_record_is_written_is_kept(path, monkeypatch):
    def check_and_let_another_run_finish_first(destination, *, overwrite=False):
        destination.write_text("precious")

    monkeypatch.setattr(results, "check_destination", check_and_let_another_run_finish_first)
    with pytest.raises(FileExistsError, match=r"run\.json exists already"):
        results.write(RECORD, path)
    assert path.read_text() == "precious"
    assert os.listdir(path.parent) == [path.name]


def test_a_write_that_is_cut_short_leaves_the_earlier_record_and_nothing_else(path, monkeypatch):
    results.write(RECORD, path)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        results.write(replace(RECORD, seed=4), path, overwrite=True)
    assert results.read(path) == RECORD
    assert os.listdir(path.parent) == [path.name]


def test_a_destination_below_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        results.check_destination(tmp_path / "runs" / "run.json")


def test_a_folder_is_no_destination_even_if_overwriting_is_asked_for(tmp_path):
    with pytest.raises(FileExistsError, match="is a folder"):
        results.check_destination(tmp_path, overwrite=True)


def test_a_missing_record_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"run\.json does not exist; name a run record"):
        results.read(path)


@pytest.mark.parametrize("content", ["", "{", "experiment: digits", "\x00\x01"])
def test_a_file_that_is_not_json_is_named(path, content):
    path.write_text(content)
    with pytest.raises(InvalidRecord, match=r"run\.json is not a JSON file; name a run record"):
        results.read(path)


def test_a_truncated_record_is_named(path):
    results.write(RECORD, path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(InvalidRecord, match=r"run\.json is not a JSON file"):
        results.read(path)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": "another"}'])
def test_json_of_another_kind_is_named(path, content):
    path.write_text(content)
    with pytest.raises(InvalidRecord, match=r"run\.json is JSON but not a run record"):
        results.read(path)


def test_a_record_of_another_schema_version_names_both_versions(path):
    with pytest.raises(InvalidRecord, match="schema version 99, this pyndereg reads version 1"):
        results.read(damaged(path, schema_version=99))


@pytest.mark.parametrize("part", ["experiment", "config", "versions", "seed", "curves", "metrics", "steps_before"])
def test_a_record_that_lacks_a_part_names_the_part(path, part):
    with pytest.raises(InvalidRecord, match=f"run.json is a damaged run record: '{part}' is missing"):
        results.read(damaged(path, **{part: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"curves": {"nfe": ["many"]}},
        {"curves": {"nfe": 3}},
        {"curves": {"nfe": [1.0], "test_accuracy": [1.0, 2.0]}},
        {"curves": [1.0]},
        {"metrics": {"nfe": True}},
        {"seed": "first"},
        {"steps_after": {"t": [0.0], "dt": [], "scaled_error": [0.1], "stiffness": [1.0]}},
    ],
)
def test_a_record_with_a_part_of_the_wrong_kind_is_damaged(path, changes):
    with pytest.raises(InvalidRecord, match=r"run\.json is a damaged run record"):
        results.read(damaged(path, **changes))


def test_curves_of_different_lengths_are_refused():
    with pytest.raises(InvalidRecord, match="one value per epoch"):
        replace(RECORD, curves={"nfe": (1.0,), "test_accuracy": (1.0, 2.0)})


def test_a_record_knows_how_many_epochs_it_covers():
    assert RECORD.epochs == 2
    assert replace(RECORD, curves={}).epochs == 0


def test_trajectories_are_kept_and_records_without_any_are_read(path):
    record = replace(RECORD, trajectories={"t": (0.0, 1.0), "mean": (2.0, 3.0)})
    results.write(record, path)
    assert results.read(path) == record
    document = json.loads(path.read_text())
    del document["trajectories"]
    path.write_text(json.dumps(document))
    assert results.read(path) == replace(record, trajectories={})


def test_trajectories_of_different_lengths_are_refused():
    with pytest.raises(InvalidRecord, match="one value per time"):
        replace(RECORD, trajectories={"t": (0.0, 1.0), "mean": (2.0,)})
