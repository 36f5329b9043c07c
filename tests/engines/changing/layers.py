"""Layers that people use, in the modes that they use them in."""

import warnings

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

from tests.engines.changing.world import Net, kind


class Field(nn.Module):
    """A network for the state with one layer in the middle. Shapes (2, 3) throughout."""

    def __init__(self, world, layer, enters=None):
        super().__init__()
        self.first = world.fill(nn.Linear(3, 3).to(world.dtype))
        self.layer = world.fill(layer.to(world.dtype))
        self.enters = enters or layer.__class__.__call__
        world.watch(self)

    def forward(self, t, y):
        return torch.tanh(self.enters(self.layer, self.first(y) + t)) - 0.2 * y


def buffers(module):
    return {name: x.clone() for name, x in module.named_buffers()}


def check_untouched(module, before):
    for name, x in module.named_buffers():
        assert torch.equal(x, before[name]), f"the backward pass changed {name}"


def untouched_by_backward(world, layer, between=lambda field: None):
    """A backward pass that changes no buffer; both runs leave the same ones."""
    field = Field(world, layer)
    y1 = world.solve(field)
    between(field)
    before = buffers(field)
    world.backward(y1)
    check_untouched(field, before)
    for x in buffers(field).values():
        world.note(x)


@kind(may_refuse=True, is_fixed=True, is_smooth=False)
def batch_norm_is_in_training(world):
    untouched_by_backward(world, nn.BatchNorm1d(3))


@kind(may_refuse=True, is_fixed=True, is_smooth=False)
def batch_norm_is_in_training_and_then_evaluated(world):
    untouched_by_backward(world, nn.BatchNorm1d(3), lambda field: field.eval())


@kind
def batch_norm_is_evaluated(world):
    untouched_by_backward(world, nn.BatchNorm1d(3).eval())


@kind
def batch_norm_is_evaluated_and_then_in_training(world):
    untouched_by_backward(world, nn.BatchNorm1d(3).eval(), lambda field: field.train())


@kind(is_smooth=False, is_fixed=True)  # of two samples that are nearly alike the slope jumps
def batch_norm_keeps_no_statistics(world):
    untouched_by_backward(world, nn.BatchNorm1d(3, track_running_stats=False))


@kind(may_refuse=True, is_fixed=True, is_smooth=False)
def batch_norm_has_no_momentum(world):
    untouched_by_backward(world, nn.BatchNorm1d(3, momentum=None))


@kind(is_smooth=False)  # two samples are few: the slope changes fast
def layer_norm_has_no_statistics(world):
    untouched_by_backward(world, nn.LayerNorm(3))


@kind(may_refuse=True, is_fixed=True)
def spectral_norm_is_in_training(world):
    untouched_by_backward(world, parametrizations.spectral_norm(nn.Linear(3, 3)))


@kind
def spectral_norm_is_evaluated(world):
    untouched_by_backward(world, parametrizations.spectral_norm(nn.Linear(3, 3)).eval())


@kind(may_refuse=True, is_fixed=True)
def spectral_norm_of_old_is_in_training(world):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.spectral_norm(nn.Linear(3, 3))
    untouched_by_backward(world, layer)


@kind
def spectral_norm_of_old_is_evaluated(world):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.spectral_norm(nn.Linear(3, 3))
    untouched_by_backward(world, layer.eval())


@kind
def weight_norm_is_a_parametrization(world):
    field = Field(world, parametrizations.weight_norm(nn.Linear(3, 3)))
    world.backward(world.solve(field))


@kind
def weight_norm_is_that_of_old(world):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Linear(3, 3))
    world.backward(world.solve(Field(world, layer)))


@kind
def weights_are_orthogonal(world):
    torch.manual_seed(world.choice.seed)
    field = nn.Module()
    field.layer = world.watch(parametrizations.orthogonal(nn.Linear(3, 3).to(world.dtype)))
    field.forward = lambda t, y: torch.tanh(field.layer(y) + t)
    world.backward(world.solve(field))


@kind(may_refuse=True)
def parametrizations_are_cached_around_the_solve(world):
    field = Field(world, parametrizations.weight_norm(nn.Linear(3, 3)))
    with parametrize.cached():
        y1 = world.solve(field)
    world.backward(y1)


@kind
def parametrizations_are_cached_around_the_backward_pass(world):
    field = Field(world, parametrizations.weight_norm(nn.Linear(3, 3)))
    y1 = world.solve(field)
    with parametrize.cached():
        field(torch.zeros((), dtype=world.dtype), world.y0.detach())
        world.backward(y1)


@kind(may_refuse=True)
def parametrizations_are_cached_around_both(world):
    field = Field(world, parametrizations.weight_norm(nn.Linear(3, 3)))
    with parametrize.cached():
        world.backward(world.solve(field))


@kind(may_refuse=True)
def parametrizations_were_cached_before_the_solve(world):
    field = Field(world, parametrizations.weight_norm(nn.Linear(3, 3)))
    with parametrize.cached():
        field(torch.zeros((), dtype=world.dtype), world.y0.detach())
        world.backward(world.solve(field))


@kind(may_refuse=True)
def a_parametrization_is_removed_between(world):
    field = Field(world, parametrizations.weight_norm(nn.Linear(3, 3)))
    y1 = world.solve(field)
    parametrize.remove_parametrizations(field.layer, "weight")
    world.backward(y1)


@kind
def a_layer_is_pruned_between(world):
    field = Field(world, nn.Linear(3, 3))
    y1 = world.solve(field)
    prune.l1_unstructured(field.layer, "weight", amount=4)
    world.backward(y1)


@kind
def a_layer_was_pruned(world):
    field = Field(world, nn.Linear(3, 3))
    prune.l1_unstructured(field.layer, "weight", amount=4)
    field.layer.watched = world.watch(field.layer.weight_orig)
    world.backward(world.solve(field))


@kind
def a_parameter_is_frozen_between(world):
    net = world.net()
    y1 = world.solve(net)
    net.inner.weight.requires_grad_(False)
    world.backward(y1)


@kind
def a_frozen_parameter_is_thawed_between(world):
    net = world.net()
    net.inner.weight.requires_grad_(False)
    y1 = world.solve(net)
    net.inner.weight.requires_grad_(True)
    world.backward(y1)


@kind(may_refuse=("forward",))
def the_weights_of_a_sparse_embedding_are_parameters(world):
    table = world.watch(world.fill(nn.Embedding(5, 3, sparse=True).to(world.dtype)))
    places = torch.tensor([1, 3])
    world.backward(world.solve(lambda t, y: torch.sin(table(places) * y), table.parameters()))


@kind
def the_layer_is_an_lstm_cell(world):
    world.backward(world.solve(Field(world, nn.LSTMCell(3, 3), lambda layer, x: layer(x)[0])))


@kind
def the_layer_is_a_gru_cell(world):
    world.backward(world.solve(Field(world, nn.GRUCell(3, 3))))


@kind(tolerance=1e-7)
def the_layer_is_an_lstm(world):
    world.backward(world.solve(Field(world, nn.LSTM(3, 3), lambda layer, x: layer(x)[0])))


@kind(tolerance=1e-7, may_refuse=("forward",))
def the_layer_is_attention(world):
    layer = nn.MultiheadAttention(3, 1).eval()
    world.backward(world.solve(Field(world, layer, lambda layer, x: layer(x, x, x, need_weights=False)[0])))


@kind(tolerance=1e-7, may_refuse=("forward",))
def the_layer_is_a_transformer_s(world):
    layer = nn.TransformerEncoderLayer(3, 1, 4, batch_first=True).eval()
    world.backward(world.solve(Field(world, layer, lambda layer, x: layer(x[None])[0])))


@kind
def a_layer_is_lazy(world):
    field = nn.Module()
    field.layer = nn.LazyLinear(3, dtype=world.dtype)
    field.forward = lambda t, y: torch.tanh(field.layer(y) + t)
    torch.manual_seed(world.choice.seed)
    y1 = world.solve(field)
    world.watch(field)
    world.backward(y1)


@kind
def a_layer_is_checkpointed(world):
    net = world.net()
    world.backward(world.solve(lambda t, y: checkpoint(net, t, y, use_reentrant=False) - y, net.parameters()))


class Plain(nn.Module):
    """What TorchScript understands."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, t: torch.Tensor, y: torch.Tensor):
        return torch.tanh(self.layer(y) + t)


class Cube(torch.autograd.Function):
    """x³, with a derivative of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, arriving):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * arriving


@kind
def an_operation_has_a_derivative_of_its_own(world):
    weight = world.leaf(3)
    computed = torch.sin(weight)
    world.backward(world.solve(lambda t, y: torch.sin(Cube.apply(weight) * y) + computed, [weight, computed]))


@kind
def a_tensor_enters_through_an_operation_of_the_user_alone(world):
    weight = world.leaf(2, 3)
    world.backward(world.solve(lambda t, y: Cube.apply(weight), [weight]))


@kind
def a_module_is_traced(world):
    net = world.net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, (torch.zeros((), dtype=world.dtype), world.constant(2, 3)))
    world.backward(world.solve(traced))


@kind
def a_module_is_scripted(world):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(world.watch(world.fill(Plain().to(world.dtype))))
    world.backward(world.solve(scripted))


@kind
def a_traced_module_is_part_of_f(world):
    net = world.net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, (torch.zeros((), dtype=world.dtype), world.constant(2, 3)))
    world.backward(world.solve(lambda t, y: traced(t, y) - y, net.parameters()))


@kind(may_refuse=True)
def a_parameter_of_a_traced_module_has_a_hook(world):
    net = world.net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, (torch.zeros((), dtype=world.dtype), world.constant(2, 3)))
    net.inner.weight.register_hook(lambda gradient: gradient + 1)
    world.backward(world.solve(lambda t, y: traced(t, y) - y, net.parameters()))


@kind
def a_network_is_data_parallel(world):
    net = world.net()
    y1 = world.solve(nn.DataParallel(net))
    net.scale = 3.0
    world.backward(y1)


@kind
def f_differentiates_with_transforms(world):
    net = world.net()

    def f(t, y):
        slope = lambda x: net(t, x).sum()  # noqa: E731
        return torch.func.vmap(torch.func.grad(slope))(y)

    world.backward(world.solve(f, net.parameters()))


@kind
def f_maps_over_the_batch(world):
    net, weight = world.net(), torch.sin(world.leaf(3))
    f = lambda t, y: torch.func.vmap(lambda x: net(t, x) * weight)(y)  # noqa: E731
    y1 = world.solve(f, [*net.parameters(), weight])
    net.scale = 3.0
    world.backward(y1)


@kind(may_refuse=True)
def an_ensemble_is_stacked(world):
    nets = [world.net() for _ in range(2)]
    params = {
        name: torch.stack([dict(net.named_parameters())[name] for net in nets])
        for name, _ in nets[0].named_parameters()
    }
    template = Net().to(world.dtype)

    def member(params, t, x):
        return torch.func.functional_call(template, params, (t, x))

    f = lambda t, y: torch.func.vmap(member, (0, None, 0))(params, t, y)  # noqa: E731
    world.backward(world.solve(f, params.values()))
