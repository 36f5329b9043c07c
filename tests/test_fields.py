"""Time-dependent layers against the concatenation that they stand for, and the parts of fields made of any network."""

import math

import pytest
import torch

from pyndereg.fields import Autonomous, Power, Residual, TimeConcat, TimeConcatMLP, TimeLinear
from tests.sentences import check_sentence


def with_time(y, t):
    """[y; t] along the last axis."""
    return torch.cat([y, t.expand(*y.shape[:-1], 1)], dim=-1)


def concatenated(layer):
    return torch.cat([layer.weight, layer.time_weight[:, None]], dim=1), layer.bias


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_a_time_layer_is_linear_in_the_state_with_time_appended(shape):
    layer, y, t = TimeLinear(3, 5), torch.randn(*shape), torch.tensor(0.7)
    torch.nn.init.normal_(layer.bias)
    weight, bias = concatenated(layer)
    torch.testing.assert_close(layer(t, y), with_time(y, t) @ weight.T + bias)


@pytest.mark.parametrize("output_activation", [torch.tanh, None])
def test_the_network_appends_time_to_the_input_of_both_layers(output_activation):
    field = TimeConcatMLP(3, 7, activation=torch.sigmoid, output_activation=output_activation).double()
    for param in field.parameters():
        torch.nn.init.normal_(param)
    y, t = torch.randn(4, 3, dtype=torch.float64), torch.tensor(-1.3, dtype=torch.float64)
    (w1, b1), (w2, b2) = concatenated(field.hidden_layer), concatenated(field.output_layer)
    expected = with_time(torch.sigmoid(with_time(y, t) @ w1.T + b1), t) @ w2.T + b2
    expected = expected if output_activation is None else output_activation(expected)
    torch.testing.assert_close(field(t, y), expected, rtol=1e-12, atol=1e-12)


def test_both_layers_end_with_tanh_unless_asked_otherwise():
    field = TimeConcatMLP(3)
    assert field.hidden_layer.weight.shape == (100, 3)
    assert field.activation is torch.tanh
    assert field.output_activation is torch.tanh


def test_weights_start_glorot_uniform_over_all_inputs_and_biases_at_zero():
    layer = TimeLinear(300, 200)
    bound = math.sqrt(6 / (301 + 200))
    for weight in (layer.weight, layer.time_weight):
        assert weight.abs().max().item() <= bound
    assert layer.weight.abs().max().item() > 0.99 * bound
    assert layer.weight.var().item() == pytest.approx(bound**2 / 3, rel=0.05)
    assert not bool(layer.bias.any())
    assert not any(torch.equal(layer.time_weight, column) for column in layer.weight.T)


def test_the_network_has_as_many_parameters_as_the_paper_s():
    field = TimeConcatMLP(784, 100)
    assert sum(param.numel() for param in field.parameters()) == 100 * 785 + 100 + 784 * 101 + 784


@pytest.mark.parametrize(("name", "value"), [("dim", 0), ("dim", 2.0), ("hidden", -1), ("hidden", True)])
def test_a_size_that_is_no_positive_whole_number_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is") as raised:
        TimeConcatMLP(**{"dim": 3, "hidden": 4, name: value})
    check_sentence(raised.value, f"{name} is {value!r}", "positive whole number")


def test_an_autonomous_field_does_not_see_time():
    net, y = torch.nn.Linear(3, 3), torch.randn(4, 3)
    assert torch.equal(Autonomous(net)(torch.tensor(0.3), y), net(y))


@pytest.mark.parametrize("shape", [(3,), (2, 4, 3)])
def test_a_field_of_time_appends_it_to_the_state_in_the_states_precision(shape):
    net, y, t = torch.nn.Linear(4, 3), torch.randn(*shape), torch.tensor(0.7, dtype=torch.float64)
    assert torch.equal(TimeConcat(net)(t, y), net(with_time(y, t.float())))


def test_a_residual_adds_its_input():
    net, x = torch.nn.Linear(3, 3), torch.randn(4, 3)
    assert torch.equal(Residual(net)(x), x + net(x))


def test_a_power_is_taken_of_each_number():
    assert torch.equal(Power(3)(torch.tensor([-2.0, 0.5])), torch.tensor([-8.0, 0.125]))


@pytest.mark.parametrize("exponent", [0, -1, 2.0, True])
def test_an_exponent_that_is_no_positive_whole_number_is_refused(exponent):
    with pytest.raises(ValueError, match="exponent is") as raised:
        Power(exponent)
    check_sentence(raised.value, f"exponent is {exponent!r}", "positive whole number")
