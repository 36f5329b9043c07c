"""What every gradient of the differential equation promises: one suite of tests, run by a class per engine."""

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import pyndereg as nde
from tests.equations import FLOAT64, Oscillator, decay, mixing, van_der_pol
from tests.sentences import check_sentence

GOLDEN = Path(__file__).parents[1] / "golden" / "gradients.json"
CASES = {case["problem"]: case for case in json.loads(GOLDEN.read_text("utf-8"))["cases"]}
ADJOINTS = (
    nde.InterpolatingAdjoint(),
    nde.InterpolatingAdjoint(checkpointing=True),
    nde.BacksolveAdjoint(),
    nde.BacksolveAdjoint(checkpointing=False),
    nde.QuadratureAdjoint(),
    nde.GaussAdjoint(),
)
TIGHT: dict[str, Any] = {"method": "vern9", "rtol": 1e-12, "atol": 1e-12}


def lotka_volterra(p):
    return lambda t, y: torch.stack([p[0] * y[0] - p[1] * y[0] * y[1], -p[2] * y[1] + p[3] * y[0] * y[1]])


def forced(p):
    return lambda t, y: torch.stack(
        [-p[0] * y[0] + torch.sin(p[1] * t) * y[1], -p[2] * y[1] ** 3 + torch.cos(p[3] * t)]
    )


TORCH_FIELDS = {"lotka_volterra": lotka_volterra, "forced": forced}


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def short(adjoint):
    checkpointing = getattr(adjoint, "checkpointing", None)
    return type(adjoint).__name__ + ("" if checkpointing is None else f"(checkpointing={checkpointing})")


class AdjointContract:
    """The promises, as tests.

    Attributes:
        engine: the engine's name.
        adjoints: the gradients of the differential equation that it offers for functions written in torch.
    """

    engine: ClassVar[str]
    adjoints: ClassVar[tuple[Any, ...]] = ADJOINTS

    def pytest_generate_tests(self, metafunc):
        if "adjoint" in metafunc.fixturenames:
            metafunc.parametrize("adjoint", self.adjoints, ids=short)

    def solve(self, problem, method="tsit5", **options):
        return nde.solve(problem, method, engine=self.engine, **options)

    @pytest.mark.parametrize("problem", TORCH_FIELDS)
    def test_the_gradient_is_that_of_scimlsensitivity(self, adjoint, problem):
        case = CASES[problem]
        p = torch.tensor(case["p"], dtype=FLOAT64, requires_grad=True)
        y0 = torch.tensor(case["y0"], dtype=FLOAT64, requires_grad=True)
        equation = nde.ODEProblem(TORCH_FIELDS[problem](p), y0, case["t0"], case["t1"], params=(p,))
        found = self.solve(equation, saveat=case["saveat"], gradient=adjoint, **TIGHT)
        loss = found.y1.square().sum() + found.y.sum()
        assert loss.item() == pytest.approx(case["loss"], rel=1e-10)
        for one, name in zip(torch.autograd.grad(loss, (y0, p)), ("grad_y0", "grad_p"), strict=True):
            assert relative(one, torch.tensor(case[name], dtype=FLOAT64)) <= 1e-8, name

    # --- three problems, differentiated in all that they depend on

    def everything(self, make, gradient, saveat):
        """Gradients of a loss of final and saved states: initial state, ends of the interval, parameters."""
        f, y0, params, t0, t1 = make()
        found = self.solve(nde.ODEProblem(f, y0, t0, t1, params=params), saveat=saveat, gradient=gradient, **TIGHT)
        weights = torch.linspace(1.0, 2.0, found.y.numel(), dtype=FLOAT64).view(found.y.shape)
        loss = found.y1.square().sum() + (weights * found.y).sum()
        return torch.autograd.grad(loss, (y0, t0, t1, *params))

    @pytest.mark.parametrize("direction", [1.0, -1.0])
    @pytest.mark.parametrize("name", ["rotation", "mixing", "oscillator"])
    def test_it_agrees_with_the_gradient_of_the_numerical_solution_at_tight_tolerance(self, adjoint, name, direction):
        def make():
            generator = torch.Generator().manual_seed(1)
            t0, t1 = (torch.tensor(direction * t, dtype=FLOAT64, requires_grad=True) for t in (0.1, 1.6))
            y0 = torch.randn(2, 3, generator=generator, dtype=FLOAT64).requires_grad_()
            weights = (0.6 * torch.randn(3, 3, generator=generator, dtype=FLOAT64)).requires_grad_()
            if name == "rotation":
                return (lambda t, y: y @ weights), y0, (weights,), t0, t1
            if name == "mixing":
                return mixing(weights), y0, (weights,), t0, t1
            field = Oscillator()
            return field, y0[:, :2].detach().requires_grad_(), tuple(field.parameters()), t0, t1

        saveat = [direction * t for t in (0.1, 0.4, 0.45, 1.2, 1.6)]
        expected = self.everything(make, nde.DiscreteAdjoint(), saveat)
        for one, other in zip(self.everything(make, adjoint, saveat), expected, strict=True):
            assert relative(one, other) <= 1e-9

    def test_its_error_falls_with_the_tolerance(self, adjoint):
        errors = []
        for tolerance in (1e-4, 1e-6, 1e-8):
            y0 = torch.tensor([1.0, 0.5], dtype=FLOAT64, requires_grad=True)
            rate = torch.tensor(0.8, dtype=FLOAT64, requires_grad=True)
            # y' = rate cos(t) y, so y(t) = y0 exp(rate sin t).
            problem = nde.ODEProblem(lambda t, y, rate=rate: rate * torch.cos(t) * y, y0, 0.0, 4.0, params=(rate,))
            found = self.solve(problem, rtol=tolerance, atol=tolerance, saveat=[1.0], gradient=adjoint)
            gradients = torch.autograd.grad(found.y1.sum() + found.y.sum(), (y0, rate))
            factors = [math.exp(0.8 * math.sin(t)) for t in (4.0, 1.0)]
            by_rate = 1.5 * sum(math.sin(t) * factor for t, factor in zip((4.0, 1.0), factors, strict=True))
            errors.append(max((gradients[0] - sum(factors)).abs().max().item(), abs(gradients[1].item() - by_rate)))
            assert errors[-1] <= 100 * tolerance
        assert errors[0] > 5 * errors[1] > 25 * errors[2]

    # --- what is differentiated

    def test_the_steps_are_not_differentiated(self, adjoint):
        y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
        steps = self.solve(nde.ODEProblem(van_der_pol, y0), gradient=adjoint).steps
        for estimate in (steps.scaled_error, steps.stiffness):
            with pytest.raises(RuntimeError, match=r"solution\.steps has no gradient") as raised:
                torch.autograd.grad(estimate.sum(), y0)
            check_sentence(raised.value, type(adjoint).__name__, "DiscreteAdjoint()", "Backprop()")

    def test_the_forward_solve_is_that_of_any_gradient(self, adjoint):
        y0 = torch.tensor([2.0, 0.0], dtype=FLOAT64, requires_grad=True)
        found, plain = (
            self.solve(nde.ODEProblem(van_der_pol, y0, 0.0, 4.0), gradient=gradient, saveat=[1.0])
            for gradient in (adjoint, nde.DiscreteAdjoint())
        )
        torch.testing.assert_close(found.steps.dt, plain.steps.dt, rtol=1e-9, atol=0)
        torch.testing.assert_close(found.y1, plain.y1, rtol=1e-9, atol=1e-11)
        assert (found.stats.accepted, found.stats.rejected) == (plain.stats.accepted, plain.stats.rejected)

    def test_dense_output_is_differentiated(self, adjoint):
        y0 = torch.tensor([1.0, -2.0], dtype=FLOAT64, requires_grad=True)
        rate = torch.tensor(0.7, dtype=FLOAT64, requires_grad=True)
        times = torch.tensor([[0.3, 1.4], [0.3, 0.9]], dtype=FLOAT64)
        for t1, saveat in ((1.5, None), (1.5, nde.SaveAt(dense=True)), (-1.5, None)):
            sign = math.copysign(1.0, t1)
            problem = nde.ODEProblem(lambda t, y: -rate * y, y0, 0.0, t1, params=(rate,))
            found = self.solve(problem, "vern9", rtol=1e-11, atol=1e-11, gradient=adjoint, saveat=saveat)
            values = found(sign * times)
            expected = torch.exp(-rate * sign * times)[..., None] * y0
            torch.testing.assert_close(values, expected, rtol=1e-9, atol=0)
            for one, other in zip(*(torch.autograd.grad(x.sum(), (y0, rate)) for x in (values, expected)), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-8, atol=0)
            with torch.no_grad():
                assert not found(0.3 * sign).requires_grad
            with pytest.raises(ValueError, match="lies outside"):
                found(1.6 * sign)

    def test_the_ends_of_all_steps_are_differentiated(self, adjoint):
        if self.engine == "julia":
            pytest.skip("the julia engine takes the ends of steps as fixed times")
        results = []
        for gradient in (adjoint, nde.DiscreteAdjoint()):
            y0 = torch.tensor([[2.0, 0.0]], dtype=FLOAT64, requires_grad=True)
            t0 = torch.tensor(0.0, dtype=FLOAT64, requires_grad=True)
            problem = nde.ODEProblem(Oscillator(), y0, t0, 1.0)
            found = self.solve(problem, saveat=nde.SaveAt(every_step=True), gradient=gradient, **TIGHT)
            results.append(torch.autograd.grad(found.y.sum(), (y0, t0)))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)

    def test_states_may_be_tuples_and_unused_parts_cost_nothing(self, adjoint):
        y0 = (
            torch.ones(2, 3, dtype=FLOAT64, requires_grad=True),
            torch.full((), 2.0, dtype=FLOAT64, requires_grad=True),
        )
        rate, idle = (torch.tensor(x, dtype=FLOAT64, requires_grad=True) for x in (0.5, 1.0))
        problem = nde.ODEProblem(lambda t, y: (-rate * y[0], -2.0 * y[1]), y0, params=(rate, idle))
        found = self.solve(problem, saveat=[0.5], gradient=adjoint, rtol=1e-10, atol=1e-10)
        gradients = torch.autograd.grad(found.y1[0].sum(), (*y0, rate, idle), allow_unused=True)
        factor = math.exp(-0.5)
        torch.testing.assert_close(gradients[0], torch.full((2, 3), factor, dtype=FLOAT64), rtol=1e-8, atol=0)
        assert gradients[1].item() == pytest.approx(0.0, abs=1e-12)
        assert gradients[2].item() == pytest.approx(-6 * factor, rel=1e-8)
        assert gradients[3] is None or gradients[3].item() == 0.0

    def test_a_save_time_that_is_also_the_start_passes_its_gradient_to_the_initial_state(self, adjoint):
        y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
        t0 = torch.tensor(0.0, dtype=FLOAT64, requires_grad=True)
        found = self.solve(nde.ODEProblem(decay, y0, t0, 1.0), saveat=[0.0, 0.5], gradient=adjoint)
        by_state, by_time = torch.autograd.grad(found.y[0].sum(), (y0, t0))
        assert by_state.tolist() == [1.0, 1.0]
        assert by_time.item() == pytest.approx(0.0, abs=1e-12)

    def test_a_fixed_step_method_is_followed_back_with_the_same_step(self, adjoint):
        y0 = torch.tensor([1.0, -0.5], dtype=FLOAT64, requires_grad=True)
        found = self.solve(nde.ODEProblem(decay, y0), "rk4", dt=0.01, gradient=adjoint)
        (gradient,) = torch.autograd.grad(found.y1.sum(), y0)
        assert gradient.tolist() == pytest.approx([math.exp(-1.0)] * 2, rel=1e-8)

    def test_a_solve_in_float32_has_gradients_in_float32(self, adjoint):
        y0 = torch.ones(4, 2, requires_grad=True)
        found = self.solve(nde.ODEProblem(Oscillator(torch.float32), y0), gradient=adjoint, rtol=1e-4, atol=1e-4)
        (gradient,) = torch.autograd.grad(found.y1.sum(), y0)
        assert gradient.dtype == torch.float32
        double = y0.detach().double().requires_grad_()
        exact = self.solve(nde.ODEProblem(Oscillator(), double), gradient=nde.DiscreteAdjoint(), rtol=1e-9, atol=1e-9)
        (expected,) = torch.autograd.grad(exact.y1.sum(), double)
        assert relative(gradient.double(), expected) <= 1e-2

    # --- as any gradient

    def test_only_what_asks_for_a_gradient_gets_one(self, adjoint):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64)
        field.drive.requires_grad_(False)
        t1 = torch.tensor(1.0, dtype=FLOAT64)
        self.solve(nde.ODEProblem(field, y0, 0.0, t1), gradient=adjoint).y1.sum().backward()
        assert field.damping.grad is not None
        assert (field.drive.grad, y0.grad, t1.grad) == (None, None, None)

    def test_a_graph_that_is_retained_can_be_used_twice(self, adjoint):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64, requires_grad=True)
        found = self.solve(nde.ODEProblem(field, y0), gradient=adjoint, saveat=[0.3, 0.7], rtol=1e-4)
        loss = found.y1.sum() + found.y.square().sum()
        first = torch.autograd.grad(loss, (y0, *field.parameters()), retain_graph=True)
        second = torch.autograd.grad(loss, (y0, *field.parameters()))
        assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))

    def test_a_second_derivative_is_refused_with_a_way_out(self, adjoint):
        y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
        found = self.solve(nde.ODEProblem(van_der_pol, y0), gradient=adjoint)
        with pytest.raises(RuntimeError, match="cannot be differentiated again") as raised:
            torch.autograd.grad(found.y1.sum(), y0, create_graph=True)
        check_sentence(raised.value, "create_graph=True")

    def test_a_parameter_that_was_changed_before_the_backward_pass_is_noticed(self, adjoint):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64, requires_grad=True)
        for changed in (field.damping, y0):
            found = self.solve(nde.ODEProblem(field, y0), gradient=adjoint)
            with torch.no_grad():
                changed.add_(1.0)
            if isinstance(adjoint, nde.ForwardSensitivity) and changed is field.damping:
                found.y1.sum().backward()  # its derivatives were made in the solve
                continue
            with pytest.raises(RuntimeError, match="changed in place between the solve and its backward pass"):
                found.y1.sum().backward()

    def test_a_tensor_that_f_uses_but_nobody_declared_receives_its_gradient(self, adjoint):
        hidden = torch.tensor([0.3, 0.4], dtype=FLOAT64, requires_grad=True)
        problem = nde.ODEProblem(lambda t, y: hidden * y, torch.ones(2, dtype=FLOAT64))
        found = self.solve(problem, rtol=1e-9, atol=1e-9, gradient=adjoint)
        (gradient,) = torch.autograd.grad(found.y1.sum(), hidden)
        torch.testing.assert_close(gradient, hidden.detach().exp(), rtol=1e-7, atol=0.0)

    def test_the_gradient_of_a_failed_solve_is_that_of_what_it_reached(self, adjoint):
        y0 = torch.tensor([1.0, -0.5], dtype=FLOAT64, requires_grad=True)
        problem = nde.ODEProblem(decay, y0, 0.0, 5.0)
        options = {"max_steps": 12, "raise_on_failure": False, "rtol": 1e-9, "atol": 1e-9}
        found = self.solve(problem, "vern7", gradient=adjoint, **options)
        assert not found.status.succeeded
        (gradient,) = torch.autograd.grad(found.y1.sum(), y0)
        assert gradient.tolist() == pytest.approx([math.exp(-found.t_reached)] * 2, rel=1e-7)
