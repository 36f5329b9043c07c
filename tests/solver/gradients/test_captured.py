"""What a right-hand side depends on at a solve: found, aliased, and differentiated as it was."""

import pytest
import torch
from torch import nn

import pyndereg as nde
from pyndereg.solver.field import Field
from pyndereg.solver.gradients.captured import capture, refuse_hooks
from pyndereg.solver.gradients.kept import keep_graphs, must_be_exchanged
from pyndereg.solver.gradients.surroundings import Surroundings
from pyndereg.solver.gradients.watch import watched
from tests.sentences import check_sentence


def leaf(*shape):
    return torch.rand(*shape, dtype=torch.float64).requires_grad_()


def state():
    return torch.ones(3, dtype=torch.float64, requires_grad=True)


def time():
    return torch.zeros((), dtype=torch.float64)


def captured_by(f, params=()):
    """What is captured of f, its field, and the first slope."""
    problem = nde.ODEProblem(f, torch.ones(3, dtype=torch.float64), params=params)
    field, t, y = Field(problem), time(), state()
    slope, seen = watched(lambda: field(t, y), (y, t), must_be_exchanged)
    return capture([field], problem.parameters, seen, Surroundings.now(y.device)), field, slope


def gradients(captured):
    """Of the copy's slope, at the state that it was captured at."""
    slope = captured.fields[0](time(), state())
    return torch.autograd.grad(slope.sum(), captured.targets, allow_unused=True)


def test_declared_captured_and_copied_leaves_are_inputs_once_each():
    declared, entering, held = leaf(3), leaf(3), leaf(3)

    def f(t, y):
        return declared * y * entering if t <= 0 else held * y

    captured, _, _ = captured_by(f, [declared])
    assert [id(x) for x in captured.inputs] == [id(declared), id(entering), id(held)]
    assert all(alias.data_ptr() == x.data_ptr() for alias, x in zip(captured.aliases, captured.inputs, strict=True))


def test_the_copy_s_gradients_are_those_of_f_with_none_where_there_is_none():
    used, unused = leaf(3), leaf(3)
    captured, _, slope = captured_by(lambda t, y: used.exp() * y, [unused, used])
    found = captured.gradients(gradients(captured))
    expected = torch.autograd.grad(slope.sum(), [unused, used], allow_unused=True)
    assert found[0] is None
    assert expected[0] is None
    assert torch.equal(found[1], expected[1])


def test_a_tensor_and_its_ancestor_have_gradients_of_their_own():
    source = leaf(3)
    computed = 2 * source
    captured, _, _ = captured_by(lambda t, y: source * computed * y)
    assert [id(x) for x in captured.inputs] == [id(source), id(computed)]
    found = gradients(captured)
    assert torch.equal(found[0], computed)
    assert torch.equal(found[1], source)


def test_a_computed_tensor_that_f_holds_and_has_not_used_may_get_no_gradient():
    computed = leaf(3).exp()
    captured, _, _ = captured_by(lambda t, y: y if t <= 0 else y * computed)
    assert len(captured.computed) == 1
    assert captured.gradients([None]) == []
    with pytest.raises(nde.GradientRefused) as raised:
        captured.gradients([torch.ones(3)])
    check_sentence(raised.value, "(3,)", "params=")


def test_a_tensor_that_the_copier_does_not_reach_is_exchanged_in_the_copy():
    class Store:
        weight = leaf(3)

    store = Store()
    captured, _, _ = captured_by(lambda t, y: y * store.weight)
    assert [id(x) for x in captured.inputs] == [id(Store.weight)]
    (found,) = gradients(captured)
    assert torch.equal(found, torch.ones(3, dtype=torch.float64))


def test_a_change_in_place_of_what_entered_is_refused_and_others_are_not():
    module, other = nn.Linear(3, 3).double(), torch.zeros(3)
    captured, _, _ = captured_by(lambda t, y: module(y))
    other.add_(1)
    captured.check_versions()
    with torch.no_grad():
        module.bias.add_(1)
    with pytest.raises(nde.GradientRefused) as raised:
        captured.replay(lambda: pytest.fail("it was replayed"))
    check_sentence(raised.value, "(3,)", "in place")


def test_a_constant_that_f_uses_later_is_looked_at_where_states_are_not_compared():
    constant = torch.ones(3, dtype=torch.float64)
    captured, _, _ = captured_by(lambda t, y: y if t <= 0 else y * constant)
    constant.add_(1)
    captured.check_versions()
    with pytest.raises(nde.GradientRefused):
        captured.check_versions(later=True)


def test_a_function_of_time_and_state_reproduces_its_slope_and_a_random_one_does_not():
    for function, expected in ((torch.sin, True), (lambda y: y * torch.rand(()), False)):
        captured, _, slope = captured_by(lambda t, y, function=function: function(y))
        before = torch.get_rng_state()
        assert captured.reproduces(captured.fields[0], time(), state(), slope) is expected
        assert torch.equal(torch.get_rng_state(), before)


def test_a_module_in_training_reproduces_its_slope_without_moving_its_statistics():
    norm = nn.BatchNorm1d(3).double()

    def f(t, y):
        return norm(torch.stack([y, 2 * y, -y]))[0]

    captured, _, slope = captured_by(f)
    before = norm.running_mean.clone()
    assert before.any()
    assert captured.is_isolated
    assert captured.reproduces(captured.fields[0], time(), state(), slope)
    assert torch.equal(norm.running_mean, before)


def test_a_field_that_changes_what_a_copy_does_not_reach_is_not_isolated():
    class Store:
        buffer = torch.zeros(3, dtype=torch.float64)

    store = Store()

    def f(t, y):
        store.buffer.add_(1)
        return y * store.buffer.clone()

    captured, _, slope = captured_by(f)
    before = store.buffer.clone()
    assert not captured.is_isolated
    assert not captured.reproduces(captured.fields[0], time(), state(), slope)
    assert torch.equal(store.buffer, before)


def test_a_backward_pass_holds_none_of_the_user_s_tensors():
    weight = leaf(3)
    captured, _, _ = captured_by(lambda t, y: weight * y)
    kept = captured.for_backward()
    assert kept.inputs == ()
    assert len(kept.aliases) == 1
    assert kept.aliases[0] is not weight


def test_evaluations_of_the_copies_count_in_the_original_after_a_replay():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.nfe, self.width = 0, 3

        def forward(self, t, y):
            self.nfe += 1
            return y

    module = Counting()
    captured, _, _ = captured_by(module)
    assert module.nfe == 1
    captured.replay(lambda: [captured.fields[0](time(), state()) for _ in range(3)])
    assert (module.nfe, module.width) == (4, 3)


def test_kept_graphs_reach_leaves_themselves_and_aliases_of_computed_and_of_hooked_tensors():
    plain, hooked, source = leaf(3), leaf(3), leaf(3)
    hooked.register_hook(lambda gradient: pytest.fail("a stage's graph ran a hook"))
    computed = source.exp()
    captured, field, _ = captured_by(lambda t, y: plain * hooked * computed * y)
    kept = keep_graphs(field, captured, {})
    slope = kept.field(time(), state())
    found = torch.autograd.grad(slope.sum(), kept.graphs.targets)
    assert torch.equal(found[0], hooked * computed)
    assert torch.equal(found[1], plain * computed)
    assert torch.equal(found[2], plain * hooked)
    assert [id(x) for x, _ in kept.graphs.reached] == [id(plain)]


def test_a_hook_on_a_tensor_that_graphs_reach_themselves_is_refused():
    tensor = leaf(3)
    refuse_hooks(tensor)
    tensor.register_hook(lambda gradient: gradient)
    with pytest.raises(nde.GradientRefused) as raised:
        refuse_hooks(tensor)
    check_sentence(raised.value, "hook", "before the solve")


def test_tensors_are_exchanged_if_they_are_computed_or_have_hooks():
    tensor = leaf(3)
    assert must_be_exchanged(tensor.exp())
    assert not must_be_exchanged(tensor)
    tensor.register_hook(lambda gradient: gradient)
    assert must_be_exchanged(tensor)
