"""Sums of gradients, tensor by tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor


def as_real(x: Tensor) -> Tensor:
    """Real and imaginary parts along one more axis, where there are any."""
    return torch.view_as_real(x) if x.is_complex() else x


def shaped_like(x: Tensor, numbers: Tensor) -> Tensor:
    """Numbers, shape (as many as x has real ones,), as a tensor like x over the same memory."""
    if not x.is_complex():
        return numbers.view(x.shape)
    return torch.view_as_complex(numbers.view(*x.shape, 2))


def zeros_for(x: Tensor) -> Tensor:
    """No gradient yet of a tensor, which may be sparse."""
    return torch.zeros(x.shape, dtype=x.dtype, device=x.device)


def add_to(totals: list[Tensor | None], parts: Sequence[Tensor | None], scale: float = 1.0) -> None:
    """Add parts to totals in place; None is a gradient that does not exist, rather than zero."""
    dense: tuple[list[Tensor], list[Tensor]] = ([], [])
    for k, part in enumerate(parts):
        if part is None:
            continue
        total = totals[k]
        if total is None:
            totals[k] = part.clone() if scale == 1.0 else part * scale
        elif part.layout == total.layout == torch.strided:
            dense[0].append(total)
            dense[1].append(part)
        else:  # of a sparse embedding, say
            totals[k] = total + part * scale
    if dense[0]:
        torch._foreach_add_(*dense, alpha=scale)
