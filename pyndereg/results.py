"""What one run of an experiment was, and what came out of it: one JSON file per run."""

import contextlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = "pyndereg run record"
SCHEMA_VERSION = 1


class InvalidRecord(ValueError):
    """A file, or what was read from it, is not a run record of this schema."""


@dataclass(frozen=True, kw_only=True)
class StepTrace:
    """The accepted steps of one solve, in time order, as plain numbers.

    Args:
        t: time at which each step began. Length steps, in the problem's time units.
        dt: signed length of each step. Length steps, in the problem's time units.
        scaled_error: norm of the local error in units of the tolerance, at most 1. Length steps, dimensionless.
        stiffness: estimate of |largest eigenvalue| of the Jacobian, NaN without one. Length steps, 1/time.
    Raises:
        InvalidRecord: the four columns differ in length.
    """

    t: tuple[float, ...]
    dt: tuple[float, ...]
    scaled_error: tuple[float, ...]
    stiffness: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = {column.name: len(getattr(self, column.name)) for column in fields(self)}
        if len(set(lengths.values())) > 1:
            raise InvalidRecord(
                f"the columns of a step trace have lengths {lengths}; one row per step needs them equal"
            )


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything that a table or a figure needs to know about one run, and what is needed to run it again.

    The mappings are read, never changed: a changed record is a new one (`dataclasses.replace`).

    Args:
        experiment: name of the experiment, as the command line has it.
        config: every field of the experiment's configuration, as JSON values.
        versions: version of each of pyndereg, torch, numpy and python.
        seed: seed of the run (dimensionless).
        device: where the tensors lived, in torch's words.
        curves: one value per epoch under each name, all of the same length.
        metrics: one final value under each name.
        steps_before: steps along the trajectory of the fixed evaluation batch before training.
        steps_after: the same batch's steps after training.
        trajectories: what is drawn over time, one value per time under each name, among them "t"; empty where an
            experiment has nothing of the kind, and in records written before there was.
    Raises:
        InvalidRecord: two curves differ in length, or two columns of the trajectories.
    """

    experiment: str
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    seed: int
    device: str
    curves: Mapping[str, tuple[float, ...]]
    metrics: Mapping[str, float]
    steps_before: StepTrace
    steps_after: StepTrace
    trajectories: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.trajectories.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidRecord(f"the trajectories have lengths {lengths}; one value per time needs them equal")
        lengths = {name: len(values) for name, values in self.curves.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidRecord(f"the curves have lengths {lengths}; one value per epoch needs them equal")

    @property
    def epochs(self) -> int:
        """Number of epochs that the curves cover (dimensionless)."""
        return len(next(iter(self.curves.values()), ()))


def installed_versions() -> dict[str, str]:
    """Versions of what computes the numbers: pyndereg, torch, numpy and python."""
    return {name: metadata.version(name) for name in ("pyndereg", "torch", "numpy")} | {
        "python": platform.python_version()
    }


def check_destination(path: Path, *, overwrite: bool = False) -> None:
    """Make sure, before anything is computed, that a result may be written to `path`; make its folder.

    Raises:
        FileExistsError: something lies at `path` and `overwrite` is false.
        NotADirectoryError: the folder of `path` cannot be made because a file is in its way.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; name another file, or ask for it to be overwritten (--overwrite)"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{path.parent} is not a folder, so {path.name} cannot be written there") from None


def write(record: RunRecord, path: Path, *, overwrite: bool = False) -> None:
    """Write a record as one JSON file, whole or not at all: it appears at `path` only when it is complete.

    NaN is written as null, since JSON has no NaN.

    Raises:
        FileExistsError: something lies at `path` and `overwrite` is false.
        ValueError: a number is infinite, which JSON cannot say and no finished run should have.
    """
    check_destination(path, overwrite=overwrite)
    document = {"format": FORMAT, "schema_version": SCHEMA_VERSION} | asdict(record)
    try:
        text = json.dumps(_nan_as_none(document), indent=1, allow_nan=False) + "\n"
    except ValueError:
        raise ValueError(f"the record for {path} holds an infinite number, which JSON cannot express") from None
    with appear_whole(path, overwrite=overwrite) as file:
        file.write(text.encode())


@contextlib.contextmanager
def appear_whole(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which appears at `path` only when the block has ended well.

    Raises:
        FileExistsError: something lies at `path` and `overwrite` is false.
    """
    # The temporary file shares the folder, because os.replace is atomic only within one file system.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner may read
        if overwrite:
            os.replace(temporary, path)
        else:
            _publish_new(Path(temporary), path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        FileNotFoundError: there is no file at `path`.
        InvalidRecord: the file is not JSON, not a run record, of another schema version, or lacks a part.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; name a run record written by `pyndereg run`") from None
    except (json.JSONDecodeError, UnicodeDecodeError, IsADirectoryError):
        raise InvalidRecord(f"{path} is not a JSON file; name a run record written by `pyndereg run`") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidRecord(f"{path} is JSON but not a run record; name one written by `pyndereg run`")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise InvalidRecord(
            f"{path} has schema version {document.get('schema_version')}, this pyndereg reads version "
            f"{SCHEMA_VERSION}; run the experiment again"
        )
    return _parse(document, path)


def _parse(document: Mapping[str, Any], path: Path) -> RunRecord:
    try:
        return RunRecord(
            experiment=str(document["experiment"]),
            config=dict(document["config"]),
            versions=dict(document["versions"]),
            seed=int(document["seed"]),
            device=str(document["device"]),
            curves={name: _numbers(values) for name, values in document["curves"].items()},
            metrics={name: _number(value) for name, value in document["metrics"].items()},
            steps_before=_parse_trace(document["steps_before"]),
            steps_after=_parse_trace(document["steps_after"]),
            trajectories={name: _numbers(values) for name, values in document.get("trajectories", {}).items()},
        )
    except KeyError as missing:
        raise InvalidRecord(f"{path} is a damaged run record: {missing} is missing; run the experiment again") from None
    except (TypeError, ValueError, AttributeError) as reason:
        raise InvalidRecord(f"{path} is a damaged run record ({reason}); run the experiment again") from None


def _parse_trace(columns: Mapping[str, Any]) -> StepTrace:
    return StepTrace(**{column.name: _numbers(columns[column.name]) for column in fields(StepTrace)})


def _numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list):
        raise TypeError(f"found {values!r} where a list of numbers belongs")
    return tuple(_number(value) for value in values)


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"found {value!r} where a number belongs")
    return float(value)


def _nan_as_none(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {key: _nan_as_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_as_none(item) for item in value]
    return value


def _publish_new(temporary: Path, path: Path) -> None:
    """Move a finished file to a name that must still be free, even if another run took it meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(
            f"{path} exists already; name another file, or ask for it to be overwritten (--overwrite)"
        ) from None
    temporary.unlink()
