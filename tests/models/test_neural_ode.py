"""A neural ODE as a layer: what it returns, how it is saved, copied and moved."""

import copy
import io
import math
import pickle

import pytest
import torch
from torch import nn

import pyndereg as nde
from pyndereg import fields
from pyndereg.models import EndTimeSampling, NeuralODE
from tests.equations import FLOAT64
from tests.sentences import check_sentence

H321, PI = nde.control.PID("H321"), nde.control.PI()


class Linear(nn.Module):
    """y' = rate y."""

    def __init__(self, rate=-1.0):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate))

    def forward(self, t, y):
        return self.rate * y


def model(**options):
    torch.manual_seed(1)
    return NeuralODE(fields.TimeConcatMLP(3, 5), **options)


def batch(dtype=torch.float32):
    return torch.linspace(-1.0, 1.0, 12, dtype=dtype).view(4, 3)


def test_the_model_maps_an_initial_state_to_the_end_of_the_solution():
    y1, solution = NeuralODE(Linear(), t0=0.5, t1=2.0, rtol=1e-7)(batch(FLOAT64))
    torch.testing.assert_close(y1, batch(FLOAT64) * math.exp(-1.5), rtol=1e-5, atol=1e-8)
    assert y1 is solution.y1
    assert solution.steps.t[0].item() == 0.5


def test_with_save_times_the_model_maps_it_to_the_states_there():
    y, solution = NeuralODE(Linear(), saveat=[0.0, 0.5, 1.0])(batch())
    assert y.shape == (3, 4, 3)
    assert y is solution.y
    torch.testing.assert_close(y[1], batch() * math.exp(-0.5), rtol=1e-4, atol=1e-6)


def test_the_model_is_the_solve_that_its_arguments_describe():
    field = fields.TimeConcatMLP(3, 5)
    options = {"method": "dp5", "rtol": 1e-3, "atol": 1e-5, "gradient": nde.Backprop(), "max_steps": 50}
    options["control"] = PI
    y1, solution = NeuralODE(field, t0=0.0, t1=2.0, **options)(batch())
    expected = nde.solve(nde.ODEProblem(field, batch(), 0.0, 2.0), **options)
    assert torch.equal(y1, expected.y1)
    assert solution.stats == expected.stats
    assert torch.equal(solution.steps.scaled_error, expected.steps.scaled_error)


def test_a_tuple_is_a_state_too():
    class Pair(nn.Module):
        def forward(self, t, y):
            return -y[0], -2 * y[1]

    (one, other), _ = NeuralODE(Pair())((torch.ones(2), torch.ones(3)))
    assert one[0].item() == pytest.approx(math.exp(-1), rel=1e-4)
    assert other[0].item() == pytest.approx(math.exp(-2), rel=1e-4)


def test_the_field_s_parameters_are_the_model_s_and_learn():
    ode = model()
    assert {name for name, _ in ode.named_parameters()} == {f"field.{name}" for name, _ in ode.field.named_parameters()}
    before = [param.detach().clone() for param in ode.parameters()]
    optimizer = torch.optim.SGD(ode.parameters(), lr=0.5)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (ode(batch())[0] - 1.0).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert not any(torch.equal(old, new) for old, new in zip(before, ode.parameters(), strict=True))


def test_tensors_besides_the_field_s_own_get_gradients_when_they_are_listed():
    context = torch.ones(3, requires_grad=True)

    class Driven(nn.Module):
        def forward(self, t, y):
            return context - y

    NeuralODE(Driven())(batch(), params=(context,))[0].sum().backward()
    assert context.grad.tolist() == pytest.approx([4 * (1 - math.exp(-1))] * 3, rel=1e-4)


def test_evaluation_and_training_are_the_same_without_random_end_times():
    ode = model(first_step="search")
    assert torch.equal(ode.train()(batch())[0], ode.eval()(batch())[0])


@pytest.mark.parametrize("gradient", [nde.DiscreteAdjoint(2), nde.Backprop()])
def test_a_state_dict_a_deep_copy_and_a_pickle_give_the_same_model(gradient):
    ode = model(rtol=1e-4, saveat=[0.25, 1.0], gradient=gradient)
    ode(batch())  # leaves the length of a first step behind
    y, _ = ode.eval()(batch())
    other = NeuralODE(fields.TimeConcatMLP(3, 5), rtol=1e-4, saveat=[0.25, 1.0], gradient=gradient).eval()
    assert not torch.equal(other(batch())[0], y)
    other.load_state_dict(ode.state_dict())
    for twin in (other, copy.deepcopy(ode), pickle.loads(pickle.dumps(ode))):
        assert torch.equal(twin(batch())[0], y)
        twin(batch())[0].sum().backward()
        assert all(param.grad is not None for param in twin.parameters())
    assert all(param.grad is None for param in ode.parameters())


def test_a_model_that_was_used_can_still_be_copied():
    ode = model().eval()
    y1, solution = ode(batch())
    solution(0.5)
    y1.sum().backward()
    assert torch.equal(copy.deepcopy(ode)(batch())[0], y1)


def test_a_model_is_saved_and_loaded_whole_or_by_its_parameters():
    ode = model(end_time_sampling=EndTimeSampling(0.5)).eval()
    whole, parameters = io.BytesIO(), io.BytesIO()
    torch.save(ode, whole)
    torch.save(ode.state_dict(), parameters)
    whole.seek(0)
    parameters.seek(0)
    loaded = torch.load(whole, weights_only=False)
    assert loaded.end_time_sampling == EndTimeSampling(0.5)
    fresh = model()
    fresh.load_state_dict(torch.load(parameters))
    for twin in (loaded, fresh):
        assert torch.equal(twin(batch())[0], ode(batch())[0])


def test_a_model_moves_to_another_dtype():
    ode = model().to(FLOAT64)
    y1, solution = ode(batch(FLOAT64))
    assert y1.dtype == solution.steps.scaled_error.dtype == FLOAT64
    y1.sum().backward()
    assert all(param.grad.dtype == FLOAT64 for param in ode.parameters())


def test_the_field_has_to_be_a_module():
    with pytest.raises(TypeError, match="field is a function") as raised:
        NeuralODE(lambda t, y: -y)
    check_sentence(raised.value, "nn.Module")


def test_a_random_end_beside_save_times_is_refused():
    with pytest.raises(ValueError, match="moves the end alone") as raised:
        model(saveat=[1.0], end_time_sampling=EndTimeSampling(0.5))
    check_sentence(raised.value, "b is 0.5", "save times", "pass EndTimeSampling()")


def test_random_save_times_without_save_times_are_refused():
    with pytest.raises(ValueError, match="no save times") as raised:
        model(end_time_sampling=EndTimeSampling())
    check_sentence(raised.value, "EndTimeSampling(b)")


def test_random_end_times_wider_than_the_interval_are_refused():
    with pytest.raises(ValueError, match="pass a smaller b") as raised:
        model(t0=0.0, t1=0.5, end_time_sampling=EndTimeSampling(0.5))
    check_sentence(raised.value, "b is 0.5", "0.5 long")


def test_an_unknown_option_is_refused_at_the_first_call_at_the_latest():
    with pytest.raises(TypeError, match="unknown option 'max_step'") as raised:
        model(max_step=5)(batch())
    check_sentence(raised.value, "did you mean 'max_steps'?")


def test_the_model_prints_its_interval_and_its_options():
    assert "t0=0.0, t1=2.0" in repr(model(t1=2.0))
    assert "method='tsit5'" in repr(model())


def end_times(ode, calls=200):
    return [ode(batch())[1].t_reached for _ in range(calls)]


def test_in_training_the_end_is_drawn_anew_from_its_interval_each_time():
    ode = NeuralODE(Linear(), t1=1.0, dt=0.5, adaptive=False, end_time_sampling=EndTimeSampling(0.4))
    drawn = end_times(ode)
    assert len(set(drawn)) == len(drawn)
    assert 0.6 <= min(drawn) < 0.65
    assert 1.35 < max(drawn) <= 1.4
    assert sum(drawn) / len(drawn) == pytest.approx(1.0, abs=0.05)


def test_in_evaluation_the_end_stays_where_it_is():
    ode = NeuralODE(Linear(), dt=0.5, adaptive=False, end_time_sampling=EndTimeSampling(0.4)).eval()
    assert set(end_times(ode, 5)) == {1.0}


def test_end_times_backwards_in_time_stay_on_their_side():
    ode = NeuralODE(Linear(), t0=1.0, t1=0.0, dt=0.5, adaptive=False, end_time_sampling=EndTimeSampling(0.9))
    assert all(t < 0.9 for t in end_times(ode, 50))


def test_random_end_times_leave_steps_and_dense_output_to_be_saved():
    for saveat in (nde.SaveAt(every_step=True), nde.SaveAt(dense=True)):
        ode = NeuralODE(Linear(), dt=0.25, adaptive=False, saveat=saveat, end_time_sampling=EndTimeSampling(0.4))
        y, solution = ode(batch())
        assert y is solution.y
        assert 0.6 <= solution.t_reached != 1.0
        assert torch.equal(y[-1], solution.y1)


SERIES = [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_in_training_save_times_are_drawn_anew_and_the_states_are_those_at_the_drawn_times(ends):
    t0, t1 = ends
    saveat = nde.SaveAt(SERIES if t0 < t1 else SERIES[::-1], dense=True)
    ode = NeuralODE(Linear(), t0=t0, t1=t1, rtol=1e-7, saveat=saveat, end_time_sampling=EndTimeSampling())
    seen = set()
    for _ in range(10):
        y, solution = ode(batch(FLOAT64))
        assert y.shape == (5, 4, 3)
        assert solution.t_reached == t1
        times = solution.t.tolist()
        assert times[0] == t0
        assert times == sorted(times, reverse=t0 > t1)
        seen.update(times[1:-1])
        expected = torch.stack([batch(FLOAT64) * math.exp(t0 - t) for t in times])
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-8)
    assert len(seen) == 30
    assert ode.saveat == saveat


def test_in_evaluation_save_times_stay_where_they_are():
    ode = NeuralODE(Linear(), saveat=SERIES, end_time_sampling=EndTimeSampling()).eval()
    assert ode(batch())[1].t.tolist() == SERIES


def test_a_generator_with_a_seed_repeats_the_end_times_and_leaves_torch_s_own_alone():
    def drawn():
        sampling = EndTimeSampling(0.5, torch.Generator().manual_seed(7))
        return end_times(NeuralODE(Linear(), dt=0.5, adaptive=False, end_time_sampling=sampling), 5)

    before = torch.get_rng_state()
    assert drawn() == drawn()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_regularizer_outside_a_list_is_refused_when_the_model_is_made():
    with pytest.raises(TypeError, match="regularizers is a LocalError") as raised:
        nde.NeuralODE(nde.fields.TimeConcatMLP(2), regularizers=nde.regularizers.LocalError())
    check_sentence(raised.value, "pass a list")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, H321),
        ({"method": "bs3", "first_step": nde.Remembered()}, H321),
        ({"control": PI}, PI),
        ({"first_step": "search"}, None),
        ({"first_step": "search", "control": H321}, H321),
        ({"dt": 0.1}, None),
        ({"engine": "julia"}, None),
        ({"method": "rk4", "steps": 4}, None),
        ({"method": "tsit5", "adaptive": False, "steps": 4}, None),
        ({"method": "no such method"}, None),
    ],
)
def test_a_remembered_start_comes_with_a_control_that_keeps_it(options, expected):
    assert model(**options).options.get("control") == expected


def test_the_control_of_a_model_takes_fewer_steps_after_a_remembered_start():
    evaluations = {}
    for control in (None, PI):
        ode = model(control=control, rtol=1e-7, atol=1e-7).double()
        for _ in range(8):
            evaluations[control] = ode(batch(FLOAT64))[1].stats.nfe
    assert evaluations[None] < evaluations[PI]
