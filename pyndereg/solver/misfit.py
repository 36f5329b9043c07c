"""Why f cannot be evaluated on the state of its problem, in one sentence in place of torch's."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

PLACES = re.compile(r"dtype|scalar type|same device|should be the same|expected.*device|found.*devices", re.I)
SHAPES = re.compile(r"shape|size|dimension|channels", re.I)
INFERENCE = re.compile(r"inference (tensor|mode)", re.I)


def refuse_misfit(error: Exception, name: str, f: Callable[..., Any], y: Any) -> None:
    """Say why f failed on a first state, where the reason is that the two do not fit together.

    Args:
        error: what f raised; nothing happens if it is of another kind.
        name: of the function in the problem.
        f: the function.
        y: the state that it was given.
    Raises:
        TypeError: f does not take two arguments.
        ValueError: dtypes, devices or shapes of f and the state differ.
        RuntimeError: f holds tensors that were made in inference mode.
    """
    if isinstance(error, TypeError):
        _refuse_arguments(error, name, f)
        return
    found = str(error).split("\n")[0].rstrip(".").replace(". ", ", ")
    if INFERENCE.search(found):
        raise RuntimeError(
            f"{name} holds tensors that were made under torch.inference_mode(), which have no gradient; solve under "
            "torch.no_grad(), or make the tensors outside of inference mode"
        ) from error
    tensors = y if isinstance(y, tuple) else (y,)
    place = f"{tensors[0].dtype} on {tensors[0].device}"
    others = {f"{one.dtype} on {one.device}" for one in _parameters(f)} - {place}
    if PLACES.search(found):
        own = f" and the parameters of {name} are {' and '.join(sorted(others))}" if others else ""
        raise ValueError(
            f"y0 is {place}{own} ({found}); convert y0, or all that {name} uses, to one of them"
        ) from error
    if SHAPES.search(found):
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(
            f"{name} cannot take y of shape {shapes}, as y0 has ({found}); pass a y0 of the shape that {name} works "
            "on, usually (batch, dim)"
        ) from error


def _refuse_arguments(error: TypeError, name: str, f: Callable[..., Any]) -> None:
    called = f.forward if isinstance(f, nn.Module) else f
    if _takes(called, 2):
        return
    if _takes(called, 1):
        wrapped = "nde.fields.Autonomous(net)" if isinstance(f, nn.Module) else f"lambda t, y: {name}(y)"
        raise TypeError(f"{name} takes one argument and is called as {name}(t, y); pass {wrapped}") from error
    raise TypeError(
        f"{name} is called as {name}(t, y), which {type(f).__name__} does not take ({error}); pass a function of two "
        "arguments"
    ) from error


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many arguments; True where nobody knows."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # of a built-in function
        return True
    return True


def _parameters(f: Callable[..., Any]) -> list[Tensor]:
    """Floating-point parameters and buffers of a module; none of anything else."""
    if not isinstance(f, nn.Module):
        return []
    return [one for one in (*f.parameters(), *f.buffers()) if one.is_floating_point()]
