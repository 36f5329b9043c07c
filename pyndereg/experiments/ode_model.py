"""Neural ODEs as the experiments configure them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyndereg.experiments.config import ODEConfig
from pyndereg.experiments.gradients import gradient_of
from pyndereg.experiments.peer import TorchdiffeqODE
from pyndereg.experiments.regularization import solve_regularizers
from pyndereg.ivp import ODEProblem
from pyndereg.models import EndTimeSampling, NeuralODE
from pyndereg.solve import solve

# The solution that errors are measured against is at least so many times more accurate than a model's tolerance.
MARGIN = 1e-3
LEAST_TOLERANCE = 1e-13


def neural_ode(
    field: nn.Module,
    config: ODEConfig,
    *,
    t1: float = 1.0,
    saveat: Sequence[float] | None = None,
) -> NeuralODE:
    """The neural ODE of a field on [0, t1], with the configured solver, gradient, regularizer and end times.

    Args:
        field: right-hand side f(t, y).
        config: solver, tolerances, engine, gradient, regularizer and end time sampling.
        t1: end of the interval, units of time.
        saveat: times to save, which end time sampling then moves; None: the end.
    """
    if config.engine == "torchdiffeq":
        return TorchdiffeqODE(field, t1=t1, rtol=config.rtol, atol=config.atol)
    sampling = EndTimeSampling(b=config.steer_halfwidth) if saveat is None else EndTimeSampling()
    options: dict[str, Any] = solver_options(config) | ({} if saveat is None else {"saveat": saveat})
    return NeuralODE(field, t0=0.0, t1=t1, end_time_sampling=sampling if config.steer else None, **options)


def solver_options(config: ODEConfig) -> dict[str, Any]:
    """The configured solver, tolerances, engine, gradient and regularizers, as the models take them."""
    return {
        "method": config.method,
        "rtol": config.rtol,
        "atol": config.atol,
        "gradient": gradient_of(config.gradient, config.engine),
        "engine": config.engine,
        "field": None if config.field == "auto" else config.field,
        "first_step": None if config.steps else config.first_step,
        "regularizers": tuple(solve_regularizers(config).values()),
        **({"steps": config.steps, "adaptive": False} if config.steps else {}),
    }


@torch.no_grad()
def end_error(node: NeuralODE, y0: Tensor, y1: Tensor) -> float:
    """How far a model's final state is from that of the equation itself.

    Args:
        node: the model.
        y0: where its solve began. Shape (batch, *state).
        y1: where the solve, in evaluation mode, ended. That shape.
    Returns:
        Root mean square of the difference in units of the tolerance, atol + rtol |y|; dimensionless.
    """
    rtol, atol = node.options["rtol"], node.options["atol"]
    assert isinstance(node.field, nn.Module)
    field = copy.deepcopy(node.field).double().eval()
    problem = ODEProblem(field, y0.double(), node.t0, node.t1)
    tight = {"rtol": max(MARGIN * rtol, LEAST_TOLERANCE), "atol": max(MARGIN * atol, LEAST_TOLERANCE)}
    exact = solve(problem, "vern7", **tight).y1
    assert isinstance(exact, Tensor)
    return ((y1 - exact) / (atol + rtol * exact.abs())).square().mean().sqrt().item()
