"""A neural SDE fitted to the mean and variance of a stochastic spiral, regularized to be easy to solve."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from pyndereg import fields
from pyndereg.experiments import naming
from pyndereg.experiments.checkpoint import Checkpoint, Stateful
from pyndereg.experiments.gradients import gradient_of
from pyndereg.experiments.loop import Row, run_epochs
from pyndereg.experiments.placement import PRECISIONS, check_device
from pyndereg.experiments.progress import progress_bar
from pyndereg.experiments.regularization import sde_penalty_terms, sde_regularizers
from pyndereg.experiments.sde_config import SpiralSDEConfig
from pyndereg.experiments.sde_networks import initialize
from pyndereg.experiments.spiral_data import START, TIMES, Moments, spiral_moments
from pyndereg.experiments.train import (
    PenaltyTerm,
    descend,
    prediction_seconds,
    record_run,
    reproducible,
    weighted_penalty,
)
from pyndereg.ivp.solution import Solution, StepRecord
from pyndereg.models import NeuralSDE
from pyndereg.regularizers import error_estimate
from pyndereg.results import RunRecord

EXPERIMENT = "spiral-sde"
QUICK = SpiralSDEConfig()
PRESETS = {
    "quick": QUICK,
    "remembered": QUICK.remembering(),
    # [@pal2021opening]. The published library's AdaBelief leaves out the correction of the moments' bias.
    "paper-a": replace(
        QUICK,
        iterations=250,
        optimizer="adabelief",
        learning_rate=0.01,
        final_learning_rate=0.01,
        largest_gradient=0.0,
        precision="float32",
        error_weight=(0.2, 0.2),
        seed=5,
    ),
}
# The paper's loss and NFE are those of one solve, which vary by a third and by a hundredth from path to path.
EVALUATION_SOLVES = 10
PREDICTION_REPEATS = 15


class SpiralModel(nn.Module):
    """The neural SDE dy = W2 tanh(W1 y^3 + b1) + b2 dt + (W3 y + b3) dW, with y^3 and dW element by element.

    Args:
        config: solver, tolerances, gradient, regularizer, width, trajectories, precision and device.
    Source: [@pal2021opening], the spiral experiment.
    """

    def __init__(self, config: SpiralSDEConfig) -> None:
        super().__init__()
        self.trajectories = config.trajectories
        drift = nn.Sequential(fields.Power(3), nn.Linear(2, config.hidden), nn.Tanh(), nn.Linear(config.hidden, 2))
        self.nsde = NeuralSDE(
            fields.Autonomous(drift),
            fields.Autonomous(nn.Linear(2, 2)),
            method=config.solver,
            rtol=config.rtol,
            atol=config.atol,
            saveat=TIMES,
            gradient=gradient_of(config.gradient, config.engine),
            engine=config.engine,
            first_step=config.first_step,
            regularizers=tuple(sde_regularizers(config).values()),
        )
        initialize(self)
        self.to(config.device, PRECISIONS[config.precision])

    def forward(self, start: Tensor, *, seed: int | None = None) -> tuple[Tensor, Solution]:
        """Trajectories at the times of the data, all along paths of their own with one step length.

        Args:
            start: Shape (2,), units of u.
            seed: of the Brownian motion; by default from torch's generator.
        Returns:
            states: Shape (times, trajectories, 2), units of u.
            solution: with the record of the steps, and in training mode with the penalties.
        """
        return self.nsde(start, trajectories=self.trajectories, seed=seed)


@dataclass(frozen=True)
class IterationReport:
    """Where a run stands after an iteration, for whoever watches.

    Args:
        title: the run in a few words.
        loss: distance of the moments from the data's, dimensionless.
        nfe: evaluations of the drift in the iteration's solve.
    """

    title: str
    loss: float
    nfe: int

    @property
    def standing(self) -> str:
        """Where the run stands, in a few words."""
        return f"loss {self.loss:.4f}, NFE {self.nfe}"


@dataclass(frozen=True)
class Evaluation:
    """What a model does along paths that are the same in every evaluation.

    Args:
        loss: distance of the moments from the data's, mean over the solves (dimensionless).
        nfe: evaluations of the drift, mean over the solves.
        steps: of the first solve.
        moments: of the trajectories of all solves.
    """

    loss: float
    nfe: float
    steps: StepRecord
    moments: Moments


def run(config: SpiralSDEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Fit one model under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError, TrainingDiverged, SolveFailed: as `train_spiral` says.
    """
    with progress_bar(config.iterations, unit="iteration") as report:
        model, record = train_spiral(config, checkpoint=checkpoint, report=report)
    with reproducible(config.seed, config.threads):
        (seconds,) = prediction_seconds([model], start_of(config), repeats=PREDICTION_REPEATS)
    return replace(record, metrics={**record.metrics, "prediction_seconds": seconds})


def train_spiral(
    config: SpiralSDEConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[IterationReport], None] | None = None,
) -> tuple[SpiralModel, RunRecord]:
    """Fit one model as configured; `report` is told after every iteration where the run stands.

    Returns:
        The model and the record of the run: curves as `fit_moments` names them; metrics loss, nfe (both means over
        several solves of the fitted model) and training_seconds; and as trajectories the means and variances, in units
        of u and of u squared, of the data and of the model before and after.
    Raises:
        ValueError: the device or the method cannot be used.
        TrainingDiverged: the loss or a penalty became infinite or NaN.
        SolveFailed: a solve ended badly.
    """
    check_device(config.device)
    with reproducible(config.seed, config.threads):
        data = data_of(config)
        model = SpiralModel(config)
        before = evaluate(model, start_of(config), data)
        curves = fit_moments(model, data, config, checkpoint=checkpoint, report=report)
        after = evaluate(model, start_of(config), data)
    trajectories = {"t": TIMES, **_columns(data=data, before=before.moments, after=after.moments)}
    metrics = {"loss": after.loss, "nfe": after.nfe}
    record = record_run(EXPERIMENT, config, curves, metrics, before.steps, after.steps, trajectories)
    return model, record


def fit_moments(
    model: SpiralModel,
    data: Moments,
    config: SpiralSDEConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[IterationReport], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Train a model in place.

    Returns:
        One value per iteration under each name: loss (dimensionless), nfe (evaluations of the drift), penalty
        (weighted, dimensionless), learning_rate, training_seconds (cumulated), and {name}_weight for each penalty.
    Raises:
        TrainingDiverged, SolveFailed: as `train_spiral`.
    """
    terms = sde_penalty_terms(config, error=error_estimate, updates=config.iterations)
    optimizer = make_optimizer(model, config)
    schedule = CosineAnnealingLR(optimizer, config.iterations, eta_min=config.final_learning_rate)
    start, title = start_of(config), naming.title(config)
    model.train()

    def iterate(iteration: int) -> Row:
        (learning_rate,) = schedule.get_last_lr()
        started = time.perf_counter()
        row = update(
            model, optimizer, start, data, terms=terms, iteration=iteration, largest_gradient=config.largest_gradient
        )
        schedule.step()
        seconds = time.perf_counter() - started
        weights = {f"{term.name}_weight": term.weight(iteration) for term in terms}
        return row | {"learning_rate": learning_rate, "training_seconds": seconds} | weights

    def tell(row: Row) -> None:
        if report is not None:
            report(IterationReport(title, row["loss"], int(row["nfe"])))

    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "schedule": schedule}
    return run_epochs(config.iterations, iterate, parts=parts, checkpoint=checkpoint, report=tell)


def update(
    model: SpiralModel,
    optimizer: torch.optim.Optimizer,
    start: Tensor,  # (2,)
    data: Moments,
    *,
    terms: tuple[PenaltyTerm, ...],
    iteration: int,
    largest_gradient: float,
) -> dict[str, float]:
    """One solve, one gradient, one change of the weights; what they measured on the way."""
    states, solution = model(start)
    loss = data.distance(Moments.of(states))
    penalty = weighted_penalty(solution, terms, iteration)
    descend(loss, penalty, optimizer, moment=f"iteration {iteration + 1}", largest_gradient=largest_gradient)
    return {"loss": loss.item(), "nfe": float(solution.stats.nfe), "penalty": penalty.item()}


def make_optimizer(model: nn.Module, config: SpiralSDEConfig) -> torch.optim.Optimizer:
    """The configured optimizer over all parameters of a model.

    Raises:
        ModuleNotFoundError: AdaBelief was asked for, and pytorch_optimizer is not installed.
    """
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    if find_spec("pytorch_optimizer") is None:
        raise ModuleNotFoundError(
            "AdaBelief comes with pytorch_optimizer, which is not installed; run pip install "
            '"pyndereg[experiments]", or choose adam'
        )
    library = import_module("pytorch_optimizer")  # only here, because it takes a second
    return library.AdaBelief(model.parameters(), lr=config.learning_rate)


@torch.no_grad()
def evaluate(model: SpiralModel, start: Tensor, data: Moments) -> Evaluation:
    """Solve along paths that are the same in every evaluation; leaves the model in evaluation mode. start: (2,)."""
    model.eval()
    states, solutions = zip(*(model(start, seed=seed) for seed in range(EVALUATION_SOLVES)), strict=True)
    return Evaluation(
        loss=statistics.fmean(data.distance(Moments.of(one)).item() for one in states),
        nfe=statistics.fmean(solution.stats.nfe for solution in solutions),
        steps=solutions[0].steps,
        moments=Moments.of(torch.cat(states, dim=1)),
    )


def data_of(config: SpiralSDEConfig) -> Moments:
    """The data that a configuration asks for, on its device."""
    data = spiral_moments(trajectories=config.data_trajectories, seed=config.data_seed)
    place = (config.device, PRECISIONS[config.precision])
    return Moments(data.mean.to(*place), data.variance.to(*place))


def start_of(config: SpiralSDEConfig) -> Tensor:
    """Where all trajectories start. Shape (2,), units of u."""
    return torch.tensor(START, dtype=PRECISIONS[config.precision], device=config.device)


def summary(record: RunRecord) -> str:
    """The metrics of a finished run in one line."""
    metrics = record.metrics
    return (
        f"loss {metrics['loss']:.4f}, NFE {metrics['nfe']:.1f}, training {metrics['training_seconds']:.1f} s, "
        f"prediction {1e3 * metrics['prediction_seconds']:.2f} ms"
    )


def _columns(**moments: Moments) -> dict[str, tuple[float, ...]]:
    """Mean and variance of each element of the state, as a run record has them: "data mean 1" and so on."""
    return {
        f"{name} {kind} {place + 1}": tuple(getattr(one, kind)[:, place].tolist())
        for name, one in moments.items()
        for kind in ("mean", "variance")
        for place in range(one.mean.shape[1])
    }
