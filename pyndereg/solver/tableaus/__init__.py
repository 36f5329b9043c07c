"""The explicit Runge–Kutta methods by name."""

import difflib

from pyndereg.solver.tableau import Tableau
from pyndereg.solver.tableaus.bs3 import BS3
from pyndereg.solver.tableaus.dp5 import DP5
from pyndereg.solver.tableaus.fixed_step import EULER, HEUN, MIDPOINT, RK4
from pyndereg.solver.tableaus.tsit5 import TSIT5
from pyndereg.solver.tableaus.vern7 import VERN7
from pyndereg.solver.tableaus.vern9 import VERN9

TABLEAUS: dict[str, Tableau] = {
    tableau.name: tableau for tableau in (EULER, MIDPOINT, HEUN, RK4, BS3, DP5, TSIT5, VERN7, VERN9)
}


def get_tableau(method: str) -> Tableau:
    """The tableau of a method.

    Raises:
        ValueError: there is no method of that name.
    """
    if method not in TABLEAUS:
        close = difflib.get_close_matches(str(method), TABLEAUS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown method {method!r}; {hint}choose one of {', '.join(TABLEAUS)}")
    return TABLEAUS[method]
