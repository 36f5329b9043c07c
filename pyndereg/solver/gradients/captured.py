"""What right-hand sides depend on at a solve, and private copies of them for its backward pass.

The gradient of a solve is that of the computation that was run. The inputs of its autograd Function are the tensors
that were declared, that entered the first evaluation, or that a copy of the right-hand side holds; the copy, which
nobody else can change, has an alias of each in its place, and the backward pass differentiates with respect to these.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.field import Field
from pyndereg.solver.gradients.around import Around
from pyndereg.solver.gradients.guard import Guard, StartGraph
from pyndereg.solver.gradients.named import Note
from pyndereg.solver.gradients.private_copy import Copier, Counter, Grown
from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.gradients.watch import (
    Seen,
    alias_of,
    random_states,
    restore_random_states,
    same_states,
)

Result = TypeVar("Result")
Target = Tensor | GradientEdge


@dataclass(frozen=True)
class Captured:
    """Right-hand sides as they were at a solve.

    Attributes:
        inputs: the tensors that may receive gradients, each once.
        aliases: one of each, which the copies use in its place.
        computed: aliases of computed tensors that did not enter the first evaluation.
        fields: the copies.
        surroundings: to call the copies in.
        versions: tensors that the copies share with the originals, and their versions at the solve.
        shared: leaves inside what cannot be copied, which the copies use themselves.
        counters: whole numbers that may count evaluations.
        lists: lists that may note evaluations.
        coarsest: the largest unit roundoff among the results of f's operations.
        is_isolated: whether evaluating the copies changes nothing of the user's.
        has_outside: whether f finds tensors in ways that the copies do not reach.
        generators: the user's, that f draws from.
        shared_later: further tensors that the copies share, which did not enter the first evaluation, with versions.
        notes: values that the copies find by name among the user's own, as they were.
    """

    inputs: tuple[Tensor, ...]
    aliases: tuple[Tensor, ...]
    computed: tuple[Tensor, ...]
    fields: tuple[Field, ...]
    surroundings: Surroundings
    versions: tuple[tuple[Tensor, int], ...]
    shared: tuple[Tensor, ...]
    counters: tuple[Counter, ...]
    lists: tuple[Grown, ...]
    coarsest: float
    is_isolated: bool
    has_outside: bool
    generators: tuple[torch.Generator, ...]
    shared_later: tuple[tuple[Tensor, int], ...]
    notes: tuple[Note, ...]

    def for_backward(self) -> "Captured":
        """The same without the user's tensors, which a backward pass must not hold."""
        return replace(self, inputs=())

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """What a backward pass over the copies differentiates with respect to: aliases, then the computed tensors."""
        return (*self.aliases, *self.computed)

    def gradients(self, found: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Those of the inputs, from those of the targets (computed tensors may be missing at their end).

        Raises:
            GradientRefused: a computed tensor has one.
        """
        for gradient, alias in zip(found[len(self.aliases) :], self.computed, strict=False):
            if gradient is not None:
                raise GradientRefused(
                    f"f began to use a computed tensor of shape {tuple(alias.shape)} after t0, so its gradient would "
                    "be lost; list it in params="
                )
        return list(found[: len(self.aliases)])

    def replay(self, function: Callable[[], Result]) -> Result:
        """function(), a backward pass over the copies, in the surroundings of the solve.

        Raises:
            GradientRefused: a tensor that the copies share was changed in place since the solve, or a global, say, is
                another one.
        """
        self.check_versions()
        for note in self.notes:
            note.check()
        for leaf in self.shared:
            refuse_changes(leaf)
        before = [field.evaluations for field in self.fields]
        result = self.surroundings.put_back(function)
        made = {field.evaluations - count for field, count in zip(self.fields, before, strict=True)} - {0}
        for counter in self.counters:
            for evaluations in made:
                counter.carry_over(evaluations)
        for grown in self.lists:
            grown.carry_over()
        return result

    def expect_start(self) -> None:
        """The next evaluation of each copy with a graph is that of the start."""
        for field in self.fields:
            field.expect_start()

    def check_versions(self, *, later: bool = False) -> None:
        """Refuse a gradient after a change in place.

        Args:
            later: look at the tensors, too, that f may have used after its first evaluation only; a backward pass that
                compares states finds these by what they change.
        Raises:
            GradientRefused: there was one since the solve.
        """
        for tensor, version in (*self.versions, *(self.shared_later if later else ())):
            if tensor._version != version:
                raise GradientRefused(
                    f"a tensor of shape {tuple(tensor.shape)} that f uses was changed in place between the solve and "
                    "its backward pass (by an optimizer's step, say); call backward before the change, or solve again"
                )

    def reproduces(self, field: Field, t: Tensor, y: Tensor, slope: Tensor) -> bool:
        """Whether a copy yields the same slope again, bit for bit and without drawing random numbers."""
        if not self.is_isolated:
            return False
        states = random_states(y.device, self.generators)
        with torch.no_grad():
            again = self.surroundings.put_back(lambda: field(t, y.detach()))
        draws = not same_states(states, random_states(y.device, self.generators))
        if draws:
            restore_random_states(states, y.device, self.generators)
        return not draws and bool(torch.equal(again, slope.detach()))


def capture(
    fields: Sequence[Field],
    declared: Iterable[Tensor],
    seen: Seen,
    surroundings: Surroundings,
    starts: Sequence[StartGraph | None] = (),
) -> Captured:
    """Copy right-hand sides, after their first evaluation.

    Args:
        declared: tensors that receive gradients, in the order of the gradients.
        seen: what the first evaluations showed.
        surroundings: those of the solve.
        starts: for each, what its copy has to show at the start, but for names; None if that is not compared.
    Raises:
        GradientRefused: a tensor with a hook enters in a way that does not let its gradient be summed up first, or f
            is too deep to be copied.
    """
    inputs = {id(x): x for x in (*declared, *seen.captured.values())}
    aliases = {key: seen.exchanged[key][1] if key in seen.exchanged else alias_of(x) for key, x in inputs.items()}
    copier = Copier(aliases, seen.changed.keys())
    try:
        copies = [copier(field.function) for field in fields]
    except RecursionError as error:
        raise GradientRefused(
            "f is made of functions or layers that hold one another deeper than Python's recursion limit, so that it "
            "cannot be copied for the backward pass; raise it by sys.setrecursionlimit, or hold them in a list"
        ) from error
    shared = []
    for key, leaf in seen.hidden.items():
        if key not in copier.reached:
            refuse_changes(leaf)
            aliases[key] = leaf
            shared.append(leaf)
    outside = {key: (x, aliases[key]) for key, x in inputs.items() if key not in copier.reached}
    inputs |= copier.inputs
    around = Around(surroundings, {key: pair for key, pair in outside.items() if key not in seen.hidden})
    known = {id(alias) for alias in (*aliases.values(), *copier.computed)}
    names = {id(alias): key for key, alias in aliases.items()}
    originals = inputs.keys() - {key for key, alias in aliases.items() if alias is inputs.get(key)}

    def guard(start: StartGraph | None) -> Guard:
        named = None if start is None else replace(start, names=names)
        return Guard(known, originals=originals, looks_at_all=bool(outside), start=named)

    versions = [(aliases.get(key, x), version) for key, (x, version) in seen.entered.items()]
    return Captured(
        inputs=tuple(inputs.values()),
        aliases=tuple(aliases[key] for key in inputs),
        computed=tuple(copier.computed),
        fields=tuple(
            _on(field, copy, around, guard(start)).as_copy()
            for field, copy, start in zip(fields, copies, starts or [None] * len(copies), strict=True)
        ),
        surroundings=surroundings,
        versions=tuple(versions),
        shared=tuple(shared),
        counters=tuple(copier.counters),
        lists=tuple(copier.lists),
        coarsest=seen.coarsest,
        is_isolated=seen.changed.keys() <= copier.reached,
        has_outside=bool(outside),
        generators=seen.generators,
        shared_later=tuple((x, x._version) for x in copier.shared.values() if not x.is_inference()),
        notes=copier.names.notes(),
    )


def _on(field: Field, function: Callable[..., Tensor], around: Around, guard: Guard) -> Field:
    return field.on(function, around if around.is_needed else None, guard)


def refuse_changes(leaf: Tensor) -> None:
    """Refuse what was done to a leaf that the copies use themselves.

    Raises:
        GradientRefused: it has a hook, or does not ask for a gradient any longer.
    """
    refuse_hooks(leaf)
    if not leaf.requires_grad:
        raise GradientRefused(
            f"a tensor of shape {tuple(leaf.shape)} inside a compiled part of f required a gradient at the solve and "
            "does not any longer; call backward before requires_grad_(False)"
        )


def refuse_hooks(leaf: Tensor) -> None:
    """Refuse a hook that would run once for each stage.

    Raises:
        GradientRefused: the tensor has one.
    """
    if leaf._backward_hooks:
        raise GradientRefused(
            f"a tensor of shape {tuple(leaf.shape)} has a hook that would run once for each evaluation of f rather "
            "than once on its gradient; register the hook before the solve, on a tensor that f finds as an attribute "
            "or in a closure"
        )


def refuse_unseen_changes(captured: Captured, gradient: str, *, draws: bool) -> None:
    """Refuse a gradient that keeps no states to compare with, after what may have made f another function.

    Args:
        gradient: its name.
        draws: whether random numbers were drawn during the solve.
    Raises:
        GradientRefused: they were, or a tensor that f can reach was changed in place.
    """
    captured.check_versions(later=True)
    if draws:
        raise GradientRefused(
            f"random numbers were drawn during the solve, so f may be another function in the backward pass of "
            f"{gradient}, which keeps no states to tell; pass gradient=DiscreteAdjoint() or Backprop(), or draw before "
            "the solve"
        )
