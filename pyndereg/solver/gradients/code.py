"""What the code of a function says about the names that it uses."""

import dis
import sys
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

# Functions and classes of these compute the same whatever the user does.
LIBRARIES = frozenset({"torch", "numpy", "scipy", *sys.stdlib_module_names} - {"__main__"})

STORING = ("STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")


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


class Mentioned(NamedTuple):
    """Names in a function and in those defined inside it.

    Attributes:
        found: of attributes that are read, and all strings, which may be keys or names of attributes.
        stored: of attributes, globals and closure variables that are assigned; strings, too, where an item is.
    """

    found: frozenset[str]
    stored: frozenset[str]


@lru_cache(maxsize=4096)
def mentioned(code: types.CodeType) -> Mentioned:
    """The names in a function's code."""
    found: set[str] = set()
    stored: set[str] = set()
    for part in _parts(code):
        strings = {constant for constant in part.co_consts if isinstance(constant, str) and constant.isidentifier()}
        steps = list(dis.get_instructions(part))
        found |= strings.union(part.co_names)
        stored.update(step.argval for step in steps if step.opname in STORING)
        if any(step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR") for step in steps):
            stored |= strings
    return Mentioned(frozenset(found), frozenset(stored))


def is_library(value: type | Callable[..., Any]) -> bool:
    """Whether a function or a class belongs to a library rather than to the user."""
    return (getattr(value, "__module__", None) or "").partition(".")[0] in LIBRARIES


def is_installed(value: Any) -> bool:
    """Whether a function, a class or a module belongs to a library, to this package, or to any installed one."""
    module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return _is_installed((module or "").partition(".")[0])


@lru_cache(maxsize=1024)
def _is_installed(package: str) -> bool:
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return package in LIBRARIES or package == "pyndereg" or "site-packages" in file or "dist-packages" in file


def _parts(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _parts(constant)
