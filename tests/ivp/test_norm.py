"""Norms as values of an option: what is accepted and what is refused, in one sentence each."""

import pytest
import torch

import pyndereg as nde
from pyndereg.engines.julia.checks import check_options
from pyndereg.ivp import SolveOptions
from tests.equations import FLOAT64, decay
from tests.sentences import check_sentence

Y0 = torch.tensor([[1.0, 0.5], [2.0, -1.0]], dtype=FLOAT64)


def solve(norm, y0=Y0, f=decay, **options):
    return nde.solve(nde.ODEProblem(f, y0), norm=norm, **options)


@pytest.mark.parametrize("norm", ["max", 2, nde.norm.Norm(), nde.norm.RMS, nde.norm.LargestOfSamples])
def test_what_is_neither_a_norm_nor_a_function_is_refused(norm):
    with pytest.raises(TypeError, match="norm is ") as raised:
        solve(norm)
    check_sentence(raised.value, "pass")


def test_norms_are_values():
    assert nde.norm.RMS() == nde.norm.RMS() != nde.norm.LargestOfSamples()
    assert repr(nde.norm.LargestOfSamples()) == "LargestOfSamples()"


WEIGHT = torch.tensor(1.0, dtype=FLOAT64, requires_grad=True)


@pytest.mark.parametrize(
    ("norm", "kind", "parts"),
    [
        (lambda e: e.norm().item(), TypeError, ("returned a float", "shape ()")),
        (lambda e: e.norm(dim=1), ValueError, ("shape (2,)", "one number")),
        (lambda e: e.norm()[None], ValueError, ("shape (1,)", "one number")),
        (lambda e: e.numel() * torch.ones((), dtype=torch.int64), ValueError, ("torch.int64", "one number")),
        (lambda e: -e.norm(), ValueError, ("returned -", "a number >= 0")),
        (lambda e: e.norm() * torch.nan, ValueError, ("nan of a finite scaled error", "a number >= 0")),
        (lambda e: e.detach().norm(), ValueError, ("without the graph", "detach()")),
        (lambda e: WEIGHT * e.norm(), ValueError, ("asks for a gradient", "detached")),
    ],
    ids=["number", "vector", "one-element", "integer", "negative", "nan", "detached", "with-a-parameter"],
)
def test_what_a_function_may_not_return_is_refused(norm, kind, parts):
    with pytest.raises(kind, match=r"^norm ") as raised:
        solve(norm)
    check_sentence(raised.value, *parts)


def test_a_function_that_turns_bad_during_the_solve_is_refused_there():
    def norm(error):
        norm.calls += 1
        return error.norm() - (1e3 if norm.calls > 12 else 0.0)

    norm.calls = 0
    with pytest.raises(ValueError, match="norm returned -"):
        solve(norm, rtol=1e-9)


def test_a_function_without_a_graph_will_do_where_no_gradient_is_asked_for():
    with torch.no_grad():
        found = solve(lambda e: e.detach().square().mean().sqrt())
    torch.testing.assert_close(found.steps.dt, solve(nde.norm.RMS()).steps.dt, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize(
    "y0",
    [
        torch.tensor(1.0, dtype=FLOAT64),
        (Y0, torch.ones(3, 2, dtype=FLOAT64)),
        (Y0, torch.tensor(1.0, dtype=FLOAT64)),
    ],
    ids=["no-axes", "two-batches", "one-without-axes"],
)
def test_the_largest_of_samples_wants_the_batch_first_in_every_tensor(y0):
    f = decay if isinstance(y0, torch.Tensor) else lambda t, y: tuple(-part for part in y)
    with pytest.raises(ValueError, match="first axis") as raised:
        solve(nde.norm.LargestOfSamples(), y0, f)
    check_sentence(raised.value, "uncontrolled=")


@pytest.mark.parametrize("norm", [nde.norm.RMS(), nde.norm.LargestOfSamples(), torch.linalg.vector_norm])
def test_a_method_without_an_error_estimate_refuses_a_norm(norm):
    with pytest.raises(ValueError, match="method 'rk4' has no error estimate") as raised:
        solve(norm, method="rk4", dt=0.1)
    check_sentence(raised.value, "norm was given", "'tsit5'")
    noisy = nde.SDEProblem(decay, lambda t, y: 0.1 * y, Y0)
    with pytest.raises(ValueError, match="method 'em' has no error estimate"):
        nde.solve(noisy, "em", dt=0.1, norm=norm)


def test_the_julia_engine_has_its_own_norm_alone():
    layout = nde.ODEProblem(decay, Y0).layout
    for norm in (nde.norm.LargestOfSamples(), torch.linalg.vector_norm):
        with pytest.raises(ValueError, match="engine='embedded'") as raised:
            check_options(layout, SolveOptions(norm=norm))
        check_sentence(raised.value, "norm is ")
    check_options(layout, SolveOptions(norm=nde.norm.RMS()))
