"""The comparison: what is drawn is what the records say."""

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from pyndereg import plotting
from tests.plotting.records import END, START, legend_labels, make_record, make_spiral, texts


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


def test_runs_with_another_gradient_are_a_kind_of_their_own():
    plain = make_record("local-biased")
    adjoint = replace(plain, config={**plain.config, "gradient": "gauss"})
    assert list(plotting.group_by_label([adjoint, plain])) == ["local-biased", "local-biased @ gauss"]


def test_a_last_step_that_the_end_cuts_to_almost_nothing_does_not_set_the_scale():
    cut = replace(END, dt=(0.2, 0.8 - 1e-9, 1e-9), scaled_error=(0.02, 0.1, 1e-30))
    axes = plotting.plot_comparison([replace(make_record(), steps_after=cut)]).axes
    assert axes[3].get_ylim()[0] > 0.05
    assert axes[5].get_ylim()[0] > 0.005


def test_a_single_step_is_on_the_page():
    single = replace(END, t=(0.0,), dt=(1.0,), scaled_error=(0.3,), stiffness=(2.0,))
    axes = plotting.plot_comparison([replace(make_record(), steps_after=single)]).axes
    for panel, height in ((axes[3], 1.0), (axes[5], 0.3)):
        low, high = panel.get_ylim()
        assert low < height < high


def test_runs_with_a_remembered_start_equal_steps_or_torchdiffeq_are_kinds_of_their_own():
    plain = make_record("none")
    kinds = (
        {"first_step": "remembered"},
        {"steps": 1},
        {"steps": 4},
        {"engine": "torchdiffeq"},
        {"first_step": "search"},
    )
    labels = [plotting.group_by_label([replace(plain, config={**plain.config, **kind})]) for kind in kinds]
    assert [list(label) for label in labels] == [
        ["none + remembered"],
        ["none + 1 step"],
        ["none + 4 steps"],
        ["torchdiffeq"],
        ["none"],
    ]


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


def test_beside_a_method_with_a_stiffness_estimate_another_without_is_not_written_over_it():
    silent = replace(END, stiffness=(math.nan,) * 3)
    both_silent = [make_record(name) for name in ("none", "error")]
    both_silent = [replace(record, steps_before=silent, steps_after=silent) for record in both_silent]
    axes = plotting.plot_comparison([both_silent[0], make_record("stiffness")]).axes
    assert texts(axes[6]) == texts(axes[7]) == []
    assert len(axes[7].lines) == 1
    axes = plotting.plot_comparison(both_silent).axes
    assert texts(axes[7]) == ["the method has no estimate"]


def test_runs_that_have_a_loss_in_place_of_an_accuracy_are_compared_by_it():
    curves = {"nfe": (100.0, 90.0), "loss": (3.0, 0.1)}
    right = plotting.plot_comparison([replace(make_spiral(), curves=curves)]).axes[1]
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [3.0, 0.1])
    assert right.get_ylabel() == "loss"


def test_costs_are_drawn_from_zero_and_their_labels_keep_apart():
    records = [make_record("none", nfe=(100.0, 120.0, 122.0)), make_record("stiffness", nfe=(100.0, 118.0, 121.0))]
    nfe = plotting.plot_comparison(records).axes[0]
    assert nfe.get_ylim()[0] == 0.0
    heights = sorted(text.xy[1] for text in nfe.texts)
    assert heights[1] - heights[0] >= 0.05 * nfe.get_ylim()[1]
    assert sorted(texts(nfe)) == ["121", "122"]


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([], "there is no record to draw"),
        ([make_record(seed=1), make_record(seed=1)], r"seeds \[1, 1\]; draw each seed once"),
        ([make_record(seed=0), make_record(seed=1, nfe=(1.0,), accuracy=(2.0,))], r"\[1, 3\] epochs"),
        (
            [replace(make_record(), curves={"nfe": (1.0,)})],
            "seed 0 has no curve 'test_accuracy' or 'test_loss' or 'loss', only nfe",
        ),
        ([make_record(str(number)) for number in range(11)], "found 11 kinds of runs; plot at most 10"),
    ],
)
def test_records_that_make_no_figure_are_refused(records, sentence):
    with pytest.raises(ValueError, match=sentence):
        plotting.plot_comparison(records)
