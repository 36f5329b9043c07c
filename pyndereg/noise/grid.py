"""Increments of a path over the steps of a grid that is known beforehand."""

import math
from bisect import bisect_left
from collections.abc import Sequence

from pyndereg.noise.brownian import BrownianPath
from pyndereg.noise.increments import Increments

# Drawing many steps at once spares the work of asking; a bound spares memory.
NUMBERS_PER_DRAW = 2**18
# Of times, relative to the grid's length.
ROUNDING = 2.0**-40


class GridIncrements:
    """The same increments as the path's, drawn many steps at a time where they are asked for steps of the grid.

    Args:
        path: answers what is not a step of the grid itself.
        times: rising, in the path's interval, at least one. Shape (times,), units of time.
    """

    def __init__(self, path: BrownianPath, times: Sequence[float]) -> None:
        self._path, self._times = path, tuple(times)
        self._places = {time: place for place, time in enumerate(self._times[:-1])}
        self._per_draw = max(1, NUMBERS_PER_DRAW // math.prod(path.shape))
        first, last = self._times[0], self._times[-1]
        self._rounding = max(ROUNDING * (last - first), 2 * math.ulp(max(abs(first), abs(last))))
        self._first, self._drawn = -1, []

    def increments(self, s: float, t: float) -> Increments:
        """Increment and area from s to t. Shapes (*shape) of the path, units of sqrt(time)."""
        place = self._places.get(s)
        if place is None:
            place = self._nearest(s)
        if place is None or abs(self._times[place + 1] - t) > self._rounding:
            return self._path.increments(s, t)
        row = place % self._per_draw
        if self._first != place - row:
            self._draw(place - row)
        return self._drawn[row]

    def _nearest(self, t: float) -> int | None:
        """Index of the step that begins at a time, but for rounding; solvers may add lengths up."""
        place = bisect_left(self._times, t - self._rounding)
        begins = place < len(self._times) - 1 and abs(self._times[place] - t) <= self._rounding
        return place if begins else None

    def _draw(self, first: int) -> None:
        dW, dZ = self._path.on_grid(self._times[first : first + self._per_draw + 1])
        self._first = first
        self._drawn = [Increments(*pair) for pair in zip(dW.unbind(), dZ.unbind(), strict=True)]
