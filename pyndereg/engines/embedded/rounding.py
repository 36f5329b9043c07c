"""The warning that a tolerance lies below what the precision of a solve resolves."""

import itertools
import math
import sys
import warnings
from pathlib import Path

import torch

from pyndereg.ivp import SolveOptions, SolveWarning
from pyndereg.solver.rounding import Resolution

LIBRARIES = (str(Path(__file__).parents[2]), str(Path(torch.__file__).parent))
NAMES = {torch.finfo(dtype).eps: str(dtype)[6:] for dtype in (torch.bfloat16, torch.float16, torch.float32)}


def warn_of_rounding(resolution: Resolution, options: SolveOptions, dtype: torch.dtype, coarsest: float) -> None:
    """Tell that a tolerance lies below what a solve resolves, if it does.

    Args:
        resolution: of the solve.
        dtype: of its state.
        coarsest: the largest unit roundoff among the results of f's operations.
    """
    if resolution.solution <= 1:
        return
    own, state = coarsest > torch.finfo(dtype).eps, str(dtype)[6:]
    who = f"f computes in {NAMES.get(coarsest, 'a coarser type')}, which" if own else state
    # A power of ten, so that the sentence stays the same from one solve of a loop to the next and is said once.
    factor = 10.0 ** math.ceil(math.log10(resolution.solution))
    asked, found = (_tolerances(options, by) for by in (1.0, factor))
    warnings.warn(
        f"{who} resolves about {found} here, and the solve asks for {asked}, so that shorter steps would only add "
        f"rounding and are not taken; pass {found} or more, or {f'let f compute in {state}' if own else 'use float64'}",
        SolveWarning,
        stacklevel=_levels_to_caller(),
    )


def _tolerances(options: SolveOptions, factor: float) -> str:
    given = (("rtol", options.rtol), ("atol", options.atol))
    return " and ".join(f"{name}={value * factor:.0e}" for name, value in given if value > 0)


def _levels_to_caller() -> int:
    """`stacklevel`, for who calls this, of the innermost frame that belongs neither to this package nor to torch."""
    for level in itertools.count(1):
        try:
            frame = sys._getframe(level)
        except ValueError:
            break
        if not frame.f_code.co_filename.startswith(LIBRARIES):
            return level
    return 2
