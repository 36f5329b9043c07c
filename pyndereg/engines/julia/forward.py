"""One forward solve in Julia, and what is read of its result."""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyndereg.engines.julia.convert import Reply, Request, address, pointer, tensor_at
from pyndereg.engines.julia.fields import JuliaField
from pyndereg.engines.julia.session import Held, call, number_of, without_gil
from pyndereg.ivp import Status
from pyndereg.ivp.julia import JuliaMethod
from pyndereg.ivp.state import StateLayout
from pyndereg.solver.control import possible_growth

# In the order of NDERegEngine.Bridge.STATUSES.
STATUSES = (Status.SUCCESS, Status.MAX_STEPS, Status.STEP_UNDERFLOW, Status.NON_FINITE, Status.NOT_CONVERGED)


@dataclass(frozen=True)
class JuliaSolve:
    """A solve that is ready to run.

    Attributes:
        field, method: what is solved and how.
        layout: of the state.
        t0, t1: ends of the interval, as the state's dtype has them.
        times: save times in order, ends included.
        every_step: save t0 and the end of every step instead.
        rtol, atol, dt, adaptive, max_steps, stiffness: as `SolveOptions`; dt is NaN where there is none.
        keep_states: keep the state at the start of every step, or of `checkpoints` of them.
        keep_solution: keep OrdinaryDiffEq's solution, with dense output.
    """

    field: JuliaField
    method: JuliaMethod
    layout: StateLayout
    t0: float
    t1: float
    times: tuple[float, ...]
    every_step: bool
    rtol: float
    atol: float
    dt: float
    adaptive: bool
    max_steps: int
    stiffness: str
    keep_states: bool
    checkpoints: int
    keep_solution: bool

    def with_everything(self) -> "JuliaSolve":
        """The same solve, keeping all that dense output and its gradient need."""
        return replace(self, keep_states=True, checkpoints=0, keep_solution=True, times=(), every_step=False)

    def run(self, y0: Tensor) -> "Outcome":
        """Solve from a flat state. Shape (size,)."""
        return call(lambda bridge: _run(bridge, self, y0.detach().contiguous()))

    def enter(self, function: Callable[[], Any]) -> Any:
        """function(), which lets Julia call the field; on the Julia thread.

        Raises:
            BaseException: what the field raised, or what Julia did.
        """
        torch_field = self.field.torch_field
        with self.field.alive():
            try:
                return function()
            except Exception:
                if torch_field is None or torch_field.error is None:
                    raise
                failure = torch_field.error
                torch_field.error = None
        raise failure


@dataclass(frozen=True)
class Outcome:
    """What a forward solve left.

    Attributes:
        held: its record in Julia; None where nothing needs it.
        status, nfe, rejected, t_reached: how it went.
        rows: t, dt, scaled error and stiffness of the accepted steps. Shape (4, steps), float64.
        times: times at which states were saved.
        saved: these states. Shape (times, size).
        y1: last accepted state. Shape (size,).
        warnings: the solver's.
        first_rejected, order: tries of the first step; by which power of its length a step's error grows, NaN where
            that varies.
    """

    held: Held | None
    status: Status
    nfe: int
    rejected: int
    t_reached: float
    rows: Tensor
    times: tuple[float, ...]
    saved: Tensor
    y1: Tensor
    warnings: tuple[str, ...]
    first_rejected: int
    order: float

    @property
    def steps(self) -> int:
        """Number of accepted steps."""
        return self.rows.shape[1]

    @property
    def first(self) -> dict[str, Any]:
        """What `Statistics` say of the first step of a solve whose steps its errors decide on."""
        if self.steps == 0:
            return {}
        _, dt, error, _ = self.rows[:, 0].tolist()
        if math.isnan(error):
            return {}
        growth = possible_growth(error, self.order)
        return {"first_step": abs(dt), "first_growth": growth, "first_rejected": self.first_rejected}


def _run(bridge: Any, solve: JuliaSolve, y0: Tensor) -> Outcome:
    asked = Asked(bridge, solve, y0, method_number(bridge, solve.method))
    reply = Reply()
    solve_in_julia = without_gil(bridge, "solve")
    solve.enter(lambda: solve_in_julia(address(asked.request), address(reply)))
    return asked.outcome(reply)


class Asked:
    """A request to Julia, and the memory that it names, which lives as long as this.

    Args:
        bridge: on the Julia thread.
        solve: what is asked for.
        y0: initial state. Shape (size,).
        method: number of the algorithm.

    Attributes:
        request: for Julia.
    """

    def __init__(self, bridge: Any, solve: JuliaSolve, y0: Tensor, method: int) -> None:
        layout, field, times = solve.layout, solve.field, solve.times
        self._bridge, self._solve, self._y0 = bridge, solve, y0
        inner_times = [t for t in times if t not in (solve.t0, solve.t1)]
        self._inner = (ctypes.c_double * len(inner_times))(*inner_times)
        self._starts = bool(times) and times[0] == solve.t0
        self._saved, self._y1 = y0.new_empty(len(times), layout.size), torch.empty_like(y0)
        shape = tuple(reversed(layout.solver_shape)) or (1,)
        self._dimensions = (ctypes.c_int64 * len(shape))(*shape)
        self.request = Request(
            number_of(bridge, field.key, field.make),
            method,
            pointer(y0),
            ctypes.addressof(self._dimensions),
            len(shape),
            int(layout.dtype == torch.float32),
            pointer(field.p),
            field.p.numel(),
            solve.t0,
            solve.t1,
            solve.rtol,
            solve.atol,
            solve.dt,
            int(solve.adaptive),
            solve.max_steps,
            ctypes.addressof(self._inner),
            len(self._inner),
            None if len(self._inner) == 0 else self._saved[int(self._starts) :].data_ptr(),
            pointer(self._y1),
            int(solve.stiffness == "rms"),
            int(solve.keep_states or solve.every_step),
            solve.checkpoints,
            int(solve.keep_solution),
        )

    def outcome(self, reply: Reply) -> Outcome:
        """What a solve left, from the reply to the request."""
        solve, layout, saved, times = self._solve, self._solve.layout, self._saved, self._solve.times
        held = Held(reply.record)
        rows = tensor_at(reply.rows, 4 * reply.steps, torch.float64).clone().view(-1, 4).t().contiguous()
        status = STATUSES[reply.status]
        t_reached = solve.t1 if status.succeeded else reply.t_reached
        if solve.every_step:
            saved = states_at(reply, reply.steps + 1, layout)
            times = (*rows[0].tolist(), t_reached)
        elif times:
            count = int(self._starts) + reply.saved
            if self._starts:
                saved[0] = self._y0
            if times[-1] == solve.t1 and status.succeeded:
                saved[count] = self._y1
                count += 1
            saved, times = saved[:count], times[:count]
        return Outcome(
            held=held if solve.keep_states or solve.keep_solution else None,
            status=status,
            nfe=reply.evaluations,
            rejected=reply.rejected,
            t_reached=t_reached,
            rows=rows,
            times=times,
            saved=saved,
            y1=self._y1,
            warnings=_warnings(self._bridge, reply),
            first_rejected=reply.first_rejected,
            order=reply.order,
        )


def states_at(reply: Reply, count: int, layout: StateLayout) -> Tensor:
    """A copy of the states that Julia kept. Shape (count, size)."""
    return tensor_at(reply.states, count * layout.size, layout.dtype).clone().view(-1, layout.size)


def method_number(bridge: Any, method: JuliaMethod) -> int:
    """The number of an algorithm; on the Julia thread."""
    keys, values = ([part[i] for part in method.options] for i in (0, 1))
    return number_of(bridge, method, lambda bridge: bridge.method(method.name, keys, values))


def _warnings(bridge: Any, reply: Reply) -> tuple[str, ...]:
    if not reply.messages:
        return ()
    return tuple(str(bridge.messages(reply.record)).split("\0")[1:])


def rounded(t: float, dtype: torch.dtype) -> float:
    """A time as the state's dtype has it."""
    return t if dtype == torch.float64 else torch.tensor(t, dtype=dtype, device="cpu").item()


def step_length(dt: float | None) -> float:
    """A step length as Julia gets it."""
    return math.nan if dt is None else float(dt)
