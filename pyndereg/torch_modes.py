"""What of PyTorch may be switched on around a solve: graph capture, inference mode, transforms of functions."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, _compile
from torch._C import _functorch  # type: ignore[attr-defined]
from torch.autograd import forward_ad

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

REASON = "a solve chooses its steps by looking at numbers, so it runs between two graphs; its f may be compiled"


def outside_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """A function that `torch.compile` does not look into: the graph breaks before it, and goes on after it.

    `torch.compiler.disable` does this, but imports the compiler, which takes seconds that only those pay who use it.
    """
    disabled: list[Callable[P, R]] = []

    @functools.wraps(function)
    def outside(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disable: Any = torch.compiler.disable
            disabled.append(disable(function, reason=REASON))
        return disabled[0](*args, **kwargs)

    # The compiler would look into this wrapper, too, but for the name of a file: that of torch's own such wrapper.
    marked: Any = outside
    marked.__code__ = marked.__code__.replace(co_filename=_compile.__file__)
    marked._torchdynamo_disable = marked._torchdynamo_disable_recursive = True
    marked._torchdynamo_disable_msg = REASON
    return outside


def built_outside_graphs(kind: type[T]) -> type[T]:
    """A class whose values `torch.compile` does not look into while they are made."""
    made: Any = kind
    made.__init__ = outside_graphs(made.__init__)
    return kind


def refuse_transforms(what: str = "a solve") -> None:
    """Refuse transforms of functions, which see neither a solve's numbers nor its gradient.

    Args:
        what: is inside of the transform.
    Raises:
        RuntimeError: one of `torch.func` or forward-mode differentiation is at work.
    """
    if _functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            f"{what} is inside a transform of torch.func (grad, vjp, jvp, vmap, ...), which cannot see through it; use "
            "torch.autograd.grad and backward, and pass many initial states as one batch"
        )
    if forward_ad._current_level >= 0:
        raise RuntimeError(
            f"{what} is inside forward-mode differentiation (torch.autograd.forward_ad), which it has no derivative "
            "for; use gradient=ForwardSensitivity() with torch.autograd.grad"
        )


def refuse_batched(*cotangents: Tensor | None) -> None:
    """Refuse many cotangents at once, as `torch.autograd.grad(..., is_grads_batched=True)` hands them on.

    Raises:
        RuntimeError: one of them is a batch in disguise.
    """
    if any(cotangent is not None and _functorch.is_legacy_batchedtensor(cotangent) for cotangent in cotangents):
        raise RuntimeError(
            "the backward pass of a solve was given many cotangents at once (is_grads_batched=True or vectorize=True), "
            "which it cannot see apart; call it once for each"
        )


@contextmanager
def ordinary_tensors() -> Iterator[None]:
    """Where `torch.inference_mode()` is on: off, without gradients, as a solve looks at the versions of tensors."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def ordinary(value: Any) -> Any:
    """The value; a copy that is an ordinary tensor if it, or a tensor of a tuple, was made in inference mode."""
    if isinstance(value, tuple):
        return tuple(ordinary(part) for part in value) if any(map(_is_inference, value)) else value
    if not _is_inference(value):
        return value
    with torch.inference_mode(False), torch.no_grad():
        return value.clone()


def version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; 0 for one made in inference mode, which does not know."""
    return 0 if tensor.is_inference() else tensor._version


def _is_inference(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_inference()
