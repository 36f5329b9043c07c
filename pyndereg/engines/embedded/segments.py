"""A solve from one breakpoint to the next: a solve for each part, joined to one solution."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from pyndereg.ivp import Problem, SaveAt, Solution, SolveOptions, State, Status, StepRecord
from pyndereg.ivp.problem import Time
from pyndereg.ivp.sampling import Sample, Sampler
from pyndereg.ivp.segment import segment_of
from pyndereg.solver.interpolation import check_inside
from pyndereg.solver.times import time_dtype

SolvePart = Callable[[Problem, SolveOptions, Sequence[Sampler]], Solution]


class _WatchedSampler:
    """A sampler that sees several solves; remembers whether it chose a point of the present one."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self.chose = sampler, False

    def choose(self, t: float, t_end: float) -> float | None:
        """See `Sampler`."""
        theta = self._sampler.choose(t, t_end)
        self.chose = self.chose or theta is not None
        return theta


def solve_in_segments(
    solve: SolvePart, problem: Problem, options: SolveOptions, points: Sequence[float], samplers: Sequence[Sampler]
) -> Solution:
    """The solution of a problem whose steps end at some times, and whose step control starts anew there.

    Every part is a solve of its own, from the state at which the one before it ended, so that every gradient goes
    through them, and a backward solve, too, stops where the right-hand side jumps.

    Args:
        solve: solves a part.
        points: times strictly inside the interval, in the order in which they are passed.
        samplers: choose points of the whole solution.
    """
    t0, t1 = problem.interval
    dtype = time_dtype(t0, t1, problem.layout.dtype)
    ends: list[Time] = [problem.t0, *points, problem.t1]
    parts: list[Solution] = []
    samples: list[Sample | None] = [None] * len(samplers)
    y, left = problem.y0, options.max_steps
    for (start, end), between in zip(pairwise(ends), pairwise((t0, *points, t1)), strict=True):
        if left == 0:
            parts[-1] = replace(parts[-1], status=Status.MAX_STEPS)
            break
        watched = [_WatchedSampler(sampler) for sampler in samplers]
        saveat = _saveat_between(options.saveat, problem.interval, *between)
        part = solve(
            segment_of(problem, y, (start, end), points, dtype),
            replace(options, saveat=saveat, breakpoints=None, max_steps=left),
            watched,
        )
        parts.append(part)
        chosen = iter(part.samples)
        samples = [next(chosen) if one.chose else old for one, old in zip(watched, samples, strict=True)]
        if not part.status.succeeded:
            break
        y, left = part.y1, left - part.stats.accepted - part.stats.rejected
    found = tuple(sample for sample in samples if sample is not None)
    return _joined(parts, options.saveat, problem.interval, points, found)


def _saveat_between(saveat: SaveAt, interval: tuple[float, float], start: float, end: float) -> SaveAt:
    """What a part saves: the times in it, its end included, its start only where that is t0."""
    if saveat.times is None:
        return saveat
    inside = [
        t
        for t in saveat.checked_times(*interval)
        if ((t - start) * (end - start) > 0 and (end - t) * (end - start) >= 0) or t == start == interval[0]
    ]
    return SaveAt(times=inside or None, dense=saveat.dense)


def _joined(
    parts: Sequence[Solution],
    saveat: SaveAt,
    interval: tuple[float, float],
    points: Sequence[float],
    samples: tuple[Sample, ...],
) -> Solution:
    last = parts[-1]
    t, y = last.t, last.y
    if saveat.every_step:
        # A part saves its start, which is the end of the one before it.
        t = torch.cat([parts[0].t, *(part.t[1:] for part in parts[1:])])
        y = _cat([parts[0].y, *(_rows(part.y, slice(1, None)) for part in parts[1:])])
    elif saveat.times is not None:
        ends = (interval[0], *points, interval[1])
        saving = [
            part
            for part, (start, end) in zip(parts, pairwise(ends), strict=False)
            if _saveat_between(saveat, interval, start, end).times is not None
        ]
        t = torch.cat([last.t[:0], *(part.t for part in saving)])
        y = _cat([_rows(last.y, slice(0)), *(part.y for part in saving)])
    return Solution(
        t=t,
        y=y,
        y1=last.y1,
        steps=StepRecord(*(torch.cat(columns) for columns in zip(*map(_columns, parts), strict=True))),
        stats=replace(parts[0].stats, **{name: sum(getattr(part.stats, name) for part in parts) for name in COUNTS}),
        status=last.status,
        t_reached=last.t_reached,
        interpolate=_JoinedDense(tuple(parts), interval[0], tuple(points)),
        samples=samples,
    )


COUNTS = ("nfe", "accepted", "rejected", "diffusion_nfe", "local_nfe")


def _columns(part: Solution) -> tuple[Tensor, ...]:
    steps = part.steps
    return steps.t, steps.dt, steps.scaled_error, steps.stiffness, steps.rounding, steps.allowed


def _cat(states: Sequence[State]) -> State:
    if isinstance(states[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return torch.cat(states)  # type: ignore[arg-type]


def _rows(states: State, rows: slice | Tensor) -> State:
    return tuple(part[rows] for part in states) if isinstance(states, tuple) else states[rows]


@dataclass(frozen=True)
class _JoinedDense:
    """Dense output of several solves, one after the other; a time between two of them belongs to the earlier one."""

    parts: tuple[Solution, ...]
    t0: float
    points: tuple[float, ...]

    def __call__(self, t: Tensor) -> State:
        """The state at times of any shape (float64, CPU), all within the solved interval."""
        flat, t_reached = t.reshape(-1), self.parts[-1].t_reached
        check_inside(flat, self.t0, t_reached)
        direction = 1.0 if t_reached >= self.t0 else -1.0
        starts = direction * torch.tensor(self.points[: len(self.parts) - 1], dtype=torch.float64, device="cpu")
        index = torch.searchsorted(starts, (direction * flat).contiguous())
        rows = [torch.nonzero(index == k).reshape(-1) for k in range(len(self.parts))]
        asked = [(part, where) for part, where in zip(self.parts, rows, strict=True) if len(where)]
        if not asked:
            return self.parts[0].interpolate(t)
        order = torch.argsort(torch.cat([where for _, where in asked]))
        found = _cat([part.interpolate(flat[where]) for part, where in asked])
        return _shaped(found, order, t.shape)


def _shaped(states: State, order: Tensor, shape: Iterable[int]) -> State:
    if isinstance(states, tuple):
        return tuple(part[order.to(part.device)].reshape(*shape, *part.shape[1:]) for part in states)
    return states[order.to(states.device)].reshape(*shape, *states.shape[1:])
