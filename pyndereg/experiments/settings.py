"""Configurations in general: fields that say what they mean, and are checked when a configuration is made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar, get_args, get_type_hints

AnyConfig = TypeVar("AnyConfig", bound="Config")


def about(meaning: str, *, least: float | None = None, above: float | None = None) -> dict[str, Any]:
    """What the command line says about a field, and the bound that its numbers keep, as the field's metadata."""
    return {"meaning": meaning, "least": least, "above": above}


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration of an experiment: every field has a default, and metadata made by `about`.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is outside its bounds; the message names the field, the value and the bound.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def from_json(cls: type[AnyConfig], values: Mapping[str, Any]) -> AnyConfig:
        """The configuration of a run record, or any mapping from field to value in which a list stands for a pair.

        Raises:
            TypeError: a field is unknown or has the wrong type.
            ValueError: a value is outside its bounds.
        """
        fields_of_run: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**fields_of_run)


def json_values(config: Any) -> dict[str, Any]:
    """Every field of a configuration as JSON has it: a pair becomes a list."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def check_fields(config: Any) -> None:
    """Check every field of a configuration against its annotation and its bounds.

    Raises:
        TypeError, ValueError: as the configuration says.
    """
    hints = get_type_hints(type(config))
    for one in fields(config):
        value, expected = getattr(config, one.name), hints[one.name]
        _check_type(one.name, value, expected)
        for number in _numbers_in(value):
            _check_bounds(one.name, number, one.metadata["least"], one.metadata["above"])


def _check_type(name: str, value: Any, expected: Any) -> None:
    allowed = get_args(expected)
    if allowed and all(isinstance(choice, str) for choice in allowed):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(allowed)}")
    elif allowed:
        if not isinstance(value, tuple) or len(value) != len(allowed):
            raise TypeError(f"{name} is {value!r}; pass a tuple of {len(allowed)} numbers")
        for item, kind in zip(value, allowed, strict=True):
            _check_type(name, item, kind)
    elif expected is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} is {value!r}; pass a number")
    elif expected is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}; pass a whole number")
    elif not isinstance(value, expected):
        raise TypeError(f"{name} is {value!r}; pass a value of type {expected.__name__}")


def _numbers_in(value: Any) -> Sequence[float]:
    if isinstance(value, tuple):
        return [number for number in value if isinstance(number, int | float)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _check_bounds(name: str, number: float, least: float | None, above: float | None) -> None:
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; pass a finite number")
    if least is not None and number < least:
        raise ValueError(f"{name} is {number}; pass at least {least:g}")
    if above is not None and number <= above:
        raise ValueError(f"{name} is {number}; pass a number above {above:g}")
