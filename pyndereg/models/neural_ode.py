"""A neural ordinary differential equation as a layer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from pyndereg.ivp import Gradient, ODEProblem, SaveAt, Solution, State
from pyndereg.ivp.control import PID, Control
from pyndereg.ivp.first_step import FirstStep, Remembered, of_forward, of_module
from pyndereg.ivp.julia import JuliaFunction
from pyndereg.ivp.problem import Time, check_time
from pyndereg.models.end_time import EndTimeSampling
from pyndereg.penalties import check_regularizers
from pyndereg.regularizers import Regularizer
from pyndereg.solve import solve
from pyndereg.solver.tableaus import TABLEAUS
from pyndereg.torch_modes import outside_graphs

# After a start of the right length: at equal error 0.85 of the evaluations that the control of `solve` takes, which
# was made to grow out of a careful one. See docs/guide.md, "Step control".
AFTER_REMEMBERED_START = PID("H321")


class NeuralODE(nn.Module):
    """The map from an initial state to the solution of dy/dt = field(t, y) at t1, or at the save times.

    Args:
        field: right-hand side, a module called as `field(t, y)`, or a `pyndereg.julia.function`, whose parameters are
            then this module's if they are an `nn.Parameter`.
        t0, t1: ends of the interval, in the problem's time units; an `nn.Parameter` is learnt, too.
        method, rtol, atol, gradient, engine: see `pyndereg.solve`.
        saveat: times to return the state at; None returns the final state.
        end_time_sampling: random times while the module is in training mode: `EndTimeSampling(b)` moves t1,
            `EndTimeSampling()` the times of `saveat`. `solution.t` holds the drawn ones; the states that are returned
            are still one per save time, in their order.
        regularizers: what `solution.penalties` holds while the module is in training mode; in evaluation mode it is
            empty, and nothing is spent on it.
        first_step: `"remembered"` (default): each training solve starts with the length that the last one could have
            started with, and one in evaluation mode or without gradients with what training remembered, which belongs
            to the `state_dict`;
            `"search"`, a length or a `Remembered(...)`: see `pyndereg.solve`. With `dt` given, that is the start.
        control: see `pyndereg.solve`; None for `control.PID("H321")` where the start is remembered and the embedded
            engine's error estimate chooses the steps, else for that of `solve`.
        options: further options of `pyndereg.solve`; its `field=` says how the julia engine gets the right-hand side.

    Raises:
        ValueError: random end times are wider than the interval, or of the wrong kind for `saveat`.
    Source: [@chen2018neural].
    """

    def __init__(
        self,
        field: nn.Module | JuliaFunction,
        /,
        *,
        t0: Time = 0.0,
        t1: Time = 1.0,
        method: str = "tsit5",
        rtol: float = 1e-6,
        atol: float = 1e-6,
        saveat: SaveAt | Sequence[float] | Tensor | None = None,
        gradient: Gradient | None = None,
        engine: str = "embedded",
        end_time_sampling: EndTimeSampling | None = None,
        regularizers: Sequence[Regularizer] = (),
        first_step: FirstStep = "remembered",
        control: Control | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if not isinstance(field, nn.Module | JuliaFunction):
            raise TypeError(f"field is a {type(field).__name__}; pass an nn.Module called as field(t, y)")
        t0, t1 = check_time(t0, "t0"), check_time(t1, "t1")
        saveat = saveat if isinstance(saveat, SaveAt) or saveat is None else SaveAt(times=saveat)
        if end_time_sampling is not None:
            series = () if saveat is None else saveat.checked_times(number(t0), number(t1))
            end_time_sampling.check_interval(number(t0), number(t1), series=bool(series))
        self.field = field
        if isinstance(field, JuliaFunction) and isinstance(field.parameters, nn.Parameter):
            self.register_parameter("parameters_of_field", field.parameters)
        self.t0, self.t1 = t0, t1
        self.saveat = saveat
        self.end_time_sampling = end_time_sampling
        self.regularizers = check_regularizers(regularizers)
        self.first_step = of_module(first_step, options)
        self.options: dict[str, Any] = {
            "method": method,
            "rtol": rtol,
            "atol": atol,
            "gradient": gradient,
            "engine": engine,
            **options,
        }
        if control is None and isinstance(self.first_step, Remembered) and _is_controlled(self.options):
            control = AFTER_REMEMBERED_START
        if control is not None:
            self.options["control"] = control

    @outside_graphs
    def forward(self, y0: State, params: Iterable[Tensor] = ()) -> tuple[State, Solution]:
        """Solve from a batch of initial states.

        Args:
            y0: initial state, usually (batch, dim); any shape that the field takes, or a tuple.
            params: tensors besides the field's own parameters that it uses and that receive gradients.
        Returns:
            The final state, shape of y0, or with `saveat` the saved states, shape (times, *y0.shape); and the solution
            with its record of steps.
        """
        t1, saveat = self._times()
        problem = ODEProblem(self.field, y0, self.t0, t1, params)
        regularizers = self.regularizers if self.training else ()
        first_step = of_forward(self.first_step, training=self.training)
        solution = solve(problem, saveat=saveat, regularizers=regularizers, first_step=first_step, **self.options)
        return (solution.y1 if saveat is None else solution.y), solution

    def _times(self) -> tuple[Time, SaveAt | None]:
        """The end and the save times of one forward pass."""
        if not self.training or self.end_time_sampling is None:
            return self.t1, self.saveat
        if self.saveat is None or self.saveat.times is None:
            return self.t1 + self.end_time_sampling.sample(0.0), self.saveat
        t0, t1 = number(self.t0), number(self.t1)
        times = self.saveat.checked_times(t0, t1)
        return self.t1, replace(self.saveat, times=self.end_time_sampling.sample_series(times, t0, t1))

    def extra_repr(self) -> str:
        """The interval and options, for printing."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"t0={number(self.t0)}, t1={number(self.t1)}, {options}"


def _is_controlled(options: Mapping[str, Any]) -> bool:
    """Whether an error estimate of the embedded engine chooses the steps."""
    tableau = TABLEAUS.get(options["method"]) if isinstance(options["method"], str) else None
    has_estimate = tableau is not None and tableau.b_error is not None
    return has_estimate and options["engine"] == "embedded" and bool(options.get("adaptive", True))


def number(t: Time) -> float:
    """An end of the interval as a number."""
    return float(t.detach()) if isinstance(t, Tensor) else t
