"""A neural stochastic differential equation as a layer."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from pyndereg.ivp import Gradient, SaveAt, SDEProblem, Solution
from pyndereg.ivp.first_step import FirstStep, of_forward, of_module
from pyndereg.ivp.problem import check_end
from pyndereg.ivp.sde import BrownianMotion, Interpretation, Noise
from pyndereg.numbers import at_least
from pyndereg.penalties import check_regularizers
from pyndereg.regularizers import LocalRegularizer
from pyndereg.solve import solve
from pyndereg.torch_modes import outside_graphs


class NeuralSDE(nn.Module):
    """The map from an initial state to a random solution of dy = drift(t, y) dt + diffusion(t, y) dW at t1.

    Args:
        drift, diffusion: modules called as `drift(t, y)` and `diffusion(t, y)`; shapes as in `SDEProblem`.
        t0, t1: ends of the interval, in the problem's time units.
        noise, interpretation, noise_size: kind of the equation; see `SDEProblem`.
        method, rtol, atol, gradient, engine: see `pyndereg.solve`.
        saveat: times to return the state at; None returns the final state.
        regularizers: what `solution.penalties` holds while the module is in training mode.
        first_step: `"remembered"` (default): each training solve starts with the length that the last one could have
            started with, and one in evaluation mode or without gradients with what training remembered, which belongs
            to the `state_dict`;
            `"search"`, a length or a `Remembered(...)`: see `pyndereg.solve`. With `dt` given, that is the start.
        options: further options of `pyndereg.solve`.
    Source: [@li2020scalable]; with the solver's estimates as penalties [@pal2021opening].
    """

    def __init__(
        self,
        drift: nn.Module,
        diffusion: nn.Module,
        /,
        *,
        t0: float = 0.0,
        t1: float = 1.0,
        noise: Noise = "diagonal",
        interpretation: Interpretation = "ito",
        noise_size: int | None = None,
        method: str | None = None,
        rtol: float = 1e-2,
        atol: float = 1e-2,
        saveat: SaveAt | Sequence[float] | Tensor | None = None,
        gradient: Gradient | None = None,
        engine: str = "embedded",
        regularizers: Sequence[LocalRegularizer] = (),
        first_step: FirstStep = "remembered",
        **options: Any,
    ) -> None:
        super().__init__()
        for name, module in (("drift", drift), ("diffusion", diffusion)):
            if not isinstance(module, nn.Module):
                raise TypeError(f"{name} is a {type(module).__name__}; pass an nn.Module called as {name}(t, y)")
        self.drift, self.diffusion = drift, diffusion
        self.t0, self.t1 = check_end(t0, "t0"), check_end(t1, "t1")
        self.kind: dict[str, Any] = {"noise": noise, "interpretation": interpretation, "noise_size": noise_size}
        self.saveat = saveat if isinstance(saveat, SaveAt) or saveat is None else SaveAt(times=saveat)
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

    @outside_graphs
    def forward(
        self,
        y0: Tensor,
        *,
        trajectories: int | None = None,
        seed: int | None = None,
        brownian: BrownianMotion | None = None,
        params: Iterable[Tensor] = (),
    ) -> tuple[Tensor, Solution]:
        """Solve from a batch of initial states, all along paths of their own, as one batch with one step length.

        Args:
            y0: initial state. Shape (batch, dim), or any shape that drift and diffusion take.
            trajectories: how many solutions from each initial state; a new first axis. None: one, without that axis.
            seed, brownian: of the Brownian motion; see `SDEProblem`.
            params: tensors besides the modules' own parameters that receive gradients.
        Returns:
            The final state, shape ([trajectories,] *y0.shape), or with `saveat` the saved states, shape
            (times, [trajectories,] *y0.shape); and the solution with its record of steps.
        Raises:
            ValueError: trajectories is not positive.
        """
        if trajectories is not None:
            trajectories = at_least(trajectories, 1, "trajectories", "a positive whole number, or None for one")
            y0 = y0.expand(trajectories, *y0.shape)
        problem = SDEProblem(
            self.drift, self.diffusion, y0, self.t0, self.t1, params, seed=seed, brownian=brownian, **self.kind
        )
        regularizers = self.regularizers if self.training else ()
        first_step = of_forward(self.first_step, training=self.training)
        solution = solve(problem, saveat=self.saveat, regularizers=regularizers, first_step=first_step, **self.options)
        state = solution.y1 if self.saveat is None else solution.y
        assert isinstance(state, Tensor)
        return state, solution

    def extra_repr(self) -> str:
        """The interval, the kind of noise and options, for printing."""
        options = ", ".join(f"{name}={value!r}" for name, value in {**self.kind, **self.options}.items())
        return f"t0={self.t0}, t1={self.t1}, {options}"
