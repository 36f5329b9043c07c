"""The reverse of a solve: cotangents carried backwards through its accepted steps.

With the step lengths frozen, a solve is a chain of steps y_n -> y_{n+1}, each a chain of nodes
Y_j = y_n + dt sum_{i<j} a_ji k_i and slopes k_j = f(t + c_j dt, Y_j). Its reverse needs one vector-Jacobian product of
f per node; all the rest is linear in the slopes, except the error and stiffness estimates, whose own small graphs are
made afresh. The slope at the end of a step is that at the start of the next: its cotangent is handed from step to step.

Derivation: [@hairer1993solving] section II.6 for the forward sums; the frozen step lengths are those of
[@pal2021opening].
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyndereg.solver.combination import LinearCombination, weights_tensor
from pyndereg.solver.gradients.captured import Target
from pyndereg.solver.gradients.graph import gradients_of
from pyndereg.solver.gradients.sums import add_to
from pyndereg.solver.interpolation import extension_slopes, extension_weights
from pyndereg.solver.runge_kutta import ExplicitRungeKutta, Stage, Step


@dataclass(frozen=True)
class StepCotangents:
    """What arrives from outside at one step; None means zero.

    Attributes:
        scaled_error, stiffness: of its estimates. Shape ().
        theta, saved: fractions at which it was interpolated, shape (points,), and cotangents of these states, shape
            (points, size).
        y1: of its end, as a saved state. Shape (size,).
        y1_follows_step: whether that state belongs to the end of the step wherever it lies, or to a fixed save time.
        y0, slopes: of its start and of its slopes, as dense output. Shapes (size,) and (nodes, size).
    """

    scaled_error: Tensor | None = None
    stiffness: Tensor | None = None
    theta: Tensor | None = None
    saved: Tensor | None = None
    y1: Tensor | None = None
    y1_follows_step: bool = True
    y0: Tensor | None = None
    slopes: Tensor | None = None

    def with_sample(self, theta: float, state: Tensor) -> "StepCotangents":
        """The same, and the cotangent of the state at one more fraction of the step. Shape (size,)."""
        if theta == 0.0:
            return replace(self, y0=state if self.y0 is None else self.y0 + state)
        thetas, states = torch.tensor([theta], dtype=torch.float64, device="cpu"), state[None]
        if self.theta is not None and self.saved is not None:
            thetas, states = torch.cat([self.theta, thetas]), torch.cat([self.saved, states])
        return replace(self, theta=thetas, saved=states)

    @property
    def needs_slopes(self) -> bool:
        """Whether something arrives at the step's slopes, so that their values are needed."""
        return not (self.scaled_error is None and self.stiffness is None and self.saved is None and self.slopes is None)

    @property
    def needs_extension(self) -> bool:
        """Whether the interpolant's nodes have cotangents."""
        return self.saved is not None or self.slopes is not None


@dataclass(frozen=True)
class Leaves:
    """What the graphs of stages are differentiated with respect to, besides state and time.

    Attributes:
        targets: those of kept graphs may be fewer than those of steps that are taken again, and come in their order.
        retain_graph: keep the graphs for a further backward pass.
    """

    targets: tuple[Target, ...]
    retain_graph: bool


class ReverseSweep:
    """Carries cotangents from the last step of a solve to its first.

    Args:
        method: the method, whose buffer of slopes is used again.
        leaves: of the graphs of the last step.
        targets: how many there are at most.

    Attributes:
        leaves: of the graphs of the step at hand.
        gradients: of the targets, so far; None where no stage depended on one.
        t0, t1: gradients of the ends of the interval, so far. Shape ().
    """

    def __init__(self, method: ExplicitRungeKutta, leaves: Leaves, targets: int) -> None:
        self._method, self.leaves = method, leaves
        self._end = method.tableau.end
        self._states = torch.zeros_like(method.slopes[: self._end + 1])
        self._inner_states = self._states[1:]
        self._zeros = torch.zeros_like(method.slopes[0])
        columns = method.coefficients.columns
        self._slopes = [LinearCombination(self._states[i + 1 :], columns[i]) for i in range(self._end)]
        self._room = torch.empty_like(self._zeros)
        self.gradients: list[Tensor | None] = [None] * targets
        self.t0 = self._zeros.new_zeros(())
        self.t1 = self._zeros.new_zeros(())
        self._length = self._zeros.new_zeros(())  # d(loss)/d(dt) of the step at hand, for the last step's length

    def stage(self, stage: Stage, node: Tensor, cotangent: Tensor) -> Tensor | None:
        """Vector-Jacobian product of f at one stage; parameters and time are summed up.

        Args:
            node: its fraction c of the step, by which its time moves with the step's length. Shape ().
            cotangent: of its slope. Shape (size,).
        Returns:
            Cotangent of its state, shape (size,); None if the slope does not depend on it.
        """
        if not stage.slope.requires_grad:
            return None
        targets, retain = self.leaves.targets, self.leaves.retain_graph
        inputs = [stage.y, *targets]
        if self._method.with_time:
            inputs.append(stage.t)
        gradients = gradients_of(stage.slope, inputs, cotangent.view(stage.slope.shape), retain_graph=retain)
        add_to(self.gradients, gradients[1 : len(targets) + 1])
        if self._method.with_time and gradients[-1] is not None:
            self.t0 += gradients[-1]
            self._length += gradients[-1] * node
        return None if gradients[0] is None else gradients[0].reshape(-1)

    def step(
        self, step: Step, y1: Tensor, end_slope: Tensor | None, outside: StepCotangents, *, is_last: bool
    ) -> tuple[Tensor, Tensor]:
        """Carry cotangents from the end of a step to its start.

        Args:
            step: with the graphs of its stages; its slopes are in the method's buffer if `outside` needs them.
            y1: cotangent of its end. Shape (size,).
            end_slope: cotangent of the slope there, from the next step. Shape (size,).
            outside: what arrives at this step besides.
            is_last: whether the step ends at t1, so that its length is t1 - t.
        Returns:
            Cotangents of the state and of the slope at its start. Shape (size,) each.
        """
        end = self._end
        if self._method.with_time:
            self._length.zero_()
        if outside.y1 is not None:
            y1 = y1 + outside.y1
            if self._method.with_time and not outside.y1_follows_step and not is_last:
                # A save time stands still while the step's end moves with t0.
                self.t0 -= outside.y1 @ step.stages[end].slope.detach().reshape(-1)
        y0 = self._zeros if outside.y0 is None else outside.y0
        slopes: Tensor | None = None
        inner: dict[int, Tensor] = {}
        if outside.needs_slopes:
            slopes = torch.zeros_like(self._method.slopes)
            if outside.slopes is not None:
                slopes += outside.slopes
            if outside.saved is not None and outside.theta is not None:
                y0 = y0 + self._interpolated(step, outside.theta, outside.saved, slopes)
            if outside.scaled_error is not None or outside.stiffness is not None:
                from_y0, from_y1 = self._estimates(step, outside, slopes, inner)
                y0, y1 = y0 + from_y0, y1 + from_y1
            y0 = self._extension(step, slopes, y0)
            end_slope = slopes[end] if end_slope is None else end_slope + slopes[end]
        # A last step whose method does not need the slope at its end never evaluated it; nothing arrives there then.
        if end_slope is not None and len(step.stages) > end:
            pulled = self._pull(step, end, end_slope)
            y1 = y1 if pulled is None else y1 + pulled
        self._states[end].copy_(y1)
        for i in range(end - 1, 0, -1):
            pulled = self._pull(step, i, self._slope_cotangent(i, step.dt, slopes))
            self._states[i].copy_(self._zeros if pulled is None else pulled)
            if i in inner:
                self._states[i].add_(inner[i])
        if is_last and self._method.with_time:
            self._last_length(step)
        return y0 + self._inner_states.sum(0), self._slope_cotangent(0, step.dt, slopes)

    def _slope_cotangent(self, i: int, dt: float, slopes: Tensor | None) -> Tensor:
        """Cotangent of slope i: its own, and that of every node after it, which it enters with dt a_ji.

        Valid until the next call, which may use the same room.
        """
        return self._slopes[i](self._zeros if slopes is None else slopes[i], dt, out=self._room)

    def _pull(self, step: Step, i: int, cotangent: Tensor) -> Tensor | None:
        return self.stage(step.stages[i], self._method.coefficients.c[i], cotangent)

    def _last_length(self, step: Step) -> None:
        """The last step's length is t1 - t, and its start t0 plus constants."""
        for i in range(1, self._end + 1):
            state = step.y1 if i == self._end else step.stages[i].y.detach().view(-1)
            self._length += self._states[i] @ (state - step.y0) / step.dt
        self.t1 += self._length
        self.t0 -= self._length

    def _interpolated(self, step: Step, theta: Tensor, saved: Tensor, slopes: Tensor) -> Tensor:
        """Save points inside the step: adds to `slopes`, and returns what they add to the cotangent of its start."""
        table = self._method.coefficients.weights
        weights = extension_weights(table, theta, step.y0)
        slopes.addmm_(weights.t(), saved, alpha=step.dt)
        if self._method.with_time:
            # A save time stands still while the step's start and length move.
            velocity = extension_slopes(table, theta, step.y0) @ self._method.slopes
            self.t0 -= (saved * velocity).sum()
            moved = weights @ self._method.slopes - theta.to(step.y0)[:, None] * velocity
            self._length += (saved * moved).sum()
        return saved.sum(0)

    def _extension(self, step: Step, slopes: Tensor, y0: Tensor) -> Tensor:
        """The interpolant's nodes after the end: adds to `slopes`, and returns the cotangent of y0 with theirs."""
        for j in range(len(step.stages) - 1, self._end, -1):
            pulled = self._pull(step, j, slopes[j])
            if pulled is None:
                continue
            row = weights_tensor(self._method.coefficients.rows[j], pulled.dtype, pulled.device)
            slopes[: row.shape[0]].addr_(row, pulled, alpha=step.dt)
            y0 = y0 + pulled
            if self._method.with_time:
                self._length += pulled @ (step.stages[j].y.detach().view(-1) - step.y0) / step.dt
        return y0

    def _estimates(
        self, step: Step, outside: StepCotangents, slopes: Tensor, inner: dict[int, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Error and stiffness, by a graph over this step's slopes and states alone.

        Adds to `slopes`, puts cotangents of inner nodes into `inner`, and returns those of both ends of the step.
        """
        method = self._method
        all_slopes, y0, y1 = (x.detach().requires_grad_() for x in (method.slopes, step.y0, step.y1))
        dt = step.y0.new_tensor(step.dt).requires_grad_()
        values, arriving = [], []
        pair: dict[int, Tensor] = {}
        with torch.enable_grad():
            if outside.scaled_error is not None:
                values.append(method.error_of(all_slopes, y0, y1, dt))
                arriving.append(outside.scaled_error)
            if outside.stiffness is not None:
                assert method.tableau.stiffness_stages is not None
                p, q = method.tableau.stiffness_stages
                pair = {i: step.stages[i].y.detach().view(-1).requires_grad_() for i in (p, q) if i != self._end}
                states = {self._end: y1, **pair}
                values.append(method.stiffness_of(all_slopes[p] - all_slopes[q], states[p] - states[q]))
                arriving.append(outside.stiffness)
        inputs = [all_slopes, y0, y1, dt, *pair.values()]
        gradients = torch.autograd.grad(values, inputs, arriving, allow_unused=True, materialize_grads=True)
        slopes += gradients[0]
        self._length += gradients[3]
        inner.update(zip(pair, gradients[4:], strict=True))
        return gradients[1], gradients[2]
