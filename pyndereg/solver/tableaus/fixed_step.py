"""Classical methods without an error estimate, for steps of fixed length; cubic Hermite interpolants.

Source: [@hairer1993solving] section II.1.
"""

from fractions import Fraction

from pyndereg.solver.tableau import Tableau, fractions, hermite


def _classical(
    name: str, order: int, c: tuple[str, ...], a: tuple[tuple[str, ...], ...], b: tuple[str, ...]
) -> Tableau:
    weights: tuple[Fraction, ...] = fractions(*b)
    return Tableau(
        name=name,
        order=order,
        embedded_order=0,
        c=fractions(*c),
        a=tuple(fractions(*row) for row in a),
        b=weights,
        b_error=None,
        interpolant=hermite(weights, end_is_stage=False),
    )


EULER = _classical("euler", 1, c=("0",), a=((),), b=("1",))
MIDPOINT = _classical("midpoint", 2, c=("0", "1/2"), a=((), ("1/2",)), b=("0", "1"))
HEUN = _classical("heun", 2, c=("0", "1"), a=((), ("1",)), b=("1/2", "1/2"))
RK4 = _classical(
    "rk4",
    4,
    c=("0", "1/2", "1/2", "1"),
    a=((), ("1/2",), ("0", "1/2"), ("0", "0", "1")),
    b=("1/6", "1/3", "1/3", "1/6"),
)
