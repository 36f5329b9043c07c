"""Which norm of the scaled error decides on the steps of an adaptive method: values for `norm=` of `solve`.

The scaled error of a step is its local error, element by element, in units of the tolerance,
e_i / (atol + rtol max(|y0_i|, |y1_i|)). A step is accepted if and only if its norm is at most 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyndereg.ivp.state import State


@dataclass(frozen=True)
class Norm:
    """What the norms have in common: they are values without a memory, and make `steps.scaled_error`."""


@dataclass(frozen=True)
class RMS(Norm):
    """Root mean square over the whole state, the batch included: the default.

    A sample that is hard to solve is averaged with the others: of B samples one alone may exceed the tolerance by a
    factor of B^(1/2).

    Source: [@hairer1993solving] eq. (II.4.11), over the batch as in [@pal2021opening].
    """


@dataclass(frozen=True)
class LargestOfSamples(Norm):
    """The largest of the samples' own root mean squares: each keeps the tolerance, as if it were solved by itself.

    The first axis of the state, of every tensor of a tuple, is the batch; those tensors that `uncontrolled` names need
    none. In a state with that axis alone each element is a sample. Steps are those of the sample that is hardest at
    the time, and so is the gradient of their scaled errors: of each step it reaches one sample.
    """


NormFunction = Callable[[State], Tensor]


def check_norm(norm: Any) -> None:
    """Refuse what is no norm.

    Raises:
        TypeError: it is neither one of the values nor a function.
    """
    if isinstance(norm, type):
        raise TypeError(f"norm is the class {norm.__name__}; pass a value, {norm.__name__}(), or a function")
    if type(norm) not in (RMS, LargestOfSamples) and (isinstance(norm, Norm) or not callable(norm)):
        raise TypeError(
            f"norm is {norm!r}; pass norm.RMS(), norm.LargestOfSamples(), or a function from the scaled error to a "
            "tensor of shape ()"
        )
