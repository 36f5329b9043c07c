"""Modules that have a native counterpart, and the sentences about those that have none."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyndereg import fields
from pyndereg.engines.julia.mirror import Mirror, mirror
from pyndereg.ivp.state import StateLayout
from tests.sentences import check_sentence

LAYOUT = StateLayout.of(torch.zeros(4, 3))


def counterpart(module, layout=LAYOUT):
    found = mirror(module, layout)
    assert isinstance(found, Mirror), found
    return found


def of_net(*layers):
    """The lines of a network after the first one."""
    return counterpart(fields.Autonomous(nn.Sequential(*layers))).description[1:]


def test_a_sequence_of_linear_layers_and_activations_is_one_line_per_linear_layer():
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3, bias=False))
    found = counterpart(fields.Autonomous(net))
    assert found.description == (
        "field size=3 parameters=35",
        "dense inputs=3 outputs=5 weight=0 bias=15 activation=tanh",
        "dense inputs=5 outputs=3 weight=20",
    )
    assert [id(param) for param in found.parameters] == [id(param) for param in net.parameters()]


def test_a_linear_layer_alone_and_sequences_within_sequences_are_read_in_order():
    assert of_net(nn.Linear(3, 3)) == ("dense inputs=3 outputs=3 weight=0 bias=9",)
    inner = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.ReLU()))
    assert of_net(inner, nn.Linear(2, 3)) == (
        "dense inputs=3 outputs=2 weight=0 bias=6 activation=relu",
        "dense inputs=2 outputs=3 weight=8 bias=14",
    )


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Tanh(), "tanh"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.ReLU(), "relu"),
        (nn.LeakyReLU(0.2), "leaky_relu:0.2"),
        (nn.ELU(), "elu:1.0"),
        (nn.SELU(), "selu"),
        (nn.Softplus(beta=2), "softplus:2.0:20.0"),
        (nn.Softsign(), "softsign"),
        (nn.SiLU(), "silu"),
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (fields.Power(3), "power:3"),
    ],
)
def test_an_activation_belongs_to_the_linear_layer_before_it_or_stands_alone(module, name):
    assert of_net(nn.Linear(3, 3), module) == (f"dense inputs=3 outputs=3 weight=0 bias=9 activation={name}",)
    assert of_net(module) == (f"elementwise activation={name}",)
    assert of_net(nn.Linear(3, 3), module, module)[1:] == (f"elementwise activation={name}",)


def test_an_activation_after_a_residual_does_not_belong_to_the_layer_inside_it():
    assert of_net(fields.Residual(nn.Linear(3, 3)), nn.Tanh()) == (
        "residual",
        "dense inputs=3 outputs=3 weight=0 bias=9",
        "end",
        "elementwise activation=tanh",
    )


def test_a_layer_norm_keeps_its_epsilon_and_those_of_its_tensors_that_it_has():
    assert of_net(nn.LayerNorm(3, eps=1e-3)) == ("layernorm size=3 epsilon=0.001 weight=0 bias=3",)
    assert of_net(nn.LayerNorm(3, bias=False)) == ("layernorm size=3 epsilon=1e-05 weight=0",)
    assert of_net(nn.LayerNorm(3, elementwise_affine=False)) == ("layernorm size=3 epsilon=1e-05",)


def test_layers_that_do_nothing_leave_no_line_but_a_network_has_at_least_one():
    assert of_net(nn.Identity(), nn.Linear(3, 3), nn.Dropout(0.0), nn.Dropout(0.5).eval(), nn.Tanh()) == (
        "dense inputs=3 outputs=3 weight=0 bias=9 activation=tanh",
    )
    assert of_net(nn.Identity()) == ("elementwise activation=identity",)
    assert of_net(fields.Residual(nn.Identity())) == ("residual", "elementwise activation=identity", "end")


def test_time_enters_as_the_last_input_of_the_first_layer():
    net = nn.Sequential(nn.Identity(), nn.Linear(4, 5), nn.ELU(), nn.Linear(5, 3))
    assert counterpart(fields.TimeConcat(net)).description == (
        "field size=3 parameters=43",
        "dense inputs=3 outputs=5 weight=0 bias=20 time=last activation=elu:1.0",
        "dense inputs=5 outputs=3 weight=25 bias=40",
    )


def test_time_layers_have_weights_of_time():
    layer = fields.TimeLinear(3, 3)
    found = counterpart(layer)
    assert found.description[1:] == ("dense inputs=3 outputs=3 weight=0 bias=9 time=12",)
    assert [id(param) for param in found.parameters] == [id(layer.weight), id(layer.bias), id(layer.time_weight)]


@pytest.mark.parametrize(
    ("function", "name"),
    [(torch.tanh, "tanh"), (F.softplus, "softplus:1.0:20.0"), (F.gelu, "gelu"), (nn.ELU(0.5), "elu:0.5")],
)
def test_the_papers_network_is_known_by_its_functions(function, name):
    field = fields.TimeConcatMLP(3, 5, activation=function, output_activation=None)
    assert counterpart(field).description[1:] == (
        f"dense inputs=3 outputs=5 weight=0 bias=15 time=20 activation={name}",
        "dense inputs=5 outputs=3 weight=25 bias=40 time=43",
    )


def test_a_parameter_used_twice_stands_once_in_the_vector_and_a_frozen_one_stands_too():
    layer = nn.Linear(3, 3).requires_grad_(False)
    found = counterpart(fields.Autonomous(nn.Sequential(layer, nn.Tanh(), layer)))
    assert found.description[0] == "field size=3 parameters=12"
    assert found.description[2] == "dense inputs=3 outputs=3 weight=0 bias=9"
    assert len(found.parameters) == 2


class OwnLinear(nn.Linear):
    """Might do anything in its forward."""


class OwnField(fields.TimeConcatMLP):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -super().forward(t, y)


def hooked():
    layer = nn.Linear(3, 3)
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    return layer


def replaced():
    layer = nn.Linear(3, 3)
    layer.forward = lambda x: x
    return layer


def autonomous(*layers):
    return fields.Autonomous(nn.Sequential(*layers))


@pytest.mark.parametrize(
    ("module", "part"),
    [
        (lambda t, y: y, "<lambda>"),
        (nn.Linear(3, 3), "nde.fields.Autonomous"),
        (OwnField(3), "OwnField"),
        (autonomous(OwnLinear(3, 3)), "OwnLinear"),
        (autonomous(nn.BatchNorm1d(3)), "BatchNorm1d"),
        (autonomous(nn.Dropout(0.1)), "training mode"),
        (autonomous(nn.LayerNorm((4, 3))), "2 axes"),
        (autonomous(nn.Linear(3, 4)), "maps 3 features to 4"),
        (autonomous(nn.Linear(2, 3)), "takes 2 features, but 3 arrive"),
        (autonomous(fields.Residual(nn.Linear(3, 4))), "3 -> 4"),
        (autonomous(nn.LeakyReLU(-0.1)), "LeakyReLU"),
        (autonomous(nn.PReLU()), "PReLU"),
        (autonomous(hooked()), "hooks"),
        (autonomous(replaced()), "hooks"),
        (autonomous(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))), "ParametrizedLinear"),
        (autonomous(nn.Linear(3, 3).double()), "torch.float64"),
        (fields.TimeConcat(nn.Linear(3, 3)), "takes 3 features, but 4 arrive"),
        (fields.TimeConcat(nn.Sequential(nn.Tanh(), nn.Linear(4, 3))), "after TimeConcat"),
        (fields.TimeConcat(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3))), "after TimeConcat"),
        (fields.TimeConcat(nn.Identity()), "without a Linear"),
        (fields.TimeConcatMLP(3, activation=torch.exp), "exp"),
        (fields.TimeConcatMLP(2), "takes 2 features, but 3 arrive"),
    ],
)
def test_what_has_no_counterpart_is_named_with_the_remedy(module, part):
    reason = mirror(module, LAYOUT)
    assert isinstance(reason, str)
    check_sentence(ValueError(reason), part, 'field="callback"')


@pytest.mark.parametrize(
    ("state", "part"),
    [((torch.zeros(3),), "tuple"), (torch.tensor(1.0), "shape ()"), (torch.zeros(3).double(), "float64")],
)
def test_a_state_that_a_native_field_does_not_take_is_named(state, part):
    reason = mirror(autonomous(nn.Linear(3, 3)), StateLayout.of(state))
    assert isinstance(reason, str)
    check_sentence(ValueError(reason), part, 'field="callback"')


def test_autocast_has_no_counterpart():
    with torch.autocast("cpu"):
        reason = mirror(autonomous(nn.Linear(3, 3)), LAYOUT)
    assert isinstance(reason, str)
    check_sentence(ValueError(reason), "autocast")


def test_the_mode_of_a_module_is_read_when_it_is_mirrored():
    field = autonomous(nn.Dropout(0.5), nn.Linear(3, 3))
    assert isinstance(mirror(field, LAYOUT), str)
    assert isinstance(mirror(field.eval(), LAYOUT), Mirror)
