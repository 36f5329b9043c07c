"""The tableaus of Rößler's methods satisfy his order conditions, and inconsistent ones are refused."""

from dataclasses import replace
from fractions import Fraction

import pytest

from pyndereg.solver.stochastic.tableau import RosslerTableau
from pyndereg.solver.stochastic.tableaus import SOSRA, SOSRI, SOSRI2, SRA1, SRIW1

# The digits of SOSRI2 carry the tolerance of the search that found them.
ROUNDING = {"sosra": 1e-14, "sosri": 1e-14, "sosri2": 2e-13}


def dot(weights, values):
    return sum((w * v for w, v in zip(weights, values, strict=True)), Fraction(0))


def times(rows, values):
    """A matrix of rows, cut after their last entry, times a vector."""
    return [sum((a * v for a, v in zip(row, values, strict=False)), Fraction(0)) for row in rows]


def squares(values):
    return [value * value for value in values]


def conditions(tableau: RosslerTableau) -> dict[str, tuple]:
    """Condition -> (found, expected): strong order 1.5, in the notation of Rößler (2010)."""
    ones = [1] * tableau.diffusion_stages
    b0 = times(tableau.b0, ones)
    found = {
        "alpha e": (dot(tableau.alpha, ones[: tableau.drift_stages]), 1),
        "alpha A0 e": (dot(tableau.alpha, times(tableau.a0, ones)), Fraction(1, 2)),
        "alpha B0 e": (dot(tableau.alpha, b0), 1),
        "alpha (B0 e)^2": (dot(tableau.alpha, squares(b0)), Fraction(3, 2)),
        "beta1 e": (dot(tableau.beta1, ones), 1),
        "beta3 e": (dot(tableau.beta3, ones), 0),
        "beta1 c1": (dot(tableau.beta1, tableau.c1), 1),
        "beta3 c1": (dot(tableau.beta3, tableau.c1), -1),
    }
    if tableau.is_additive:
        return found
    assert tableau.a1 is not None
    assert tableau.b1 is not None
    b1 = times(tableau.b1, ones)
    columns = {
        "e": (ones, (1, 0, 0, 0)),
        "A1 e": (times(tableau.a1, ones), (1, 0, -1, 0)),
        "B1 e": (b1, (0, 1, 0, 0)),
        "(B1 e)^2": (squares(b1), (1, 0, -1, 2)),
        "B1 B1 e": (times(tableau.b1, b1), (0, 0, 0, 1)),
    }
    for name, (values, expected) in columns.items():
        for i, (beta, value) in enumerate(zip(tableau.betas, expected, strict=True), 1):
            found[f"beta{i} {name}"] = (dot(beta, values), value)
    mixed = times(tableau.a1, b0)
    found["beta1 A1 B0 e / 2 + beta3 A1 B0 e / 3"] = (
        dot(tableau.beta1, mixed) / 2 + dot(tableau.beta3, mixed) / 3,
        0,
    )
    return found


@pytest.mark.parametrize("tableau", [SRA1, SRIW1], ids=lambda tableau: tableau.name)
def test_a_rational_table_satisfies_the_order_conditions_exactly(tableau):
    assert {name: pair for name, pair in conditions(tableau).items() if pair[0] != pair[1]} == {}


@pytest.mark.parametrize("tableau", [SOSRA, SOSRI, SOSRI2], ids=lambda tableau: tableau.name)
def test_a_printed_table_satisfies_the_order_conditions_to_rounding(tableau):
    for name, (found, expected) in conditions(tableau).items():
        assert found == pytest.approx(float(expected), abs=ROUNDING[tableau.name]), name


def test_the_order_conditions_tell_a_method_of_a_lower_order():
    wrong = replace(SRIW1, b0=((), (Fraction(1),)))
    failed = {name for name, (found, expected) in conditions(wrong).items() if found != expected}
    assert "alpha B0 e" in failed


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"c0": (Fraction(0), Fraction(1, 2))}, "a row must sum to its node 1/2"),
        ({"alpha": (Fraction(1, 3), Fraction(1, 3))}, "alpha and beta1 must sum to 1"),
        ({"beta4": (Fraction(-2), Fraction(5, 3), Fraction(-2, 3), Fraction(0))}, "the other weights to 0"),
        ({"beta4": (Fraction(0),)}, "c0, and c1 and the weights beta must have rows of lengths"),
        ({"a0": ((), (Fraction(3, 4), Fraction(0)))}, "a0 must have rows of lengths"),
        ({"b1": None}, "a1, b1, beta2 and beta4 must be given together"),
        ({"stiffness_stages": (0, 1)}, "the stages that estimate stiffness must have equal nodes"),
    ],
)
def test_an_inconsistent_table_is_refused_with_the_law_that_it_breaks(change, law):
    with pytest.raises(ValueError, match=law):
        replace(SRIW1, **change)


def test_a_table_with_more_drift_than_diffusion_stages_is_refused():
    with pytest.raises(ValueError, match="there must be a diffusion stage for every drift stage"):
        replace(SRA1, c1=(Fraction(1),), beta1=(Fraction(1),), beta3=(Fraction(0),))
