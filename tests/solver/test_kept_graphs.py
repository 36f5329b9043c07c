"""The default gradient: graphs of steps are kept while they fit an allowance, the other steps are taken again."""

import functools
import gc
import itertools
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import pyndereg as nde
from tests.equations import FLOAT64, Oscillator
from tests.sentences import check_sentence

STEPS, EVALUATIONS = 8, 6  # of tsit5, whose steps share the evaluation between them


class Counted(nn.Module):
    """A field that knows how often it was called, through a closure that is not carried over."""

    def __init__(self):
        super().__init__()
        self.field, self.calls = Oscillator(), []
        self.field.register_forward_hook(lambda *_: self.calls.append(1))

    def forward(self, t, y):
        return self.field(t, y)


def start():
    return torch.tensor([[2.0, 0.3], [-1.0, 0.5]], dtype=FLOAT64, requires_grad=True)


def solved(f, gradient, y0=None, **options):
    problem = nde.ODEProblem(f, start() if y0 is None else y0, 0.0, 2.0)
    return nde.solve(problem, "tsit5", dt=2.0 / STEPS, adaptive=False, gradient=gradient, **options)


def evaluations_of_the_backward_pass(gradient, **options):
    field = Counted()
    found = solved(field, gradient, **options)
    del field.calls[:]
    (found.y1.sum() + found.steps.scaled_error.sum()).backward()
    return len(field.calls)


def bytes_of_one_step():
    """The smallest allowance that a step fits into, by trying."""
    low, high = 0, 2**22
    while high - low > 256:
        middle = (low + high) // 2
        if evaluations_of_the_backward_pass(nde.DiscreteAdjoint(allowance=middle)) < STEPS * EVALUATIONS + 1:
            high = middle
        else:
            low = middle
    return high


def test_the_default_evaluates_nothing_again_where_all_graphs_fit():
    assert evaluations_of_the_backward_pass(None) == 0
    assert evaluations_of_the_backward_pass(None, saveat=[0.3, 1.1]) == 0
    assert evaluations_of_the_backward_pass(nde.DiscreteAdjoint(allowance=2**40)) == 0


def test_without_an_allowance_every_step_is_taken_again():
    assert evaluations_of_the_backward_pass(nde.DiscreteAdjoint()) == STEPS * EVALUATIONS + 1
    assert evaluations_of_the_backward_pass(nde.DiscreteAdjoint(allowance=1)) == STEPS * EVALUATIONS + 1


def test_the_larger_the_allowance_the_fewer_steps_are_taken_again():
    one = bytes_of_one_step()
    counts = [evaluations_of_the_backward_pass(nde.DiscreteAdjoint(allowance=k * one)) for k in range(1, STEPS + 1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0
    # With one step kept the others are taken again, and f is compared at t0.
    assert counts[0] == (STEPS - 1) * EVALUATIONS + 2
    assert all(a > b for a, b in itertools.pairwise(counts) if b > 0)


def test_checkpoints_thin_the_states_of_the_steps_that_had_no_room():
    allowance = 3 * bytes_of_one_step()
    few, all_states = (
        evaluations_of_the_backward_pass(nde.DiscreteAdjoint(checkpoints=n, allowance=allowance)) for n in (1, None)
    )
    assert few > all_states


def test_a_model_that_asks_for_no_gradient_keeps_no_graph():
    field = nde.fields.TimeConcatMLP(3, 8)
    y0 = torch.ones(2, 3)
    with torch.no_grad():
        assert solved_states_held(field, y0) == 0
    assert solved_states_held(field.requires_grad_(False), y0) == 0
    assert solved_states_held(field.requires_grad_(True), y0) > 0


def solved_states_held(field, y0):
    """How many evaluations' results are alive after a solve."""
    held = weakref.WeakSet()

    class Result:
        pass

    def f(t, y):
        slope = field(t, y)
        if slope.grad_fn is not None:
            mark = Result()
            slope.grad_fn.metadata["mark"] = mark
            held.add(mark)
        return slope

    found = solved(f, None, y0)
    gc.collect()
    assert found.stats.nfe > 0
    return len(held)


class Storages(TorchDispatchMode):
    """Counts the bytes of tensors that were made since it was entered and are alive, and the most of them."""

    def __init__(self):
        super().__init__()
        self.alive = self.most = 0
        self._known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self._watch(tensor.untyped_storage())
        return result

    def _watch(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known and size > 0:
            self._known.add(key)
            self.alive += size
            self.most = max(self.most, self.alive)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key, size):
        self._known.discard(key)
        self.alive -= size


def memory_of(gradient, method):
    """The most bytes in the forward pass, those between both passes, and the most in all."""
    torch.manual_seed(1)
    field = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 8)).double()
    y0 = torch.ones(256, 8, dtype=FLOAT64)
    gc.collect()
    with Storages() as storages:
        found = nde.solve(nde.ODEProblem(lambda t, y: field(y), y0), method, rtol=1e-7, atol=1e-7, gradient=gradient)
        loss = found.y1.sum()
        forward, between = storages.most, storages.alive
        loss.backward()
    return forward, between, storages.most


@pytest.mark.parametrize("method", ["tsit5", "vern7"])
def test_no_pass_takes_more_memory_than_without_an_allowance_and_the_allowance(method):
    without, everything = (memory_of(gradient, method) for gradient in (nde.DiscreteAdjoint(), nde.Backprop()))
    for allowance in (4_000_000, 8_000_000):
        found = memory_of(nde.DiscreteAdjoint(allowance=allowance), method)
        assert all(one <= other + allowance for one, other in zip(found, without, strict=True))
        assert found[1] > without[1] + allowance / 3  # much of it is made use of
        assert found[1] < everything[1]
    whole = memory_of(None, method)
    assert all(one <= other + 100_000 for one, other in zip(whole, everything, strict=True))


class Network(nn.Module):
    """A network of a parameter that products save as it is, and of one that they save transposed."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4).double()
        self.scale = nn.Parameter(torch.tensor([0.5, -0.4, 0.7, 0.3], dtype=FLOAT64))
        self.outer = nn.Linear(4, 3).double()

    def forward(self, t, y):
        return self.outer(torch.tanh(self.inner(y)) * self.scale)


def gradients(network, change=None, gradient=None, again=False):
    """Of a solve, after a change of its field."""
    torch.manual_seed(3)
    network = Network() if network is None else network
    y0 = torch.linspace(-1.0, 1.0, 6, dtype=FLOAT64).view(2, 3).requires_grad_()
    found = solved(network, gradient, y0)
    if change is not None:
        change(network, y0)
    loss = found.y1.square().sum()
    if again:
        loss.backward(retain_graph=True)
        for x in (y0, *network.parameters()):
            x.grad = None
    loss.backward()
    return [y0.grad, *(x.grad for x in network.parameters())]


@pytest.mark.parametrize("gradient", [None, nde.DiscreteAdjoint(allowance=250_000)], ids=["all kept", "some kept"])
def test_a_graph_can_be_gone_back_through_twice(gradient):
    for one, other in zip(gradients(None, None, gradient, again=True), gradients(None, None, gradient), strict=True):
        assert torch.equal(one, other)


def in_place(network, y0):
    with torch.no_grad():
        network.scale.mul_(2)


def in_place_where_it_is_not_saved(network, y0):
    with torch.no_grad():
        network.inner.bias.mul_(2)


def the_initial_state(network, y0):
    with torch.no_grad():
        y0.mul_(2)


def behind_autograd(network, y0):
    network.outer.weight.data.mul_(2)


def behind_autograd_the_initial_state(network, y0):
    y0.data.mul_(2)


REFUSED = {
    in_place: "changed in place",
    in_place_where_it_is_not_saved: "changed in place",
    the_initial_state: "y0 was changed in place",
    behind_autograd: "no longer what it was",
    behind_autograd_the_initial_state: "no longer what it was",
}


@pytest.mark.parametrize("gradient", [None, nde.DiscreteAdjoint()], ids=["default", "taken again"])
@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_a_change_that_the_graphs_share_is_refused_by_the_sentence_of_steps_that_are_taken_again(change, gradient):
    with pytest.raises(nde.GradientRefused) as raised:
        gradients(None, change, gradient)
    check_sentence(raised.value, REFUSED[change])


def other_memory(network, y0):
    network.scale.data = 2 * network.scale.data


def a_hook(network, y0):
    network.scale.register_hook(lambda gradient: 2 * gradient)


def test_parameters_with_other_memory_leave_the_gradient_what_it_was():
    for one, other in zip(gradients(None, other_memory), gradients(None), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_a_hook_that_is_added_between_runs_once_on_the_whole_gradient():
    found, expected = gradients(None, a_hook), gradients(None)
    for k, (one, other) in enumerate(zip(found, expected, strict=True)):
        torch.testing.assert_close(one, 2 * other if k == 1 else other, rtol=1e-12, atol=0)
    assert [name for name, _ in Network().named_parameters()].index("scale") == 0  # place 1, after y0


def test_what_f_finds_elsewhere_may_change_where_graphs_are_kept():
    settings = SimpleNamespace(scale=2.0)
    y0 = torch.ones(3, dtype=FLOAT64, requires_grad=True)
    found = []
    for changed, gradient in ((False, None), (True, None), (True, nde.DiscreteAdjoint())):
        settings.scale = 2.0
        solution = solved(lambda t, y: torch.sin(settings.scale * y), gradient, y0)
        settings.scale = 3.0 if changed else 2.0
        found.append(torch.autograd.grad(solution.y1.sum(), y0)[0])
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], rtol=1e-12, atol=0)


@pytest.mark.parametrize("gradient", [None, nde.DiscreteAdjoint(), nde.Backprop()], ids=str)
def test_an_f_that_overwrites_what_its_graphs_saved_is_refused(gradient):
    held = torch.zeros(3, dtype=FLOAT64)
    rate = torch.tensor([0.3, 0.5, 0.7], dtype=FLOAT64, requires_grad=True)

    def f(t, y):
        held.fill_(2.0)  # always the same, so that f is a function, but a change in place of what was saved
        return rate * held * y

    with pytest.raises(nde.GradientRefused) as raised:
        solved(f, gradient, torch.ones(3, dtype=FLOAT64)).y1.sum().backward()
    check_sentence(raised.value, "changed in place")


def test_a_tensor_that_enters_late_is_refused_in_the_backward_pass_and_not_before():
    late = functools.cache(lambda: torch.ones(2, dtype=FLOAT64, requires_grad=True))  # which nobody looks into
    late()
    field = Oscillator()
    found = solved(lambda t, y: field(t, y) if t < 1 else late() * field(t, y), None)
    assert found.status.succeeded
    with pytest.raises(nde.GradientRefused) as raised:
        found.y1.sum().backward()
    check_sentence(raised.value, "did not use at t0", "params=")


def test_copies_of_the_steps_that_are_taken_again_are_compared_with_f_at_the_start():
    weight = torch.ones(2, dtype=FLOAT64, requires_grad=True)
    trained = {id(weight)}
    f = lambda t, y: torch.sin((weight if id(weight) in trained else weight.detach()) * y)  # noqa: E731
    expected = torch.autograd.grad(solved(f, nde.Backprop()).y1.sum(), weight)
    found = torch.autograd.grad(solved(f, None).y1.sum(), weight)
    assert torch.equal(*found, *expected)
    for allowance in (0, 250_000):
        with pytest.raises(nde.GradientRefused, match="in another way than in the solve"):
            solved(f, nde.DiscreteAdjoint(allowance=allowance)).y1.sum().backward()


def test_parts_between_breakpoints_share_the_allowance():
    points = [0.5, 1.0, 1.5]
    one = bytes_of_one_step()
    counts = []
    for allowance in (0, 2 * one, 4 * 4 * one):
        field = Counted()
        problem = nde.ODEProblem(field, start(), 0.0, 2.0)
        gradient = nde.DiscreteAdjoint(allowance=allowance)
        found = nde.solve(problem, rtol=1e-3, atol=1e-3, breakpoints=points, gradient=gradient)
        del field.calls[:]
        found.y1.sum().backward()
        counts.append(len(field.calls))
    # Half of a step for each part is room for none.
    assert counts[0] == counts[1] > counts[2]


def test_steps_of_a_random_f_are_all_kept_whatever_the_allowance():
    field = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 3)).double()
    y0 = torch.ones(2, 3, dtype=FLOAT64)
    for gradient in (None, nde.DiscreteAdjoint(), nde.DiscreteAdjoint(allowance=1)):
        torch.manual_seed(5)
        found = nde.solve(nde.ODEProblem(lambda t, y: field(y), y0), "rk4", steps=4, gradient=gradient)
        assert torch.autograd.grad(found.y1.sum(), field[0].weight)[0].any()
