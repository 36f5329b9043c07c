"""Engines: who takes the steps."""

from collections.abc import Sequence
from typing import Protocol

from pyndereg.engines.embedded import EmbeddedEngine
from pyndereg.ivp import Problem, Solution, SolveOptions
from pyndereg.ivp.sampling import Sampler


class Engine(Protocol):
    """Solves problems. It reports failure in the solution's status, and raises only on bad input.

    Attributes:
        name: as users choose it.
        takes_regularizers: whether it draws samples, takes fresh steps and leaves part of the state uncontrolled.
    """

    name: str
    takes_regularizers: bool

    def solve(self, problem: Problem, options: SolveOptions, samplers: Sequence[Sampler] = ()) -> Solution:
        """The solution of a problem, with its record of steps, differentiable as the options say.

        Args:
            samplers: choose points of the solution, which it then holds as `samples`.
        """
        ...

    def fresh_step(self, problem: Problem, options: SolveOptions, *, constant_start: bool) -> Solution:
        """The first step of a solve of the problem, of automatic length, whatever its error is.

        Args:
            constant_start: the first stage is a constant of the gradient; not of a stochastic problem, whose first
                stages are differentiated.
        Returns:
            A solution of one accepted step, differentiable together with its record.
        """
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
