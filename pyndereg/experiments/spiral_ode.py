"""A neural ODE fitted to a trajectory on a spiral, regularized to be easy to solve."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from pyndereg import fields
from pyndereg.experiments import trajectory
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.ode_model import neural_ode
from pyndereg.experiments.optimizers import make_optimizer, make_schedule
from pyndereg.experiments.placement import PRECISIONS
from pyndereg.experiments.regularization import penalty_terms
from pyndereg.experiments.sde_networks import initialize
from pyndereg.experiments.spiral_data import POINTS, START, spiral_drift
from pyndereg.experiments.spiral_ode_config import SpiralODEConfig
from pyndereg.experiments.trajectory import Columns, Fit, FitReport
from pyndereg.ivp import ODEProblem
from pyndereg.models import NeuralODE
from pyndereg.results import RunRecord
from pyndereg.solve import solve

EXPERIMENT = "spiral-ode"
QUICK = SpiralODEConfig()
# [@pal2021opening] shows this equation in a figure, of which neither the tolerance nor the weights are published: there
# is no preset for it.
PRESETS = {
    "quick": QUICK,
    "remembered": QUICK.remembering(),
    # [@rackauckas2019diffeqflux]. Its data were solved at a relative tolerance of 1e-3.
    "paper-c": replace(QUICK, iterations=1000, rtol=1e-7, atol=1e-9, precision="float32", learning_rate=0.1),
}

END = 1.5
TIMES = tuple(END * place / (POINTS - 1) for place in range(POINTS))
# Each interval between two times of the data in four, so that a portrait is smooth.
REFINEMENT = 4
PORTRAIT_TIMES = tuple(END * place / (REFINEMENT * (POINTS - 1)) for place in range(REFINEMENT * (POINTS - 1) + 1))
TOLERANCE_OF_DATA = 1e-9


def run(config: SpiralODEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Fit one model under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError, TrainingDiverged, SolveFailed: as `trajectory.fit_and_record` says.
    """
    _, record = trajectory.run_fit(
        EXPERIMENT,
        config,
        lambda: build(config),
        data=data_columns(),
        checkpoint=checkpoint,
    )
    return record


def train_spiral(
    config: SpiralODEConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[FitReport], None] | None = None,
) -> tuple[NeuralODE, RunRecord]:
    """Fit one model as configured; returns, reports and raises as `trajectory.fit_and_record`."""
    fit, record = trajectory.fit_and_record(
        EXPERIMENT,
        config,
        lambda: build(config),
        data=data_columns(),
        checkpoint=checkpoint,
        report=report,
    )
    return fit.model, record


def build(config: SpiralODEConfig) -> Fit:
    """The neural ODE dy/dt = W2 tanh(W1 y^3 + b1) + b2, y^3 element by element, and the data.

    Its loss is the sum of the squared differences from the data over times and elements.
    Source: [@rackauckas2019diffeqflux], the neural ODE by example.
    """
    network = nn.Sequential(fields.Power(3), nn.Linear(2, config.hidden), nn.Tanh(), nn.Linear(config.hidden, 2))
    initialize(network)
    field = fields.Autonomous(network).to(config.device, PRECISIONS[config.precision])
    start = torch.tensor(START, dtype=PRECISIONS[config.precision], device=config.device)
    data = spiral(TIMES).to(start)
    model = neural_ode(field, config, t1=END, saveat=TIMES)
    optimizer = make_optimizer(model, config)
    return Fit(
        model=model,
        start=start,
        distance=lambda states: (states - data).square().sum(),
        optimizer=optimizer,
        terms=penalty_terms(config),
        portrait=neural_ode(field, config, t1=END, saveat=PORTRAIT_TIMES),
        schedule=make_schedule(optimizer, config, config.iterations),
    )


@cache
@torch.no_grad()
def spiral(times: tuple[float, ...]) -> Tensor:
    """The trajectory of du/dt = A u^3 from u = (2, 0), u^3 element by element and A = [-0.1 -2; 2 -0.1].

    Args:
        times: ascending, in [0, 1.5].
    Returns:
        Shape (times, 2), units of u, in float64.
    Source: [@rackauckas2019diffeqflux], the neural ODE by example.
    """
    start = torch.tensor(START, dtype=torch.float64)
    problem = ODEProblem(spiral_drift, start, 0.0, END)
    states = solve(problem, "tsit5", rtol=TOLERANCE_OF_DATA, atol=TOLERANCE_OF_DATA, saveat=times).y
    assert isinstance(states, Tensor)
    return states


def data_columns() -> Columns:
    """The data as a run record has them: at the times of the portrait, NaN between the times of the data."""
    data = torch.full((len(PORTRAIT_TIMES), 2), math.nan, dtype=torch.float64)
    data[::REFINEMENT] = spiral(TIMES)
    return {"t": PORTRAIT_TIMES, **trajectory.columns("data", data)}
