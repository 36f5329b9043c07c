"""Steps along one trajectory, of records and of a solution just computed."""

import math
from dataclasses import replace

import numpy as np
import torch
from matplotlib.patches import StepPatch

import pyndereg as nde
from pyndereg import plotting
from tests.plotting.records import END, START, make_record, texts, texts_that_cover_each_other


def stairs(panel):
    return [patch.get_data() for patch in panel.patches if isinstance(patch, StepPatch)]


def test_every_step_is_a_stair_from_its_beginning_to_its_end_of_the_quantitys_height():
    panels = plotting.plot_steps([make_record()]).axes
    for panel, quantity in zip(panels, ("dt", "scaled_error", "stiffness"), strict=True):
        before, after = stairs(panel)
        np.testing.assert_array_equal(before.edges, [0.0, 0.4, 1.0])
        np.testing.assert_array_equal(before.values, getattr(START, quantity))
        np.testing.assert_array_equal(after.edges, [0.0, 0.2, 0.6, 1.0])
        np.testing.assert_array_equal(after.values, getattr(END, quantity))
    assert texts(panels[0]) == ["3 steps, 2 before"]


def test_each_group_has_a_column():
    figure = plotting.plot_steps([make_record("none"), make_record("error")])
    assert [panel.get_title(loc="left") for panel in figure.axes[:2]] == ["none", "error"]
    assert len(figure.axes) == 6
    assert texts_that_cover_each_other(figure) == []


def test_a_panel_without_an_estimate_says_so():
    silent = replace(END, stiffness=(math.nan,) * 3)
    panels = plotting.plot_steps([replace(make_record(), steps_before=silent, steps_after=silent)]).axes
    assert texts(panels[2]) == ["the method has no estimate"]
    assert stairs(panels[2]) == []


def test_the_steps_of_a_live_solution_can_be_drawn_alone_and_before_another():
    problem = nde.ODEProblem(lambda t, y: -y, torch.ones(2, dtype=torch.float64), t0=0.0, t1=1.0)
    tight, loose = (nde.solve(problem, rtol=tolerance, atol=tolerance) for tolerance in (1e-9, 1e-4))
    panels = plotting.steps_figure(tight, title="decay").axes
    (drawn,) = stairs(panels[0])
    np.testing.assert_array_equal(drawn.values, tight.steps.dt.numpy())
    assert texts(panels[0]) == [f"{len(tight.steps)} steps"]
    panels = plotting.steps_figure(tight, loose).axes
    assert len(stairs(panels[0])) == 2
    assert texts(panels[0]) == [f"{len(tight.steps)} steps, {len(loose.steps)} before"]


def test_steps_backwards_in_time_are_drawn_by_their_length():
    problem = nde.ODEProblem(lambda t, y: -y, torch.ones(2, dtype=torch.float64), t0=1.0, t1=0.0)
    solution = nde.solve(problem, rtol=1e-6, atol=1e-6)
    (drawn,) = stairs(plotting.steps_figure(solution).axes[0])
    assert drawn.values.min() > 0.0
    assert drawn.edges[0] == 1.0
    assert abs(drawn.edges[-1]) < 1e-12
