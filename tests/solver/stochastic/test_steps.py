"""One step of every stochastic method: by hand, for every kind of noise, and its gradients."""

import math

import pytest
import torch

from pyndereg.solver.stiffness import rms_ratio
from pyndereg.solver.stochastic import METHODS, get_method, scaled_error
from tests.equations import FLOAT64

T, DT = 0.3, 0.1
Y = torch.tensor([[0.5, -1.2], [0.7, 0.4], [1.1, -0.3]], dtype=FLOAT64)
DW = torch.tensor([[0.2, -0.1], [0.35, 0.05], [-0.3, 0.15]], dtype=FLOAT64)
DZ = torch.tensor([[-0.1, 0.25], [0.15, -0.4], [0.02, 0.3]], dtype=FLOAT64)
ROSSLER = [method for method in METHODS if method.has_error_estimate]
by_name = pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}-{method.interpretation}")


def drift(t, y):
    return torch.cos(y) + t * y


def diffusion(t, y):
    return torch.sin(y) * (1 + t)


def additive(t, y):
    return (1 + t * t).expand_as(y)


def suited(method):
    """A diffusion that the method solves with noise of the state's shape."""
    return diffusion if "diagonal" in method.strong_order else additive


class Counter:
    def __init__(self, field):
        self.field, self.calls = field, 0

    def __call__(self, t, y):
        assert t.shape == ()
        assert t.dtype == y.dtype
        self.calls += 1
        return self.field(t, y)


def f(t, y):
    return math.cos(y) + t * y


def g(t, y):
    return math.sin(y) * (1 + t)


def em_by_hand(y, w):
    return y + f(T, y) * DT + g(T, y) * w


def heun_by_hand(y, w, dt=DT):
    predicted = y + f(T, y) * dt + g(T, y) * w
    return y + (f(T, y) + f(T + dt, predicted)) * dt / 2 + (g(T, y) + g(T + dt, predicted)) * w / 2


def milstein_ito_by_hand(y, w):
    support = y + f(T, y) * DT + g(T, y) * math.sqrt(DT)
    return em_by_hand(y, w) + (g(T, support) - g(T, y)) / (2 * math.sqrt(DT)) * (w**2 - DT)


def milstein_stratonovich_by_hand(y, w):
    return y + f(T, y) * DT + (g(T, y) + g(T, y + g(T, y) * w)) * w / 2


@pytest.mark.parametrize(
    ("name", "interpretation", "by_hand"),
    [
        ("em", "ito", em_by_hand),
        ("heun", "stratonovich", heun_by_hand),
        ("milstein", "ito", milstein_ito_by_hand),
        ("milstein", "stratonovich", milstein_stratonovich_by_hand),
    ],
)
def test_a_step_of_low_order_agrees_with_its_formula(name, interpretation, by_hand):
    step = get_method(name, "diagonal", interpretation).step(drift, diffusion, T, DT, Y, DW, None)
    expected = [[by_hand(y, w) for y, w in zip(*row, strict=True)] for row in zip(Y.tolist(), DW.tolist(), strict=True)]
    torch.testing.assert_close(step.y1, torch.tensor(expected, dtype=FLOAT64), rtol=1e-12, atol=0)
    assert step.error is None
    assert step.stiffness_pair is None


def test_a_step_of_sra1_agrees_with_its_formula():
    step = get_method("sra1", "additive", "ito").step(drift, additive, T, DT, Y, DW, DZ)
    g0, g1 = 1 + T**2, 1 + (T + DT) ** 2
    for found, error, y, w, z in zip(*(x.flatten().tolist() for x in (step.y1, step.error, Y, DW, DZ)), strict=True):
        chi = (w + z / math.sqrt(3)) / 2
        k1 = DT * f(T, y)
        k2 = DT * f(T + 0.75 * DT, y + 0.75 * k1 + 1.5 * chi * g1)
        assert found == pytest.approx(y + k1 / 3 + 2 * k2 / 3 + chi * (g0 - g1) + w * g1, rel=1e-12)
        assert error == pytest.approx(k1 + k2 + chi * (g0 - g1), rel=1e-12)


@by_name
def test_a_step_reports_how_often_it_evaluated_drift_and_diffusion(method):
    f, g = Counter(drift), Counter(suited(method))
    step = method.step(f, g, T, DT, Y, DW, DZ)
    assert (step.drift_evaluations, step.diffusion_evaluations) == (f.calls, g.calls)
    assert g.calls == method.stages


@by_name
def test_a_step_leaves_its_arguments_alone_and_keeps_shape_and_dtype(method):
    y, dW, dZ = Y.float(), DW.float(), DZ.float()
    step = method.step(drift, suited(method), T, DT, y, dW, dZ)
    assert (step.y1.shape, step.y1.dtype) == (Y.shape, torch.float32)
    assert torch.equal(y, Y.float())
    assert torch.equal(dW, DW.float())


@pytest.mark.parametrize("method", [m for m in METHODS if "scalar" in m.strong_order], ids=lambda m: m.name)
def test_scalar_noise_drives_all_elements_of_a_sample_with_one_increment(method):
    one, area = DW[:, :1], DZ[:, :1]
    found = method.step(drift, diffusion, T, DT, Y, one, area)
    repeated = method.step(drift, diffusion, T, DT, Y, one.expand_as(Y), area.expand_as(Y))
    torch.testing.assert_close(found.y1, repeated.y1, rtol=1e-14, atol=0)


@pytest.mark.parametrize("method", [m for m in METHODS if "general" in m.strong_order], ids=lambda m: m.name)
def test_general_noise_sums_over_the_noises(method):
    mixing = torch.tensor([[0.6, -0.8, 0.3], [0.2, 0.5, -0.7]], dtype=FLOAT64)
    increments = torch.cat([DW, DZ[:, :1]], 1)

    def general(t, y):
        return diffusion(t, y)[..., None] * mixing

    found = method.step(drift, general, T, DT, Y, increments, None)
    expected = method.step(drift, diffusion, T, DT, Y, increments @ mixing.T, None)
    torch.testing.assert_close(found.y1, expected.y1, rtol=1e-12, atol=0)


def test_a_backward_step_of_heun_is_its_formula_with_negative_dt():
    step = get_method("heun", "diagonal", "stratonovich").step(drift, diffusion, T, -DT, Y, -DW, None)
    expected = [heun_by_hand(y, -w, -DT) for y, w in zip(Y.flatten().tolist(), DW.flatten().tolist(), strict=True)]
    torch.testing.assert_close(step.y1.flatten(), torch.tensor(expected, dtype=FLOAT64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", ROSSLER, ids=lambda method: method.name)
def test_without_noise_a_step_is_a_runge_kutta_step_of_order_two(method):
    """On y' = -y the step is the stability polynomial, which agrees with the exponential to second order."""
    zero = torch.zeros_like(Y)
    defects = [
        (method.step(lambda t, y: -y, lambda t, y: 0 * y, T, dt, Y, zero, zero).y1 - math.exp(-dt) * Y).norm().item()
        for dt in (0.02, 0.01)
    ]
    assert math.log2(defects[0] / defects[1]) == pytest.approx(3, abs=0.2)


def test_the_stiffness_of_a_linear_drift_is_its_rate():
    step = get_method("sosri2", "diagonal", "ito").step(lambda t, y: -37.0 * y, diffusion, T, DT, Y, DW, DZ)
    assert step.stiffness_pair is not None
    assert rms_ratio(*step.stiffness_pair).item() == pytest.approx(37.0, rel=1e-12)


@by_name
def test_a_step_carries_the_estimates_that_its_method_promises(method):
    step = method.step(drift, suited(method), T, DT, Y, DW, DZ)
    assert (step.error is not None) == method.has_error_estimate
    assert (step.stiffness_pair is not None) == method.has_stiffness_estimate


@by_name
def test_state_error_and_stiffness_of_a_step_have_exact_gradients(method):
    generator = torch.Generator().manual_seed(3)
    weight, rate, height = (torch.randn(n, 2, generator=generator, dtype=FLOAT64) for n in (2, 1, 1))
    atol = torch.tensor(1e-2, dtype=FLOAT64)

    def outputs(y, weight, rate, height):
        def network(t, y):
            return torch.tanh(y @ weight + t)

        def noise(t, y):
            if suited(method) is additive:
                return (height * torch.sigmoid(rate * t)).expand_as(y)
            return height * torch.sigmoid(rate * y + t)

        step = method.step(network, noise, T, DT, y, DW, DZ)
        estimates = []
        if step.error is not None:
            estimates.append(scaled_error(step, y, 1e-2, atol))
        if step.stiffness_pair is not None:
            estimates.append(rms_ratio(*step.stiffness_pair))
        return (step.y1, *estimates)

    leaves = [leaf.clone().requires_grad_() for leaf in (Y, weight, rate, height)]
    assert torch.autograd.gradcheck(outputs, leaves)
