"""Fits of a single trajectory: trained, measured and recorded alike, whatever equation is inside."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pyndereg.experiments import naming
from pyndereg.experiments.checkpoint import Checkpoint, Stateful
from pyndereg.experiments.loop import Row, run_epochs
from pyndereg.experiments.placement import check_device
from pyndereg.experiments.progress import progress_bar
from pyndereg.experiments.train import (
    PenaltyTerm,
    descend,
    prediction_seconds,
    record_run,
    reproducible,
    weighted_penalty,
)
from pyndereg.ivp.solution import Solution
from pyndereg.models import NeuralODE
from pyndereg.results import RunRecord

PREDICTION_REPEATS = 15
Columns = Mapping[str, tuple[float, ...]]


class FitConfig(Protocol):
    """What every fit can be told."""

    @property
    def iterations(self) -> int:
        """Updates of the weights."""
        ...

    @property
    def seed(self) -> int:
        """Of all that is random in training."""
        ...

    @property
    def threads(self) -> int:
        """Processor threads for the tensor operations."""
        ...

    @property
    def device(self) -> str:
        """Where the tensors live, in torch's words."""
        ...


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A model before training, and what it is fitted to.

    Args:
        model: start -> states at the times of the data, shape (times, dim), and the solution.
        start: where the trajectory starts. Shape (dim,).
        distance: those states -> loss, shape (), dimensionless.
        optimizer: over the model's parameters.
        terms: what is added to the loss; their weights are functions of the part of the iterations that is done.
        portrait: the model with the times at which its trajectory is recorded.
        schedule: of the optimizer's step size, moved on after every iteration.
    """

    model: NeuralODE
    start: Tensor
    distance: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    terms: Sequence[PenaltyTerm]
    portrait: NeuralODE
    schedule: LRScheduler | None = None


@dataclass(frozen=True)
class FitReport:
    """Where a run stands after an iteration, for whoever watches.

    Args:
        title: the run in a few words.
        loss: of the iteration's solve, dimensionless.
        nfe: evaluations of the vector field in the iteration's solve.
    """

    title: str
    loss: float
    nfe: int

    @property
    def standing(self) -> str:
        """Where the run stands, in a few words."""
        return f"loss {self.loss:.4g}, NFE {self.nfe}"


def run_fit(
    experiment: str,
    config: FitConfig,
    build: Callable[[], Fit],
    *,
    data: Columns,
    checkpoint: Checkpoint | None = None,
) -> tuple[NeuralODE, RunRecord]:
    """Fit one model under a progress bar and time its predictions; as `fit_and_record`, prediction_seconds added."""
    with progress_bar(config.iterations, unit="iteration") as report:
        fit, record = fit_and_record(experiment, config, build, data=data, checkpoint=checkpoint, report=report)
    with reproducible(config.seed, config.threads):
        (seconds,) = prediction_seconds([fit.model], fit.start, repeats=PREDICTION_REPEATS)
    return fit.model, replace(record, metrics={**record.metrics, "prediction_seconds": seconds})


def fit_and_record(
    experiment: str,
    config: FitConfig,
    build: Callable[[], Fit],
    *,
    data: Columns,
    checkpoint: Checkpoint | None = None,
    report: Callable[[FitReport], None] | None = None,
) -> tuple[Fit, RunRecord]:
    """Fit one model; `report` is told after every iteration where the run stands.

    Args:
        experiment: its name, as the command line has it.
        config: iterations, seed, threads and device.
        build: makes the model and what it is fitted to; all that it draws comes from the seed.
        data: what the model is fitted to, for the record, at the times "t" of the portrait.
        checkpoint: where the state is kept after every iteration, and restored from.
        report: see above.
    Returns:
        The fitted model, and the record of the run: curves as `train` names them; metrics loss (dimensionless) and nfe
        (evaluations), both of one solve with the fitted model, and training_seconds; as trajectories the data's and
        "before 1", "before 2" ... and "after 1", "after 2" ..., the model's state before and after training.
    Raises:
        ValueError: the device, the method or a combination of choices cannot be used.
        TrainingDiverged: the loss or a penalty became infinite or NaN.
        SolveFailed: a solve ended badly.
    """
    check_device(config.device)
    with reproducible(config.seed, config.threads):
        fit = build()
        _, solution_before = solve_in_evaluation(fit.model, fit.start)
        before, _ = solve_in_evaluation(fit.portrait, fit.start)
        curves = train(fit, config.iterations, title=naming.title(config), checkpoint=checkpoint, report=report)
        states, solution = solve_in_evaluation(fit.model, fit.start)
        after, _ = solve_in_evaluation(fit.portrait, fit.start)
    record = record_run(
        experiment,
        config,
        curves,
        {"loss": fit.distance(states).item(), "nfe": float(solution.stats.nfe)},
        solution_before.steps,
        solution.steps,
        {**data, **columns("before", before), **columns("after", after)},
    )
    return fit, record


def train(
    fit: Fit,
    iterations: int,
    *,
    title: str = "",
    checkpoint: Checkpoint | None = None,
    report: Callable[[FitReport], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Train a model in place.

    Returns:
        One value per iteration under each name: loss (dimensionless), nfe (evaluations of the vector field), penalty
        (weighted, dimensionless), training_seconds (cumulated), and {name}_weight for each penalty.
    Raises:
        TrainingDiverged, SolveFailed: as `fit_and_record`.
    """

    def iterate(iteration: int) -> Row:
        started, done = time.perf_counter(), iteration / iterations
        row = update(fit, iteration=iteration, done=done)
        weights = {f"{term.name}_weight": term.weight(done) for term in fit.terms}
        return row | {"training_seconds": time.perf_counter() - started} | weights

    def tell(row: Row) -> None:
        if report is not None:
            report(FitReport(title, row["loss"], int(row["nfe"])))

    parts: dict[str, Stateful] = {"model": fit.model, "optimizer": fit.optimizer}
    if fit.schedule is not None:
        parts["schedule"] = fit.schedule
    fit.model.train()
    return run_epochs(iterations, iterate, parts=parts, checkpoint=checkpoint, report=tell)


def update(fit: Fit, *, iteration: int, done: float) -> Row:
    """One solve, one gradient, one change of the weights; what they measured on the way.

    Args:
        fit: changed in place.
        iteration: its number, counted from 0.
        done: part of the iterations that came before.
    """
    states, solution = fit.model(fit.start)
    loss = fit.distance(states)
    penalty = weighted_penalty(solution, fit.terms, done)
    descend(loss, penalty, fit.optimizer, fit.schedule, moment=f"iteration {iteration + 1}")
    return {"loss": loss.item(), "nfe": float(solution.stats.nfe), "penalty": penalty.item()}


@torch.no_grad()
def solve_in_evaluation(model: NeuralODE, start: Tensor) -> tuple[Tensor, Solution]:
    """States at the model's save times, shape (times, dim), and the solution; leaves it in evaluation mode."""
    model.eval()
    states, solution = model(start)
    assert isinstance(states, Tensor)
    return states, solution


def columns(name: str, states: Tensor) -> dict[str, tuple[float, ...]]:
    """Each element of the state as a run record has it, "data 1" and so on. states: Shape (times, dim)."""
    return {f"{name} {place + 1}": tuple(column.tolist()) for place, column in enumerate(states.unbind(dim=1))}


def summary(record: RunRecord) -> str:
    """The metrics of a finished run in one line."""
    metrics = record.metrics
    return (
        f"loss {metrics['loss']:.4g}, NFE {metrics['nfe']:.0f}, training {metrics['training_seconds']:.1f} s, "
        f"prediction {1e3 * metrics['prediction_seconds']:.2f} ms"
    )
