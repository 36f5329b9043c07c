"""Copies of results that leave the process: tensors without graphs, and dense output only if it needs no f."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NoReturn

from torch import Tensor


def detached(value: Any) -> Any:
    """The same with every tensor detached: a tensor, or a tuple or frozen dataclass of such values."""
    if isinstance(value, Tensor):
        return value.detach() if value.requires_grad else value
    if type(value) is tuple:
        return tuple(detached(part) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{one.name: detached(getattr(value, one.name)) for one in fields(value)})
    return value


@dataclass(frozen=True)
class LeftBehind:
    """In place of dense output that would evaluate f again, which may be anything and may change."""

    def __call__(self, *_: Any) -> NoReturn:
        """Not any longer.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "this solution was pickled without its dense output, which would evaluate f again; solve with saveat= "
            "times, or with SaveAt(dense=True)"
        )


def without_f(interpolate: Any) -> Any:
    """Dense output that evaluates no f: its own `without_f()` if it has one, else what says that it was left behind."""
    own = getattr(interpolate, "without_f", None)
    return LeftBehind() if own is None else own()
