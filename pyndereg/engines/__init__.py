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


# None: imported when it is first asked for.
ENGINES: dict[str, Engine | None] = {"embedded": EmbeddedEngine(), "julia": None}


def get_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")
    engine = ENGINES[name]
    if engine is None:
        from pyndereg.engines.julia.engine import JuliaEngine  # noqa: PLC0415 (on first use)

        engine = ENGINES[name] = JuliaEngine()
    return engine
