"""Private copies of right-hand sides: what the user does to the originals afterwards does not reach them.

Modules, functions, bound methods, partials and objects of the user's own classes are copied, with all that lies in
them; what belongs to libraries is shared. Tensors keep their memory: a tensor that receives a gradient is replaced by
its alias, every other one by a detached view, and those that an evaluation changes in place by a clone, so that
evaluating the copy changes nothing.
"""

import argparse
import copyreg
import enum
import functools
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyndereg.solver.gradients.code import globals_named, is_library, rebinds_globals
from pyndereg.solver.gradients.named import Names
from pyndereg.solver.gradients.watch import alias_of

# Longer lists are data rather than parts of a model.
LONGEST_CONTAINER = 1000
LARGEST_ARRAY = 2**15
# An object that leads to more objects, or so deep, is a trainer or a list, say, whose parts beyond these are shared.
MOST_OBJECTS, DEEPEST = 256, 16
CONTAINERS = (list, dict, OrderedDict, defaultdict, deque)
# What libraries have for the user's attributes.
NAMESPACES = (types.SimpleNamespace, argparse.Namespace)
HOLDERS = ("_parameters", "_buffers", "_modules")
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


KEPT_APART = frozenset({*HOLDERS, *HOOKS})


@dataclass
class Counter:
    """A whole number in an original and in its copy, which may count evaluations.

    Attributes:
        original, copy: the attributes of an object, a dictionary, a list, or a cell of a function.
        name: of the number, or its place in a list.
        before: its value in the copy when it was last looked at.
    """

    original: Any
    copy: Any
    name: Any
    before: int

    def carry_over(self, evaluations: int) -> None:
        """Count in the original what was counted in the copy, if it counts evaluations."""
        now, theirs = self._value(self.copy), self._value(self.original)
        if type(now) is int and type(theirs) is int and now - self.before == evaluations:
            self.before = now
            if isinstance(self.original, dict | list):
                self.original[self.name] = theirs + evaluations
            else:
                self.original.cell_contents = theirs + evaluations

    def _value(self, where: Any) -> Any:
        if isinstance(where, list):
            return where[self.name] if self.name < len(where) else None
        return where.get(self.name) if isinstance(where, dict) else where.cell_contents


@dataclass
class Grown:
    """A list and its copy, to which evaluations may add items.

    Attributes:
        original, copy: the lists.
        before: the copy's length when it was last looked at.
    """

    original: list[Any]
    copy: list[Any]
    before: int

    def carry_over(self) -> None:
        """Add to the original what was added to the copy."""
        self.original.extend(self.copy[self.before :])
        self.before = len(self.copy)


@dataclass
class Copier:
    """Copies right-hand sides, all with the same tensors.

    Args:
        aliases: of tensors that receive gradients, by the ids of these; leaves that are found join them.
        changed: ids of the tensors that an evaluation changes in place.

    Attributes:
        inputs: the leaves that were found, by id.
        reached: ids of all tensors that were replaced.
        computed: aliases of computed tensors that were found and do not receive a gradient.
        shared: views of tensors without a gradient, by the ids of these.
        counters: whole numbers in what was copied, as `Counter`s.
        lists: lists that were copied.
        names: notes the names by which code finds what is not copied.
    """

    aliases: dict[int, Tensor]
    changed: Collection[int]
    inputs: dict[int, Tensor] = field(default_factory=dict)
    reached: set[int] = field(default_factory=set)
    computed: list[Tensor] = field(default_factory=list)
    shared: dict[int, Tensor] = field(default_factory=dict)
    counters: list["Counter"] = field(default_factory=list)
    lists: list["Grown"] = field(default_factory=list)
    names: Names = field(default_factory=Names)

    def __post_init__(self) -> None:
        self._depth = self._objects = 0
        self._memo: dict[int, Any] = {}
        self._kept: list[Any] = []  # what the memo's ids belong to

    def __call__(self, value: Any) -> Any:
        """The copy of a value; the value itself where nothing in it needs one."""
        if type(value) in SIMPLE:
            return value
        if isinstance(value, Tensor):
            return self._tensor(value)
        key = id(value)
        if key in self._memo:
            return self._memo[key]
        copy = self._copier(value)
        if copy is None:
            return value
        self._kept.append(value)
        return copy(value)

    def _copier(self, value: Any) -> Callable[[Any], Any] | None:
        """How a value is copied; None if it is shared."""
        if isinstance(value, nn.Module):
            return None if isinstance(value, torch.jit.ScriptModule) else self._module
        kind = type(value)
        if kind is types.FunctionType:
            return self._function
        if kind is types.MethodType:
            return self._method
        if kind is functools.partial:
            return self._partial
        if kind in CONTAINERS or isinstance(value, tuple):
            return self._container if len(value) <= LONGEST_CONTAINER else None
        if kind is np.ndarray:
            return self._plain if value.size <= LARGEST_ARRAY else None
        if kind is set or kind is bytearray:
            return self._plain if len(value) <= LONGEST_CONTAINER else None
        if isinstance(value, type | types.ModuleType):
            self.names.follow(value)
            return None
        return self._object if is_object(value) else None

    def _tensor(self, x: Tensor) -> Tensor:
        key = id(x)
        if key in self.aliases:
            self.reached.add(key)
            return self.aliases[key]
        if key in self._memo:
            return self._memo[key]
        self._kept.append(x)
        self._memo[key] = copy = self._new_tensor(x, key)
        self.reached.add(key)
        return copy

    def _new_tensor(self, x: Tensor, key: int) -> Tensor:
        if key in self.changed:
            return x.detach().clone()
        if nn.parameter.is_lazy(x) or x.is_inference():
            return x
        if not x.requires_grad:
            self.shared[key] = x.detach()
            return self.shared[key]
        alias = alias_of(x)
        if x.is_leaf:
            self.inputs[key] = x
            self.aliases[key] = alias
        else:
            self.computed.append(alias)
        return alias

    def _module(self, module: nn.Module) -> Any:
        original = module._modules.get("_orig_mod") if type(module).__name__ == "OptimizedModule" else None
        if isinstance(module, nn.parallel.DistributedDataParallel):
            original = module.module
        if original is not None:  # what a compiled or distributed module runs, without what it does to gradients
            self._memo[id(module)] = copy = self(original)
            return copy
        copy: Any = new_of(module)
        if copy is None:  # a proxy, say
            return module
        self._memo[id(module)] = copy
        self.names.note_class(type(module))
        self._copy_slots(module, copy)
        attributes = copy.__dict__
        attributes.update(module.__dict__)
        if attributes.get("_compiled_call_impl") is not None:
            attributes["_compiled_call_impl"] = None
        for name, value in module.__dict__.items():
            if type(value) in SIMPLE or name == "_non_persistent_buffers_set":
                continue
            if name in KEPT_APART and not value:
                attributes[name] = type(value)()
            elif name in HOLDERS:
                attributes[name] = type(value)((key, self(item)) for key, item in value.items())
                if name == "_buffers":  # statistics move during a solve
                    for item in value.values():
                        self.shared.pop(id(item), None)
            elif name in HOOKS:
                attributes[name] = type(value)((key, self(item)) for key, item in value.items())
            elif "state_dict" not in name:
                attributes[name] = self(value)
        self._note_attributes(vars(module), attributes)
        return copy

    def _object(self, value: Any) -> Any:
        self._objects = self._objects + 1 if self._depth else 1
        copy: Any = None if self._objects > MOST_OBJECTS or self._depth >= DEEPEST else new_of(value)
        if copy is None:
            return value
        self._memo[id(value)] = copy
        self.names.note_class(type(value))
        self._depth += 1
        self._copy_slots(value, copy)
        attributes = getattr(value, "__dict__", None)
        if attributes is value:  # a dictionary whose entries are its attributes
            object.__setattr__(copy, "__dict__", copy)
        elif attributes:
            copy.__dict__.update({name: self(item) for name, item in attributes.items()})
            self._note_attributes(attributes, copy.__dict__)
        if isinstance(value, dict):
            dict.update(copy, {name: self(item) for name, item in dict.items(value)})
        elif isinstance(value, list):
            list.extend(copy, [self(item) for item in list.__iter__(value)])
        self._depth -= 1
        return copy

    def _plain(self, value: Any) -> Any:
        self._memo[id(value)] = copy = value.copy()
        return copy

    def _copy_slots(self, value: Any, copy: Any) -> None:
        for name in slots_of(type(value)):
            if hasattr(value, name):
                object.__setattr__(copy, name, self(getattr(value, name)))

    def _note_attributes(self, original: Any, copy: Any) -> None:
        for name, value in original.items():
            if type(value) is int and not name.startswith("_"):
                self.counters.append(Counter(original, copy, name, value))
            elif type(value) is str:
                self.names.mention(value)

    def _method(self, method: types.MethodType) -> Any:
        owner = method.__self__
        if isinstance(owner, type) or (is_library(type(owner)) and not isinstance(owner, nn.Module)):
            return method
        self.names.note_function(method.__func__)
        return types.MethodType(method.__func__, self(owner))

    def _partial(self, partial: functools.partial[Any]) -> Any:
        keywords = {name: self(value) for name, value in partial.keywords.items()}
        return functools.partial(self(partial.func), *(self(x) for x in partial.args), **keywords)

    def _container(self, container: Any) -> Any:
        if isinstance(container, tuple):
            return self._tuple(container)
        copy = container.copy()
        copy.clear()
        self._memo[id(container)] = copy  # before it is filled, for one that holds itself
        if isinstance(container, dict):
            copy.update((key if type(key) in SIMPLE else self(key), self(item)) for key, item in container.items())
        else:
            copy.extend(self(item) for item in container)
        self._note_counts(container, copy)
        return copy

    def _note_counts(self, container: Any, copy: Any) -> None:
        """Note what may count or list evaluations; a container of parts of f does not, and would be kept alive."""
        pairs = list(container.items() if isinstance(container, dict) else enumerate(container))
        if any(type(value) not in SIMPLE for _, value in pairs):
            return
        self.counters.extend(Counter(container, copy, key, value) for key, value in pairs if type(value) is int)
        if isinstance(container, list):
            self.lists.append(Grown(container, copy, len(container)))

    def _tuple(self, container: Any) -> Any:
        self._memo[id(container)] = container  # one that holds itself is not followed twice
        items = [self(item) for item in container]
        if any(one is not other for one, other in zip(items, container, strict=True)):
            copy = tuple.__new__(type(container), items)  # whatever its own constructor asks for
            if hasattr(container, "__dict__"):
                vars(copy).update(vars(container))
            self._memo[id(container)] = copy
        return self._memo[id(container)]

    def _function(self, function: types.FunctionType) -> Any:
        original = getattr(function, "_torchdynamo_orig_callable", None)
        if original is not None:
            self._memo[id(function)] = copy = self(original)
            return copy
        if is_library(function):
            return function
        self.names.note_function(function, is_copied=True)
        cells = function.__closure__
        inside = self._globals(function)
        data = (function.__defaults__, function.__kwdefaults__)
        if cells is None and inside is function.__globals__ and data == (None, None) and not function.__dict__:
            return function
        new_cells = None if cells is None else tuple(types.CellType() for _ in cells)
        copy = types.FunctionType(function.__code__, inside, function.__name__, None, new_cells)
        self._memo[id(function)] = copy
        copy.__defaults__ = self(function.__defaults__)
        copy.__kwdefaults__ = self(function.__kwdefaults__)
        copy.__dict__.update({name: self(value) for name, value in function.__dict__.items()})
        copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
        for cell, new in zip(cells or (), new_cells or (), strict=True):
            self._fill(cell, new)
        return copy

    def _fill(self, cell: types.CellType, new: types.CellType) -> None:
        try:
            value = cell.cell_contents
        except ValueError:  # it is empty yet
            return
        new.cell_contents = self(value)
        if type(value) is int:
            self.counters.append(Counter(cell, new, "cell_contents", value))

    def _globals(self, function: types.FunctionType) -> dict[str, Any]:
        """The function's globals, or a copy in which the data that it names are copied."""
        code, original = function.__code__, function.__globals__
        if rebinds_globals(code):
            return original
        names = [name for name in globals_named(code) if name in original and _is_data(original[name])]
        if not names:
            return original
        key = id(original)
        if key not in self._memo:
            self._kept.append(original)
            self._memo[key] = dict(original)
        copy = self._memo[key]
        for name in names:
            copy[name] = self(original[name])
        return copy


def new_of(value: Any) -> Any:
    """An object of a value's class with nothing in it; None where there is none: of a class written in C, say."""
    base: Any = next(base for base in (dict, list, types.SimpleNamespace, object) if isinstance(value, base))
    try:
        return base.__new__(type(value))
    except TypeError:
        return None


@functools.lru_cache(maxsize=256)
def slots_of(kind: type) -> tuple[str, ...]:
    """The names of what objects of a class keep outside of their dictionary."""
    return tuple(copyreg._slotnames(kind))  # type: ignore[attr-defined]


SIMPLE = frozenset({bool, int, float, complex, str, bytes, type(None), frozenset, torch.dtype, torch.device})


def is_object(value: Any) -> bool:
    """Whether a value is an object of the user's own class, which may be given other attributes.

    An enumeration's members are themselves wherever they are asked for, and an object that holds nothing is a mark; one
    that lets go of something when it dies must not die twice.
    """
    kind = type(value)
    if kind in NAMESPACES:
        return True
    if is_library(kind) or isinstance(value, type | enum.Enum) or hasattr(kind, "__del__"):
        return False
    return bool(getattr(value, "__dict__", None) or slots_of(kind) or (isinstance(value, dict | list) and len(value)))


def _is_data(value: Any) -> bool:
    """Whether a global can change what a function computes, other than a module, a class or a library's function."""
    if isinstance(value, types.ModuleType | type | types.BuiltinFunctionType):
        return False
    return not (isinstance(value, types.FunctionType) and is_library(value))
