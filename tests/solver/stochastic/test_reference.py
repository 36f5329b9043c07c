"""Steps, error estimates and first steps agree with those of StochasticDiffEq."""

import json
from pathlib import Path

import pytest
import torch

from pyndereg.solver.stochastic import first_step_sde, get_method, scaled_error
from tests.equations import FLOAT64

GOLDEN = Path(__file__).parents[2] / "golden" / "sde_steps.json"
CASES = json.loads(GOLDEN.read_text("utf-8"))["cases"]
# Where the package rejected its first step, the first accepted one is shorter.
FIRST_STEP_REJECTED = {
    ("spiral_multiplicative", "sosri", 0.01),
    ("spiral_multiplicative", "sosri2", 0.01),
    ("spiral_additive", "sosra", 0.01),
    ("spiral_additive", "sra1", 0.01),
}


def drift(t, y):
    v = y**3
    return torch.stack([-0.1 * v[0] - 2.0 * v[1], 2.0 * v[0] - 0.1 * v[1]])


def multiplicative(t, y):
    return 0.2 * y


def state_noise(t, y):
    return torch.stack([0.3 * torch.sin(y[1]) + 0.1 * t, 0.2 * y[0] ** 2])


def additive(t, y):
    return torch.stack([0.3 + 0.1 * t, torch.full_like(t, 0.2)])


DIFFUSIONS = {"spiral_multiplicative": multiplicative, "spiral_state_noise": state_noise, "spiral_additive": additive}


def identify(case):
    return (case["problem"], case["method"], case["rtol"])


def method_of(case):
    return get_method(case["method"], "additive" if case["problem"] == "spiral_additive" else "diagonal", "ito")


def vector(entries):
    return torch.tensor(entries, dtype=FLOAT64)


def test_the_reference_holds_every_rossler_method():
    assert {case["method"] for case in CASES} == {"sra1", "sosra", "sriw1", "sosri", "sosri2"}
    assert all(len(case["steps"]) == 12 for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, identify(case))))
def test_a_step_and_its_scaled_error_agree_with_the_reference(case):
    method, diffusion = method_of(case), DIFFUSIONS[case["problem"]]
    for row in case["steps"]:
        y0, dW, dZ = vector(row["y0"]), vector(row["dW"]), vector(row["dZ"])
        step = method.step(drift, diffusion, row["t0"], row["dt"], y0, dW, dZ)
        torch.testing.assert_close(step.y1, vector(row["y1"]), rtol=1e-12, atol=0)
        error = scaled_error(step, y0, case["rtol"], vector(case["atol"]))
        assert error.item() == pytest.approx(row["scaled_error"], rel=1e-12)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if identify(case) not in FIRST_STEP_REJECTED],
    ids=lambda case: "-".join(map(str, identify(case))),
)
def test_the_automatic_first_step_agrees_with_the_reference(case):
    first, order = case["steps"][0], method_of(case).controller_order
    assert first["t0"] == 0
    tolerances = (case["rtol"], case["atol"])
    found = first_step_sde(drift, DIFFUSIONS[case["problem"]], 0.0, 1.0, vector(first["y0"]), order, *tolerances)
    assert found == pytest.approx(first["dt"], rel=1e-12)
