"""The state of a run between two epochs, on disk: what a killed run goes on from."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from pyndereg.results import appear_whole

FORMAT = "pyndereg checkpoint"


class Stateful(Protocol):
    """A model, an optimizer, a schedule: anything whose state can be read and set."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as tensors and plain values."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take on a state."""
        ...


class Checkpoint:
    """Where a run keeps its state after every epoch.

    The file appears whole or not at all, however the run ends. What it holds besides weights and curves is the state of
    torch's generators, so that a run that goes on from it ends with the numbers of one that was never interrupted (to
    the last bit on a processor).

    Args:
        path: the file.
        config: of the run, as JSON values; a file of another configuration is not resumed.
        resume: go on from the file, if there is one.
    Raises:
        FileExistsError: there is a file, and `resume` is false.
        ValueError: the file is damaged, or of a run with other settings.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], *, resume: bool = False) -> None:
        self._path, self._config = path, dict(config)
        self._state: dict[str, Any] | None = None
        for left in path.parent.glob(f".{path.name}.*.partial"):  # by a run that was killed while it wrote
            left.unlink()
        if not path.exists():
            return
        if not resume:
            raise FileExistsError(
                f"{path} holds an unfinished run; go on with --resume, or begin again with --overwrite"
            )
        self._state = _read(path)
        _check_config(path, self._state["config"], self._config)

    def restore(self, parts: Mapping[str, Stateful]) -> list[dict[str, float]]:
        """Set the parts and torch's generators to where the run stopped.

        Returns:
            The rows of the curves so far; none where nothing was kept.
        """
        if self._state is None:
            return []
        for name, part in parts.items():
            part.load_state_dict(self._state["parts"][name])
        torch.set_rng_state(self._state["generator"])
        if self._state["cuda_generators"]:
            torch.cuda.set_rng_state_all(self._state["cuda_generators"])
        rows, self._state = self._state["rows"], None
        return rows

    def save(self, parts: Mapping[str, Stateful], rows: Sequence[Mapping[str, float]]) -> None:
        """Keep the state after an epoch, in place of the last one."""
        state = {
            "format": FORMAT,
            "config": self._config,
            "rows": [dict(row) for row in rows],
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }
        with appear_whole(self._path, overwrite=True) as file:
            torch.save(state, file)

    def remove(self) -> None:
        """Forget the state, once the run's record is written."""
        self._path.unlink(missing_ok=True)


def checkpoint_path(record: Path) -> Path:
    """Where the state of an unfinished run lies: beside its record."""
    return record.with_suffix(".checkpoint")


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise ValueError(f"{path} is no checkpoint, or damaged; begin again with --overwrite") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of a run; begin again with --overwrite")
    return state


def _check_config(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in expected.keys() | found.keys():
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"{path} is of a run with {name} {found.get(name)}, not {expected.get(name)}; resume with the settings "
                "of that run, or begin again with --overwrite"
            )
