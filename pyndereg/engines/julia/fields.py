"""The right-hand sides of a problem as Julia gets them: a network of its own, a callback, or a Julia function."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyndereg.engines.julia.callback import EVALUATE_ADDRESS, PULLBACK_ADDRESS, TorchField
from pyndereg.engines.julia.mirror import Mirror, mirror
from pyndereg.engines.julia.start import Begun, begin
from pyndereg.ivp import ODEProblem, SDEProblem, SolveOptions, StateLayout
from pyndereg.ivp.julia import JuliaFunction
from pyndereg.solver.field import DiffusionField, Field
from pyndereg.solver.gradients.captured import Captured
from pyndereg.solver.gradients.sums import as_real, shaped_like


@dataclass(frozen=True)
class JuliaField:
    """A right-hand side, ready for Julia.

    Attributes:
        key: what it is known by; fields of one key are one object in Julia.
        make: makes that object: bridge -> number.
        parameters: the tensors whose elements are p, or the shapes of whose gradients, in order.
        p: these elements. Shape (parameters,), no graph.
        torch_field, captured: the function behind a callback, and what it was at the solve; None for the others.
    """

    key: tuple[Any, ...]
    make: Callable[[Any], int]
    parameters: tuple[Tensor, ...]
    p: Tensor
    torch_field: TorchField | None = None
    captured: Captured | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that may receive gradients."""
        return self.parameters if self.captured is None else self.captured.inputs

    def settle(self) -> None:
        """The forward solve is over."""
        if self.torch_field is not None:
            self.torch_field.settle()

    def alive(self) -> AbstractContextManager[Any]:
        """While this is entered, Julia may call the field."""
        return nullcontext() if self.torch_field is None else self.torch_field

    def gradients(self, gradient: Tensor | None) -> list[Tensor | None]:
        """A gradient of p by inputs; None of those that f never depended on."""
        if gradient is None:
            return [None] * len(self.inputs)
        parts = gradient.split([as_real(param).numel() for param in self.parameters])
        found: list[Tensor | None] = [
            shaped_like(param, part).to(param.dtype) for part, param in zip(parts, self.parameters, strict=True)
        ]
        if self.captured is None or self.torch_field is None:
            return found
        used = self.torch_field.used
        return self.captured.gradients([x if was else None for x, was in zip(found, used, strict=True)])


def julia_field(problem: ODEProblem, layout: StateLayout, options: SolveOptions, *, with_time: bool) -> JuliaField:
    """The right-hand side of a problem.

    Args:
        layout: of its state.
        options: `field` is `"native"`, `"callback"`, or None for the native one where there is one.
        with_time: whether gradients with respect to time are asked for.
    Raises:
        ValueError: a native field was asked for and there is none; the sentence says why.
        GradientRefused: f is another function at each evaluation.
    """
    native = _in_julia(problem.f, "f", layout, options.field)
    if native is not None:
        return native
    begun = begin(problem, [Field(problem)], options)
    start = (problem.interval[0], layout.flatten(problem.y0).detach().clone(), begun.slopes[0])
    field = TorchField(begun.fields[0], layout, begun.captured, index=0, start=start, with_time=with_time)
    return _callback(field, begun.captured, layout.dtype)


def stochastic_fields(
    problem: SDEProblem, layout: StateLayout, choice: str | None, begun: Begun | None
) -> tuple[JuliaField, JuliaField]:
    """Drift and diffusion of a stochastic problem; arguments and errors as those of `julia_field`.

    The diffusion of general noise has no native form: its values are no slope of the state.

    Args:
        begun: f and g after their first evaluation; None if they are Julia functions.
    """
    is_general = problem.noise == "general"
    if is_general and (choice == "native" or isinstance(problem.g, JuliaFunction)):
        raise ValueError(
            "noise is 'general', whose g is called back from Julia; pass a Python function, without field="
        )
    drift = _in_julia(problem.f, "f", layout, choice)
    if drift is None:
        drift = _stochastic_callback(problem, layout, begun, 0, None)
    diffusion = None if is_general else _in_julia(problem.g, "g", layout, choice)
    if diffusion is None:
        shape = torch.Size((*layout.solver_shape, problem.noise_shape[-1])) if is_general else None
        diffusion = _stochastic_callback(problem, layout, begun, 1, shape)
    return drift, diffusion


def _stochastic_callback(
    problem: SDEProblem, layout: StateLayout, begun: Begun | None, index: int, shape: torch.Size | None
) -> JuliaField:
    if begun is None:
        begun = Begun((Field(problem), DiffusionField(problem)), None, ())
    start = None
    if begun.slopes:
        start = (problem.t0, layout.flatten(problem.y0).detach().clone(), begun.slopes[index])
    field = TorchField(begun.fields[index], layout, None, index=index, start=start, with_time=False, shape=shape)
    return _callback(field, None, layout.dtype)


def _in_julia(function: Any, name: str, layout: StateLayout, choice: str | None) -> JuliaField | None:
    """A function that Julia evaluates itself; None for one that is called back.

    Raises:
        ValueError: a native field was asked for and there is none.
    """
    if isinstance(function, JuliaFunction):
        return _julia_function(layout, function, choice)
    if choice == "callback":
        return None
    mirrored = _mirrored(function, name, layout)
    if isinstance(mirrored, Mirror):
        return _native(layout, mirrored)
    if choice == "native":
        raise ValueError(mirrored)
    return None


def _callback(field: TorchField, captured: Captured | None, dtype: torch.dtype) -> JuliaField:
    params = () if captured is None else captured.targets
    p = torch.zeros(sum(as_real(param).numel() for param in params), dtype=dtype, device="cpu")
    return JuliaField(
        key=("callback", field.token),
        make=lambda bridge: bridge.callback_field(EVALUATE_ADDRESS, PULLBACK_ADDRESS, field.token),
        parameters=params,
        p=p,
        torch_field=field,
        captured=captured,
    )


def _mirrored(function: Any, name: str, layout: StateLayout) -> Mirror | str:
    if not isinstance(function, nn.Module):
        called = getattr(function, "__name__", type(function).__name__)
        return (
            f"{name} is the Python function {called}, which has no native counterpart; pass a module made of layers "
            "that have one, a pyndereg.julia.function, or field='callback'"
        )
    return mirror(function, layout)


def _native(layout: StateLayout, mirrored: Mirror) -> JuliaField:
    with torch.no_grad():
        flat = [param.reshape(-1) for param in mirrored.parameters]
        p = torch.cat(flat) if flat else torch.empty(0, dtype=layout.dtype, device="cpu")
    description = "\n".join(mirrored.description)
    return JuliaField(
        key=("native", description),
        make=lambda bridge: bridge.network_field(description),
        parameters=mirrored.parameters,
        p=p,
    )


def _julia_function(layout: StateLayout, f: JuliaFunction, choice: str | None) -> JuliaField:
    if choice == "callback":
        raise ValueError(f"{f.name} is a Julia function, which needs no callback; leave field= out")
    if layout.is_tuple:
        raise ValueError(f"y0 is a tuple, but the Julia function {f.name} takes one array; pass one tensor")
    parameters = f.parameters
    if parameters is not None and parameters.dtype != layout.dtype:
        raise ValueError(
            f"the parameters of {f.name} are {parameters.dtype}, y0 is {layout.dtype}; convert one of them"
        )
    p = torch.empty(0, dtype=layout.dtype, device="cpu")
    if parameters is not None:
        p = parameters.detach().reshape(-1).contiguous().clone()
    source, version = f.module, 0
    if f.path:
        # A file that was changed is another one; a path means the same from every folder that it was meant in.
        path = Path(f.path).absolute()
        source, version = str(path), path.stat().st_mtime_ns if path.is_file() else 0
    return JuliaField(
        key=("function", source, version, f.name, f.vjp),
        make=lambda bridge: bridge.function_field(source, bool(f.path), f.name, f.vjp),
        parameters=() if parameters is None else (parameters,),
        p=p,
    )
