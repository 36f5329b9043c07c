"""Training runs in several processes at a time, under one bar."""

import contextlib
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.queues import Queue

import numpy as np

from pyndereg.experiments import naming
from pyndereg.experiments.digits_ode import train_classifier
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.progress import announce, progress_bar
from pyndereg.experiments.train import (
    EpochReport,
    TrainingDiverged,
)
from pyndereg.ivp.errors import SolveFailed
from pyndereg.results import RunRecord

SECONDS_BETWEEN_LOOKS = 0.2

# A queue reaches a worker process only when the process starts: `_start_worker` leaves it here for the runs.
worker_reports: list["Queue[EpochReport]"] = []


@dataclass(frozen=True)
class Trained:
    """What a run leaves behind.

    Args:
        record: of the run, without a prediction time.
        weights: the trained model's parameters by name.
    """

    record: RunRecord
    weights: dict[str, np.ndarray]


def train_all(
    configs: Sequence[DigitsODEConfig], *, workers: int, keep: Callable[[DigitsODEConfig, Trained], None]
) -> list[str]:
    """Train each configuration in one of several processes, under one bar; each run is announced when it ends.

    A run whose numbers fail, by a loss or a solve, leaves the others alone. Any other error, and Ctrl-C, ends them all.

    Args:
        configs: the runs.
        workers: runs at a time.
        keep: is called, in this process, with what each run leaves as soon as it ends.
    Returns:
        One sentence for each run that failed.
    Raises:
        ModuleNotFoundError, ValueError: as `train_classifier`.
    """
    # Forking a process in which torch has started threads can deadlock, so workers start afresh.
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    failures: list[str] = []
    with (
        progress_bar(sum(config.epochs for config in configs)) as show,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(reports,)) as pool,
    ):
        others = multiprocessing.active_children()
        try:
            with _ignoring_interrupts():
                running = {pool.submit(_train_in_worker, config): config for config in configs}
            while running:
                ended, _ = wait(running, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
                for report in _waiting_reports(reports):
                    show(report)
                for future in ended:
                    config, outcome = running.pop(future), future.result()
                    if isinstance(outcome, Trained):
                        keep(config, outcome)
                        announce(_final_line(config, outcome.record))
                    else:
                        failures.append(f"{naming.title(config)}: {outcome}")
                        announce(f"failed {failures[-1]}")
        except BaseException:
            for worker in set(multiprocessing.active_children()) - set(others):
                worker.terminate()
            raise
    return failures


def _final_line(config: DigitsODEConfig, record: RunRecord) -> str:
    metrics = record.metrics
    return (
        f"trained {naming.title(config)}: test accuracy {metrics['test_accuracy']:.1f} %, NFE {metrics['nfe']:.0f}, "
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


def _train_in_worker(config: DigitsODEConfig) -> Trained | str:
    """What the run leaves, or why its numbers failed."""
    (reports,) = worker_reports
    try:
        model, record = train_classifier(config, report=reports.put)
    except (TrainingDiverged, SolveFailed) as failure:
        return str(failure)
    # Arrays, because torch passes tensors between processes by handles that die with the process that made them.
    return Trained(record, {name: value.cpu().numpy() for name, value in model.state_dict().items()})
