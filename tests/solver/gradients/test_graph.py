"""What an evaluation's graph reaches: leaves that nobody knows are found, older tensors are refused."""

import pytest
import torch

import pyndereg as nde
from pyndereg.solver.gradients.graph import reached_from
from tests.sentences import check_sentence


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def found(make, arguments=(), known=()):
    """Leaves that the evaluation of `make` depends on, by identity."""
    first = torch.autograd._get_sequence_nr()
    return reached_from(make(), arguments, first).besides(arguments, {id(x) for x in known})


def test_nothing_is_found_where_every_leaf_is_known_or_an_argument():
    y, known = leaf(3), leaf(3)
    assert found(lambda: (y * known).sin(), [y], [known]) == []


def test_a_leaf_that_is_not_known_is_found_however_deep_it_lies_and_once():
    y, hidden = leaf(3), leaf(3)
    (one,) = found(lambda: (y + (hidden.exp() * 2).tanh()).sum() * hidden, [y])
    assert one is hidden


def test_the_graph_behind_an_argument_is_not_followed():
    source = leaf(3)
    y = source * 2
    assert found(lambda: y.sin(), [y]) == []
    (one,) = found(lambda: y.sin() + source, [y])
    assert one is source


def test_a_leaf_that_is_the_result_is_found_unless_it_is_known():
    a = leaf(3)
    assert found(lambda: a) == [a]
    assert found(lambda: a, known=[a]) == []
    assert found(lambda: a, [a]) == []


def test_tensors_without_a_gradient_are_no_leaves():
    y, constant = leaf(3), torch.randn(3)
    assert found(lambda: y * constant, [y]) == []
    assert found(lambda: constant * 2) == []


def test_a_tensor_that_was_computed_before_the_evaluation_is_refused_by_the_operation_that_made_it():
    y, older = leaf(3), leaf(3).exp()
    with pytest.raises(nde.GradientRefused) as raised:
        found(lambda: y * older, [y])
    check_sentence(raised.value, "ExpBackward", "closure")


def test_a_tensor_that_the_evaluation_computes_itself_is_followed():
    y, source = leaf(3), leaf(3)
    (one,) = found(lambda: y * source.exp(), [y])
    assert one is source
