"""The kind of figure: chosen by name, or by what the records hold."""

import pytest

from pyndereg import plotting
from tests.plotting.records import make_portrait, make_record, make_series, make_spiral


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (make_record(), "comparison"),
        (make_spiral(), "bands"),
        (make_portrait(), "phase"),
        (make_series(), "series"),
    ],
)
def test_the_figure_is_chosen_by_what_the_records_hold(record, kind):
    assert plotting.kind_that_fits([record]) == kind
    assert len(plotting.plot([record]).axes) == len(plotting.KINDS[kind]([record]).axes)


def test_a_named_kind_is_drawn_whatever_else_the_records_hold():
    assert len(plotting.plot([make_spiral()], "steps").axes) == 3


def test_an_unknown_kind_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="kind of figure is 'pie'; choose one of comparison, nfe, accuracy-nfe, steps"):
        plotting.plot([make_record()], "pie")


def test_records_of_two_experiments_are_not_drawn_together():
    with pytest.raises(ValueError, match="the records are of digits-ode and spiral-sde; draw those of one experiment"):
        plotting.plot([make_record(), make_spiral()])
