"""The latent ODE: what it reads of irregular series, in which order, and what it is trained by."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of_laws

import pyndereg as nde
from pyndereg.models.evidence import Annealing, kl_divergence, log_likelihood, squared_error
from pyndereg.models.recurrent import SeriesEncoder
from tests.sentences import check_sentence

TIMES = torch.tensor([0.0, 0.1, 0.4, 0.7, 1.0], dtype=torch.float64)


def series(*, batch=4, features=3):
    """Values and a mask in which each series has something observed."""
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(batch, len(TIMES), features, generator=generator, dtype=torch.float64)
    mask = torch.rand(batch, len(TIMES), features, generator=generator) < 0.5
    mask[:, 1] = True
    return values, mask


def model(**options):
    torch.manual_seed(0)
    options = {"latent": 4, "hidden": 6, "blocks": 2, "state": 5, "encoder_hidden": 6, **options}
    return nde.LatentODE(3, **{"rtol": 1e-6, "atol": 1e-6, **options}).double()


def encoder(**options):
    torch.manual_seed(0)
    return SeriesEncoder(3, state=5, hidden=6, **options).double()


def test_a_batch_is_reconstructed_at_its_times_by_one_solve():
    values, mask = series()
    latent = model()(values, mask, TIMES)
    assert latent.reconstruction.shape == values.shape
    assert latent.mean.shape == latent.log_variance.shape == (4, 4)
    assert latent.solution.t.tolist() == TIMES.tolist()
    assert latent.solution.y1.shape == (4, 4)


def test_the_reconstruction_decodes_the_latent_solution():
    layer = model(sample_in_evaluation=False).eval()
    values, mask = series()
    latent = layer(values, mask, TIMES)
    problem = nde.ODEProblem(layer.dynamics, latent.mean, t0=0.0, t1=1.0)
    states = nde.solve(problem, rtol=1e-6, atol=1e-6, saveat=TIMES, control=nde.control.PID("H321")).y
    expected = layer.decoder(states).transpose(0, 1)
    torch.testing.assert_close(latent.reconstruction, expected, rtol=1e-12, atol=1e-14)


def test_unobserved_values_never_matter():
    layer = model(sample_in_evaluation=False)
    values, mask = series()
    others = torch.where(mask, values, torch.nan)
    for one in (layer.train(), layer.eval()):
        torch.manual_seed(3)
        expected = one(values, mask, TIMES)
        torch.manual_seed(3)
        found = one(others, mask.double(), TIMES)
        assert torch.equal(found.reconstruction, expected.reconstruction)
    for loss in (log_likelihood, squared_error):
        assert torch.equal(loss(found.reconstruction, others, mask), loss(found.reconstruction, values, mask))
    gradients = torch.autograd.grad(log_likelihood(found.reconstruction, others, mask).sum(), tuple(layer.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_where_nothing_was_observed_the_state_stays():
    # The published codes count the gap to the next time as an observation. Here an empty time is seen only by the gap
    # of the time that is visited after it, which is hidden from the networks in this test.
    layer = encoder()
    values, mask = series()
    mask[:, 2] = False
    mask[0, 0] = False
    for network in (layer.update_gate, layer.reset_gate, layer.new_state):
        network[0].weight.data[:, -1] = 0.0
    states = layer(values, mask, TIMES)
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(layer(values[:, kept], mask[:, kept], TIMES[kept]), states, rtol=1e-12, atol=1e-14)
    first = layer(values[:1, 1:], mask[:1, 1:], TIMES[1:])
    torch.testing.assert_close(first, states[:1], rtol=1e-12, atol=1e-14)
    assert torch.equal(layer(values, torch.zeros_like(mask), TIMES), torch.zeros_like(states))


def test_one_update_is_the_documented_one():
    layer = encoder(first_spread=1.0, bounded=True)
    values, mask = series(batch=1)
    x = torch.cat([torch.where(mask, values, 0.0), mask], dim=-1)[:, 1]
    x = torch.cat([x, torch.zeros(1, 1, dtype=torch.float64)], dim=-1)  # the first time to be visited has no gap
    mean, spread = torch.zeros(1, 5, dtype=torch.float64), torch.ones(1, 5, dtype=torch.float64)
    keep, reset = layer.update_gate(torch.cat([mean, spread, x], 1)), layer.reset_gate(torch.cat([mean, spread, x], 1))
    new = layer.new_state(torch.cat([reset * mean, reset * spread, x], 1))
    assert bool((new.abs() < 1).all())
    expected = (1 - torch.cat([keep, keep], 1)) * new + torch.cat([keep, keep], 1) * torch.cat([mean, spread], 1)
    found = layer(values[:, 1:2], mask[:, 1:2], TIMES[1:2])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_time_is_read_backwards_or_forwards():
    values, mask = series()
    backward, forward = encoder(), encoder(direction="forward")
    reversed_times = (1.0 - TIMES).flip(0)
    found = forward(values.flip(1), mask.flip(1), reversed_times)
    torch.testing.assert_close(found, backward(values, mask, TIMES), rtol=1e-12, atol=1e-14)
    assert not torch.allclose(found, forward(values, mask, TIMES))


def test_the_encoder_is_told_how_far_times_lie_apart():
    values, mask = series()
    stretched = TIMES**2
    assert not torch.allclose(encoder()(values, mask, stretched), encoder()(values, mask, TIMES))


def test_the_latent_state_is_drawn_in_training_and_in_evaluation_where_asked():
    values, mask = series()
    for sampled, layer in ((True, model().train()), (True, model().eval()), (False, model(sample_in_evaluation=False))):
        layer.train(layer.training and sampled)
        first, second = (layer(values, mask, TIMES).reconstruction for _ in range(2))
        assert torch.equal(first, second) != sampled


def test_before_training_the_latent_state_deviates_as_asked():
    # The rest of the log variance is a random network of an encoder state that is small.
    deviation = torch.exp(0.5 * model(first_deviation=0.1)(*series(), TIMES).log_variance)
    assert 0.05 < deviation.mean() < 0.2
    with pytest.raises(ValueError, match="first_deviation is 0") as raised:
        model(first_deviation=0.0)
    check_sentence(raised.value, "above 0")


def test_gradients_reach_every_parameter_and_penalties_are_those_of_training_mode():
    layer = model(regularizers=[nde.regularizers.LocalError(through_first_stage=True)])
    values, mask = series()
    latent = layer(values, mask, TIMES)
    loss = kl_divergence(latent.mean, latent.log_variance) - log_likelihood(latent.reconstruction, values, mask)
    (loss.mean() + latent.solution.penalties[0]).backward()
    assert all(param.grad is not None and bool(param.grad.any()) for param in layer.parameters())
    assert layer.eval()(values, mask, TIMES).solution.penalties == ()


@pytest.mark.parametrize("gradient", [nde.DiscreteAdjoint(), nde.InterpolatingAdjoint()])
def test_gradients_are_those_through_the_graph(gradient):
    values, mask = series()

    def gradients(layer):
        torch.manual_seed(5)
        latent = layer(values, mask, TIMES)
        return torch.autograd.grad(squared_error(latent.reconstruction, values, mask).mean(), tuple(layer.parameters()))

    expected = gradients(model(gradient=nde.Backprop(), rtol=1e-8, atol=1e-8))
    found = gradients(model(gradient=gradient, rtol=1e-8, atol=1e-8))
    # Ten times the solver's tolerance, for the continuous adjoint.
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_save_times_are_drawn_in_training_and_values_stay_with_their_times():
    layer = model(end_time_sampling=nde.EndTimeSampling())
    values, mask = series()
    drawn = layer(values, mask, TIMES).solution.t
    assert drawn[0] == 0.0
    assert len(drawn) == len(TIMES)
    assert drawn.tolist() != TIMES.tolist()
    assert layer.eval()(values, mask, TIMES).solution.t.tolist() == TIMES.tolist()


def test_other_dynamics_take_the_place_of_the_published_ones():
    layer = model(dynamics=nde.fields.Autonomous(nn.Linear(4, 4)))
    assert isinstance(layer.dynamics.net, nn.Linear)
    assert layer(*series(), TIMES).reconstruction.shape == (4, 5, 3)


def test_the_likelihood_is_that_of_normal_laws_at_what_was_observed():
    values, mask = series()
    reconstruction = values + 0.02
    density = Normal(reconstruction, 0.01).log_prob(values)
    expected = torch.stack([row[seen].mean() for row, seen in zip(density, mask, strict=True)])
    torch.testing.assert_close(log_likelihood(reconstruction, values, mask), expected, rtol=1e-12, atol=0)
    errors = squared_error(reconstruction, values, mask)
    torch.testing.assert_close(errors, torch.full_like(errors, 0.0004), rtol=1e-12, atol=0)


def test_a_series_of_which_nothing_was_observed_has_no_likelihood_and_no_error():
    values, mask = series()
    mask[0] = False
    assert log_likelihood(values, values, mask)[0] == 0.0
    assert squared_error(values + 1.0, values, mask)[0] == 0.0


def test_the_divergence_is_that_from_the_standard_normal_law():
    generator = torch.Generator().manual_seed(2)
    mean, log_variance = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    laws = kl_of_laws(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mean, log_variance), laws.mean(dim=1), rtol=1e-12, atol=1e-14)


def test_the_weight_of_the_divergence_rises_from_zero_to_one():
    weight = Annealing()
    assert [weight(step) for step in (0, 9, 10)] == [0.0, 0.0, 0.0]
    assert weight(11) == pytest.approx(0.01, rel=1e-12)
    assert weight(110) == pytest.approx(1 - 0.99**100, rel=1e-12)
    assert Annealing(first=100)(100_000) == 1.0
    assert Annealing(first=10**6)(0) == 0.0
    with pytest.raises(ValueError, match="rate is 1") as raised:
        Annealing(rate=1.0)
    check_sentence(raised.value, "below 1")


def test_bad_input_is_refused():
    values, mask = series()
    with pytest.raises(ValueError, match=r"shapes \(4, 5, 3\), \(4, 5, 3\) and \(4,\)") as raised:
        model()(values, mask, TIMES[1:])
    check_sentence(raised.value, "(batch, times, 3)")
    with pytest.raises(ValueError, match="direction is 'up'") as raised:
        model(direction="up")
    check_sentence(raised.value, "backward, forward")
    with pytest.raises(TypeError, match="saveat") as raised:
        model(saveat=[1.0])
    check_sentence(raised.value, "forward")
