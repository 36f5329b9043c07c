"""PhysioNet 2012: its text files read line by line, gathered by the hour, scaled as published, and split."""

import io
import re
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.experiments.data.physionet import (
    COLUMNS,
    FEATURES,
    HOURS,
    load_physionet,
    parse_record,
    scale_by_maximum,
)

DESCRIPTORS = "00:00,RecordID,132539\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n00:00,ICUType,4\n"


def record(*lines):
    return f"Time,Parameter,Value\n{DESCRIPTORS}" + "".join(f"{line}\n" for line in lines)


def parse(*lines):
    return parse_record(record(*lines), name="132539.txt")


def observed(table):
    """Hour, feature and value of everything that a table holds."""
    hours, columns = np.nonzero(~np.isnan(table))
    return [(h, FEATURES[c], table[h, c]) for h, c in zip(hours.tolist(), columns.tolist(), strict=True)]


def test_there_are_37_features_and_the_descriptors_of_a_patient_are_not_among_them():
    assert len(FEATURES) == len(set(FEATURES)) == 37
    assert not {"RecordID", "Age", "Gender", "Height", "ICUType"} & set(FEATURES)
    assert observed(parse()) == []


def test_values_of_one_hour_are_averaged():
    lines = ["07:02,HR,70", "07:10,Temp,36.5", "07:15,HR,80", "07:20,HR,90", "08:00,HR,50"]
    assert observed(parse(*lines)) == [(7, "HR", 80.0), (7, "Temp", 36.5), (8, "HR", 50.0)]


def test_times_go_to_the_nearest_hour_and_half_past_to_the_even_one():
    minutes = ["00:29", "00:30", "00:31", "01:30", "02:30", "47:31", "48:00"]
    expected = [0, 0, 1, 2, 2, 48, 48]
    for time, hour in zip(minutes, expected, strict=True):
        assert observed(parse(f"{time},pH,7.4")) == [(hour, "pH", 7.4)]


def test_what_the_data_mark_as_unknown_counts_as_unobserved():
    assert observed(parse("00:00,Weight,-1")) == []
    assert observed(parse("00:00,Weight,-1", "00:10,Weight,80")) == [(0, "Weight", 80.0)]


@given(
    readings=st.dictionaries(
        st.tuples(st.integers(0, HOURS), st.sampled_from(FEATURES)), st.floats(0, 1000), min_size=1, max_size=40
    )
)
def test_what_is_written_at_full_hours_comes_back(readings):
    table = parse(*(f"{hour:02}:00,{feature},{value!r}" for (hour, feature), value in sorted(readings.items())))
    assert {(hour, feature): value for hour, feature, value in observed(table)} == readings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with '', where a record begins with 'Time,Parameter,Value'"),
        ("<html>\n", "begins with '<html>', where a record begins"),
        (record("07:02,HR"), ", line 7 is '07:02,HR', where 'Time,Parameter,Value' was expected"),
        (record("07:02,HR,fast"), ", line 7 is '07:02,HR,fast', where"),
        (record("7,HR,70"), ", line 7 is '7,HR,70', where"),
        (record("07:02,Mood,1"), ", line 7 names 'Mood', which is no parameter of PhysioNet 2012"),
        (record("49:00,HR,70"), ", line 7 is of 49:00, outside the 48 hours of PhysioNet 2012"),
    ],
    ids=["empty", "a web page", "two fields", "no number", "no minutes", "unknown parameter", "too late"],
)
def test_a_damaged_record_is_named_with_its_line_and_the_remedy(text, message):
    with pytest.raises(ValueError, match=rf"132539\.txt,? ?{re.escape(message.lstrip(', '))}.*; download .* again"):
        parse_record(text, name="132539.txt")


def test_a_feature_is_scaled_by_its_largest_value_after_its_smallest_is_taken_away():
    values = np.full((2, 2, 3), np.nan)
    values[0, 0] = [10.0, 0.0, np.nan]
    values[1, 1] = [40.0, 0.0, np.nan]
    scaled = scale_by_maximum(values)
    np.testing.assert_allclose(scaled[:, :, 0], [[0.0, np.nan], [np.nan, 0.75]])
    np.testing.assert_allclose(scaled[:, :, 1], [[0.0, np.nan], [np.nan, 0.0]])
    assert np.isnan(scaled[:, :, 2]).all()


def patients(count):
    """Texts by name: patient k's heart rate is k at hour k, of which there are 48."""
    return {f"{132500 + k}.txt": record(f"{k % 48:02}:00,HR,{k}") for k in range(1, count + 1)}


def write_folder(folder, name, texts):
    (folder / name).mkdir()
    for file, text in texts.items():
        (folder / name / file).write_text(text)


def write_archive(folder, name, texts):
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        directory = tarfile.TarInfo(name)
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for file, text in reversed(texts.items()):  # an archive keeps no order
            member = tarfile.TarInfo(f"{name}/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def write_sets(folder, write, count=10):
    texts = sorted(patients(2 * count).items())
    write(folder, "set-a", dict(texts[:count]))
    write(folder, "set-b", dict(texts[count:]))


def load(folder, *, used=1.0, test_fraction=0.2, seed=0, dtype=torch.float64):
    return load_physionet(folder, used=used, test_fraction=test_fraction, seed=seed, dtype=dtype)


def test_both_sets_become_series_over_49_hours_with_masks(tmp_path):
    write_sets(tmp_path, write_folder)
    series = load(tmp_path)
    torch.testing.assert_close(series.train.times, torch.linspace(0, 1, 49, dtype=torch.float64))
    assert series.train.values.shape == series.train.mask.shape == (16, 49, 37)
    assert series.test.values.shape == series.test.mask.shape == (4, 49, 37)
    rows = torch.cat([series.train.values, series.test.values])
    masks = torch.cat([series.train.mask, series.test.mask])
    assert masks.sum(dim=(1, 2)).tolist() == [1.0] * 20
    assert (rows[masks == 0] == 0).all()
    hours = masks[:, :, COLUMNS["HR"]].argmax(dim=1)
    assert sorted(hours.tolist()) == list(range(1, 21))
    seen = rows[torch.arange(20), hours, COLUMNS["HR"]]
    torch.testing.assert_close(seen, (hours - 1) / torch.tensor(20.0, dtype=torch.float64))


def test_folders_and_archives_give_the_same_series(tmp_path):
    (tmp_path / "folders").mkdir()
    (tmp_path / "archives").mkdir()
    write_sets(tmp_path / "folders", write_folder)
    write_sets(tmp_path / "archives", write_archive)
    from_folders, from_archives = load(tmp_path / "folders"), load(tmp_path / "archives")
    assert torch.equal(from_folders.train.values, from_archives.train.values)
    assert torch.equal(from_folders.test.mask, from_archives.test.mask)


def test_four_fifths_of_the_patients_are_used_and_a_fifth_of_those_is_for_testing(tmp_path):
    write_sets(tmp_path, write_folder, count=50)
    series = load_physionet(tmp_path, seed=0, dtype=torch.float32)
    assert (len(series.train), len(series.test)) == (64, 16)
    assert series.train.values.dtype == series.train.mask.dtype == series.train.times.dtype == torch.float32


def test_the_scale_comes_from_all_patients_whether_they_are_used_or_not(tmp_path):
    write_sets(tmp_path, write_folder)
    some, every = load(tmp_path, used=0.5), load(tmp_path, used=1.0)
    assert set(some.train.values.unique().tolist()) <= {
        *every.train.values.unique().tolist(),
        *every.test.values.unique().tolist(),
    }


def test_a_set_without_records_is_refused(tmp_path):
    for name in ("set-a", "set-b"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="hold no records; unpack the archives there again"):
        load(tmp_path)


def test_a_damaged_archive_is_refused(tmp_path):
    write_sets(tmp_path, write_archive)
    path = tmp_path / "set-b.tar.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"set-b\.tar\.gz is a damaged archive"):
        load(tmp_path)
