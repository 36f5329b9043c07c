"""What is raised when a solve ends badly."""

from pyndereg.ivp.solution import Solution
from pyndereg.ivp.status import Status


class SolveFailed(RuntimeError):
    """A solve ended before the end of its interval; nothing that was computed is lost.

    Attributes:
        status: how it ended.
        solution: everything up to the last accepted step: `solution.t`, `solution.y`, `solution.steps`,
            `solution.stats`; `solution.y1` is the last accepted state.
        t1: the time that was to be reached, in the problem's time units; None if that is not known.
        singular: whether f is not finite at t1, from the state that was reached.
    """

    def __init__(self, status: Status, solution: Solution, t1: float | None = None, singular: bool = False) -> None:
        self.status = status
        self.solution = solution
        self.t1 = t1
        self.singular = singular
        super().__init__(_sentence(status, solution, t1, singular))

    def __reduce__(self) -> tuple[type["SolveFailed"], tuple[Status, Solution, float | None, bool]]:
        """So that it crosses from one process to another, with its solution as that does."""
        return type(self), (self.status, self.solution, self.t1, self.singular)


def _sentence(status: Status, solution: Solution, t1: float | None, singular: bool) -> str:
    stats, t = solution.stats, solution.t_reached
    steps = f"after {stats.accepted} accepted and {stats.rejected} rejected steps"
    if t1 is None:
        return f"solve stopped at t={t:g} {steps}: {status.value}"
    if t == t1:
        return (
            f"solve came to t1 = {t1:g} {steps}, and the state there is NaN or infinite: take shorter steps, bound the "
            "output of f, or let an adaptive method choose the steps"
        )
    where = f"solve stopped at t={t:g}, {abs(t1 - t):.3g} before t1 = {t1:g}, {steps}: "
    if singular:
        return f"{where}f is not finite at t1 = {t1:g}; end the interval earlier, or write f so that it is finite there"
    return where + status.value


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
