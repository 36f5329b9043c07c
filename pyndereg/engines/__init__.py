"""Engines: who takes the steps."""

from typing import Protocol

from pyndereg.engines.embedded import EmbeddedEngine
from pyndereg.ivp import ODEProblem, Solution, SolveOptions


class Engine(Protocol):
    """Solves problems. It reports failure in the solution's status, and raises only on bad input."""

    name: str

    def solve(self, problem: ODEProblem, options: SolveOptions) -> Solution:
        """The solution of a problem, with its record of steps, differentiable as the options say."""
        ...


NAMES = ("embedded", "julia")

_engines: dict[str, Engine] = {"embedded": EmbeddedEngine()}


def get_engine(name: str) -> Engine:
    """The engine of that name; the julia engine is imported when it is first asked for.

    Raises:
        ValueError: there is none.
    """
    if name not in NAMES:
        raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(NAMES)}")
    if name == "julia" and name not in _engines:
        from pyndereg.engines.julia.engine import JuliaEngine  # noqa: PLC0415 (on first use)

        _engines[name] = JuliaEngine()
    return _engines[name]
