"""Values that f finds in plain objects, in classes and in other modules, and that change its derivatives alone."""

import argparse
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from tests.engines.changing import elsewhere
from tests.engines.changing.world import kind


@dataclass
class Config:
    """Settings that a schedule changes."""

    scale: float = 2.0


class StraightThrough(nn.Module):
    """A field whose values do not depend on its settings, while its derivatives do."""

    def __init__(self, net, cfg):
        super().__init__()
        self.net, self.cfg = net, cfg

    def forward(self, t, y):
        x = self.net(t, y)
        return x.detach() + self.cfg.scale * (x - x.detach())


def of_steps(run):
    """A field whose derivative is not that of its values: only gradients of the steps are defined."""
    return kind(run, is_smooth=False, without=("forward",))


def of_steps_or_refused(run):
    """The same, where a gradient may be refused."""
    return kind(run, is_smooth=False, without=("forward",), may_refuse=True)


@of_steps
def a_straight_through_scale_of_a_dataclass_changes(world):
    field = StraightThrough(world.net(), Config())
    y1 = world.solve(field, field.parameters())
    field.cfg.scale = 5.0
    world.backward(y1)


@of_steps
def a_straight_through_scale_of_a_nested_namespace_changes(world):
    cfg = argparse.Namespace(model=SimpleNamespace(parts=[Config()]))
    field = StraightThrough(world.net(), cfg.model.parts[0])
    field.all = cfg
    y1 = world.solve(lambda t, y: field(t, y) * field.all.model.parts[0].scale, field.parameters())
    cfg.model.parts[0].scale = 5.0
    world.backward(y1)


@of_steps
def two_solves_share_a_config_that_changes_between(world):
    field = StraightThrough(world.net(), Config())
    one = world.solve(field, field.parameters())
    field.cfg.scale = 0.5
    world.backward(one, world.solve(field, field.parameters()))


class Reversed(torch.autograd.Function):
    """A gradient reversal layer."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, cotangent):
        return -ctx.factor * cotangent, None


@of_steps
def the_factor_of_a_gradient_reversal_changes(world):
    net, cfg = world.net(), Config()
    y1 = world.solve(lambda t, y: Reversed.apply(net(t, y), cfg.scale), net.parameters())
    cfg.scale = 0.1
    world.backward(y1)


class Clamped(torch.autograd.Function):
    """Bounds the gradient."""

    @staticmethod
    def forward(ctx, x, bound):
        ctx.bound = bound
        return x.view_as(x)

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent.clamp(-ctx.bound, ctx.bound), None


@of_steps
def the_bound_of_a_gradient_clamp_changes(world):
    net, cfg = world.net(), SimpleNamespace(bound=np.array(0.05))
    y1 = world.solve(lambda t, y: Clamped.apply(net(t, y), float(cfg.bound)), net.parameters())
    cfg.bound[...] = 0.001
    world.backward(y1)


@of_steps
def a_straight_through_scale_of_the_diffusion_changes(world):
    net, field = world.net(), StraightThrough(world.net(), Config())
    y1 = world.solve(net, [*net.parameters(), *field.parameters()], g=lambda t, y: 0.1 * field(t, y))
    field.cfg.scale = 5.0
    world.backward(y1)


@kind
def a_field_at_rest_has_its_rate_in_a_plain_object(world):
    cfg, y0 = Config(), world.watch(torch.zeros(2, 3, dtype=world.dtype, requires_grad=True))
    y1 = world.solve(lambda t, y: -cfg.scale * torch.sin(y), y0=y0, g=lambda t, y: 0.1 * torch.sin(y))
    cfg.scale = 0.5
    (y1.sum() + y1.square().sum()).backward()


class FromElsewhere(nn.Module):
    """A field whose methods find a scale by a name."""

    def __init__(self, net, find):
        super().__init__()
        self.net, self.find = net, find

    def forward(self, t, y):
        x = self.net(t, y)
        return x.detach() + self.scale() * (x - x.detach())

    def scale(self):
        return getattr(self, self.find)()

    def of_a_module(self):
        return elsewhere.SCALE

    def of_a_function(self):
        return elsewhere.scale()

    def of_an_object(self):
        return elsewhere.CONFIG.scale

    def of_a_dictionary(self):
        return elsewhere.SETTINGS["scale"]

    def of_a_class(self):
        return elsewhere.Defaults.scale


def changes_elsewhere(world, find, change):
    """A solve, a change, its backward pass, and the change undone."""
    field = FromElsewhere(world.net(), find)
    y1 = world.solve(field, field.parameters())
    change(5.0)
    try:
        world.backward(y1)
    finally:
        change(2.0)


@of_steps_or_refused
def a_global_of_another_module_changes(world):
    changes_elsewhere(world, "of_a_module", lambda value: setattr(elsewhere, "SCALE", value))


@of_steps_or_refused
def a_global_that_a_function_of_another_module_uses_changes(world):
    changes_elsewhere(world, "of_a_function", lambda value: setattr(elsewhere, "SCALE", value))


@of_steps_or_refused
def an_object_of_another_module_changes(world):
    changes_elsewhere(world, "of_an_object", lambda value: setattr(elsewhere.CONFIG, "scale", value))


@of_steps_or_refused
def an_entry_of_another_module_s_dictionary_changes(world):
    changes_elsewhere(world, "of_a_dictionary", lambda value: elsewhere.SETTINGS.update(scale=value))


@of_steps_or_refused
def a_class_attribute_of_another_module_changes(world):
    changes_elsewhere(world, "of_a_class", lambda value: setattr(elsewhere.Defaults, "scale", value))


@of_steps
def what_f_does_not_mention_changes_elsewhere(world):
    field = FromElsewhere(world.net(), "of_a_dictionary")
    y1 = world.solve(field, field.parameters())
    elsewhere.SETTINGS["epoch"] += 1
    elsewhere.LOSSES.append(1.0)
    elsewhere.EPOCH += 1
    elsewhere.CONFIG.epoch += 1
    world.backward(y1)


@of_steps
def a_trainer_that_f_holds_goes_on(world):
    trainer = SimpleNamespace(losses=[], step=0, last=None)
    field = StraightThrough(world.net(), Config())
    field.trainer, trainer.field, trainer.last = trainer, field, torch.ones(3)
    y1 = world.solve(field, field.parameters())
    trainer.losses.append(y1.sum().item())
    trainer.step, trainer.last = 1, y1
    world.backward(y1)


@of_steps
def methods_count_their_calls_elsewhere(world):
    class Counting(FromElsewhere):
        def forward(self, t, y):
            elsewhere.CALLS += 1
            elsewhere.COUNTS["calls"] += 1
            return super().forward(t, y)

    field = Counting(world.net(), "of_a_class")
    one = world.solve(field, field.parameters())
    world.backward(one, world.solve(field, field.parameters()))


class Doubled(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return 2 * result if func is torch.tanh else result


@kind
def a_function_mode_is_around_both_passes(world):
    net = world.net()
    with Doubled():
        world.backward(world.solve(net, net.parameters()))


@kind
def a_function_mode_is_around_the_solve_alone(world):
    net = world.net()
    with Doubled():
        y1 = world.solve(net, net.parameters())
    world.backward(y1)
