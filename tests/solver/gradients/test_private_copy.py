"""Copies of right-hand sides: they compute the same, with tensors of their own, whatever is done to the originals."""

import argparse
import dataclasses
import enum
import functools
from collections import OrderedDict, defaultdict, deque, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pyndereg.solver.gradients.private_copy import DEEPEST, LARGEST_ARRAY, MOST_OBJECTS, Copier, Counter
from pyndereg.solver.gradients.watch import alias_of

GLOBAL = {"factor": torch.tensor(2.0)}


class Color(enum.Enum):
    """An enumeration."""

    RED = 1


def leaf(*shape):
    return torch.rand(*shape, requires_grad=True)


def copier(*tensors, changed=()):
    """One that knows aliases of tensors."""
    return Copier({id(x): alias_of(x) for x in tensors}, {id(x) for x in changed})


def through_global(x):
    return x * GLOBAL["factor"]


def counting_global(x):
    global COUNT
    COUNT = 1
    return x * GLOBAL["factor"]


def test_a_module_s_parameters_are_aliases_and_its_buffers_views_of_the_same_memory():
    module = nn.BatchNorm1d(3)
    copy = copier(module.weight)
    found = copy(module)
    assert type(found) is nn.BatchNorm1d
    assert found is not module
    assert found.weight is copy.aliases[id(module.weight)]
    assert found.weight.is_leaf
    assert found.bias is not module.bias
    assert found.running_mean.data_ptr() == module.running_mean.data_ptr()


def test_what_is_done_to_a_module_does_not_reach_its_copy():
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    handle = module[0].register_forward_hook(lambda *_: None)
    found = copier()(module)
    module.eval()
    module[0] = nn.Identity()
    handle.remove()
    assert found.training
    assert found[1].training
    assert isinstance(found[0], nn.Linear)
    assert len(found[0]._forward_hooks) == 1
    assert set(dict(found.named_parameters())) == {"0.weight", "0.bias"}


def test_what_is_done_to_a_copy_does_not_reach_the_module():
    module = nn.Linear(3, 3)
    found = copier()(module)
    found.register_forward_hook(lambda *_: None)
    found.scale = 2
    found.bias = None
    assert not module._forward_hooks
    assert not hasattr(module, "scale")
    assert module.bias is not None


def test_a_module_that_occurs_twice_or_holds_itself_is_copied_once():
    module = nn.Module()
    module.one = module.two = nn.Linear(3, 3)
    module.itself = [module]
    found = copier()(module)
    assert found.one is found.two
    assert found.itself[0] is found


def test_tensors_that_an_evaluation_changes_are_cloned():
    module = nn.BatchNorm1d(3)
    found = copier(changed=[module.running_mean])(module)
    found.running_mean.add_(1)
    found.running_var.add_(1)
    assert not module.running_mean.any()
    assert torch.equal(module.running_var, torch.full((3,), 2.0))


def test_closures_defaults_and_attributes_of_functions_are_copied():
    one, two, three, scale = leaf(3), leaf(3), leaf(3), 2.0

    def f(x, default=two, *, keyword=three):
        return x * one * default * keyword * scale * f.attribute

    f.attribute = 5.0
    copy = copier(one, two, three)
    found, x = copy(f), torch.ones(3)
    expected = f(x)
    one, scale, f.attribute, f.__defaults__ = torch.zeros(3), 0.0, 0.0, (torch.zeros(3),)
    assert torch.equal(found(x), expected)
    grads = torch.autograd.grad(found(x).sum(), list(copy.aliases.values()))
    assert all(grad.any() for grad in grads)


def test_a_function_that_calls_itself_calls_its_copy():
    factor = leaf(1)

    def f(n):
        return factor if n == 0 else f(n - 1) * factor

    copy = copier(factor)
    found = copy(f)
    assert torch.autograd.grad(found(3), copy.aliases[id(factor)])[0].item() == pytest.approx(4 * factor.item() ** 3)


def test_a_function_without_data_is_shared():
    def f(x):
        return x.exp()

    assert copier()(f) is f
    assert copier()(torch.sin) is torch.sin


def test_globals_are_copied_where_they_are_read_and_shared_where_they_are_assigned():
    x = torch.ones(1)
    copy, shared = copier()(through_global), copier()(counting_global)
    before, GLOBAL["factor"] = GLOBAL["factor"], torch.tensor(3.0)
    try:
        assert copy(x).item() == 2
        assert shared(x).item() == 3
    finally:
        GLOBAL["factor"] = before
    assert through_global(x).item() == 2


def test_partials_bound_methods_and_callable_objects_are_copied():
    class Field:
        def __init__(self):
            self.weight, self.scale = leaf(3), 2.0

        def __call__(self, x):
            return x * self.weight * self.scale

        def method(self, x):
            return -self(x)

    field, x = Field(), torch.ones(3)
    copy = copier(field.weight)
    called, method, partial = copy(field), copy(field.method), copy(functools.partial(field, x=x))
    expected = field(x)
    field.scale = field.weight = 0.0
    assert torch.equal(called(x), expected)
    assert torch.equal(method(x), -expected)
    assert torch.equal(partial(), expected)
    assert method.__self__ is called


def test_lists_and_dictionaries_are_copied_with_all_that_lies_in_them():
    Pair = namedtuple("Pair", ("one", "two"))
    x, numbers = leaf(3), [1, 2]
    value = [x, (x, 1), {"a": x}, OrderedDict(b=x), Pair(x, 2), numbers]
    copy = copier(x)
    found = copy(value)
    alias = copy.aliases[id(x)]
    assert found[0] is found[1][0] is found[2]["a"] is found[3]["b"] is found[4].one is alias
    assert isinstance(found[3], OrderedDict)
    assert isinstance(found[4], Pair)
    assert found[5] == numbers
    assert found[5] is not numbers


def test_containers_keep_what_they_are_besides_their_items():
    ring, counts = deque([1, 2], maxlen=2), defaultdict(list, a=[1])
    found = copier()([ring, counts])
    assert (found[0].maxlen, list(found[0])) == (2, [1, 2])
    assert found[1]["new"] == []
    ring.append(3)
    assert list(found[0]) == [1, 2]


def test_a_dictionary_that_holds_itself_holds_its_copy():
    registry = {"x": leaf(3)}
    registry["self"] = [registry]
    found = copier()(registry)
    assert found is not registry
    assert found["self"][0] is found


class Settings:
    """A plain object."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Attributes(dict):
    """A dictionary whose entries are attributes."""

    def __init__(self, **entries):
        super().__init__(**entries)
        self.__dict__ = self


@dataclasses.dataclass(slots=True)
class Slotted:
    scale: float


@pytest.mark.parametrize("kind", [Settings, Slotted, Attributes, SimpleNamespace, argparse.Namespace])
def test_objects_with_attributes_are_copied(kind):
    settings = kind(scale=2.0)
    found = copier()(settings)
    settings.scale = 3.0
    assert type(found) is kind
    assert found.scale == 2.0
    found.scale = 4.0
    assert settings.scale == 3.0
    assert kind is not Attributes or found["scale"] == 4.0


def test_objects_that_hold_one_another_hold_each_other_s_copies():
    x = leaf(3)
    inner = Settings(x=x, marks={1, 2})
    outer = Settings(inner=inner, again=[inner], by_object={inner: 1})
    inner.outer = outer
    copy = copier(x)
    found = copy(outer)
    assert found.inner is found.again[0] is next(iter(found.by_object))
    assert found.inner.outer is found
    assert found.inner is not inner
    assert found.inner.x is copy.aliases[id(x)]
    inner.marks.add(3)
    assert found.inner.marks == {1, 2}


def test_of_an_object_that_leads_to_many_the_first_are_copied():
    many = Settings(all=[Settings(number=number) for number in range(2 * MOST_OBJECTS)])
    found = copier()(many)
    assert sum(one is not other for one, other in zip(found.all, many.all, strict=True)) == MOST_OBJECTS - 1
    chain = last = Settings(number=0)
    for number in range(1, 1000):
        last.next = Settings(number=number)
        last = last.next
    found, copied = copier()(chain), 0
    while chain is not found:
        chain, found, copied = chain.next, found.next, copied + 1
    assert copied == DEEPEST


def test_marks_enumerations_and_what_cleans_up_are_shared_and_so_are_long_lists_and_large_arrays():
    class Mark:
        pass

    class Temporary(Settings):
        def __del__(self):
            pass

    for value in (Mark(), Color.RED, Temporary(x=1), Settings, [torch.ones(1)] * 2000, np.ones(LARGEST_ARRAY + 1)):
        assert copier()(value) is value


@pytest.mark.parametrize("make", [lambda: np.ones(3), lambda: np.array(1.0), lambda: bytearray(b"abc")])
def test_what_is_changed_in_place_is_copied(make):
    value = make()
    found = copier()(Settings(value=value)).value
    if isinstance(value, bytearray):
        value[:] = b"xyz"
    else:
        value[...] = 7
    assert bytes(found) == bytes(make())


def test_leaves_that_are_found_join_the_inputs_and_computed_tensors_are_noted():
    one = leaf(3)
    two = one.exp()
    copy = copier()
    found = copy([one, two, torch.ones(3)])
    assert copy.inputs.keys() == {id(one)}
    assert copy.aliases[id(one)] is found[0]
    assert [id(x) for x in copy.computed] == [id(found[1])]
    assert found[1].is_leaf
    assert not found[2].requires_grad


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_traced_module_is_shared():
    traced = torch.jit.trace(nn.Linear(3, 3), torch.rand(3), check_trace=False)
    assert copier()(traced) is traced


def test_a_number_that_counts_evaluations_goes_on_counting_in_the_original():
    original, copy = {"nfe": 5, "size": 3}, {"nfe": 5, "size": 3}
    counters = [Counter(original, copy, name, copy[name]) for name in original]
    copy["nfe"] += 4
    original["nfe"] += 1
    for _ in range(2):
        for counter in counters:
            counter.carry_over(4)
    assert original == {"nfe": 10, "size": 3}


def test_numbers_of_modules_objects_and_closures_may_count():
    count, module = 0, nn.Linear(3, 3)
    module.nfe = 2

    def f(x):
        nonlocal count
        count += 1
        return module(x)

    copy = copier()
    copy(f)
    assert {"nfe", "cell_contents"} <= {counter.name for counter in copy.counters}
