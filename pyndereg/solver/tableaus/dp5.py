"""Dormand's and Prince's 5(4) pair (DOPRI5): seven stages, the last one the first of the next step.

Sources: the pair [@dormand1980family]; its interpolant of order 4 [@hairer1993solving] section II.6, the coefficients d
as in the program DOPRI5 of that book.
"""

from fractions import Fraction

from pyndereg.solver.tableau import Interpolant, Row, Tableau, fractions

_B = fractions("35/384", "0", "500/1113", "125/192", "-2187/6784", "11/84", "0")
_D = fractions(
    "-12715105075/11282082432",
    "0",
    "87487479700/32700410799",
    "-10690763975/1880347072",
    "701980252875/199316789632",
    "-1453857185/822651844",
    "69997945/29380423",
)


def _interpolant_rows() -> tuple[Row, ...]:
    """Weights in powers of theta of y + theta (u + (1-theta) (v + theta (w + (1-theta) dt sum_i d_i k_i))).

    Here u = y1 - y, v = dt k_1 - u and w = u - dt k_7 - v: the nested form that the program evaluates.
    """
    rows = []
    for i, (b, d) in enumerate(zip(_B, _D, strict=True)):
        u = b
        v = (1 if i == 0 else 0) - u
        w = u - (1 if i == 6 else 0) - v
        # theta u + (theta - theta^2) v + (theta^2 - theta^3) w + (theta^2 - 2 theta^3 + theta^4) d
        rows.append((u + v, -v + w + d, -w - 2 * d, d))
    return tuple(tuple(Fraction(entry) for entry in row) for row in rows)


DP5 = Tableau(
    name="dp5",
    order=5,
    embedded_order=4,
    c=fractions("0", "1/5", "3/10", "4/5", "8/9", "1", "1"),
    a=(
        (),
        fractions("1/5"),
        fractions("3/40", "9/40"),
        fractions("44/45", "-56/15", "32/9"),
        fractions("19372/6561", "-25360/2187", "64448/6561", "-212/729"),
        fractions("9017/3168", "-355/33", "46732/5247", "49/176", "-5103/18656"),
        _B[:-1],
    ),
    b=_B,
    b_error=fractions("71/57600", "0", "-71/16695", "71/1920", "-17253/339200", "22/525", "-1/40"),
    interpolant=Interpolant(order=4, weights=_interpolant_rows()),
    stiffness_stages=(6, 5),
    stability_size=3.3066,
    pi_exponents=(0.17, 0.04),
)
