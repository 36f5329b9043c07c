"""Figures: what is drawn is what the records say, and can be told apart without colour."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

from pyndereg import plotting
from pyndereg.results import RunRecord, StepTrace

START = StepTrace(t=(0.0, 0.4), dt=(0.4, 0.6), scaled_error=(0.02, 0.1), stiffness=(2.0, 1.5))
END = StepTrace(t=(0.0, 0.2, 0.6), dt=(0.2, 0.4, 0.4), scaled_error=(0.02, 0.1, 0.1), stiffness=(3.0, 2.5, 1.0))


def make_record(regularizer="none", seed=0, *, nfe=(100.0, 120.0, 140.0), accuracy=(80.0, 95.0, 97.0), steer=False):
    return RunRecord(
        experiment="digits-ode",
        config={"regularizer": regularizer, "steer": steer},
        versions={},
        seed=seed,
        device="cpu",
        curves={"nfe": nfe, "test_accuracy": accuracy},
        metrics={},
        steps_before=START,
        steps_after=END,
    )


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend_labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_line_is_the_mean_over_the_seeds():
    nfe = plotting.plot_comparison(
        [make_record(seed=0, nfe=(90.0, 95.0, 100.0)), make_record(seed=1, nfe=(110.0, 125.0, 140.0))]
    ).axes[0]
    (line,) = nfe.lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [100.0, 110.0, 120.0])
    assert texts(nfe) == ["120"]


def test_a_band_reaches_from_the_least_to_the_greatest_run():
    records = [make_record(seed=0, accuracy=(80.0, 90.0, 97.0)), make_record(seed=1, accuracy=(84.0, 88.0, 98.0))]
    accuracy = plotting.plot_comparison(records).axes[1]
    (band,) = [artist for artist in accuracy.collections if isinstance(artist, PolyCollection)]
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert {(1.0, 80.0), (1.0, 84.0), (2.0, 88.0), (2.0, 90.0), (3.0, 97.0), (3.0, 98.0)} <= corners


def test_one_run_has_no_band():
    assert not plotting.plot_comparison([make_record()]).axes[0].collections


def test_any_two_groups_differ_in_dashes_and_marker():
    for one, other in itertools.combinations(plotting.LOOKS, 2):
        assert one.dashes != other.dashes
        assert one.marker != other.marker


def test_each_group_has_one_entry_in_the_legend_with_its_number_of_seeds():
    records = [
        make_record("none", 0),
        make_record("none", 1),
        make_record("error", 0),
        make_record("error", 0, steer=True),
    ]
    (legend,) = plotting.plot_comparison(records).legends
    assert [text.get_text() for text in legend.get_texts()] == ["none (2 seeds)", "error", "error + STEER"]


def test_the_order_of_the_records_changes_nothing():
    records = [make_record("error", 1), make_record("none", 2), make_record("error", 0), make_record("none", 1)]
    assert list(plotting.group_by_label(records)) == ["none", "error"]
    assert plotting.group_by_label(records) == plotting.group_by_label(records[::-1])


def test_a_regularizer_looks_the_same_in_every_figure_and_no_two_look_alike():
    alone, together = plotting.choose_looks(["error"]), plotting.choose_looks(["none", "error", "error + STEER"])
    assert alone["error"] == together["error"]
    assert len(set(together.values())) == 3
    labels = [*plotting.REGULARIZERS, "none + STEER", "error @ discrete"]
    assert len(set(plotting.choose_looks(labels).values())) == len(labels) == len(plotting.LOOKS)


def test_runs_with_another_gradient_are_a_kind_of_their_own():
    plain = make_record("local-biased")
    adjoint = replace(plain, config={**plain.config, "gradient": "gauss"})
    assert list(plotting.group_by_label([adjoint, plain])) == ["local-biased", "local-biased @ gauss"]


def test_a_last_step_that_the_end_cuts_to_almost_nothing_does_not_set_the_scale():
    cut = replace(END, dt=(0.2, 0.8 - 1e-9, 1e-9), scaled_error=(0.02, 0.1, 1e-30))
    axes = plotting.plot_comparison([replace(make_record(), steps_after=cut)]).axes
    assert axes[3].get_ylim()[0] > 0.05
    assert axes[5].get_ylim()[0] > 0.005


def test_the_steps_are_drawn_where_they_begin_with_their_length_error_and_stiffness():
    other = replace(make_record("error"), steps_before=END, steps_after=START)
    axes = plotting.plot_comparison([make_record("none"), other]).axes
    for row, quantity in enumerate(("dt", "scaled_error", "stiffness"), start=1):
        before, after = axes[2 * row], axes[2 * row + 1]
        for panel, traces in ((before, (START, END)), (after, (END, START))):
            for line, trace in zip(panel.lines, traces, strict=True):
                np.testing.assert_array_equal(line.get_xdata(), trace.t)
                np.testing.assert_array_equal(line.get_ydata(), getattr(trace, quantity))
    assert legend_labels(axes[2]) == ["none: 2 steps", "error: 3 steps"]


def test_runs_that_start_alike_share_one_line_before_training():
    axes = plotting.plot_comparison([make_record("none"), replace(make_record("error"), steps_after=START)]).axes
    assert legend_labels(axes[2]) == ["all: 2 steps"]
    assert legend_labels(axes[3]) == ["none: 3 steps", "error: 2 steps"]


def test_a_method_without_a_stiffness_estimate_is_said_to_have_none():
    trace = replace(END, stiffness=(math.nan,) * 3)
    axes = plotting.plot_comparison([replace(make_record(), steps_before=trace, steps_after=trace)]).axes
    assert texts(axes[6]) == texts(axes[7]) == ["the method has no estimate"]
    assert not axes[6].lines


def test_costs_are_drawn_from_zero_and_their_labels_keep_apart():
    records = [make_record("none", nfe=(100.0, 120.0, 122.0)), make_record("stiffness", nfe=(100.0, 118.0, 121.0))]
    nfe = plotting.plot_comparison(records).axes[0]
    assert nfe.get_ylim()[0] == 0.0
    heights = sorted(text.xy[1] for text in nfe.texts)
    assert heights[1] - heights[0] >= 0.05 * nfe.get_ylim()[1]
    assert sorted(texts(nfe)) == ["121", "122"]


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_chooses_the_format(tmp_path, suffix, start):
    path = tmp_path / "figures" / f"comparison{suffix}"
    plotting.save(plotting.plot_comparison([make_record()]), path)
    assert path.read_bytes().startswith(start)


def test_a_png_holds_lines_of_every_group(tmp_path):
    plotting.save(
        plotting.plot_comparison([make_record("none"), make_record("error", nfe=(90.0, 60.0, 50.0))]),
        tmp_path / "f.png",
    )
    pixels = imread(tmp_path / "f.png")[..., :3]
    for look in plotting.LOOKS[:2]:
        color = np.array([int(look.color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        assert (np.abs(pixels - color).max(axis=-1) < 0.02).sum() > 100


def test_an_existing_figure_is_kept_unless_overwriting_is_asked_for(tmp_path):
    path = tmp_path / "f.svg"
    path.write_text("precious")
    figure = plotting.plot_comparison([make_record()])
    with pytest.raises(FileExistsError, match="exists already"):
        plotting.save(figure, path)
    assert path.read_text() == "precious"
    plotting.save(figure, path, overwrite=True)
    assert path.read_bytes().startswith(b"<?xml")


def test_another_suffix_is_refused_with_those_that_work(tmp_path):
    with pytest.raises(ValueError, match=r"suffix '\.jpg'; choose one of \.png, \.svg, \.pdf"):
        plotting.check_figure_path(tmp_path / "f.jpg")


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([], "there is no record to draw"),
        ([make_record(seed=1), make_record(seed=1)], r"seeds \[1, 1\]; draw each seed once"),
        ([make_record(seed=0), make_record(seed=1, nfe=(1.0,), accuracy=(2.0,))], r"\[1, 3\] epochs"),
        ([replace(make_record(), curves={"nfe": (1.0,)})], "seed 0 has no curve 'test_accuracy', only nfe"),
        ([make_record(str(number)) for number in range(11)], "found 11 kinds of runs; plot at most 10"),
    ],
)
def test_records_that_make_no_figure_are_refused(records, sentence):
    with pytest.raises(ValueError, match=sentence):
        plotting.plot_comparison(records)


def make_spiral(regularizer="none", seed=0, **changes):
    columns = {"t": (0.0, 0.5, 1.0)}
    for place in (1, 2):
        columns |= {
            f"data mean {place}": (0.0, 1.0, 2.0 * place),
            f"data variance {place}": (0.0, 0.25, 1.0),
            f"before mean {place}": (0.0, 0.5, 0.5),
            f"before variance {place}": (0.0, 0.0, 0.0),
            f"after mean {place}": (0.0, 1.5, 3.0),
            f"after variance {place}": (0.0, 0.04, 4.0),
        }
    record = replace(make_record(regularizer, seed), experiment="spiral-sde", trajectories=columns)
    return replace(record, **changes)


def test_bands_reach_one_standard_deviation_to_either_side_of_the_trained_models_mean():
    first, second = plotting.plot_bands([make_spiral()]).axes
    for panel in (first, second):
        band = next(artist for artist in panel.collections if isinstance(artist, PolyCollection))
        corners = {(round(x, 9), round(y, 9)) for x, y in band.get_paths()[0].vertices}
        assert {(0.5, 1.3), (0.5, 1.7), (1.0, 1.0), (1.0, 5.0)} <= corners
        before, after, data = (line.get_ydata() for line in panel.lines)
        np.testing.assert_array_equal(before, [0.0, 0.5, 0.5])
        np.testing.assert_array_equal(after, [0.0, 1.5, 3.0])
    np.testing.assert_array_equal(data, [0.0, 1.0, 4.0])


def test_bands_have_a_column_for_each_regularizer_with_its_first_seed():
    records = [make_spiral("error", 35), make_spiral("none", 5), make_spiral("error", 5)]
    figure = plotting.plot_bands(records)
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["none, seed 5", "error, seed 5", "", ""]


def test_the_figure_is_chosen_by_what_the_records_hold():
    assert len(plotting.plot([make_spiral()]).axes) == 2
    assert len(plotting.plot([make_record()]).axes) == 8


def test_records_of_two_experiments_are_not_drawn_together():
    with pytest.raises(ValueError, match="the records are of digits-ode and spiral-sde; draw those of one experiment"):
        plotting.plot([make_record(), make_spiral()])


def test_a_record_without_trajectories_has_no_bands():
    with pytest.raises(ValueError, match="the record of seed 7 holds no trajectories"):
        plotting.plot_bands([make_record(seed=7)])
