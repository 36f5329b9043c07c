"""What runs and their records are called, whatever the experiment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def method_of(settings: Mapping[str, object]) -> str:
    """What a run is trained with, in one word: "error", "none+steer", "error+remembered", "local-unbiased@gauss".

    Args:
        settings: fields of its configuration, as a record has them.
    """
    if settings.get("engine") == "torchdiffeq":
        return "torchdiffeq"
    gradient, steps = settings.get("gradient", "auto"), settings.get("steps", 0)
    parts = [
        str(settings.get("regularizer", "none")),
        *(["steer"] if settings.get("steer") else []),
        *(["remembered"] if settings.get("first_step") == "remembered" else []),
        *([f"{steps}-step{'s' if steps != 1 else ''}"] if steps else []),
    ]
    return "+".join(parts) + ("" if gradient == "auto" else f"@{gradient}")


def method_name(config: Any) -> str:
    """The same of a configuration."""
    return method_of(vars(config))


def title(config: Any) -> str:
    """A run in a few words, for a bar or a line of output."""
    return f"{method_name(config)}, seed {config.seed}"


def record_name(experiment: str, config: Any) -> str:
    """File name of a run's record; signs of the method that file names had better not hold become dashes."""
    method = method_name(config).replace("+", "-").replace("@", "-")
    return f"{experiment}-{method}-seed{config.seed}.json"


def default_output(experiment: str, config: Any) -> Path:
    """Where the record of a run goes unless told otherwise."""
    return Path("runs") / record_name(experiment, config)
