"""Parameters of the Lotka-Volterra equations, fitted so that the prey stays at one: an equation as a layer."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pyndereg.experiments import trajectory
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.gradients import gradient_of
from pyndereg.experiments.lotka_volterra_config import LotkaVolterraConfig
from pyndereg.experiments.placement import PRECISIONS
from pyndereg.experiments.regularization import ERROR_ESTIMATES, STIFFNESS_ESTIMATES
from pyndereg.experiments.train import PenaltyTerm
from pyndereg.experiments.trajectory import Columns, Fit, FitReport
from pyndereg.models import NeuralODE
from pyndereg.regularizers import Exponential
from pyndereg.results import RunRecord

EXPERIMENT = "lotka-volterra"
QUICK = LotkaVolterraConfig()
# The published settings take seconds: they are the quick ones.
PRESETS = {"quick": QUICK, "paper-c": QUICK}

PARAMETERS = ("alpha", "beta", "delta", "gamma")
FIRST_GUESS = (2.2, 1.0, 2.0, 0.4)
START = (1.0, 1.0)
END = 10.0
TIMES = tuple(place / 10 for place in range(101))
TARGET = 1.0


class LotkaVolterra(nn.Module):
    """Prey x and predators y: dx/dt = alpha x - beta x y, dy/dt = -delta y + gamma x y.

    Args:
        parameters: alpha, beta, delta and gamma, in 1/time and, for beta and gamma, 1/time per animal. Shape (4,).
    Source: [@rackauckas2019diffeqflux], the first example.
    """

    def __init__(self, parameters: Tensor) -> None:
        super().__init__()
        self.rates = nn.Parameter(parameters)

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        """t () and the populations (2,) -> their rates of change (2,)."""
        alpha, beta, delta, gamma = self.rates.unbind()
        x, y = state.unbind()
        return torch.stack([alpha * x - beta * x * y, -delta * y + gamma * x * y])


def run(config: LotkaVolterraConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Fit the parameters under a progress bar and time a solve; the fitted ones are metrics under their names.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError, TrainingDiverged, SolveFailed: as `trajectory.fit_and_record` says.
    """
    model, record = trajectory.run_fit(
        EXPERIMENT,
        config,
        lambda: build(config),
        data=data_columns(),
        checkpoint=checkpoint,
    )
    return replace(record, metrics={**record.metrics, **parameters_of(model)})


def train_lotka_volterra(
    config: LotkaVolterraConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[FitReport], None] | None = None,
) -> tuple[NeuralODE, RunRecord]:
    """Fit the parameters as configured; returns, reports and raises as `trajectory.fit_and_record`."""
    fit, record = trajectory.fit_and_record(
        EXPERIMENT,
        config,
        lambda: build(config),
        data=data_columns(),
        checkpoint=checkpoint,
        report=report,
    )
    return fit.model, replace(record, metrics={**record.metrics, **parameters_of(fit.model)})


def build(config: LotkaVolterraConfig) -> Fit:
    """The equations with the published first guess, whose loss is the sum of (x - 1)^2 over the times."""
    start = torch.tensor(START, dtype=PRECISIONS[config.precision], device=config.device)
    model = NeuralODE(
        LotkaVolterra(start.new_tensor(FIRST_GUESS)),
        t0=0.0,
        t1=END,
        method=config.method,
        rtol=config.rtol,
        atol=config.atol,
        saveat=TIMES,
        first_step="search",
        gradient=gradient_of(config.gradient, config.engine),
        engine=config.engine,
    )
    return Fit(
        model=model,
        start=start,
        distance=lambda states: (states[:, 0] - TARGET).square().sum(),
        optimizer=torch.optim.Adam(model.parameters(), lr=config.learning_rate),
        terms=penalty_terms(config),
        portrait=model,
    )


def penalty_terms(config: LotkaVolterraConfig) -> tuple[PenaltyTerm, ...]:
    """The term that the configured regularizer adds to the loss, as its paper's code has it; none for "none".

    Source: [@pal2021opening].
    """
    if config.regularizer == "none":
        return ()
    estimates, weights = {
        "error": (ERROR_ESTIMATES, config.error_weight),
        "stiffness": (STIFFNESS_ESTIMATES, config.stiffness_weight),
    }[config.regularizer]
    estimate = estimates["code"]
    return (PenaltyTerm(config.regularizer, lambda solution: estimate(solution.steps), Exponential(*weights, steps=1)),)


def parameters_of(model: NeuralODE) -> dict[str, float]:
    """The parameters under their names, in the units of `LotkaVolterra`."""
    (rates,) = model.parameters()
    return dict(zip(PARAMETERS, rates.tolist(), strict=True))


def data_columns() -> Columns:
    """What the populations are fitted to: x = 1, and y = 1, which follows, since x can only stay where y does."""
    target = (TARGET,) * len(TIMES)
    return {"t": TIMES, "data 1": target, "data 2": target}
