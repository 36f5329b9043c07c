"""What an autograd graph reaches: leaves that nobody declared are found, and only those."""

import torch

from pyndereg.solver.graph import undeclared_leaf


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def test_nothing_is_found_where_every_leaf_is_declared():
    a, b = leaf(3), leaf(3)
    assert undeclared_leaf((a * b).sin(), (a, b)) is None


def test_a_leaf_that_was_not_declared_is_found_however_deep_it_lies():
    a, hidden = leaf(3), leaf(3)
    assert undeclared_leaf((a + (hidden.exp() * 2).tanh()).sum(), (a,)) is hidden


def test_the_graph_behind_a_declared_tensor_that_is_no_leaf_is_not_followed():
    source = leaf(3)
    declared = source * 2
    assert undeclared_leaf(declared.sin(), (declared,)) is None
    assert undeclared_leaf(declared.sin() + source, (declared,)) is source


def test_a_leaf_itself_is_found_unless_declared():
    a = leaf(3)
    assert undeclared_leaf(a, ()) is a
    assert undeclared_leaf(a, (a,)) is None


def test_tensors_without_a_gradient_are_no_leaves():
    a, constant = leaf(3), torch.randn(3)
    assert undeclared_leaf(a * constant, (a,)) is None
    assert undeclared_leaf(constant * 2, ()) is None
