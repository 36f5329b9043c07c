"""Whether what a backward pass computes again is what the solve computed."""

import math

import torch
from torch import Tensor

from pyndereg.ivp.errors import GradientRefused


class Agreement:
    """Compares states and slopes that are computed again with those that were kept; read once, at the end.

    A step taken again may differ by rounding: by some hundred unit roundoffs (in half precision by the square root of
    one) in units of what the step moves the state by, for a field that computes otherwise under autograd (torch's fused
    layers do), and by some units in the last place of the state.

    Args:
        dtype: of the states.
        coarsest: the largest unit roundoff among the results of f's operations.
    """

    def __init__(self, dtype: torch.dtype, coarsest: float) -> None:
        self._eps = torch.finfo(dtype).eps
        self._unit = max(self._eps, coarsest)
        self._relative = min(math.sqrt(self._unit), 256 * self._unit)
        self._rows: list[Tensor] = []
        self._points: list[tuple[float, float]] = []

    def compare(self, t: float, found: Tensor, kept: Tensor, moved: Tensor, dt: float = 1.0) -> None:
        """Take note of a pair.

        Args:
            t: its time, in the problem's time units.
            found, kept: what was computed again, and what it should be. One shape.
            moved: whose largest element times |dt| is what rounding is measured against. Any shape.
        """
        # Where the extremes of a tensor cost a twentieth of its largest magnitude by `vector_norm`.
        extremes = [*torch.aminmax(found - kept), *torch.aminmax(moved), *torch.aminmax(kept)]
        self._rows.append(torch.stack(extremes))
        self._points.append((t, abs(dt)))

    def check(self) -> None:
        """Compare.

        Raises:
            GradientRefused: one pair differs by more than rounding.
        """
        if not self._rows:
            return
        found = []
        for (t, dt), extremes in zip(self._points, torch.stack(self._rows).tolist(), strict=True):
            off, moved, size = (max(abs(x) for x in extremes[k : k + 2]) for k in (0, 2, 4))
            found.append((t, off, self._relative * moved * dt + 16 * self._eps * size))
        # What was no number in the solve agrees with anything.
        differing = [
            (off / allowed if off == off and allowed else math.inf, t, off, allowed)
            for t, off, allowed in found
            if math.isfinite(allowed) and not off <= allowed
        ]
        if differing:
            _, t, off, allowed = max(differing)
            raise GradientRefused(
                f"f is no longer what it was in the solve: computed again at t={t:g}, it leads to a value that is off "
                f"by {off:.2g} where rounding explains {allowed:.2g}; call backward before f changes, keep what f uses "
                "in modules, attributes or closures, or pass gradient=Backprop()"
            )
        self._rows.clear()
        self._points.clear()

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
        differing = (found - kept).abs() > 0.02 * kept + rounding
        if bool(differing.any()):
            step = int(differing.nonzero()[0])
            raise GradientRefused(
                f"f is no longer what it was in the solve: step {step}, taken again, has a scaled error of "
                f"{float(found[step]):.3g} in place of {float(kept[step]):.3g}; ask for the solution before f changes, "
                "or solve with SaveAt(dense=True)"
            )
