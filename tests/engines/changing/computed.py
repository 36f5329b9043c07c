"""Tensors that were computed before a solve, and other ways in which a graph reaches a field."""

import torch
from torch import nn

from tests.engines.changing.world import Net, kind


def hypernetwork(world):
    """Weights (3, 3) that a network computes from a constant."""
    return world.watch(world.fill(nn.Linear(2, 9).to(world.dtype)))(world.constant(2)).view(3, 3)


@kind
def a_hypernetwork_s_weights_lie_in_a_closure(world):
    weights = hypernetwork(world)
    world.backward(world.solve(lambda t, y: torch.tanh(y @ weights + t), [weights]))


@kind
def a_hypernetwork_s_weights_are_an_attribute(world):
    class Field(nn.Module):
        def forward(self, t, y):
            return torch.tanh(y @ self.weights + t)

    field = Field()
    field.weights = hypernetwork(world)
    y1 = world.solve(field, [field.weights])
    field.weights = None
    world.backward(y1)


@kind
def an_encoder_s_context_is_an_attribute_beside_parameters(world):
    net, encoder = world.net(), world.watch(world.fill(nn.Linear(2, 3).to(world.dtype)))
    net.scale = encoder(world.constant(2, 2))
    y1 = world.solve(net, [net.scale])
    world.backward(y1, net.scale)


@kind
def a_tensor_is_used_beside_its_own_ancestor(world):
    weight = world.leaf(3)
    doubled = 2 * torch.sin(weight)
    world.backward(world.solve(lambda t, y: torch.sin(weight * y) * doubled, [weight, doubled]))


@kind
def a_tensor_s_ancestor_is_the_initial_state(world):
    start = world.leaf(2, 3)
    context = torch.sin(start).mean(0)
    world.backward(world.solve(lambda t, y: torch.sin(context * y) + start, [context, start], y0=start))


@kind
def f_uses_the_initial_state(world):
    start, weight = world.y0, world.leaf(3)
    params = [start, weight] if start.requires_grad else [weight]
    world.backward(world.solve(lambda t, y: torch.sin(weight * y * start) - y, params))


@kind
def the_initial_state_is_a_view_of_a_parameter(world):
    weight = world.leaf(4, 3)
    world.backward(world.solve(lambda t, y: torch.sin(y @ weight[:3]), [weight], y0=weight[1:3]))


@kind
def two_solves_share_a_graph_that_was_made_before(world):
    weights = hypernetwork(world)
    first = world.solve(lambda t, y: torch.tanh(y @ weights), [weights])
    second = world.solve(lambda t, y: torch.sin(y @ weights), [weights])
    world.backward(first, second)


@kind
def a_solve_starts_where_another_ended(world):
    net = world.net()
    first = world.solve(net)
    start = first if first.ndim == 2 else first[-1]
    world.backward(world.solve(lambda t, y: net(t, y) - start, [*net.parameters(), start], y0=start))


@kind
def one_of_several_outputs_of_a_node_is_used(world):
    one, two, three = torch.sin(world.leaf(3, 3)).unbind(0)
    _, second = torch.exp(world.leaf(4)).split([1, 3])
    y1 = world.solve(lambda t, y: torch.sin(two * y) * second + one.detach(), [two, second])
    world.backward(y1, three)


@kind
def all_outputs_of_a_node_are_used(world):
    one, two, three = torch.sin(world.leaf(3, 3)).unbind(0)
    world.backward(world.solve(lambda t, y: torch.sin(two * y) * one + three, [one, two, three]))


@kind
def parameters_of_a_module_are_computed(world):
    net = Net().to(world.dtype)
    for module in (net.inner, net.outer):
        for name in ("weight", "bias"):
            computed = torch.sin(world.leaf(*getattr(module, name).shape))
            del module._parameters[name]
            setattr(module, name, computed)
    world.backward(world.solve(net, [net.inner.weight, net.inner.bias, net.outer.weight, net.outer.bias]))


@kind
def computed_tensors_are_registered_as_parameters(world):
    net = Net().to(world.dtype)
    for module in (net.inner, net.outer):
        for name, param in module._parameters.items():
            module._parameters[name] = torch.sin(world.leaf(*param.shape))
    world.backward(world.solve(net))


@kind
def a_parameter_is_never_used(world):
    net = world.net()
    net.unused = world.watch(nn.Linear(3, 3).to(world.dtype))
    extra = world.leaf(3)
    world.backward(world.solve(net, [extra, 2 * extra]))


@kind
def only_the_initial_state_matters(world):
    if world.y0.requires_grad:
        world.backward(world.solve(lambda t, y: torch.sin(y) * t))


@kind
def the_slope_is_a_parameter_itself(world):
    slope = world.leaf(2, 3)
    world.backward(world.solve(lambda t, y: slope, [slope]))


@kind
def the_slope_is_a_computed_tensor_itself(world):
    slope = torch.sin(world.leaf(2, 3))
    world.backward(world.solve(lambda t, y: slope, [slope]))


@kind
def the_slope_is_the_state_or_a_constant(world):
    shift = world.leaf(2, 3)
    start = world.y0 + shift
    first = world.solve(lambda t, y: y, y0=start)
    second = world.solve(lambda t, y: torch.ones_like(y), y0=start)
    world.backward(first, second)


@kind
def parameters_are_complex(world):
    weight = world.watch(torch.complex(world.constant(3), world.constant(3)).requires_grad_())
    turned = torch.exp(1j * world.leaf(3))
    world.backward(world.solve(lambda t, y: torch.sin((weight * turned * y).real), [weight, turned]))


def late(t, early, later):
    """One slope, and from the middle on another beside it that comes smoothly."""
    return early if t <= 0.5 else early + (2 * t - 1) ** 6 * later()


@kind
def a_parameter_of_a_module_is_used_late(world):
    net, later = world.net(), world.net()
    field = nn.Module()
    field.net, field.later = net, later
    field.forward = lambda t, y: late(t, net(t, y), lambda: later(t, y))
    world.backward(world.solve(field))


@kind
def a_leaf_of_a_closure_is_used_late(world):
    net, weight = world.net(), world.leaf(3)
    f = lambda t, y: late(t, net(t, y), lambda: torch.sin(weight * y))  # noqa: E731
    world.backward(world.solve(f, [*net.parameters(), weight]))


@kind(may_refuse=True)
def a_computed_tensor_of_a_closure_is_used_late(world):
    net, weight = world.net(), 2 * world.leaf(3)
    f = lambda t, y: late(t, net(t, y), lambda: torch.sin(weight * y))  # noqa: E731
    world.backward(world.solve(f, [*net.parameters(), weight]))


@kind(may_refuse=True)
def a_leaf_of_a_plain_object_is_used_late(world):
    class Store:
        pass

    store = Store()
    net, store.weight = world.net(), world.leaf(3)
    f = lambda t, y: late(t, net(t, y), lambda: torch.sin(store.weight * y))  # noqa: E731
    world.backward(world.solve(f, [*net.parameters(), store.weight]))


@kind(may_refuse=True, is_smooth=False)
def a_weight_changes_places_with_another_late(world):
    class Store:
        pass

    store = Store()
    store.weights = [world.leaf(3), world.leaf(3)]
    world.backward(world.solve(lambda t, y: torch.sin(store.weights[int(t > 0.5)] * y), store.weights))


@kind(may_refuse=True)
def a_computed_weight_is_kept_by_f_from_its_first_call(world):
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.kept = nn.Parameter(world.constant(3)), None

        def forward(self, t, y):
            if self.kept is None:
                self.kept = torch.exp(self.weight)
            return torch.sin(self.kept * y)

    field = Caching()
    world.watch(field.weight)
    world.backward(world.solve(field))


@kind
def a_leaf_is_made_inside_f(world):
    net = world.net()

    def f(t, y):
        with torch.enable_grad():
            x = y if y.requires_grad else y.detach().requires_grad_()
            slope = net(t, x)
            (pulled,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        return slope + 0.1 * pulled

    world.backward(world.solve(f, net.parameters()))


@kind
def f_asks_its_argument_for_a_gradient(world):
    net = world.net()

    def f(t, y):
        with torch.enable_grad():
            y.requires_grad_(True)
            energy = 0.1 * net(t, y).square().sum()
            return -torch.autograd.grad(energy, y, create_graph=True)[0]

    world.backward(world.solve(f, net.parameters()))


@kind
def f_detaches_some_of_what_it_uses(world):
    net, weight = world.net(), world.leaf(3)

    def f(t, y):
        with torch.no_grad():
            factor = torch.sin(weight)
        return net(t, y) * factor + net(t, y.detach()) * weight.detach()

    world.backward(world.solve(f, net.parameters()))
