"""Torchdyn behind a pipe, in an environment that has it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.work_precision.libraries import Counting, quiet
from benchmarks.work_precision.peers import Torchdyn
from benchmarks.work_precision.problems import make_problem
from benchmarks.work_precision.serve import serve
from benchmarks.work_precision.settings import Setting

library = Torchdyn()


def explore(problem: str, precision: str, method: str, options: dict, tolerance: float, scratch: str, **_: Any) -> dict:
    given = make_problem(problem, precision)
    counting = Counting(given.field)
    with torch.no_grad():
        states = library.solver(given, Setting("torchdyn", method, options), tolerance, counting)(given.y0)
    path = Path(scratch) / "states.npy"
    np.save(path, states.numpy())
    return {"states": str(path), "evaluations": counting.evaluations}


def measure(
    problem: str, precision: str, method: str, options: dict, tolerance: float, passes: str, least: float, **_: Any
) -> dict:
    given = make_problem(problem, precision)
    return {"seconds": library.measure(given, Setting("torchdyn", method, options), tolerance, passes, least)}


if __name__ == "__main__":
    quiet()
    serve({"versions": library.versions, "explore": explore, "measure": measure})
