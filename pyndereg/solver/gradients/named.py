"""Values that a right-hand side finds by name where no copy of it can have its own.

Classes and modules of Python are not copied, so the globals and class attributes that methods use, and what a function
reads from a module, are the user's own whenever f is called. Their values are noted at a solve, those alone that the
code of f mentions and does not assign itself, and compared at its backward pass.
"""

import types
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.gradients.code import globals_named, is_installed, mentioned, rebinds_globals

# Longer lists, dictionaries and arrays are data.
LONGEST = 100
# Of more modules, classes and objects than these, the rest is not looked at.
MOST_SPACES = 256
# Methods that run without being named.
ALWAYS = ("forward", "backward", "setup_context", "__call__", "__getattr__", "__getattribute__", "__getitem__")
CONSTANT = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, np.generic)
MISSING = object()


class Note(NamedTuple):
    """One value.

    Attributes:
        where: a namespace, a container, or a cell of a closure.
        name: of the value there.
        value: what it was at the solve.
        what: how a sentence calls it.
    """

    where: Any
    name: Any
    value: Any
    what: str

    def check(self) -> None:
        """Compare.

        Raises:
            GradientRefused: the value is another one now.
        """
        now = _content(self.where, self.name)
        if not _same(self.value, now):
            raise GradientRefused(
                f"{self.what}, which f uses, was {_shown(self.value)} in the solve and is {_shown(now)} in its "
                "backward pass; call backward before it changes, keep it in an attribute or a closure of f, or pass "
                "gradient=Backprop()"
            )


class Names:
    """Follows the names in the code of a right-hand side, from the functions and classes that are noted here."""

    def __init__(self) -> None:
        self._functions: dict[int, tuple[types.FunctionType, bool]] = {}
        self._spaces: dict[int, tuple[Any, str]] = {}  # modules of Python, classes and objects that are not copied
        self._kinds: set[type] = set()
        self._found: set[str] = set(ALWAYS)
        self._stored: set[str] = set()

    def note_function(self, function: Any, *, is_copied: bool = False) -> None:
        """A function that f calls.

        Args:
            is_copied: whether its closure and its globals, but for modules and classes, are copied.
        """
        if type(function) is types.FunctionType and id(function) not in self._functions and not is_installed(function):
            self._functions[id(function)] = function, is_copied
            names = mentioned(function.__code__)
            self._found |= names.found
            self._stored |= names.stored

    def note_class(self, kind: type) -> None:
        """The class of an object that f uses."""
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        for one in kind.__mro__:
            if not is_installed(one):
                self._note_space(one, f"{one.__name__}.")

    def mention(self, name: str) -> None:
        """A string that f holds, which may be the name of a method, or a key."""
        self._found.add(name)

    def notes(self) -> tuple[Note, ...]:
        """The values that names stand for, of all that code reaches from here."""
        if not self._functions and not self._spaces:
            return ()
        size = -1
        while size != (size := len(self._functions) + len(self._spaces) + len(self._found)):
            for _, _, value, _ in [*self._uses()]:
                self.follow(value)
        keys = self._found - self._stored
        return tuple(
            note
            for where, name, value, what in self._uses()
            if name not in self._stored
            for note in _notes(where, name, value, what, keys)
        )

    def _uses(self) -> Iterator[Note]:
        """All that is named so far, whatever it is."""
        for function, is_copied in [*self._functions.values()]:
            space, code = function.__globals__, function.__code__
            own = is_copied and not rebinds_globals(code)
            for name in globals_named(code):
                value = space.get(name, MISSING)
                if value is not MISSING and not (own and not isinstance(value, type | types.ModuleType)):
                    yield Note(space, name, value, f"{name}, a global of {function.__module__}")
            for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
                value = _content(cell, name)
                if not is_copied and value is not MISSING:
                    yield Note(cell, name, value, f"{name}, a variable around {function.__qualname__}")
        for thing, prefix in [*self._spaces.values()]:
            spaces = (thing.__dict__, thing._modules) if isinstance(thing, nn.Module) else (thing.__dict__,)
            for space in spaces:
                for name in self._found:
                    if name in space:
                        yield Note(space, name, space[name], prefix + name)

    def _note_space(self, space: Any, prefix: str) -> None:
        if id(space) not in self._spaces and len(self._spaces) < MOST_SPACES:
            self._spaces[id(space)] = space, prefix

    def follow(self, value: Any) -> None:
        """Whatever f can reach and is not copied."""
        if isinstance(value, types.FunctionType):
            self.note_function(value)
        elif isinstance(value, staticmethod | classmethod | types.MethodType):
            self.note_function(value.__func__)
        elif isinstance(value, property):
            self.note_function(value.fget)
        elif isinstance(value, type):
            self.note_class(value)
        elif isinstance(value, types.ModuleType):
            if not is_installed(value):
                self._note_space(value, f"{value.__name__}.")
        elif _is_object(value):
            self.note_class(type(value))
            self._note_space(value, f"in an object of {type(value).__name__}, ")


def _is_object(value: Any) -> bool:
    """Whether a value is an object of the user's own class."""
    if isinstance(value, type | types.ModuleType | types.FunctionType | Tensor) or not hasattr(value, "__dict__"):
        return False
    return isinstance(value, types.SimpleNamespace | nn.Module) or not is_installed(type(value))


def _notes(where: Any, name: Any, value: Any, what: str, keys: Collection[str], depth: int = 3) -> Iterator[Note]:
    """Of a value that is a number, say, of one that holds such, and of one that may be another object later on."""
    if _is_constant(value) or isinstance(value, Tensor) or _is_object(value):
        yield Note(where, name, value, what)
    elif isinstance(value, np.ndarray):
        if value.size <= LONGEST:
            yield Note(where, name, value.copy(), what)
    elif isinstance(value, dict | list) and depth and len(value) <= LONGEST:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        inside = [
            note
            for key, item in items
            if not isinstance(key, str) or key in keys
            for note in _notes(value, key, item, f"{what}[{key!r}]", keys, depth - 1)
        ]
        if inside:
            yield Note(where, name, value, what)
            yield from inside


def _is_constant(value: Any) -> bool:
    return isinstance(value, CONSTANT) or (isinstance(value, tuple) and all(_is_constant(item) for item in value))


def _content(where: Any, name: Any) -> Any:
    if isinstance(where, types.CellType):
        try:
            return where.cell_contents
        except ValueError:  # it is empty yet
            return MISSING
    if isinstance(where, list):
        return where[name] if name < len(where) else MISSING
    return where.get(name, MISSING)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    # What is not a number is the same as what is not.
    return isinstance(one, CONSTANT) and bool(one == other or (one != one and other != other))


def _shown(value: Any) -> str:
    if value is MISSING:
        return "not there"
    shown = repr(value) if _is_constant(value) else f"another {type(value).__name__}"
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
