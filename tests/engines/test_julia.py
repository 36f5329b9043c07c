"""The julia engine keeps the contract, and takes the steps of the packages that it drives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import pyndereg as nde
from tests.engines.contract import ADAPTIVE, CASES, STIFFNESS, EngineContract, reference_problem

pytestmark = pytest.mark.julia

ROOT = Path(__file__).parents[2]


class TestJulia(EngineContract):
    engine = "julia"
    gradients = (None, nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2))
    # States between checkpoints are taken again with sums in another order than the solver's; their last digits move
    # the quotients of tiny differences in the stiffness.
    agreement: ClassVar = {"rtol": 1e-7, "atol": 1e-6}
    # The packages ship with an approximate power function in the controller: see the tests below.
    test_the_steps_are_those_of_differentialequations_jl = None


def measured(*arguments):
    """Deviations from the reference solutions, case by case, in a process of their own."""
    command = [sys.executable, "-m", "tests.engines.reference_steps", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.slow
def test_with_the_exact_power_function_every_reference_case_has_its_counts_and_steps():
    # The references were written with right-hand sides in Julia and out of place: the last digit of a slope differs,
    # and where the error estimate is a difference of nearly equal slopes (Verner's methods), so do later digits of it.
    for name, apart in measured("exact").items():
        assert (apart["accepted"], apart["rejected"], apart["nfe"]) == (0, 0, 0), name
        assert apart["t"] <= (1e-4 if "vern" in name else 1e-7), name
        assert max(apart["y1"], apart["y"]) <= 1e-7, name


@pytest.mark.slow
def test_as_the_packages_ship_steps_differ_by_the_digits_of_their_power_function():
    # About five digits. On this one, a step that is rejected by a hair's breadth puts a later one elsewhere.
    sensitive = {"van_der_pol-bs3-0.0001"}
    found = measured()
    others = {name for name, apart in found.items() if apart["accepted"] or apart["rejected"]}
    assert len(others) <= 2
    for name, apart in found.items():
        assert abs(apart["accepted"]) + abs(apart["rejected"]) <= 2, name
        if name not in others | sensitive:
            assert apart["t"] <= 1e-4, name


@pytest.mark.parametrize("method", ADAPTIVE)
def test_both_engines_estimate_the_same_error_and_stiffness_of_a_step(method):
    for case in (case for case in CASES if case.method == "tsit5" and case.record["rtol"] == 1e-4):
        problem = reference_problem(case)
        options = {"rtol": 1e-4, "atol": 1e-4, "stiffness": "rms"}
        path = nde.solve(problem, method, saveat=nde.SaveAt(every_step=True), **options)
        for i in range(0, len(path.steps), 5):
            t, dt = path.steps.t[i].item(), path.steps.dt[i].item()
            step = nde.ODEProblem(problem.f, path.y[i], t, t + dt)
            one, other = (
                nde.solve(step, method, dt=abs(dt), adaptive=False, engine=engine, **options).steps
                for engine in ("embedded", "julia")
            )
            torch.testing.assert_close(one.scaled_error, other.scaled_error, rtol=1e-8, atol=1e-11)
            if method in STIFFNESS:
                # A quotient of two differences that nearly vanish, the more so the higher the order.
                rtol = 1e-7 if method == "vern9" else 1e-8
                torch.testing.assert_close(one.stiffness, other.stiffness, rtol=rtol, atol=0)
