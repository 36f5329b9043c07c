"""The quick irregular series: the packaged utterances, scaled, with points left out; and the files they come from."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyndereg.experiments.data.packaged import packaged_file
from pyndereg.experiments.data.vowels import FOLDER, load_japanese_vowels, parse_ts

HEADER = "# a comment with: colons, commas\n@problemName Small\n@timeStamps false\n@classLabel true 1 2\n@data\n"


def load(keep=0.7, seed=0, dtype=torch.float64):
    return load_japanese_vowels(keep=keep, seed=seed, dtype=dtype)


def test_features_are_apart_by_colons_and_points_by_commas_and_the_class_is_left_out():
    first, second = parse_ts(f"{HEADER}1.5,2,3:4,5,-6e-1:1\n7:8:2\n", name="small.ts")
    assert first.tolist() == [[1.5, 4], [2, 5], [3, -0.6]]
    assert second.tolist() == [[7, 8]]


@given(
    series=st.lists(
        st.integers(1, 5).flatmap(
            lambda points: st.lists(
                st.lists(st.floats(-1e6, 1e6), min_size=points, max_size=points), min_size=2, max_size=2
            )
        ),
        max_size=5,
    )
)
def test_series_come_back_as_they_were_written(series):
    lines = [":".join(",".join(map(repr, feature)) for feature in one) + ":1" for one in series]
    read = parse_ts(HEADER + "\n".join(lines), name="small.ts")
    assert [one.T.tolist() for one in read] == series


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no .ts file of series without time stamps"),
        (HEADER.replace("false", "true") + "(0,1.5),(1,2):1", "is no .ts file of series without time stamps"),
        (HEADER + "1,2:3,4:1\n1,2:3:1", "series 2, holds features of different lengths"),
        (HEADER + "1,?:3,4:1", "series 1, holds features of different lengths, or what is no number"),
    ],
    ids=["empty", "time stamps", "different lengths", "a missing value"],
)
def test_a_file_of_another_kind_is_refused(text, message):
    with pytest.raises(ValueError, match=rf"small\.ts,? {message}.*; take .* from sktime's datasets"):
        parse_ts(text, name="small.ts")


def test_there_are_270_and_370_utterances_of_12_features_at_29_times():
    series = load()
    assert series.train.values.shape == series.train.mask.shape == (270, 29, 12)
    assert series.test.values.shape == series.test.mask.shape == (370, 29, 12)
    assert series.train.times[[0, -1]].tolist() == [0.0, 1.0]


def test_with_every_point_kept_the_utterances_are_whole_and_scaled_from_0_to_1():
    series = load(keep=1.0)
    path = packaged_file("sktime", *FOLDER, "JapaneseVowels_TEST.ts", data="the utterances")
    raw = parse_ts(path.read_text("utf-8"), name=path.name)
    assert series.test.mask[:, :, 0].sum(dim=1).tolist() == [len(one) for one in raw]
    together = torch.cat([series.train.values, series.test.values])
    mask = torch.cat([series.train.mask, series.test.mask])
    for feature in range(12):
        seen = together[:, :, feature][mask[:, :, feature] == 1]
        assert (seen.min(), seen.max()) == (0.0, 1.0)
    # Scaling is linear, so it keeps the correlation of a series with what the file says.
    first = series.test.values[0, : len(raw[0]), 0].numpy()
    np.testing.assert_allclose(np.corrcoef(first, raw[0][:, 0])[0, 1], 1.0, rtol=1e-12)


def test_points_are_left_out_with_all_their_features_and_what_is_left_out_is_0():
    series = load()
    assert torch.equal(series.train.mask.amin(dim=2), series.train.mask.amax(dim=2))
    assert (series.train.values[series.train.mask == 0] == 0).all()
    whole = load(keep=1.0)
    assert torch.equal(series.train.values, whole.train.values * series.train.mask)


def test_the_kept_share_is_the_one_asked_for_and_three_points_remain_at_least():
    # 9,961 points are kept with probability 0.7, and a few more where fewer than three would be left.
    kept, all_points = load(keep=0.7), load(keep=1.0)
    share = (kept.train.mask.sum() + kept.test.mask.sum()) / (all_points.train.mask.sum() + all_points.test.mask.sum())
    assert abs(share - 0.7) < 0.02
    for part in (load(keep=0.0).train, load(keep=0.0).test):
        assert (part.mask[:, :, 0].sum(dim=1) == 3).all()


def test_equal_seeds_leave_out_alike_and_others_do_not():
    assert torch.equal(load(seed=5).test.mask, load(seed=5).test.mask)
    assert not torch.equal(load(seed=5).test.mask, load(seed=6).test.mask)


def test_a_share_above_1_is_refused():
    with pytest.raises(ValueError, match="keep is 70; pass a probability between 0 and 1"):
        load(keep=70)
