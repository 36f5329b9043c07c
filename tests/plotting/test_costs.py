"""NFE against epochs, and accuracy against NFE."""

from dataclasses import replace

import numpy as np
import pytest

from pyndereg import plotting
from pyndereg.plotting.labels import keep_apart
from tests.plotting.records import make_record, make_spiral, texts, texts_that_cover_each_other


def marks_of(panel, *, hollow):
    """Markers of single points, by how they are filled."""
    lines = [line for line in panel.lines if len(line.get_xdata()) == 1 and line.get_marker() != "None"]
    return {tuple(line.get_xydata()[0]) for line in lines if (line.get_fillstyle() == "none") == hollow}


def test_every_line_ends_in_its_name_its_seeds_and_its_last_value():
    records = [make_record("none", 0), make_record("none", 1), make_record("error", nfe=(90.0, 60.0, 50.0))]
    (panel,) = plotting.plot_nfe(records).axes
    assert sorted(texts(panel)) == ["error: 50", "none (2 seeds): 140"]
    assert panel.get_ylim()[0] == 0.0


def test_the_horizontal_axis_counts_what_the_runs_count():
    record = make_record()
    iterations = replace(record, config={**record.config, "iterations": 3})
    assert plotting.plot_nfe([record]).axes[0].get_xlabel() == "epoch"
    assert plotting.plot_nfe([iterations]).axes[0].get_xlabel() == "iteration"


def test_lines_that_end_close_to_each_other_have_texts_that_do_not():
    records = [make_record(name, nfe=(100.0, 110.0, 120.0 + place)) for place, name in enumerate(plotting.REGULARIZERS)]
    assert texts_that_cover_each_other(plotting.plot_nfe(records)) == []


def test_heights_that_are_kept_apart_stay_in_order_below_the_ceiling():
    assert keep_apart([1.0, 1.1, 5.0], 1.0) == [1.0, 2.0, 5.0]
    assert keep_apart([9.0, 9.5, 9.5], 1.0, ceiling=10.0) == [8.0, 9.0, 10.0]


def test_a_mark_for_each_run_and_one_for_the_mean_lie_at_nfe_and_accuracy():
    first, second = make_record(seed=0), make_record(seed=1, nfe=(1.0, 1.0, 160.0), accuracy=(1.0, 1.0, 99.0))
    (panel,) = plotting.plot_accuracy_nfe([first, second]).axes
    runs = next(line for line in panel.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o")
    np.testing.assert_array_equal(runs.get_xydata(), [(140.0, 97.0), (160.0, 99.0)])
    assert marks_of(panel, hollow=False) == {(150.0, 98.0)}


def test_what_is_published_of_a_method_is_a_hollow_mark_if_the_records_have_the_method():
    published = [
        plotting.PublishedPoint("none", "2021", 253.0, 97.94),
        plotting.PublishedPoint("taylor", "2021", 80.3, 97.89),
    ]
    (panel,) = plotting.plot([make_record()], "accuracy-nfe", published=published).axes
    assert marks_of(panel, hollow=True) == {(253.0, 97.94)}
    assert sorted(texts(panel)) == ["none", "none, 2021"]


def test_methods_that_do_about_as_well_have_texts_that_do_not_cover_each_other():
    records = [
        make_record(name, nfe=(1.0, 1.0, 100.0 + 5.0 * place), accuracy=(1.0, 1.0, 97.0 + 0.02 * place))
        for place, name in enumerate(plotting.REGULARIZERS)
    ]
    assert texts_that_cover_each_other(plotting.plot_accuracy_nfe(records)) == []


def test_where_there_is_no_accuracy_a_loss_takes_its_place():
    spiral = replace(make_spiral(), metrics={"nfe": 500.0, "loss": 0.02})
    (panel,) = plotting.plot_accuracy_nfe([spiral]).axes
    assert panel.get_ylabel() == "loss"
    assert panel.get_title(loc="left") == "spiral-sde: the lower left is accurate and cheap"


def test_a_record_without_the_metric_is_refused():
    unfinished = replace(make_record("error", 3), metrics={"nfe": 1.0})
    with pytest.raises(ValueError, match="seed 3 has no metric 'test_accuracy', only nfe"):
        plotting.plot_accuracy_nfe([make_record(), unfinished])
