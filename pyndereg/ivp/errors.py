"""What is raised when a solve ends badly."""

from pyndereg.ivp.solution import Solution
from pyndereg.ivp.status import Status


class SolveFailed(RuntimeError):
    """A solve ended before the end of its interval; nothing that was computed is lost.

    Attributes:
        status: how it ended.
        solution: everything up to the last accepted step: `solution.t`, `solution.y`, `solution.steps`,
            `solution.stats`; `solution.y1` is the last accepted state.
    """

    def __init__(self, status: Status, solution: Solution) -> None:
        self.status = status
        self.solution = solution
        stats = solution.stats
        super().__init__(
            f"solve stopped at t={solution.t_reached:g} after {stats.accepted} accepted and {stats.rejected} rejected "
            f"steps: {status.value}"
        )

    def __reduce__(self) -> tuple[type["SolveFailed"], tuple[Status, Solution]]:
        """So that it crosses from one process to another, with its solution as that does."""
        return type(self), (self.status, self.solution)


class AdjointFailed(RuntimeError):
    """The backward solve of a continuous adjoint ended early, so there is no gradient.

    Attributes:
        status: how it ended.
        t: the time that it reached, in the problem's time units.
    """

    def __init__(self, adjoint: str, status: Status, t: float) -> None:
        self.status = status
        self.t = t
        self._adjoint = adjoint
        super().__init__(
            f"the backward solve of {adjoint} stopped at t={t:g}: {status.value}; gradient=DiscreteAdjoint() needs no "
            "backward solve"
        )

    def __reduce__(self) -> tuple[type["AdjointFailed"], tuple[str, Status, float]]:
        """So that it crosses from one process to another."""
        return type(self), (self._adjoint, self.status, self.t)


class GradientRefused(RuntimeError):
    """The gradient of the very computation that was run could not be had; that of another one is never handed back."""


class SolveWarning(UserWarning):
    """A solve goes on, but probably not as it was meant."""
