"""What the code of a function says about the globals that it uses."""

import dis
import sys
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

# Functions and classes of these compute the same whatever the user does.
LIBRARIES = frozenset({"torch", "numpy", "scipy", *sys.stdlib_module_names} - {"__main__"})


@lru_cache(maxsize=4096)
def globals_named(code: types.CodeType) -> tuple[str, ...]:
    """Names that a function, or one defined inside it, looks up among its globals."""
    steps = (step for part in _parts(code) for step in dis.get_instructions(part))
    return tuple(dict.fromkeys(step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")))


@lru_cache(maxsize=4096)
def rebinds_globals(code: types.CodeType) -> bool:
    """Whether a function, or one defined inside it, assigns to a global."""
    assigning = ("STORE_GLOBAL", "DELETE_GLOBAL")
    return any(step.opname in assigning for part in _parts(code) for step in dis.get_instructions(part))


def is_library(value: type | Callable[..., Any]) -> bool:
    """Whether a function or a class belongs to a library rather than to the user."""
    return (getattr(value, "__module__", None) or "").partition(".")[0] in LIBRARIES


def _parts(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _parts(constant)
