"""What every stochastic method supports, and the constants of its step-size control."""

import math

import pytest
import torch

from pyndereg.solver.stochastic import METHODS, first_step_sde, get_method, method_control
from tests.equations import FLOAT64

KINDS = [(n, i) for n in ("diagonal", "scalar", "additive", "general") for i in ("ito", "stratonovich")]
SOLVERS = {
    ("diagonal", "ito"): ["em", "milstein", "sriw1", "sosri", "sosri2"],
    ("diagonal", "stratonovich"): ["heun", "milstein"],
    ("scalar", "ito"): ["em", "milstein", "sriw1", "sosri", "sosri2"],
    ("scalar", "stratonovich"): ["heun", "milstein"],
    ("general", "ito"): ["em"],
    ("general", "stratonovich"): ["heun"],
}


@pytest.mark.parametrize(("noise", "interpretation"), sorted(SOLVERS))
def test_every_kind_of_equation_has_its_methods(noise, interpretation):
    names = [method.name for method in METHODS if method.solves(noise, interpretation)]
    assert names == SOLVERS[noise, interpretation]


def test_every_method_solves_equations_with_additive_noise_in_both_interpretations():
    assert all(method.solves("additive", interpretation) for method in METHODS for _, interpretation in KINDS)


def test_milstein_is_a_method_of_each_interpretation():
    for interpretation in ("ito", "stratonovich"):
        assert get_method("milstein", "diagonal", interpretation).interpretation == interpretation


def test_a_method_that_does_not_solve_the_equation_is_refused_with_those_that_do():
    with pytest.raises(
        ValueError, match="method 'sosra' does not solve ito equations with diagonal noise; choose one of"
    ):
        get_method("sosra", "diagonal", "ito")
    with pytest.raises(ValueError, match=r"'sosri' does not solve stratonovich .* choose one of heun, milstein$"):
        get_method("sosri", "scalar", "stratonovich")
    with pytest.raises(ValueError, match=r"'milstein' does not solve ito equations with general noise; .* of em$"):
        get_method("milstein", "general", "ito")


def test_an_unknown_method_is_refused_with_the_closest_name():
    with pytest.raises(ValueError, match="unknown stochastic method 'sosr1'; did you mean 'sosri'"):
        get_method("sosr1", "diagonal", "ito")


def test_the_rossler_methods_need_the_area_and_estimate_their_error():
    rossler = {"sra1", "sosra", "sriw1", "sosri", "sosri2"}
    assert {method.name for method in METHODS if method.needs_dZ} == rossler
    assert {method.name for method in METHODS if method.has_error_estimate} == rossler
    assert {method.name: method.stability_size for method in METHODS if method.has_stiffness_estimate} == {
        "sosri2": 10.6
    }


@pytest.mark.parametrize(("name", "beta1", "beta2"), [("sosri", 7 / 15, 4 / 15), ("sosra", 7 / 20, 1 / 5)])
def test_the_control_has_the_constants_of_stochasticdiffeq(name, beta1, beta2):
    control = method_control(get_method(name, "additive", "ito"))
    assert (control.beta1, control.beta2, control.grow) == pytest.approx((beta1, beta2, 1.125))


@pytest.mark.parametrize(("name", "noise", "order"), [("sosri", "diagonal", 2.0), ("sosra", "additive", 2.5)])
def test_errors_grow_as_half_a_power_more_than_the_order(name, noise, order):
    assert method_control(get_method(name, noise, "ito")).error_order == order
    assert method_control(get_method("em", noise, "ito")) is None


def ornstein_uhlenbeck(sigma):
    return (lambda t, y: -y), (lambda t, y: torch.full_like(y, sigma))


def test_the_first_step_follows_its_formula():
    y0, rtol, atol, sigma, order = torch.tensor([2.0], dtype=FLOAT64), 1e-3, 1e-4, 0.5, 1.5
    scale = atol + 2.0 * rtol
    size, speed = 2.0 / scale, (2.0 + 3 * sigma) / scale
    trial = size / speed / 100
    curvature = (2.0 * trial + 6 * sigma) / scale / trial
    expected = min(100 * trial, 10 ** (-(2 + math.log10(max(speed, curvature))) / (order + 0.5)))
    found = first_step_sde(*ornstein_uhlenbeck(sigma), 0.0, 1.0, y0, order, rtol, atol)
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_first_step_sees_every_noise_of_a_general_diffusion():
    y0 = torch.ones(3, 2, dtype=FLOAT64)
    drift, diffusion = ornstein_uhlenbeck(0.5)

    def general(t, y):
        return diffusion(t, y)[..., None].expand(3, 2, 4)

    plain, found = (first_step_sde(drift, g, 0.0, 1.0, y0, 1.5, 1e-3, 1e-3) for g in (diffusion, general))
    assert found == pytest.approx(plain, rel=1e-12)


def test_the_first_step_is_no_longer_than_the_interval_and_nan_where_the_diffusion_is():
    y0 = torch.ones(2, dtype=FLOAT64)
    assert first_step_sde(*ornstein_uhlenbeck(1e-9), 0.0, 1e-7, y0, 1.5, 1.0, 1.0) <= 1e-7
    assert math.isnan(first_step_sde(*ornstein_uhlenbeck(math.nan), 0.0, 1.0, y0, 1.5, 1e-3, 1e-3))


def test_a_constant_drift_starts_with_a_hundred_trial_steps():
    y0 = torch.ones(2, dtype=FLOAT64)
    drift, diffusion = (lambda t, y: torch.ones_like(y)), (lambda t, y: torch.zeros_like(y))
    assert first_step_sde(drift, diffusion, 0.0, 10.0, y0, 1.5, 1e-3, 1e-3) == pytest.approx(1.0, rel=1e-12)
