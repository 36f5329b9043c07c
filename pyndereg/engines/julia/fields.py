"""The right-hand side of a problem as Julia gets it: a network of its own, a callback, or a Julia function."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyndereg.engines.julia.callback import EVALUATE_ADDRESS, PULLBACK_ADDRESS, TorchField
from pyndereg.engines.julia.mirror import Mirror, mirror
from pyndereg.ivp import ODEProblem, StateLayout
from pyndereg.ivp.julia import JuliaFunction


@dataclass(frozen=True)
class JuliaField:
    """A right-hand side, ready for Julia.

    Attributes:
        key: what it is known by; fields of one key are one object in Julia.
        make: makes that object: bridge -> number.
        parameters: the tensors whose elements are p, in order.
        p: these elements. Shape (parameters,), no graph.
        torch_field: the function behind a callback; None for the others.
    """

    key: tuple[Any, ...]
    make: Callable[[Any], int]
    parameters: tuple[Tensor, ...]
    p: Tensor
    torch_field: TorchField | None = None

    def alive(self) -> AbstractContextManager[Any]:
        """While this is entered, Julia may call the field."""
        return nullcontext() if self.torch_field is None else self.torch_field

    def split(self, gradient: Tensor) -> list[Tensor]:
        """A gradient of p by parameters."""
        parts = gradient.split([param.numel() for param in self.parameters])
        return [part.view(param.shape).to(param.dtype) for part, param in zip(parts, self.parameters, strict=True)]


def julia_field(problem: ODEProblem, layout: StateLayout, choice: str | None, *, with_time: bool) -> JuliaField:
    """The right-hand side of a problem.

    Args:
        layout: of its state.
        choice: `"native"`, `"callback"`, or None for the native one where there is one.
        with_time: whether gradients with respect to time are asked for.
    Raises:
        ValueError: a native field was asked for and there is none; the sentence says why.
    """
    if isinstance(problem.f, JuliaFunction):
        return _julia_function(layout, problem.f, choice)
    if choice != "callback":
        mirrored = _mirrored(problem, layout)
        if isinstance(mirrored, Mirror):
            return _native(layout, mirrored)
        if choice == "native":
            raise ValueError(mirrored)
    params = problem.parameters
    field = TorchField(problem, params, with_time=with_time)
    return JuliaField(
        key=("callback", field.token),
        make=lambda bridge: bridge.callback_field(EVALUATE_ADDRESS, PULLBACK_ADDRESS, field.token),
        parameters=params,
        p=torch.zeros(sum(param.numel() for param in params), dtype=layout.dtype),
        torch_field=field,
    )


def _mirrored(problem: ODEProblem, layout: StateLayout) -> Mirror | str:
    if not isinstance(problem.f, nn.Module):
        name = getattr(problem.f, "__name__", type(problem.f).__name__)
        return (
            f"f is the Python function {name}, which has no native counterpart; pass a module made of layers that have "
            "one, a pyndereg.julia.function, or field='callback'"
        )
    return mirror(problem.f, layout)


def _native(layout: StateLayout, mirrored: Mirror) -> JuliaField:
    with torch.no_grad():
        flat = [param.reshape(-1) for param in mirrored.parameters]
        p = torch.cat(flat) if flat else torch.empty(0, dtype=layout.dtype)
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
    p = torch.empty(0, dtype=layout.dtype)
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
