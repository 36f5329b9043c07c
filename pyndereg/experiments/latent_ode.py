"""A latent ODE that reconstructs irregularly observed series, regularized to be easy to solve."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pyndereg.experiments import naming
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.data.physionet import load_physionet
from pyndereg.experiments.data.series import IrregularSeries
from pyndereg.experiments.data.vowels import load_japanese_vowels
from pyndereg.experiments.latent_config import LatentODEConfig
from pyndereg.experiments.latent_model import SeriesModel, negative_elbo, reconstruction_loss
from pyndereg.experiments.loop import Row, run_epochs
from pyndereg.experiments.optimizers import make_optimizer, make_schedule
from pyndereg.experiments.placement import PRECISIONS, check_device
from pyndereg.experiments.progress import progress_bar
from pyndereg.experiments.regularization import penalty_terms
from pyndereg.experiments.train import (
    PenaltyTerm,
    Plan,
    descend,
    prediction_seconds,
    record_run,
    reproducible,
    solve_once,
    weighted_penalty,
)
from pyndereg.models.evidence import Annealing
from pyndereg.results import RunRecord

EXPERIMENT = "physionet-latent-ode"
EVALUATION_SERIES = 512  # NFE and prediction time are those of one batch of this size, as in the paper
PREDICTION_REPEATS = 15
SHOWN_SERIES, SHOWN_FEATURES = 4, 3  # of the reconstructions that a record holds

QUICK = LatentODEConfig()
PRESETS = {
    "quick": QUICK,
    "remembered": QUICK.remembering(),
    # [@pal2021opening]. It divides the gradient by 1 + 1e-5 n before AdaMax, which is blind to the gradient's scale.
    "paper-a": replace(
        QUICK,
        data="physionet",
        seed=1999,
        epochs=300,
        batch_size=512,
        drop_last=True,
        first_deviation=1.0,
        sample_in_evaluation=True,
        precision="float32",
        error_weight=(1000.0, 100.0),
        stiffness_weight=(10.0, 10.0),
        both_weight=(10.0, 10.0),
        local_weight=(100.0, 10.0),
        local_gradient="published",
        taylor_weight=(0.01, 0.01),
    ),
    # [@pal2023locally]. Ten updates an epoch, as there are 5,120 patients to train on.
    "paper-b": replace(
        QUICK,
        data="physionet",
        regularizer="local-unbiased",
        epochs=300,
        updates=3000,
        batch_size=512,
        drop_last=True,
        hidden=40,
        direction="forward",
        first_spread=1.0,
        bounded=True,
        first_deviation=1.0,
        annealing_change="update",
        annealing_start=100,
        precision="float32",
        gradient="interpolating",
        learning_rate_schedule="inverse",
        learning_rate_decay=1e-5,
        weights_change="update",
        local_weight=(100.0, 10.0),
        local_gradient="published",
    ),
}


@dataclass(frozen=True)
class SeriesParts:
    """Series to train on and series to test on, NaN where nothing was observed.

    Args:
        times: Shape (times,), scaled to [0, 1].
        train, test: Shape (series, times, features), values scaled to [0, 1].
    """

    times: Tensor
    train: Tensor
    test: Tensor


@dataclass(frozen=True)
class LatentReport:
    """Where a run stands after an epoch, for whoever watches.

    Args:
        title: the run in a few words.
        test_loss: squared error of the test series' observed values.
        nfe: evaluations of one forward solve.
    """

    title: str
    test_loss: float
    nfe: int

    @property
    def standing(self) -> str:
        """Where the run stands, in a few words."""
        return f"test loss {1e3 * self.test_loss:.2f}e-3, NFE {self.nfe}"


def run(config: LatentODEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Train one latent ODE under a progress bar and time its predictions; raises as `train_latent_ode`.

    Raises:
        ModuleNotFoundError, FileNotFoundError: tqdm, or the data, are not on this machine.
    """
    series = series_of(config)
    with progress_bar(config.epochs) as report:
        model, record = train_latent_ode(config, series, checkpoint=checkpoint, report=report)
    with reproducible(config.seed, config.threads):
        (seconds,) = prediction_seconds([model], series.train[:EVALUATION_SERIES], repeats=PREDICTION_REPEATS)
    return replace(record, metrics={**record.metrics, "prediction_seconds": seconds})


def train_latent_ode(
    config: LatentODEConfig,
    series: SeriesParts,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[LatentReport], None] | None = None,
) -> tuple[SeriesModel, RunRecord]:
    """Train one latent ODE as configured; `report` is told after every epoch where the run stands.

    Returns:
        The model and the record of the run: curves as `fit` names them; metrics train_loss and test_loss (squared error
        of the observed values), nfe and training_seconds; and as trajectories some test series and what the model makes
        of them, in the units of the values: "data 1 3" and "model 1 3" are the third feature of the first series.
    Raises:
        ValueError: the device, the method or a combination of choices cannot be used.
        TrainingDiverged: the loss or a penalty became infinite or NaN.
        SolveFailed: a solve ended badly.
    """
    check_device(config.device)
    evaluation_batch = series.train[:EVALUATION_SERIES]
    with reproducible(config.seed, config.threads):
        model = SeriesModel(config, series.times, series.train.shape[-1])
        before = solve_once(model, evaluation_batch)
        curves = fit(model, series, config, checkpoint=checkpoint, report=report)
        after = solve_once(model, evaluation_batch)
        trajectories = shown_series(model, series)
    metrics = {name: curves[name][-1] for name in ("train_loss", "test_loss")} | {"nfe": float(after.stats.nfe)}
    record = record_run(EXPERIMENT, config, curves, metrics, before.steps, after.steps, trajectories)
    return model, record


def fit(
    model: SeriesModel,
    series: SeriesParts,
    config: LatentODEConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[LatentReport], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Train a model in place and follow it from epoch to epoch.

    Returns:
        One value per epoch under each name: train_loss and test_loss (squared error of the observed values, in
        evaluation mode), nfe (evaluations of one forward solve), penalty (weighted, dimensionless), training_seconds
        (cumulated), kl_weight, and {name}_weight for each penalty.
    Raises:
        ValueError: there is not a single batch in an epoch.
        TrainingDiverged, SolveFailed: as `train_latent_ode`.
    """
    plan = Plan(config.epochs, config.batch_size, config.drop_last, config.updates, config.weights_change)
    updates, per_epoch = plan.total_updates(len(series.train)), plan.updates_per_epoch(len(series.train))
    if per_epoch == 0:
        raise ValueError(
            f"batch_size is {config.batch_size}, but there are {len(series.train)} series to train on and the last, "
            "smaller batch is left out; pass a smaller batch_size"
        )
    optimizer = make_optimizer(model, config)
    schedule = make_schedule(optimizer, config, updates)
    terms = penalty_terms(config)
    annealing = Annealing(first=config.annealing_start)
    every_update = config.annealing_change == "update"

    def epoch(number: int) -> Row:
        def kl_weight(update: int) -> float:
            return annealing(number * per_epoch + update if every_update else number)

        measured = train_epoch(
            model, optimizer, series.train, plan=plan, terms=terms, epoch=number, kl_weight=kl_weight, schedule=schedule
        )
        return {
            "train_loss": reconstruction_loss(model, series.train),
            "test_loss": reconstruction_loss(model, series.test),
            "nfe": float(solve_once(model, series.train[:EVALUATION_SERIES]).stats.nfe),
            "kl_weight": kl_weight(0),
            **measured,
        } | {f"{term.name}_weight": term.weight(number) for term in terms}

    def tell(row: Row) -> None:
        if report is not None:
            report(LatentReport(naming.title(config), row["test_loss"], int(row["nfe"])))

    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    return run_epochs(math.ceil(updates / per_epoch), epoch, parts=parts, checkpoint=checkpoint, report=tell)


def train_epoch(
    model: SeriesModel,
    optimizer: torch.optim.Optimizer,
    series: Tensor,
    *,
    plan: Plan,
    terms: Sequence[PenaltyTerm],
    epoch: int,
    kl_weight: Callable[[int], float],
    schedule: LRScheduler,
) -> Row:
    """Pass once through the training series in random order.

    Args:
        kl_weight: update of this epoch, counted from 0 -> weight of the divergence.
    Returns:
        penalty (mean over the series) and training_seconds of the updates alone.
    """
    model.train()
    batches = plan.batches(epoch, len(series))
    penalty_sum = 0.0
    seconds = 0.0
    for number, chosen in enumerate(batches):
        batch = series[chosen]
        started = time.perf_counter()
        latent, solution = model(batch)
        loss = negative_elbo(latent, batch, kl_weight(number))
        penalty = weighted_penalty(solution, terms, plan.position(epoch, number, len(series))).to(loss.device)
        descend(loss, penalty, optimizer, schedule, moment=f"epoch {epoch + 1}")
        seconds += time.perf_counter() - started
        penalty_sum += penalty.item() * len(chosen)
    return {"penalty": penalty_sum / sum(map(len, batches)), "training_seconds": seconds}


@torch.no_grad()
def shown_series(model: SeriesModel, series: SeriesParts) -> dict[str, tuple[float, ...]]:
    """The first test series at the times of the data, in the features of which most was observed; see `RunRecord`."""
    model.eval()
    data = series.test[:SHOWN_SERIES]
    reconstruction = model(data)[0].reconstruction
    observed = (~data.isnan()).sum(dim=(0, 1))
    features = observed.argsort(descending=True, stable=True)[:SHOWN_FEATURES].sort().values.tolist()
    columns = {
        f"{name} {place + 1} {feature + 1}": tuple(values[place, :, feature].tolist())
        for name, values in (("data", data), ("model", reconstruction))
        for place in range(len(data))
        for feature in features
    }
    return {"t": tuple(series.times.tolist()), **columns}


def series_of(config: LatentODEConfig) -> SeriesParts:
    """The series that a configuration asks for, on its device.

    Raises:
        ValueError: the device cannot be used, or the files of the data are damaged.
        ModuleNotFoundError, FileNotFoundError: the data are neither on this machine nor to be had.
    """
    check_device(config.device)
    dtype = PRECISIONS[config.precision]
    if config.data == "physionet":
        folder = Path(config.data_dir) if config.data_dir else None
        split = load_physionet(
            folder, used=config.used, test_fraction=config.test_fraction, seed=config.split_seed, dtype=dtype
        )
    else:
        split = load_japanese_vowels(keep=config.keep, seed=config.split_seed, dtype=dtype)
    split = split.to(config.device)
    return SeriesParts(split.train.times, with_gaps(split.train), with_gaps(split.test))


def with_gaps(series: IrregularSeries) -> Tensor:
    """The values, NaN where nothing was observed. Shape (series, times, features)."""
    return series.values.masked_fill(series.mask == 0, torch.nan)


def summary(record: RunRecord) -> str:
    """The metrics of a finished run in one line."""
    metrics = record.metrics
    return (
        f"test loss {1e3 * metrics['test_loss']:.2f}e-3, NFE {metrics['nfe']:.0f}, training "
        f"{metrics['training_seconds']:.1f} s, prediction {1e3 * metrics['prediction_seconds']:.2f} ms"
    )
