"""States of a finished solve, from those that were kept."""

from collections.abc import Sequence

from torch import Tensor

from pyndereg.solver.runge_kutta import ExplicitRungeKutta


class ThinnedStates:
    """States at the starts of accepted steps: of every step, or of every 2nd, 4th, ... so that they are not too many.

    Args:
        most: how many to keep at most; None for all.

    Attributes:
        states: by index of the step. Shape (size,) each.
    """

    def __init__(self, most: int | None) -> None:
        self.most, self._stride = most, 1
        self.states: dict[int, Tensor] = {}

    def keep(self, index: int, state: Tensor) -> None:
        """Take in the state of the next step, if it is one of those that are kept."""
        if index % self._stride:
            return
        self.states[index] = state
        if self.most is not None and len(self.states) > self.most:
            self._stride *= 2
            self.states = {i: y for i, y in self.states.items() if i % self._stride == 0}


class StepStates:
    """The states at the starts of accepted steps, last one first; those that were not kept are computed again.

    Args:
        method: takes steps again, without graphs.
        t, dt: of the accepted steps, in the problem's time units.
        kept: state at the start of step i; the first is there, further ones may be missing. Shape (size,) each.
    """

    def __init__(
        self, method: ExplicitRungeKutta, t: Sequence[float], dt: Sequence[float], kept: dict[int, Tensor]
    ) -> None:
        self._method, self._t, self._dt, self._kept = method, t, dt, kept

    def take(self, i: int) -> Tensor:
        """The state at the start of step i, which is not kept any longer. Shape (size,)."""
        if i not in self._kept:
            self._recompute(i)
        return self._kept.pop(i)

    def forget_from(self, i: int) -> None:
        """Let go of step i and all after it."""
        for index in [index for index in self._kept if index >= max(i, 1)]:
            del self._kept[index]

    def _recompute(self, i: int) -> None:
        """Fill in the states from the last checkpoint before step i up to it."""
        first = max(index for index in self._kept if index < i)
        stage = self._method.start(self._t[first], self._kept[first])
        for index in range(first, i):
            step = self._method.attempt(self._t[index], self._dt[index], stage)
            self._kept[index + 1] = step.y1
            if index + 1 < i:
                stage = self._method.complete(step)
