"""Bogacki's and Shampine's 3(2) pair: four stages, the last one the first of the next step; Hermite interpolant.

Source: [@bogacki1989pair].
"""

from pyndereg.solver.tableau import Tableau, fractions, hermite

_B = fractions("2/9", "1/3", "4/9", "0")

BS3 = Tableau(
    name="bs3",
    order=3,
    embedded_order=2,
    c=fractions("0", "1/2", "3/4", "1"),
    a=((), fractions("1/2"), fractions("0", "3/4"), _B[:-1]),
    b=_B,
    # The opposite sign of OrdinaryDiffEq's is immaterial: only the norm is used.
    b_error=fractions("-5/72", "1/12", "1/9", "-1/8"),
    interpolant=hermite(_B, end_is_stage=True),
)
