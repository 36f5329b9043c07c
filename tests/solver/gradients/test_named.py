"""Values that f finds by name: which are noted, and what is said when they change."""

import types

import numpy as np
import pytest
import torch
from torch import nn

import pyndereg as nde
from pyndereg.solver.gradients.named import Names
from tests.sentences import check_sentence

NUMBER, OTHER, CALLS, TENSOR = 1.0, 2.0, 0, torch.ones(3)
ARRAY, LISTED, KNOWN = np.ones(3), [1.0, 2.0], {"scale": 1.0, "epoch": 0, "inner": {"shift": (1.0, 2.0)}}
OBJECT = types.SimpleNamespace(scale=1.0, epoch=0, inner=types.SimpleNamespace(shift=0.0))


def helper(x):
    return x * OTHER


class Field(nn.Module):
    """Names of several kinds."""

    slope = 1.0
    unused = 0

    def forward(self, t, y):
        global CALLS
        CALLS += 1
        return helper(y) * NUMBER * KNOWN["scale"] + self.more(y) + self.slope + OBJECT.inner.shift

    def more(self, y):
        return y * ARRAY.sum() + LISTED[0] + TENSOR + OBJECT.scale + KNOWN["inner"]["shift"][0]

    def train_one_epoch(self):
        return MISSING  # noqa: F821 (nothing calls it)


def notes_of(kind):
    names = Names()
    names.note_class(kind)
    return names.notes()


def check(notes):
    for note in notes:
        note.check()


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (globals(), "NUMBER", 3.0),
        (globals(), "NUMBER", 1),
        (globals(), "OTHER", 3.0),
        (globals(), "TENSOR", torch.ones(3)),
        (globals(), "ARRAY", np.zeros(3)),
        (globals(), "KNOWN", {"scale": 1.0}),
        (KNOWN, "scale", 3.0),
        (KNOWN["inner"], "shift", (1.0, 3.0)),
        (vars(OBJECT), "scale", 3.0),
        (vars(OBJECT.inner), "shift", float("nan")),
    ],
)
def test_what_is_named_may_not_change(where, name, value, monkeypatch):
    notes = notes_of(Field)
    check(notes)
    monkeypatch.setitem(where, name, value)
    with pytest.raises(nde.GradientRefused) as raised:
        check(notes)
    check_sentence(raised.value, name, "Backprop()")


def test_class_attributes_lists_and_arrays_may_not_change_either(monkeypatch):
    notes = notes_of(Field)
    with monkeypatch.context() as patched:
        patched.setattr(Field, "slope", 2.0)
        with pytest.raises(nde.GradientRefused, match=r"Field\.slope, which f uses, was 1\.0 in the solve and is 2\.0"):
            check(notes)
    for numbers, said in ((LISTED, "LISTED"), (ARRAY, "ARRAY")):
        numbers[0] = 5.0
        try:
            with pytest.raises(nde.GradientRefused, match=said):
                check(notes)
        finally:
            numbers[0] = 1.0
    check(notes)


def test_what_is_not_named_or_is_counted_by_f_itself_may_change(monkeypatch):
    notes = notes_of(Field)
    monkeypatch.setitem(KNOWN, "epoch", 7)
    monkeypatch.setattr(OBJECT, "epoch", 7)
    monkeypatch.setattr(Field, "unused", 7)
    monkeypatch.setitem(globals(), "CALLS", 7)
    LISTED.append(3.0)
    try:
        check(notes)
    finally:
        LISTED.pop()


def test_a_number_that_is_not_a_number_stays_itself(monkeypatch):
    monkeypatch.setitem(globals(), "NUMBER", float("nan"))
    notes = notes_of(Field)
    monkeypatch.setitem(globals(), "NUMBER", float("nan") * 2)
    check(notes)


def test_variables_around_a_method_are_noted():
    def made(scale):
        class Inner(nn.Module):
            def forward(self, t, y):
                return scale * y

        def change():
            nonlocal scale
            scale = 2.0

        return Inner, change

    kind, change = made(1.0)
    notes = notes_of(kind)
    change()
    with pytest.raises(nde.GradientRefused, match=r"scale, a variable around .*Inner\.forward"):
        check(notes)


def test_libraries_and_this_package_are_not_looked_at():
    for kind in (nn.Linear, nn.MultiheadAttention, nde.fields.TimeConcatMLP, np.ndarray):
        assert notes_of(kind) == ()
