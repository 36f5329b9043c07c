"""Methods side by side: each trained with every seed, one record per run, one table of them all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pyndereg.experiments.classification import time_predictions, with_prediction_time
from pyndereg.experiments.digits_ode import EXPERIMENT, build
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.image_data import digits_of
from pyndereg.experiments.image_ode import ODEClassifier
from pyndereg.experiments.naming import record_name
from pyndereg.experiments.table import format_table
from pyndereg.experiments.workers import Trained, train_all
from pyndereg.results import RunRecord, check_destination, read, write

TABLE_NAME = "comparison.txt"


class RunsFailed(RuntimeError):
    """Some runs of a comparison did not reach their end."""


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Args:
        records: one per run that reached its end, sorted by method, then seed, with prediction times.
        table: of these records; empty without any.
        failures: one sentence for each run that failed.
    """

    records: tuple[RunRecord, ...]
    table: str
    failures: tuple[str, ...]

    def raise_failures(self) -> None:
        """Raise RunsFailed with a sentence on each run that failed; do nothing where none did."""
        if self.failures:
            count = len(self.failures) + len(self.records)
            raise RunsFailed(f"{len(self.failures)} of {count} runs failed: {'; '.join(self.failures)}")


def compare(
    base: DigitsODEConfig,
    methods: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    resume: bool = False,
) -> Comparison:
    """Train every method with every seed, time all predictions, write one record per run and one table.

    Training runs in `workers` processes at a time. Each run's record and weights are written when it ends, so that
    nothing finished is lost. Predictions are timed afterwards in this process, one model at a time, so that no time
    includes another run's use of the processor.

    Args:
        base: everything that the runs share.
        methods: as `with_method` takes them, such as "error+remembered" or "local-unbiased+steer@interpolating".
        seeds: seeds of the runs of each method.
        folder: where records, weights and table go; made if it does not exist.
        workers: training runs at a time.
        overwrite: whether records of an earlier comparison may be replaced.
        resume: whether runs whose records are in the folder are taken from there, rather than trained again; only
            their prediction times are renewed.
    Raises:
        ValueError: no method or seed, one of them twice, a method that there is not, no worker, or a record to resume
            from that was made with other settings.
        FileExistsError: a record exists, and neither `overwrite` nor `resume` is set; found out before anything is
            trained.
        KeyboardInterrupt: with a sentence that says what was kept.
        ModuleNotFoundError: as `train_classifier`.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; pass at least 1")
    configs = grid(base, methods, seeds)
    found = [config for config in configs if resume and _is_trained(config, folder)]
    missing = [config for config in configs if config not in found]
    for config in missing:
        check_destination(folder / record_name(EXPERIMENT, config), overwrite=overwrite)
    check_destination(folder / TABLE_NAME, overwrite=overwrite or resume)

    def keep(config: DigitsODEConfig, trained: Trained) -> None:
        path = folder / record_name(EXPERIMENT, config)
        np.savez(
            _weights_path(path), allow_pickle=False, **trained.weights
        )  # first, so that a record never lies there without weights
        write(trained.record, path, overwrite=overwrite)
        found.append(config)

    try:
        failures = train_all(missing, workers=workers, keep=keep) if missing else []
        finished = [config for config in configs if config in found]
        records = _timed(finished, folder, base)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_what_is_left(len(found), len(configs), folder)) from None
    table = format_table(records) if records else ""
    if records:
        (folder / TABLE_NAME).write_text(table + "\n", encoding="utf-8")
    return Comparison(tuple(records), table, tuple(failures))


def grid(base: DigitsODEConfig, methods: Sequence[str], seeds: Sequence[int]) -> list[DigitsODEConfig]:
    """One configuration per method and seed, sorted by method, then seed, in the order in which they are given.

    Raises:
        ValueError: no method or seed, one of them twice, or a method that there is not.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds are {list(seeds)}; pass at least one, each once")
    configs = [replace(with_method(base, method), seed=seed) for method in methods for seed in seeds]
    if not configs or len(set(configs)) != len(configs):
        raise ValueError(f"methods are {', '.join(methods) or 'none at all'}; pass at least one, each once")
    return configs


def with_method(base: DigitsODEConfig, method: str) -> DigitsODEConfig:
    """The configuration with a method: a regularizer, what is added to it, and behind `@` a gradient; or torchdiffeq.

    Added can be `+steer`, random end times; `+remembered`, solves that start with what the last one could have started
    with, and the weights that fit them; `+4-steps`, so many equal steps in place of adaptive ones.

    Raises:
        ValueError: the regularizer, the gradient or what is added is unknown, or they do not go together.
    """
    if method == "torchdiffeq":
        return replace(base, engine="torchdiffeq", method="dopri5")
    way, _, gradient = method.partition("@")
    regularizer, *added = way.split("+")
    steps = [int(found[1]) for part in added if (found := re.fullmatch(r"([1-9]\d{0,5})-steps?", part))]
    named = [part for part in added if part in ("steer", "remembered")]
    if len(steps) + len(set(named)) != len(added) or len(steps) > 1 or method.endswith("@"):
        raise ValueError(
            f"method is {method!r}; pass torchdiffeq, or a regularizer, optionally with +steer, +remembered or such as "
            "+4-steps, then optionally with @ and a gradient, such as error+steer or local-unbiased@interpolating"
        )
    base = base.remembering() if "remembered" in named else base
    # The configuration's annotations name the choices, and it checks that these are among them.
    choices: dict = {"regularizer": regularizer, "gradient": gradient or base.gradient}
    return replace(base, steer=base.steer or "steer" in named, steps=steps[0] if steps else base.steps, **choices)


def _is_trained(config: DigitsODEConfig, folder: Path) -> bool:
    """Whether the folder holds a run, which must then have been made as configured."""
    path = folder / record_name(EXPERIMENT, config)
    if not path.exists():
        return False
    earlier = DigitsODEConfig.from_json(read(path).config)
    for name, value in vars(config).items():
        if getattr(earlier, name) != value:
            raise ValueError(
                f"{path} was made with {name} {getattr(earlier, name)}, not {value}; resume with the settings of the "
                "earlier comparison, or choose another folder"
            )
    if not _weights_path(path).exists():
        raise ValueError(f"{path} has no weights beside it, in {_weights_path(path).name}; choose another folder")
    return True


def _weights_path(record: Path) -> Path:
    return record.with_suffix(".npz")


def _timed(configs: Sequence[DigitsODEConfig], folder: Path, base: DigitsODEConfig) -> list[RunRecord]:
    """The finished runs' records with prediction times, as they then lie in the folder."""
    paths = [folder / record_name(EXPERIMENT, config) for config in configs]
    models = [_rebuild(config, _weights_path(path)) for config, path in zip(configs, paths, strict=True)]
    durations = time_predictions(models, base, digits_of(base))
    records = [with_prediction_time(read(path), seconds) for path, seconds in zip(paths, durations, strict=True)]
    for record, path in zip(records, paths, strict=True):
        write(record, path, overwrite=True)
    return records


def _rebuild(config: DigitsODEConfig, weights: Path) -> ODEClassifier:
    model = build(config)
    with np.load(weights) as arrays:
        model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    return model


def _what_is_left(finished: int, count: int, folder: Path) -> str:
    if not finished:
        return "interrupted; no record was written"
    return f"interrupted; {finished} of {count} runs are recorded in {folder}, from where --resume goes on"
