"""One evaluation of a right-hand side, watched: which tensors enter it, and whether it is the same function again."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.gradients.graph import reached_from

# Whether a tensor belongs to one of torch.func's transforms.
is_transformed: Callable[[Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor  # type: ignore[attr-defined]

# Reading one of these yields no tensor, so that nothing enters by it.
GETTERS = frozenset(
    getattr(Tensor, name).__get__
    for name in ("_version", "device", "dtype", "is_leaf", "layout", "ndim", "requires_grad", "shape")
)
# Which argument of these says that batch statistics move: its name, and its value if it is not given.
STATISTICS: dict[Any, tuple[str, bool]] = {
    F.batch_norm: ("training", False),
    F.instance_norm: ("use_input_stats", True),
}
UNUSUAL = frozenset({Tensor.detach_, *STATISTICS})


@dataclass
class Seen:
    """What a watched evaluation showed; tensors by their ids.

    Attributes:
        captured: those that require a gradient and are older than the evaluation, in the order in which they entered.
        exchanged: of these, those that were exchanged for an alias as they entered: (tensor, alias).
        hidden: of these, leaves that entered in a way that torch's functions do not show.
        entered: those that entered and are not changed in place, with their versions.
        changed: those that were changed in place.
        made: those that the evaluation itself made.
        is_mixed: whether a tensor that was to be exchanged entered inside of a transform, where none can be made.
        draws: whether random numbers were drawn from torch's generators, or from one of `generators`.
        generators: of the user's, that it was given.
        coarsest: the largest unit roundoff among the results of its operations.
        reached: which of the captured tensors its graph leads to, and how many operations it has; None without a graph.
        operations: of its graph.
        nodes_of_leaves: where its graph sums up the gradients of leaves, by the ids of these.
        made_nodes: how many nodes of graphs it made, whether or not its result depends on them.
    """

    captured: dict[int, Tensor] = field(default_factory=dict)
    exchanged: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    hidden: dict[int, Tensor] = field(default_factory=dict)
    entered: dict[int, tuple[Tensor, int]] = field(default_factory=dict)
    changed: dict[int, Tensor] = field(default_factory=dict)
    made: dict[int, Tensor] = field(default_factory=dict)
    is_mixed: bool = False
    draws: bool = False
    generators: tuple[torch.Generator, ...] = ()
    coarsest: float = 0.0
    reached: tuple[frozenset[int], int] | None = None
    operations: tuple[Any, ...] = ()
    nodes_of_leaves: dict[int, Any] = field(default_factory=dict)
    made_nodes: int = 0

    def merged(self, other: "Seen") -> "Seen":
        """What two evaluations showed together."""
        return Seen(
            {**self.captured, **other.captured},
            {**self.exchanged, **other.exchanged},
            {**self.hidden, **other.hidden},
            {**self.entered, **other.entered},
            {**self.changed, **other.changed},
            {},
            self.is_mixed or other.is_mixed,
            self.draws or other.draws,
            (*self.generators, *other.generators),
            max(self.coarsest, other.coarsest),
        )


class Watch(TorchFunctionMode):
    """Notes the tensors that enter torch's functions, and exchanges those that a kept graph must not reach itself.

    Args:
        arguments: the tensors that the evaluation is given.
        exchange: which captured tensors to exchange for an alias; None for none of them.
    """

    def __init__(self, arguments: tuple[Tensor, ...], exchange: Callable[[Tensor], bool] | None = None) -> None:
        super().__init__()
        self.seen = Seen()
        self._arguments = {id(argument) for argument in arguments}
        self._exchange = exchange
        self._made = self.seen.made
        self._versions: dict[int, tuple[Tensor, int]] = {}
        self._first = torch.autograd._get_sequence_nr()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """One call of a torch function."""
        if func in GETTERS:
            return func(*args)
        if func in UNUSUAL:
            if func == Tensor.detach_:  # what it came from does not enter
                x = args[0]
                self._versions.setdefault(id(x), (x, x._version))
                return func(x)
            self._note_statistics(*STATISTICS[func], args, kwargs or {})
        enter = self._enter
        args = tuple([enter(x) if isinstance(x, Tensor) else mapped(enter, x) for x in args])
        if kwargs:
            generator = kwargs.get("generator")
            if generator is not None:
                self.seen.draws, self.seen.generators = True, (*self.seen.generators, generator)
            result = func(*args, **mapped(enter, kwargs))
        else:
            result = func(*args)
        if isinstance(result, Tensor):
            self._leave(result)
        else:
            for tensor in tensors_in(result):
                self._leave(tensor)
        return result

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A function's result, watched; what solvers do around it is not. Arguments may be tuples of tensors."""
        self._arguments.update(id(x) for x in tensors_in(arguments))
        with eagerly(), self:
            return mapped(self._enter, function(*arguments))

    def finish(self, result: Tensor | None) -> Seen:
        """What was seen, once the evaluation is over; its result may be a tensor that entered no function."""
        if result is not None:
            self._enter(result)
        for key, (x, version) in self._versions.items():
            if x._version != version:
                self.seen.changed[key] = x
            elif key not in self.seen.made and key not in self.seen.changed:
                self.seen.entered[key] = (x, version)
        return self.seen

    def _note_statistics(self, name: str, default: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Batch statistics move without a change of their versions."""
        if not kwargs.get(name, args[5] if len(args) > 5 else default):
            return
        given = (kwargs.get("running_mean", args[1] if len(args) > 1 else None),)
        given += (kwargs.get("running_var", args[2] if len(args) > 2 else None),)
        self.seen.changed |= {id(x): x for x in given if x is not None}

    def _enter(self, x: Tensor) -> Tensor:
        key = id(x)
        if key in self._made or key in self._arguments:
            return x
        if nn.parameter.is_lazy(x) or is_transformed(x) or x.is_inference():
            return x
        if key not in self._versions:
            self._versions[key] = x, x._version
        if not x.requires_grad or not torch.is_grad_enabled():
            return x
        if x.grad_fn is not None and x.grad_fn._sequence_nr() >= self._first:
            self.seen.made[key] = x  # by something that torch's functions do not show
            return x
        self.seen.captured[key] = x
        if self._exchange is None or not self._exchange(x):
            return x
        if torch._C._functorch.peek_interpreter_stack() is not None:  # type: ignore[attr-defined]
            self.seen.is_mixed = True
            return x
        return self.seen.exchanged.setdefault(key, (x, alias_of(x)))[1]

    def _leave(self, x: Tensor) -> None:
        key = id(x)
        if key not in self._versions and key not in self._arguments:
            self._made[key] = x
        if x.ndim > 0 and x.dtype.is_floating_point:
            roundoff = unit_roundoff(x.dtype)
            if roundoff > self.seen.coarsest:
                self.seen.coarsest = roundoff


class Exchange(TorchFunctionMode):
    """Exchanges tensors for their aliases as they enter torch's functions.

    Args:
        pairs: by the id of a tensor, itself and its alias.
    """

    def __init__(self, pairs: dict[int, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._pairs = pairs

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """One call of a torch function."""
        if func in GETTERS:
            return func(*args)
        return func(*mapped(self._enter, args), **mapped(self._enter, kwargs or {}))

    def _enter(self, x: Tensor) -> Tensor:
        pair = self._pairs.get(id(x))
        return x if pair is None else pair[1]


def watched(
    evaluate: Callable[[], Tensor],
    arguments: tuple[Tensor, ...],
    exchange: Callable[[Tensor], bool] | None = None,
    through: Callable[[Watch], None] | None = None,
) -> tuple[Tensor, Seen]:
    """One evaluation, and what it showed.

    Args:
        evaluate: makes it.
        arguments: the tensors that it is given.
        exchange: see `Watch`.
        through: told of the watch, by whose `call` the evaluation calls f; None to watch all that it does.
    Raises:
        GradientRefused: it depends on a computed tensor that no torch function received.
    """
    device = arguments[0].device
    before = random_states(device)
    first = torch.autograd._get_sequence_nr()
    watch = Watch(arguments, exchange)
    try:
        if through is None:
            with eagerly(), watch:
                result = evaluate()
        else:
            through(watch)
            result = evaluate()
    except RuntimeError as error:
        if "leaf Variable that requires grad is being used in an in-place" not in str(error):
            raise
        raise GradientRefused(
            "f changes in place a tensor that requires a gradient, so that this would depend on how often f was "
            "evaluated; let f compute a new tensor, or detach the old one, x.detach_(), before it is overwritten"
        ) from error
    seen = watch.finish(result if through is None else None)
    seen.made_nodes = torch.autograd._get_sequence_nr() - first
    seen.draws = seen.draws or not same_states(before, random_states(device))
    if id(result) in seen.exchanged:
        result = seen.exchanged[id(result)][1]
    if torch.is_grad_enabled():
        names = {id(alias): key for key, (_, alias) in seen.exchanged.items()}
        known = {*map(id, arguments), *seen.made, *names, *seen.captured}
        reached = reached_from(result, (*arguments, *seen.captured.values()), first)
        for key, leaf in reached.leaves.items():
            if key not in known:
                seen.captured[key] = seen.hidden[key] = leaf
        seen.operations, seen.nodes_of_leaves = reached.operations, reached.nodes_of_leaves
        seen.reached = (reached.named(names | {key: key for key in seen.captured}), reached.nodes)
    return result, seen


def eagerly() -> AbstractContextManager[object]:
    """Compiled functions run as they were written, where torch.compile is in use at all."""
    return EAGER if "torch._dynamo" in sys.modules else nullcontext()


class Eager(AbstractContextManager[None]):
    """The compiler's stance belongs to the process: the first thread that enters sets it, the last one puts it back."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._stance: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._stance = torch.compiler.set_stance("force_eager")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stance.__exit__(None, None, None)


EAGER = Eager()


@cache
def unit_roundoff(dtype: torch.dtype) -> float:
    """The distance from 1 to the next number."""
    return torch.finfo(dtype).eps


def alias_of(x: Tensor) -> Tensor:
    """A leaf with the same memory, to differentiate with respect to in place of a tensor; like it in type, too."""
    alias: Any = x.detach()
    if isinstance(x, nn.Parameter) and type(alias) is Tensor:
        alias = Tensor._make_subclass(type(x), alias, True)  # type: ignore[attr-defined]
    if x.__dict__:
        alias.__dict__.update(x.__dict__)
    return alias.requires_grad_()


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A value with a function applied to each tensor in it, in tuples, lists and dictionaries too."""
    if isinstance(value, Tensor):
        return function(value)
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([mapped(function, item) for item in value])
    if kind is dict:
        return {key: mapped(function, item) for key, item in value.items()}
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a value, in tuples and lists too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


def random_states(device: torch.device, generators: tuple[torch.Generator, ...] = ()) -> list[Tensor]:
    """The states of torch's generators that code on a device draws from, and of further ones."""
    states = [generator.get_state() for generator in generators]
    states.append(torch.get_rng_state())
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def restore_random_states(
    states: list[Tensor], device: torch.device, generators: tuple[torch.Generator, ...] = ()
) -> None:
    """Put the generators back to earlier states."""
    for generator, state in zip(generators, states, strict=False):
        generator.set_state(state)
    torch.set_rng_state(states[len(generators)])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[-1], device)


def same_states(states: list[Tensor], others: list[Tensor]) -> bool:
    """Whether nothing was drawn in between."""
    return all(torch.equal(one, other) for one, other in zip(states, others, strict=True))
