"""Neural ODEs as the experiments configure them."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from pyndereg.experiments.config import ODEConfig
from pyndereg.experiments.gradients import gradient_of
from pyndereg.experiments.regularization import solve_regularizers
from pyndereg.models import EndTimeSampling, NeuralODE


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
        "regularizers": tuple(solve_regularizers(config).values()),
    }
