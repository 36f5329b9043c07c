"""Whether what a backward pass computes again is what the solve computed."""

import math

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused

# An element may differ by so many unit roundoffs of what moves it, by so many of what moves the largest of all, by so
# many last places of itself, and by so many times as much as the elements do that agree to within rounding.
MOVED, LARGEST, PLACES, OTHERS = 256, 8, 16, 16
# Pairs are compared together: so many of them, or as many as hold so many numbers.
MOST_PAIRS, MOST_NUMBERS = 64, 2**14


class Agreement:
    """Compares states and slopes that are computed again with those that were kept; read once, at the end.

    What is computed again on a CPU is usually the same bit for bit. Elsewhere, and for a field that computes otherwise
    under autograd (torch's fused layers do), each element may differ by rounding: by some hundred unit roundoffs (in
    half precision by the square root of one) in units of what the step moves it by, and by some units in its last
    place. An element that nearly cancels is rounded like the larger ones that it came from: it may differ by some
    times as much as those do, within some hundred unit roundoffs of what moves the largest.

    Args:
        dtype: of the states.
        coarsest: the largest unit roundoff among the results of f's operations.
    """

    def __init__(self, dtype: torch.dtype, coarsest: float) -> None:
        self._eps = torch.finfo(dtype).eps
        self._unit = max(self._eps, coarsest)
        self._relative = min(math.sqrt(self._unit), MOVED * self._unit)
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self._rows: list[Tensor] = []
        self._times: list[float] = []

    def compare(self, t: float, found: Tensor, kept: Tensor, moved: Tensor, dt: float = 1.0) -> None:
        """Take note of a pair.

        Args:
            t: its time, in the problem's time units.
            found, kept: what was computed again, and what it should be. One shape.
            moved: whose elements times |dt| rounding is measured against. As many numbers, or several times as many,
                of which the largest of each element counts: shape (..., *shape).
        """
        if found.numel() == 0 or (is_read_for_free(found) and torch.equal(found, kept)):
            return
        largest = moved.reshape(-1, found.numel()).abs().amax(0).mul_(abs(dt))
        self._pending.append((found.reshape(-1), kept.reshape(-1), largest))
        self._times.append(t)
        if len(self._pending) >= min(MOST_PAIRS, 1 + MOST_NUMBERS // found.numel()):
            self._measure()

    def check(self) -> None:
        """Compare.

        Raises:
            GradientRefused: one pair differs by more than rounding.
        """
        self._measure()
        if not self._rows:
            return
        differing = []
        for t, row in zip(self._times, torch.cat(self._rows).tolist(), strict=True):
            off, own, others, largest = row
            more = max(LARGEST * self._unit * largest, min(OTHERS * others, self._relative * largest))
            # What was no number in the solve agrees with anything.
            if off != -math.inf and not off - own <= more:
                differing.append((off / (own + more) if off == off and own + more else math.inf, t, off, own + more))
        if differing:
            _, t, off, allowed = max(differing)
            raise GradientRefused(
                f"f is no longer what it was in the solve: computed again at t={t:g}, it leads to a value that is off "
                f"by {off:.2g} where rounding explains {allowed:.2g}; call backward before f changes, keep what f uses "
                "in modules, attributes or closures, or pass gradient=Backprop()"
            )
        self._rows.clear()
        self._times.clear()

    def _measure(self) -> None:
        """Make a row for each pair.

        How far off its worst element is, what rounding explains of that, how far off the elements are that agree, and
        what moves the largest one.
        """
        if not self._pending:
            return
        found, kept, moved = (torch.stack(tensors) for tensors in zip(*self._pending, strict=True))
        self._pending.clear()
        moved.nan_to_num_(0.0, 0.0, 0.0)  # what moves a state to no number excuses nothing
        off = found.sub_(kept).abs_()
        own = torch.add(moved * self._relative, kept.abs(), alpha=PLACES * self._eps)
        was_number = kept.isfinite()
        others = torch.where((off <= own) & was_number, off, 0.0).amax(1)
        excess, worst = torch.where(was_number, off - own, -math.inf).max(1, keepdim=True)
        off = torch.where(excess == -math.inf, excess, off.gather(1, worst))
        self._rows.append(torch.cat([off, own.gather(1, worst), others[:, None], moved.amax(1, keepdim=True)], 1))

    def check_errors(self, found: Tensor, kept: Tensor, y: Tensor, rtol: float, atol: float) -> None:
        """Compare scaled errors of steps, which show a change that a contracting equation has forgotten at its end.

        Args:
            found, kept: what was computed again, and what it should be; NaN where there is none. Shape (steps,).
            y: a state, for the size of its rounding. Any shape.
            rtol, atol: tolerances that the errors are in units of.
        Raises:
            GradientRefused: one differs by more than a fiftieth and rounding.
        """
        size = float(y.abs().max()) if y.numel() else 0.0
        rounding = 256 * self._unit * size / (atol + rtol * size)
        differing = ~((found - kept).abs() <= 0.02 * kept + rounding) & kept.isfinite()
        if bool(differing.any()):
            step = int(differing.nonzero()[0])
            raise GradientRefused(
                f"f, or a norm that was passed, is no longer what it was in the solve: step {step}, taken again, has a "
                f"scaled error of {float(found[step]):.3g} in place of {float(kept[step]):.3g}; ask for the solution "
                "before it changes, or solve with SaveAt(dense=True)"
            )


def is_read_for_free(x: Tensor) -> bool:
    """Whether the host need not wait for a device to read a tensor."""
    return x.device.type == "cpu"
