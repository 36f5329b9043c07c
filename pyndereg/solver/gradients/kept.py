"""Right-hand sides whose evaluations keep their graphs, for a backward pass that does not evaluate them again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from pyndereg.ivp.errors import GradientRefused
from pyndereg.solver.field import Field
from pyndereg.solver.gradients.around import Around
from pyndereg.solver.gradients.captured import Captured, Target, refuse_hooks
from pyndereg.solver.gradients.guard import Guard


class PatientGuard:
    """A guard whose refusal waits for the backward pass, which may never come.

    Args:
        guard: looks at the evaluations.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._refusal: GradientRefused | None = None

    def expect_start(self) -> None:
        """Never asked: the evaluation of the start is the first one, which it is compared with."""
        raise AssertionError("graphs that are kept have no start to be compared with")

    def skips(self, first: int) -> bool:
        """See `Guard`."""
        return self._refusal is not None or self._guard.skips(first)

    def check(self, evaluate: Callable[[], Tensor], slope: Tensor, arguments: tuple[Tensor, ...], first: int) -> None:
        """See `Guard`."""
        try:
            self._guard.check(evaluate, slope, arguments, first)
        except GradientRefused as refusal:
            # Without the frames that it came from, which hold the state of the solve.
            self._refusal = GradientRefused(*refusal.args)

    def give_refusal(self) -> None:
        """Called in a backward pass.

        Raises:
            GradientRefused: an evaluation is one that the backward pass cannot go through.
        """
        if self._refusal is not None:
            raise GradientRefused(*self._refusal.args)


class Contents:
    """Tells whether tensors hold what they held, also after changes that autograd does not see (`x.data.mul_(2)`).

    Compares norms, which costs less than an evaluation of f that reads these tensors; a change that keeps all norms is
    not found.

    Args:
        tensors: on any devices; those of whole numbers are not looked at.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors: dict[torch.device, list[Tensor]] = {}
        for x in tensors:
            if x.layout is torch.strided and x.is_floating_point() and type(x) in (Tensor, torch.nn.Parameter):
                self._tensors.setdefault(x.device, []).append(x)
        self._norms = self._now()

    def are_the_same(self) -> bool:
        """Whether they hold what they held when this was made."""
        pairs = zip(self._norms, self._now(), strict=True)
        return all(torch.equal(torch.stack(one), torch.stack(other)) for one, other in pairs)

    def _now(self) -> list[tuple[Tensor, ...]]:
        with torch.no_grad():
            return [torch._foreach_norm(tensors) for tensors in self._tensors.values()]


@dataclass(frozen=True)
class Kept:
    """A right-hand side whose evaluations keep their graphs, and what to differentiate these with respect to.

    Attributes:
        field: f itself, with the tensors exchanged that a kept graph must not reach.
        graphs: what its graphs lead to.
    """

    field: Field
    graphs: "KeptGraphs"


@dataclass(frozen=True)
class KeptGraphs:
    """What the kept graphs of a solve lead to.

    Attributes:
        targets: one for each input.
        reached: the inputs that are reached by their own graph, and where their memory lay.
        contents: of what the graphs share with the user; None where they are used whatever changed.
        guard: looked at their evaluations, where its refusal waits.
    """

    targets: tuple[Target, ...]
    reached: tuple[tuple[Tensor, int], ...] = ()
    contents: Contents | None = None
    guard: PatientGuard | None = None

    def refuse_hooks(self) -> None:
        """Refuse a hook that was added since the solve and would run once for each evaluation.

        Raises:
            GradientRefused: there is one.
        """
        for tensor, _ in self.reached:
            refuse_hooks(tensor)

    def are_those_of_the_solve(self) -> bool:
        """Whether nothing changed since the solve that they share with the user: hooks, memory, what is in it.

        Raises:
            GradientRefused: an evaluation is one that the backward pass cannot go through.
        """
        if self.guard is not None:
            self.guard.give_refusal()
        if any(x._backward_hooks or x.data_ptr() != where for x, where in self.reached):
            return False
        return self.contents is None or self.contents.are_the_same()


def keep_graphs(
    field: Field, captured: Captured, nodes_of_leaves: Mapping[int, Any], state: Tensor | None = None
) -> Kept:
    """f for a solve that keeps the graphs of stages.

    Args:
        field: f.
        captured: what it was found to depend on.
        nodes_of_leaves: where graphs sum up the gradients of leaves, of those that are known, by the ids of these.
        state: the initial one, where the steps could be taken again as well: then a change can wait for the backward
            pass, which does without the graphs, and so can a refusal.
    """
    pairs = {
        id(x): (x, alias) for x, alias in zip(captured.inputs, captured.aliases, strict=True) if must_be_exchanged(x)
    }
    around = Around(captured.surroundings, pairs, without_graph=False)
    reached = [x for x in captured.inputs if id(x) not in pairs]
    known = {*(id(x) for x in reached), *(id(alias) for _, alias in pairs.values())}
    guard = Guard(known, looks_at_all=captured.has_outside)
    patient = None if state is None else PatientGuard(guard)
    contents = None if state is None else Contents([state, *(x for x, _ in captured.versions)])
    targets = tuple(pairs[id(x)][1] if id(x) in pairs else _edge_of(x, nodes_of_leaves) for x in captured.inputs)
    kept = field.on(field.function, around if around.is_needed else None, patient or guard)
    kept.evaluations = field.evaluations
    return Kept(kept, KeptGraphs(targets, tuple((x, x.data_ptr()) for x in reached), contents, patient))


def _edge_of(leaf: Tensor, nodes_of_leaves: Mapping[int, Any]) -> GradientEdge:
    node = nodes_of_leaves.get(id(leaf))
    return get_gradient_edge(leaf) if node is None else GradientEdge(node, 0)


def must_be_exchanged(x: Tensor) -> bool:
    """Whether a graph that is differentiated stage by stage must not reach a tensor: its hooks, its own graph.

    Of a sparse tensor, and of one of a type of its own, torch does not find the node either.
    """
    is_plain = x.layout == torch.strided and type(x) in (Tensor, torch.nn.Parameter)
    return x.grad_fn is not None or bool(x._backward_hooks) or not is_plain
