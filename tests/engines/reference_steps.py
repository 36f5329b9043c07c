"""How far the julia engine is from the references, as JSON; with an argument, with the exact power function."""

import json
import sys
from pathlib import Path

import pyndereg as nde
from pyndereg import julia_runtime
from tests.engines.contract import CASES, deviations, reference_problem, reference_steps

EXACT_POWER = Path(__file__).parents[2] / "julia" / "test" / "exact_power.jl"


def include(path):
    """Run a Julia file in Main."""
    julia_runtime.start().call(lambda bridge: sys.modules["juliacall"].Main.include(str(path)) and None)


def measure(case):
    options = {"rtol": case.record["rtol"], "atol": case.record["atol"], "stiffness": "max", "engine": "julia"}
    method = case.method
    found = nde.solve(reference_problem(case), method, **options)
    saved = nde.solve(reference_problem(case), method, saveat=case.record["saveat"], **options)
    expected = reference_steps(case)
    result = {
        "accepted": found.stats.accepted - case.record["accepted"],
        "rejected": found.stats.rejected - case.record["rejected"],
        "nfe": found.stats.nfe - case.record["nfe"],
    }
    for name, states, reference in (("y1", found.y1, "y1"), ("y", saved.y, "y_saveat")):
        reference = case.tensor(reference)
        result[name] = ((states - reference).norm() / reference.norm()).item()
    if len(found.steps) == len(expected):
        result |= deviations(found.steps, expected, abs(case.record["t1"] - case.record["t0"]), error_floor=1e-8)
    return result


if __name__ == "__main__":
    if len(sys.argv) > 1:
        include(EXACT_POWER)
    print(json.dumps({case.name: measure(case) for case in CASES}))
