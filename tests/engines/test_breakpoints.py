"""Right-hand sides that jump at known times: breakpoints, and a longest step."""

import math

import pytest
import torch

import pyndereg as nde
from pyndereg.engines.julia.checks import check_options
from pyndereg.ivp import SolveOptions
from tests.equations import FLOAT64
from tests.sentences import check_sentence

ON, OFF, END = 5.0, 5.25, 8.0
RIGHT = math.exp(-(END - OFF)) - math.exp(-(END - ON))


class Dosed(torch.nn.Module):
    """Decay with an inflow between two times, to a state that is at rest before; remembers when it was asked."""

    def __init__(self, dtype=FLOAT64):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.ones((), dtype=dtype))
        self.times = []

    def forward(self, t, y):
        self.times.append(float(t))
        return self.rate * torch.where((t >= ON) & (t < OFF), 1.0, 0.0) - y


def dosed(dtype=FLOAT64, t0=0.0, t1=END, field=None):
    y0 = torch.zeros(2, dtype=dtype)
    if t1 < t0:
        y0 += math.exp(-(END - OFF)) - math.exp(-(END - ON))
    return nde.ODEProblem(field or Dosed(dtype), y0, t0, t1)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "vern7", "vern9"])
@pytest.mark.parametrize("remedy", [{"breakpoints": [ON, OFF]}, {"dt_max": 0.1}])
def test_an_inflow_to_a_state_at_rest_is_not_stepped_over(method, dtype, remedy):
    without = nde.solve(dosed(dtype), method).y1
    assert without.abs().max() == 0.0  # the error of a state at rest is zero, whatever comes between the stages
    found = nde.solve(dosed(dtype), method, **remedy).y1
    torch.testing.assert_close(found, torch.full((2,), RIGHT, dtype=dtype), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
def test_steps_end_at_breakpoints_and_see_their_own_side_of_them(dtype):
    field = Dosed(dtype)
    found = nde.solve(dosed(dtype, field=field), breakpoints=[OFF, ON, OFF, 100.0], saveat=nde.SaveAt(every_step=True))
    assert {ON, OFF} <= set(found.t.tolist())
    assert not {ON, OFF} & set(field.times)
    assert found.stats.rejected == 0
    assert found.stats.nfe == len(field.times)
    assert found.steps.dt.sum().item() == pytest.approx(END, rel=1e-6)
    assert len(found.steps) == found.stats.accepted == len(found.t) - 1


def test_backwards_in_time_breakpoints_are_passed_in_that_order():
    found = nde.solve(dosed(t0=END, t1=0.0), breakpoints=[ON, OFF], saveat=[OFF, 5.1, ON, 0.0])
    # Growth by e^5 back to the start, of an error of about the tolerance.
    assert found.y1.abs().max() < 1e-3
    torch.testing.assert_close(found.y[2], torch.zeros(2, dtype=FLOAT64), rtol=0.0, atol=1e-5)


def test_save_times_of_every_part_are_saved_in_order():
    times = [0.0, 2.0, ON, 5.1, OFF, 7.0, END]
    found = nde.solve(dosed(), rtol=1e-9, atol=1e-9, breakpoints=[ON, OFF], saveat=times)
    assert found.t.tolist() == times
    inflow = [1 - math.exp(-(min(t, OFF) - ON)) if t > ON else 0.0 for t in times]
    right = [x * math.exp(-(max(t, OFF) - OFF)) for x, t in zip(inflow, times, strict=True)]
    torch.testing.assert_close(found.y[:, 0], torch.tensor(right, dtype=FLOAT64), rtol=0.0, atol=1e-8)
    dense = nde.solve(dosed(), rtol=1e-9, atol=1e-9, breakpoints=[ON, OFF])
    # The interpolant of tsit5 has order four.
    torch.testing.assert_close(dense(found.t.flip(0)), found.y.flip(0), rtol=0.0, atol=1e-7)
    assert dense(torch.empty(0, 3)).shape == (0, 3, 2)
    with pytest.raises(ValueError, match="outside"):
        dense(END + 1.0)


def test_save_times_in_one_part_only_are_saved():
    found = nde.solve(dosed(), breakpoints=[ON, OFF], saveat=[1.0])
    assert (found.t.tolist(), found.y.shape) == ([1.0], (1, 2))


def test_a_tuple_state_goes_through_breakpoints():
    field = Dosed()
    y0 = (torch.zeros(2, dtype=FLOAT64), torch.ones(1, dtype=FLOAT64))
    problem = nde.ODEProblem(lambda t, y: (field(t, y[0]), -y[1]), y0, 0.0, END, params=[field.rate])
    found = nde.solve(problem, breakpoints=[ON, OFF], saveat=[1.0, 6.0])
    assert [part.shape for part in found.y] == [(2, 2), (2, 1)]
    assert found(torch.tensor([1.0, 6.0]))[1].shape == (2, 1)
    torch.testing.assert_close(found.y1[0], torch.full((2,), RIGHT, dtype=FLOAT64), rtol=1e-4, atol=0.0)


@pytest.mark.parametrize(
    "gradient",
    [
        None,
        nde.DiscreteAdjoint(),
        nde.DiscreteAdjoint(checkpoints=1),
        nde.Backprop(),
        nde.InterpolatingAdjoint(),
        nde.InterpolatingAdjoint(checkpointing=True),
        nde.QuadratureAdjoint(),
        nde.GaussAdjoint(),
        nde.BacksolveAdjoint(),
        nde.ForwardSensitivity(),
    ],
)
def test_every_gradient_sees_the_inflow_between_breakpoints(gradient):
    field = Dosed()
    options = {"rtol": 1e-8, "atol": 1e-8, "saveat": [5.1, END], "breakpoints": [ON, OFF]}
    found = nde.solve(dosed(field=field), gradient=gradient, **options)
    found.y.sum().backward()
    assert field.rate.grad.item() == pytest.approx(2 * (RIGHT + 1 - math.exp(-0.1)), rel=1e-6)


def test_the_ends_of_the_interval_have_gradients_across_breakpoints():
    t0, t1 = (torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.0, END))
    y0 = torch.ones(1, dtype=FLOAT64)
    problem = nde.ODEProblem(lambda t, y: torch.where(t < ON, -1.0, -0.5) * y, y0, t0, t1)
    found = nde.solve(problem, rtol=1e-10, atol=1e-10, breakpoints=[ON])
    found.y1.sum().backward()
    y1 = math.exp(-ON - 0.5 * (END - ON))
    assert (t0.grad.item(), t1.grad.item()) == pytest.approx((y1, -0.5 * y1), rel=1e-8)


def test_the_penalties_of_all_parts_are_those_of_the_whole():
    regularizers = (nde.regularizers.KineticEnergy(), nde.regularizers.LocalError(sampling="biased"))
    found = nde.solve(dosed(), breakpoints=[ON, OFF], regularizers=regularizers)
    energy, error = found.penalties
    assert energy.item() > 0.01
    assert error.isfinite()
    assert len(found.samples) == 1


@pytest.mark.parametrize("sampling", ["unbiased", "biased"])
def test_a_local_regularizer_s_fresh_step_ends_at_a_breakpoint(sampling):
    field = Dosed()
    generator = torch.Generator().manual_seed(1)
    regularizer = nde.regularizers.LocalError(sampling=sampling, generator=generator)
    found = nde.solve(dosed(field=field), breakpoints=[ON, OFF], regularizers=[regularizer])
    asked = field.times[-found.stats.local_nfe :]
    assert not any(min(asked) < point < max(asked) for point in (ON, OFF))


def test_the_limit_on_steps_is_one_of_the_whole_solve():
    whole = nde.solve(dosed(), breakpoints=[ON, OFF])
    attempts = whole.stats.accepted + whole.stats.rejected
    assert nde.solve(dosed(), breakpoints=[ON, OFF], max_steps=attempts).status is nde.Status.SUCCESS
    for most in range(1, attempts):
        found = nde.solve(dosed(), breakpoints=[ON, OFF], max_steps=most, raise_on_failure=False)
        assert found.status is nde.Status.MAX_STEPS
        assert found.stats.accepted + found.stats.rejected == most
        assert found.t_reached < END


@pytest.mark.parametrize("method", ["tsit5", "vern7"])
@pytest.mark.parametrize("dt_max", [0.1, torch.tensor(0.25)])
def test_no_step_exceeds_the_longest(method, dt_max):
    y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
    problem = nde.ODEProblem(lambda t, y: -0.1 * y, y0)
    found = nde.solve(problem, method, dt_max=dt_max, dt=3.0)
    assert found.steps.dt.max() <= float(dt_max)
    assert found.stats.accepted == math.ceil(1.0 / float(dt_max))
    found.y1.sum().backward()
    assert y0.grad.tolist() == pytest.approx([math.exp(-0.1)] * 2, rel=1e-8)


def noisy():
    # At rest, without noise, but for a time.
    y0 = torch.zeros(2, dtype=FLOAT64)

    def inflow(t):
        return torch.where((t >= ON) & (t < OFF), 1.0, 0.0)

    return nde.SDEProblem(lambda t, y: inflow(t) - y, lambda t, y: 1e-3 * y, y0, 0.0, END, seed=2)


@pytest.mark.parametrize("remedy", [{"breakpoints": [ON, OFF]}, {"dt_max": 0.1}])
def test_a_stochastic_solve_does_not_step_over_an_inflow(remedy):
    assert nde.solve(noisy()).y1.abs().max() == 0.0
    found = nde.solve(noisy(), rtol=1e-3, atol=1e-2, saveat=nde.SaveAt(every_step=True), **remedy)
    # The noise is a thousandth of the state.
    torch.testing.assert_close(found.y1, torch.full((2,), RIGHT, dtype=FLOAT64), rtol=2e-2, atol=0.0)
    assert found.steps.dt.max() <= remedy.get("dt_max", END)
    assert found.steps.dt.sum().item() == pytest.approx(END, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"method": "rk4", "dt": 0.1, "dt_max": 0.1}, ("dt_max", "'rk4'", "grid=")),
        ({"method": "rk4", "dt": 0.1, "breakpoints": [ON]}, ("breakpoints", "'rk4'", "grid=")),
        ({"dt": 0.1, "adaptive": False, "breakpoints": [ON]}, ("breakpoints", "'tsit5'", "grid=")),
        ({"dt_max": 0.0}, ("dt_max is 0.0", "positive")),
        ({"dt_max": "long"}, ("dt_max is 'long'", "positive")),
        ({"breakpoints": [math.inf]}, ("breakpoints holds NaN or infinity", "finite")),
        ({"breakpoints": 5.0}, ("breakpoints has shape ()", "sequence")),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_sentence(options, parts):
    with pytest.raises(ValueError, match="pass") as caught:
        nde.solve(dosed(), **options)
    check_sentence(caught.value, *parts)


@pytest.mark.parametrize("option", [{"steps": 4}, {"grid": [0.0, 1.0]}, {"dt_max": 0.1}, {"breakpoints": [0.5]}])
def test_the_julia_engine_refuses_steps_at_given_times(option):
    with pytest.raises(ValueError, match="engine='embedded'") as caught:
        check_options(dosed().layout, SolveOptions(**option))
    check_sentence(caught.value, *option)
