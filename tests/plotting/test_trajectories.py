"""Trajectories: bands of moments, phase portraits and series."""

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from pyndereg import plotting
from tests.plotting.records import make_portrait, make_record, make_series, make_spiral


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


def test_a_portrait_draws_one_element_of_the_state_against_the_other():
    (panel,) = plotting.plot_phase([make_portrait()]).axes
    before, after, data, _ = panel.lines
    np.testing.assert_array_equal(before.get_xydata(), [(0.0, 0.0), (50.0, 50.0), (90.0, 90.0)])
    np.testing.assert_array_equal(after.get_xydata(), [(0.0, 0.0), (1.0, 1.0), (3.0, 6.0)])
    np.testing.assert_array_equal(data.get_xydata(), [(0.0, 0.0), (1.0, 2.0), (0.0, 0.0)])


def test_an_untrained_model_does_not_set_the_scale_of_a_portrait():
    (panel,) = plotting.plot_phase([make_portrait()]).axes
    assert panel.get_xlim()[1] < 4.0
    assert panel.get_ylim()[1] < 8.0


def test_rings_on_the_trained_model_mark_where_its_steps_began():
    (panel,) = plotting.plot_phase([make_portrait()]).axes
    # At 0, 0.2 and 0.6, between saved points on the straight line that is drawn.
    np.testing.assert_allclose(panel.lines[-1].get_xydata(), [(0.0, 0.0), (0.4, 0.4), (1.4, 2.0)], rtol=1e-12)


def test_steps_of_another_interval_are_not_marked():
    record = make_portrait()
    other = replace(record.steps_after, t=(0.0, 0.2, 6.0))
    (panel,) = plotting.plot_phase([replace(record, steps_after=other)]).axes
    assert len(panel.lines) == 3


def test_series_have_a_column_each_and_a_row_for_each_feature_with_the_share_that_was_seen():
    figure = plotting.plot_series([make_series(), make_series("error")])
    assert [panel.get_title(loc="left") for panel in figure.axes[:2]] == [
        "series 1 (67 % seen)",
        "series 2 (67 % seen)",
    ]
    assert len(figure.axes) == 6
    data, none, error = figure.axes[-1].lines
    np.testing.assert_array_equal(data.get_ydata(), [0.1, math.nan, 0.3])
    np.testing.assert_array_equal(none.get_ydata(), [0.1, 0.2, 0.3 + 0.1 * 3])
    assert none.get_linestyle() != error.get_linestyle()


def test_of_many_series_the_first_four_are_drawn():
    assert len(plotting.plot_series([make_series(series=9, features=12)]).axes) == 16


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (plotting.plot_bands, "seed 7 holds no trajectories' moments; draw records of spiral-sde"),
        (plotting.plot_phase, "seed 7 holds no trajectory 't'; draw records of spiral-ode or lotka-volterra"),
        (plotting.plot_series, "seed 7 holds no series; draw records of physionet-latent-ode"),
    ],
)
def test_a_record_without_the_trajectories_of_a_figure_is_refused(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw([make_record(seed=7)])
