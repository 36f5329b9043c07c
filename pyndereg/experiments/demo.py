"""The main result side by side: the same classifier plain, error-regularized and stiffness-regularized."""

import contextlib
import multiprocessing
import queue
import signal
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import torch

from pyndereg.experiments.config import DigitsODEConfig, Regularizer
from pyndereg.experiments.digits_ode import (
    EVALUATION_IMAGES,
    ODEClassifier,
    record_name,
    time_predictions,
    title,
    train_classifier,
    with_prediction_time,
)
from pyndereg.experiments.train import EpochReport, announce, progress_bar
from pyndereg.results import RunRecord, check_destination, write

REGULARIZERS: tuple[Regularizer, ...] = ("none", "error", "stiffness")
FIGURE_NAME = "digits-ode.png"
SECONDS_BETWEEN_LOOKS = 0.2

# A queue reaches a worker process only when the process starts: `_start_worker` leaves it here for the runs.
worker_reports: list["Queue[EpochReport]"] = []


def compare(
    base: DigitsODEConfig, seeds: Sequence[int], folder: Path, *, workers: int = 2, overwrite: bool = False
) -> list[RunRecord]:
    """Train every regularizer with every seed, time all predictions, write one record per run.

    Training runs in `workers` processes at a time. Predictions are timed afterwards in this process, one model at a
    time, so that no time includes another run's use of the processor.

    Args:
        base: everything that the runs share; its regularizer and seed are replaced.
        seeds: seeds of the runs of each regularizer.
        folder: where the records go; made if it does not exist.
        workers: training runs at a time.
        overwrite: whether records of an earlier comparison may be replaced.
    Returns:
        The records, sorted by regularizer, then seed.
    Raises:
        ValueError: no seed, a seed twice, or no worker.
        FileExistsError: a record exists and `overwrite` is false; found out before anything is trained.
        ModuleNotFoundError, TrainingDiverged, SolveFailed: as `train_classifier`.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds are {list(seeds)}; pass at least one, each once")
    if workers < 1:
        raise ValueError(f"workers is {workers}; pass at least 1")
    configs = [replace(base, regularizer=regularizer, seed=seed) for regularizer in REGULARIZERS for seed in seeds]
    for config in configs:
        check_destination(folder / record_name(config), overwrite=overwrite)
    trained = train_all(configs, workers=workers)
    models = [_rebuild(config, weights) for config, (_, weights) in zip(configs, trained, strict=True)]
    records = [
        with_prediction_time(record, seconds)
        for (record, _), seconds in zip(trained, time_predictions(models, base), strict=True)
    ]
    for config, record in zip(configs, records, strict=True):
        write(record, folder / record_name(config), overwrite=overwrite)
    return records


def train_all(configs: Sequence[DigitsODEConfig], *, workers: int) -> list[tuple[RunRecord, dict[str, np.ndarray]]]:
    """Train each configuration in one of several processes, under one bar; each run is announced when it ends.

    Returns:
        Record and weights of each run, in the order of the configurations.
    """
    # Forking a process in which torch has started threads can deadlock, so workers start afresh.
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    with (
        progress_bar(sum(config.epochs for config in configs)) as show,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(reports,)) as pool,
    ):
        others = multiprocessing.active_children()
        with _ignoring_interrupts():
            running = {pool.submit(_train_in_worker, config): config for config in configs}
        futures = list(running)
        try:
            while running:
                ended, _ = wait(running, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
                for report in _waiting_reports(reports):
                    show(report)
                for future in ended:
                    record, _ = future.result()
                    announce(_final_line(title(running.pop(future)), record))
        except BaseException:
            for worker in set(multiprocessing.active_children()) - set(others):
                worker.terminate()
            raise
        return [future.result() for future in futures]


def format_table(records: Sequence[RunRecord]) -> str:
    """One line per regularizer: mean ± sample standard deviation over its runs, and what it costs relative to none.

    Args:
        records: runs of `compare`, with test_accuracy (percent), nfe, training_seconds and prediction_seconds.
    """
    groups = group_by_regularizer(records)
    header = ("regularizer", "test accuracy (%)", "NFE", "training (s)", "prediction (ms)", "NFE vs none", "speed-up")
    rows: list[tuple[str, ...]] = [header]
    for name, runs in groups.items():
        relative = ("", "")
        if "none" in groups:
            relative = (
                f"{mean_of(runs, 'nfe') / mean_of(groups['none'], 'nfe'):.2f}",
                f"{mean_of(groups['none'], 'prediction_seconds') / mean_of(runs, 'prediction_seconds'):.2f}",
            )
        rows.append(
            (
                name,
                _spread(runs, "test_accuracy", digits=2),
                _spread(runs, "nfe", digits=1),
                _spread(runs, "training_seconds", digits=1),
                _spread(runs, "prediction_seconds", digits=2, scale=1e3),
                *relative,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:], rule, _caption(records)])


def group_by_regularizer(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records under the name of their regularizer, in the order of first appearance."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.config["regularizer"], []).append(record)
    return groups


def mean_of(records: Sequence[RunRecord], metric: str) -> float:
    """Mean of one metric over runs, in the metric's unit."""
    return statistics.fmean(record.metrics[metric] for record in records)


def _spread(records: Sequence[RunRecord], metric: str, *, digits: int, scale: float = 1.0) -> str:
    values = [scale * record.metrics[metric] for record in records]
    # The sample standard deviation, as in the paper's tables; one run has none.
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def _caption(records: Sequence[RunRecord]) -> str:
    config = records[0].config
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(record.seed for record in records))
    return (
        f"mean ± standard deviation over seeds {seeds}; {config['epochs']} epochs, {config['method']}, "
        f"{config['precision']}, rtol {config['rtol']:g}, atol {config['atol']:g};\n"
        f"NFE and prediction: one batch of {EVALUATION_IMAGES} images, predictions timed one model at a time"
    )


def _final_line(name: str, record: RunRecord) -> str:
    metrics = record.metrics
    return (
        f"trained {name}: test accuracy {metrics['test_accuracy']:.1f} %, NFE {metrics['nfe']:.0f}, "
        f"{metrics['training_seconds']:.0f} s"
    )


def _waiting_reports(reports: "Queue[EpochReport]") -> Iterator[EpochReport]:
    """What the workers have said since the last look."""
    with contextlib.suppress(queue.Empty):
        while True:
            yield reports.get_nowait()


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Let processes that are started inside ignore Ctrl-C for life, even while they start: their parent ends them."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker(reports: "Queue[EpochReport]") -> None:
    """Remember where to report to."""
    reports.cancel_join_thread()  # a worker does not wait for its last report to be read
    worker_reports.append(reports)


def _train_in_worker(config: DigitsODEConfig) -> tuple[RunRecord, dict[str, np.ndarray]]:
    (reports,) = worker_reports
    model, record = train_classifier(config, report=reports.put)
    # Arrays, because torch passes tensors between processes by handles that die with the process that made them.
    return record, {name: value.cpu().numpy() for name, value in model.state_dict().items()}


def _rebuild(config: DigitsODEConfig, weights: Mapping[str, np.ndarray]) -> ODEClassifier:
    model = ODEClassifier(config)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model
