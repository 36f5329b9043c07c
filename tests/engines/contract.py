"""What every engine promises: one suite of tests, run by a class per engine.

class TestEmbedded(EngineContract):
    engine = "embedded"
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

import pyndereg as nde
from tests.equations import FLOAT64, Counted, Oscillator, circle, circle_solution, decay, mixing, van_der_pol
from tests.golden.problems import CASES
from tests.sentences import check_sentence

ADAPTIVE = ("bs3", "dp5", "tsit5", "vern7", "vern9")
FIXED_STEP = ("euler", "midpoint", "heun", "rk4")
METHODS = ADAPTIVE + FIXED_STEP
STIFFNESS = ("dp5", "tsit5", "vern7", "vern9")
GRADIENTS = (None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2))

methods = pytest.mark.parametrize("method", METHODS)


@dataclass(frozen=True)
class Bounds:
    """How far a solve may be from a reference solution.

    Attributes:
        t: of the times, in units of the interval's length.
        dt, scaled_error, stiffness: relative, of each step.
        error_floor: what scaled errors may differ by besides, in units of the tolerance.
        y: of the final and of the saved states, in units of their norms.
    """

    t: float = 1e-8
    dt: float = 1e-5
    scaled_error: float = 1e-4
    error_floor: float = 0.0
    stiffness: float = 1e-4
    y: float = 1e-9


def reference_problem(case, nudge=0.0):
    """The problem of a reference solution; `nudge` moves its initial state by relative units in the last place."""
    y0 = case.y0 * (1 + nudge * torch.finfo(FLOAT64).eps)
    return nde.ODEProblem(case.field, y0, case.record["t0"], case.record["t1"])


def deviations(found, expected, length, error_floor=0.0):
    """Largest deviations of one record of steps from another, as in `Bounds`."""
    apart = {"t": ((found.t - expected.t).abs().max() / length).item()}
    for name, floor in (("dt", 0.0), ("scaled_error", error_floor), ("stiffness", 0.0)):
        one, other = getattr(found, name), getattr(expected, name)
        if not other.isnan().any():
            apart[name] = (((one - other).abs() - floor).clamp_min(0) / other.abs()).max().item()
    return apart


def reference_steps(case):
    t, dt, error = (case.tensor(name) for name in ("t", "dt", "scaled_error"))
    stiffness = case.tensor("stiffness") if case.record["stiffness"] else torch.full_like(t, math.nan)
    return nde.StepRecord(t, dt, error, stiffness)


class EngineContract:
    """The promises, as tests.

    Attributes:
        engine: the engine's name.
        gradients: the gradients of the numerical solution that it offers.
    """

    engine: ClassVar[str]
    gradients: ClassVar[tuple[Any, ...]] = GRADIENTS
    # Between gradients that take the same steps again.
    agreement: ClassVar[dict[str, float]] = {"rtol": 1e-10, "atol": 1e-12}

    def pytest_generate_tests(self, metafunc):
        if "gradient" in metafunc.fixturenames:
            metafunc.parametrize("gradient", self.gradients, ids=repr)

    def solve(self, problem, method="tsit5", **options):
        return nde.solve(problem, method, engine=self.engine, **options)

    # --- the same steps as DifferentialEquations.jl

    def reference_bounds(self, case):
        """How far a solve may be from a reference case; the looser ones of an engine state their reason."""
        return Bounds(y=1e-8) if case.problem == "arenstorf" else Bounds()

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_the_steps_are_those_of_differentialequations_jl(self, case):
        options = {"rtol": case.record["rtol"], "atol": case.record["atol"], "stiffness": "max"}
        problem = reference_problem(case)
        found = self.solve(problem, case.method, **options)
        saved = self.solve(problem, case.method, saveat=case.record["saveat"], **options)
        assert (found.stats.accepted, found.stats.rejected) == (case.record["accepted"], case.record["rejected"])
        assert found.stats.nfe <= case.record["nfe"]
        bounds = self.reference_bounds(case)
        length = abs(case.record["t1"] - case.record["t0"])
        apart = deviations(found.steps, reference_steps(case), length, bounds.error_floor)
        for name, deviation in apart.items():
            assert deviation <= getattr(bounds, name), name
        for states, expected in ((found.y1, case.tensor("y1")), (saved.y, case.tensor("y_saveat"))):
            assert (states - expected).norm() <= bounds.y * expected.norm()

    # --- the solution

    @pytest.mark.parametrize("method", ADAPTIVE)
    def test_the_error_of_the_solution_falls_with_the_tolerance(self, method):
        errors = []
        for tolerance in (1e-4, 1e-6, 1e-8):
            problem = nde.ODEProblem(circle, circle_solution(0.0), 0.0, 5.0)
            found = self.solve(problem, method, rtol=tolerance, atol=tolerance)
            errors.append((found.y1 - circle_solution(5.0)).norm().item())
            assert errors[-1] < 100 * tolerance
        assert errors[0] > 10 * errors[1] > 100 * errors[2]

    @methods
    def test_integrating_backwards_undoes_integrating_forwards(self, method):
        options = {"dt": 0.01} if method in FIXED_STEP else {"rtol": 1e-9, "atol": 1e-9}
        there = self.solve(nde.ODEProblem(circle, circle_solution(0.0), 0.0, 1.0), method, **options)
        back = self.solve(nde.ODEProblem(circle, there.y1, 1.0, 0.0), method, **options)
        assert bool((back.steps.dt < 0).all())
        assert back.t_reached == 0.0
        torch.testing.assert_close(
            back.y1,
            circle_solution(0.0),
            rtol=0,
            atol={"euler": 0.05, "midpoint": 1e-4, "heun": 1e-4}.get(method, 1e-7),
        )

    @methods
    def test_steps_of_a_given_length_are_taken_and_the_last_one_is_cut(self, method):
        found = self.solve(
            nde.ODEProblem(decay, torch.ones(2, dtype=FLOAT64), 0.0, 1.0), method, dt=0.3, adaptive=False
        )
        assert found.steps.dt.tolist() == pytest.approx([0.3, 0.3, 0.3, 0.1], rel=1e-12)
        assert found.steps.t.tolist() == pytest.approx([0.0, 0.3, 0.6, 0.9], rel=1e-12)
        assert (found.stats.accepted, found.stats.rejected) == (4, 0)

    def test_dt_is_the_length_of_the_first_step_of_an_adaptive_method(self):
        found = self.solve(nde.ODEProblem(decay, torch.ones(2, dtype=FLOAT64), 0.0, 1.0), dt=0.0625)
        assert found.steps.dt[0].item() == 0.0625

    @pytest.mark.parametrize("method", ADAPTIVE)
    @pytest.mark.parametrize("t1", [4.0, -4.0])
    def test_the_record_is_contiguous_and_its_errors_were_acceptable(self, method, t1):
        found = self.solve(
            nde.ODEProblem(van_der_pol, torch.tensor([2.0, 0.0], dtype=FLOAT64), 0.0, t1), method, rtol=1e-5
        )
        steps = found.steps
        assert len(steps) == found.stats.accepted
        assert steps.t[0].item() == 0.0
        torch.testing.assert_close(steps.t[1:], (steps.t + steps.dt)[:-1], rtol=1e-14, atol=1e-14)
        assert (steps.t[-1] + steps.dt[-1]).item() == pytest.approx(t1, rel=1e-14)
        assert bool((steps.dt * t1 > 0).all())
        assert bool((steps.scaled_error <= 1).all())
        assert bool((steps.scaled_error > 0).all())
        assert bool((steps.stiffness > 0).all()) == (method in STIFFNESS)

    @pytest.mark.parametrize("method", ["bs3", *FIXED_STEP])
    def test_estimates_that_a_method_does_not_have_are_nan(self, method):
        steps = self.solve(nde.ODEProblem(decay, torch.ones(2), 0.0, 1.0), method, dt=0.25).steps
        assert bool(steps.stiffness.isnan().all())
        assert bool(steps.scaled_error.isnan().all()) == (method in FIXED_STEP)
        assert not bool(steps.dt.isnan().any())

    @pytest.mark.parametrize("method", STIFFNESS)
    def test_the_stiffness_of_a_linear_equation_is_its_eigenvalue_in_both_definitions(self, method):
        for definition in ("rms", "max"):
            problem = nde.ODEProblem(lambda t, y: -6.0 * y, torch.ones(3, dtype=FLOAT64), 0.0, 1.0)
            steps = self.solve(problem, method, dt=0.25, adaptive=False, stiffness=definition).steps
            torch.testing.assert_close(steps.stiffness, torch.full((4,), 6.0, dtype=FLOAT64), rtol=1e-7, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 3)])
    def test_the_state_may_have_any_shape(self, shape, dtype):
        y0 = torch.linspace(1.0, 2.0, max(1, math.prod(shape)), dtype=dtype).reshape(shape)
        found = self.solve(nde.ODEProblem(decay, y0, 0.0, 1.0), saveat=[0.25, 0.5])
        assert found.y1.shape == shape
        assert found.y.shape == (2, *shape)
        assert found(torch.zeros(4, 5)).shape == (4, 5, *shape)
        torch.testing.assert_close(found.y1, y0 * math.exp(-1.0), rtol=1e-5, atol=0)
        everything = (found.y, found.y1, found.t, found.steps.t, found.steps.dt, found.steps.scaled_error)
        assert {tensor.dtype for tensor in everything} == {dtype}

    def test_the_state_may_be_a_tuple(self):
        y0 = (torch.ones(2, 3, dtype=FLOAT64), torch.full((), 2.0, dtype=FLOAT64))
        found = self.solve(
            nde.ODEProblem(lambda t, y: (-y[0], -2.0 * y[1]), y0, 0.0, 1.0), saveat=[0.0, 0.5, 1.0], rtol=1e-9
        )
        assert [part.shape for part in found.y] == [(3, 2, 3), (3,)]
        assert [part.shape for part in found.y1] == [(2, 3), ()]
        torch.testing.assert_close(found.y[0][1], torch.full((2, 3), math.exp(-0.5), dtype=FLOAT64), rtol=1e-6, atol=0)
        assert found.y[1][2].item() == pytest.approx(2.0 * math.exp(-2.0), rel=1e-6)
        assert [part.shape for part in found(0.3)] == [(2, 3), ()]

    def test_a_tuple_takes_the_steps_of_its_concatenation(self):
        def apart(t, y):
            return (y[1], 5.0 * (1 - y[0] ** 2) * y[1] - y[0])

        ends = torch.tensor(2.0, dtype=FLOAT64), torch.tensor(0.0, dtype=FLOAT64)
        one = self.solve(nde.ODEProblem(apart, ends, 0.0, 3.0))
        other = self.solve(nde.ODEProblem(van_der_pol, torch.stack(ends), 0.0, 3.0))
        torch.testing.assert_close(one.steps.dt, other.steps.dt, rtol=1e-12, atol=0)
        torch.testing.assert_close(torch.stack(one.y1), other.y1, rtol=1e-12, atol=0)

    def test_a_batch_shares_its_steps(self):
        y0 = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.5, -0.5]], dtype=FLOAT64)
        found = self.solve(nde.ODEProblem(Oscillator(), y0, 0.0, 2.0))
        for i in range(3):
            alone = self.solve(nde.ODEProblem(Oscillator(), y0[i : i + 1], 0.0, 2.0))
            torch.testing.assert_close(found.y1[i], alone.y1[0], rtol=1e-4, atol=1e-4)
        twice = self.solve(nde.ODEProblem(Oscillator(), torch.cat([y0, y0]), 0.0, 2.0))
        # The sums of twice as many elements are rounded differently, and step control passes that on.
        torch.testing.assert_close(twice.steps.dt, found.steps.dt, rtol=1e-6, atol=0)

    def test_time_is_handed_to_f_as_a_scalar_of_the_state_s_dtype(self):
        for dtype in (torch.float32, torch.float64):
            seen = []

            def f(t, y, seen=seen):
                seen.append((t.shape, t.dtype, y.dtype))
                return -y

            self.solve(nde.ODEProblem(f, torch.ones(2, dtype=dtype), 0.0, 1.0))
            assert set(seen) == {((), dtype, dtype)}

    def test_the_initial_state_is_left_alone(self):
        y0 = torch.ones(3, dtype=FLOAT64)
        self.solve(nde.ODEProblem(decay, y0, 0.0, 1.0), saveat=nde.SaveAt(every_step=True))
        assert y0.tolist() == [1.0, 1.0, 1.0]
        assert y0._version == 0

    # --- what is saved

    def test_without_save_times_the_end_is_saved(self):
        found = self.solve(nde.ODEProblem(decay, torch.ones(3, dtype=FLOAT64), 0.5, 2.0))
        assert found.t.tolist() == [2.0]
        assert torch.equal(found.y[0], found.y1)

    @methods
    @pytest.mark.parametrize("backwards", [False, True])
    def test_states_at_save_times_are_those_of_the_dense_output_and_both_ends_are_exact(self, method, backwards):
        times = [0.0, 0.01, 0.4, 0.41, 1.3, 2.0]
        t0, t1 = (2.0, 0.0) if backwards else (0.0, 2.0)
        times = times[::-1] if backwards else times
        problem = nde.ODEProblem(circle, circle_solution(0.0), t0, t1)
        found = self.solve(problem, method, saveat=times, dt=0.11)
        assert found.t.tolist() == times
        assert torch.equal(found.y[0], problem.y0)
        assert torch.equal(found.y[-1], found.y1)
        torch.testing.assert_close(found.y, found(torch.tensor(times, dtype=FLOAT64)), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("method", ADAPTIVE)
    def test_states_at_save_times_are_as_accurate_as_the_end(self, method):
        times = torch.linspace(0.1, 4.9, 17, dtype=FLOAT64)
        problem = nde.ODEProblem(circle, circle_solution(0.0), 0.0, 5.0)
        found = self.solve(problem, method, saveat=times, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(found.y, circle_solution(times), rtol=0, atol=1e-6)

    def test_saving_moves_no_step(self):
        problem = nde.ODEProblem(van_der_pol, torch.tensor([2.0, 0.0], dtype=FLOAT64), 0.0, 4.0)
        plain = self.solve(problem)
        for saveat in ([1.0, 2.0], nde.SaveAt(every_step=True), nde.SaveAt(dense=True)):
            assert torch.equal(self.solve(problem, saveat=saveat).steps.dt, plain.steps.dt)

    def test_one_save_time_may_be_either_end(self):
        problem = nde.ODEProblem(decay, torch.ones(2, dtype=FLOAT64), 0.0, 1.0)
        start, end = self.solve(problem, saveat=[0.0]), self.solve(problem, saveat=[1.0])
        assert (start.t.tolist(), start.y.tolist()) == ([0.0], [[1.0, 1.0]])
        assert end.t.tolist() == [1.0]
        assert torch.equal(end.y[0], end.y1)

    def test_every_step_saves_the_start_and_the_end_of_each_step(self):
        problem = nde.ODEProblem(van_der_pol, torch.tensor([2.0, 0.0], dtype=FLOAT64), 0.0, 4.0)
        found = self.solve(problem, saveat=nde.SaveAt(every_step=True))
        assert found.t.shape[0] == found.stats.accepted + 1
        assert torch.equal(found.t[:-1], found.steps.t)
        assert torch.equal(found.y[0], problem.y0)
        assert torch.equal(found.y[-1], found.y1)
        torch.testing.assert_close(found.y, found(found.t), rtol=1e-12, atol=1e-12)

    @methods
    def test_dense_output_kept_or_replayed_is_the_same(self, method):
        problem = nde.ODEProblem(circle, circle_solution(0.0), 0.0, 2.0)
        times = torch.rand(30, dtype=FLOAT64) * 2.0
        kept = self.solve(problem, method, saveat=nde.SaveAt(dense=True), dt=0.05)
        replayed = self.solve(problem, method, dt=0.05)
        torch.testing.assert_close(kept(times), replayed(times), rtol=1e-13, atol=1e-13)

    def test_dense_output_outside_the_interval_is_refused(self):
        found = self.solve(nde.ODEProblem(decay, torch.ones(2), 0.5, 1.5))
        for t in (0.49, 1.51, math.nan):
            with pytest.raises(ValueError, match="lies outside") as raised:
                found(t)
            check_sentence(raised.value, "[0.5, 1.5]")

    # --- true counts

    @methods
    @pytest.mark.parametrize("saveat", [None, [0.1, 0.2, 3.0], nde.SaveAt(every_step=True), nde.SaveAt(dense=True)])
    def test_nfe_counts_every_call_of_f(self, method, saveat):
        field = Counted(van_der_pol)
        problem = nde.ODEProblem(field, torch.tensor([2.0, 0.0], dtype=FLOAT64), 0.0, 10.0)
        options = {"dt": 0.04} if method in FIXED_STEP else {"rtol": 1e-4, "atol": 1e-4}
        found = self.solve(problem, method, saveat=saveat, **options)
        assert found.stats.nfe == field.calls
        assert (found.stats.rejected > 0) == (method in ADAPTIVE)
        if isinstance(saveat, nde.SaveAt) and saveat.dense:
            found(1.0)
            assert field.calls == found.stats.nfe

    def test_nfe_counts_the_forward_solve_alone(self, gradient):
        field = Oscillator()
        calls = []
        field.register_forward_hook(lambda *_: calls.append(1))
        y0 = (torch.tensor([[2.0, 0.0]], dtype=FLOAT64).requires_grad_(), torch.zeros(1, 1, dtype=FLOAT64))
        problem = nde.ODEProblem(lambda t, y: (field(t, y[0]), -y[1]), y0, 0.0, 2.0, params=field.parameters())
        found = self.solve(problem, gradient=gradient, saveat=[0.5, 1.0])
        assert found.stats.nfe == len(calls)
        found.y1[0].sum().backward()
        takes_steps_again = isinstance(gradient, nde.DiscreteAdjoint) or (gradient is None and self.engine == "julia")
        assert (len(calls) > found.stats.nfe) == takes_steps_again

    # --- how a solve ends

    def failed(self, problem, status, **options):
        with pytest.raises(nde.SolveFailed) as raised:
            self.solve(problem, **options)
        error = raised.value
        assert error.status is status
        assert error.solution.status is status
        quiet = self.solve(problem, raise_on_failure=False, **options)
        assert quiet.status is status
        assert not quiet.status.succeeded
        solution = error.solution
        check_sentence(error, f"t={solution.t_reached:g}", f"{solution.stats.accepted} accepted", status.value)
        return solution

    def test_too_many_steps_end_the_solve_with_what_was_computed(self):
        problem = nde.ODEProblem(circle, circle_solution(0.0), 0.0, 5.0)
        found = self.failed(problem, nde.Status.MAX_STEPS, max_steps=7, saveat=nde.SaveAt(every_step=True))
        assert found.stats.accepted + found.stats.rejected == 7
        assert 0.0 < found.t_reached < 5.0
        assert found.t[-1].item() == found.t_reached
        torch.testing.assert_close(found.y, circle_solution(found.t), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            found(0.5 * found.t_reached), circle_solution(0.5 * found.t_reached), rtol=0, atol=1e-5
        )
        with pytest.raises(ValueError, match="lies outside"):
            found(found.t_reached + 1e-6)

    def test_a_failed_solve_holds_the_save_times_that_it_reached(self):
        problem = nde.ODEProblem(circle, circle_solution(0.0), 0.0, 5.0)
        found = self.failed(problem, nde.Status.MAX_STEPS, max_steps=10, saveat=[0.0, 0.01, 4.9])
        assert found.t.tolist() == [0.0, 0.01]
        torch.testing.assert_close(found.y, circle_solution(found.t), rtol=0, atol=1e-5)
        torch.testing.assert_close(found.y1, circle_solution(found.t_reached), rtol=0, atol=1e-5)

    def test_a_pole_ends_the_solve_before_it_is_crossed(self):
        y0 = torch.ones(1, dtype=FLOAT64)
        with pytest.raises(nde.SolveFailed) as raised:
            self.solve(nde.ODEProblem(lambda t, y: y * y, y0, 0.0, 2.0))
        assert raised.value.status in (nde.Status.STEP_UNDERFLOW, nde.Status.NON_FINITE)
        assert 0.99 < raised.value.solution.t_reached < 1.01

    def test_a_jump_that_no_step_is_short_enough_for_ends_the_solve_with_an_underflow(self):
        def jump(t, y):
            return torch.where(t < 1.5, 1.0, 1e10).to(y).expand(y.shape)

        problem = nde.ODEProblem(jump, torch.ones(1, dtype=FLOAT64), 1.0, 2.0)
        found = self.failed(problem, nde.Status.STEP_UNDERFLOW, rtol=1e-12, atol=1e-12)
        assert found.t_reached == pytest.approx(1.5, abs=1e-12)
        assert found.y1.item() == pytest.approx(1.5, abs=1e-9)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_slope_that_is_not_finite_at_the_start_ends_the_solve_at_once(self, value):
        y0 = torch.ones(2, dtype=FLOAT64)
        found = self.failed(nde.ODEProblem(lambda t, y: y * value, y0, 0.0, 1.0), nde.Status.NON_FINITE)
        assert (found.t_reached, found.stats.accepted, len(found.steps)) == (0.0, 0, 0)
        assert torch.equal(found.y1, y0)
        with pytest.raises(ValueError, match="accepted no step"):
            found(0.0)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_slope_that_stops_being_finite_ends_the_solve_where_it_does(self, value):
        def f(t, y):
            return -y if float(t) < 0.5 else y * value

        found = self.failed(nde.ODEProblem(f, torch.ones(2, dtype=FLOAT64), 0.0, 1.0), nde.Status.NON_FINITE)
        assert found.t_reached == pytest.approx(0.5, abs=1e-6)
        torch.testing.assert_close(found.y1, torch.full((2,), math.exp(-0.5), dtype=FLOAT64), rtol=1e-5, atol=0)

    def test_a_slope_that_is_not_finite_beyond_reach_is_avoided_by_shorter_steps(self):
        def f(t, y):
            return torch.where(y > 1.0, math.nan, 1.0 - y)

        problem = nde.ODEProblem(f, torch.zeros(1, dtype=FLOAT64), 0.0, 3.0)
        found = self.solve(problem, dt=2.9)
        assert found.status.succeeded
        assert found.y1.item() == pytest.approx(1 - math.exp(-3.0), abs=1e-5)

    # --- bad input

    @pytest.mark.parametrize("method", FIXED_STEP)
    def test_a_fixed_step_method_without_a_step_length_is_refused(self, method):
        with pytest.raises(ValueError, match="no step length") as raised:
            self.solve(nde.ODEProblem(decay, torch.ones(2)), method)
        check_sentence(raised.value, repr(method), "dt=")

    def test_an_adaptive_method_without_adaptivity_needs_a_step_length(self):
        with pytest.raises(ValueError, match="no step length") as raised:
            self.solve(nde.ODEProblem(decay, torch.ones(2)), "tsit5", adaptive=False)
        check_sentence(raised.value, "'tsit5'", "adaptive=False", "dt=")

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(ValueError, match="unknown method") as raised:
            self.solve(nde.ODEProblem(decay, torch.ones(2)), "rk45")
        check_sentence(raised.value, "'rk45'", "tsit5")

    @pytest.mark.parametrize(
        ("wrong", "error", "found"),
        [
            (lambda y: y[:1], ValueError, "shape (1, 3)"),
            (lambda y: y.double(), ValueError, "torch.float64"),
            (lambda y: y.to("meta"), ValueError, "on meta"),
            (lambda y: y.tolist(), TypeError, "a list"),
        ],
    )
    def test_a_wrong_slope_is_refused_wherever_it_first_appears(self, wrong, error, found):
        for start in (0.0, 0.5):
            problem = nde.ODEProblem(lambda t, y, start=start: -y if float(t) < start else wrong(y), torch.ones(2, 3))
            with pytest.raises(error) as raised:
                self.solve(problem)
            check_sentence(raised.value, "f returned", found, "shape (2, 3), torch.float32 on cpu")

    def test_a_save_time_outside_the_interval_is_refused(self):
        with pytest.raises(ValueError, match="lies outside") as raised:
            self.solve(nde.ODEProblem(decay, torch.ones(2), 0.0, 1.0), saveat=[0.5, 1.5])
        check_sentence(raised.value, "1.5", "[0.0, 1.0]")

    def test_save_times_against_the_direction_of_time_are_refused(self):
        with pytest.raises(ValueError, match="sort them") as raised:
            self.solve(nde.ODEProblem(decay, torch.ones(2), 1.0, 0.0), saveat=[0.25, 0.5])
        check_sentence(raised.value, "from 0.25 to 0.5", "from t0=1.0 to t1=0.0")

    # --- gradients

    @methods
    def test_gradients_on_a_fixed_grid_are_those_of_finite_differences(self, method, gradient):
        # Three steps so long that differences of the estimates are above rounding; save times inside them.
        generator = torch.Generator().manual_seed(3)
        y0 = torch.randn(2, 3, generator=generator, dtype=FLOAT64).requires_grad_()
        weights = (0.7 * torch.randn(3, 3, generator=generator, dtype=FLOAT64)).requires_grad_()
        t0, t1 = (torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.1, 2.2))

        def outputs(y0, weights, t0, t1):
            results = []
            for stiffness in ("rms", "max") if method in STIFFNESS else ("rms",):
                found = self.solve(
                    nde.ODEProblem(mixing(weights), y0, t0, t1, params=(weights,)),
                    method,
                    dt=0.75,
                    adaptive=False,
                    rtol=1e-2,
                    atol=1e-2,
                    saveat=[0.3, 0.5, 1.0, 2.1],
                    gradient=gradient,
                    stiffness=stiffness,
                )
                results.append(found.steps.stiffness)
            estimates = results if method in STIFFNESS else []
            if method in ADAPTIVE:
                estimates.append(found.steps.scaled_error)
            return found.y1, found.y, found(torch.tensor([0.2, 1.2, 2.0], dtype=FLOAT64)), *estimates

        # Wide differences: the stages that the stiffness of vern9 compares are apart by 1e10 roundings alone.
        assert torch.autograd.gradcheck(outputs, (y0, weights, t0, t1), eps=1e-5)

    def test_the_gradient_of_dense_output_that_was_kept_is_that_of_finite_differences(self, gradient):
        y0 = torch.tensor([0.4, -0.7, 1.1], dtype=FLOAT64, requires_grad=True)
        t0, t1 = (torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.1, 1.6))
        weights = torch.eye(3, dtype=FLOAT64).roll(1, 0) * 0.8

        def outputs(y0, t0, t1):
            problem = nde.ODEProblem(mixing(weights), y0, t0, t1)
            found = self.solve(
                problem, "vern7", dt=0.6, adaptive=False, saveat=nde.SaveAt(dense=True), gradient=gradient
            )
            return found(torch.tensor([0.2, 0.8, 1.4], dtype=FLOAT64)), found.y1

        assert torch.autograd.gradcheck(outputs, (y0, t0, t1))

    def test_the_gradient_of_the_end_of_every_step_is_that_of_finite_differences(self, gradient):
        y0 = torch.tensor([0.4, -0.7, 1.1], dtype=FLOAT64, requires_grad=True)
        t0, t1 = (torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.1, 1.6))
        weights = torch.eye(3, dtype=FLOAT64).roll(1, 0) * 0.8

        def outputs(y0, t0, t1):
            problem = nde.ODEProblem(mixing(weights), y0, t0, t1)
            saveat = nde.SaveAt(every_step=True)
            return self.solve(problem, "dp5", dt=0.6, adaptive=False, saveat=saveat, gradient=gradient).y

        assert torch.autograd.gradcheck(outputs, (y0, t0, t1))

    @pytest.mark.parametrize("t1", [1.5, -1.5])
    def test_gradients_of_an_adaptive_solve_meet_the_closed_form(self, gradient, t1):
        y0 = torch.tensor([1.0, -2.0], dtype=FLOAT64, requires_grad=True)
        rate = torch.tensor(0.7, dtype=FLOAT64, requires_grad=True)
        start, end = (torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.25, t1))
        problem = nde.ODEProblem(lambda t, y: -rate * y, y0, start, end, params=(rate,))
        found = self.solve(problem, rtol=1e-10, atol=1e-10, gradient=gradient)
        found.y1.sum().backward()
        factor = math.exp(-0.7 * (t1 - 0.25))
        assert found.y1.sum().item() == pytest.approx(-factor, rel=1e-8)
        assert y0.grad.tolist() == pytest.approx([factor, factor], rel=1e-8)
        assert rate.grad.item() == pytest.approx((t1 - 0.25) * factor, rel=1e-7)
        assert end.grad.item() == pytest.approx(0.7 * factor, rel=1e-7)
        assert start.grad.item() == pytest.approx(-0.7 * factor, rel=1e-7)

    @pytest.mark.parametrize(
        ("method", "stiffness"), [("tsit5", "rms"), ("dp5", "max"), ("vern7", "max"), ("vern9", "rms")]
    )
    def test_all_gradients_agree_on_an_adaptive_solve_with_rejected_steps(self, method, stiffness):
        found = [self.differentiate_everything(gradient, method, stiffness) for gradient in self.gradients]
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                torch.testing.assert_close(one, two, **self.agreement)

    def differentiate_everything(self, gradient, method, stiffness):
        """Gradients of every output by itself: a tuple, a module, a frozen parameter and one that is no leaf."""
        oscillator = Oscillator()
        oscillator.drive.requires_grad_(False)
        source = torch.tensor([0.5], dtype=FLOAT64, requires_grad=True)
        rate = source.exp()
        y0 = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=FLOAT64, requires_grad=True)
        total = torch.zeros(2, dtype=FLOAT64)
        t0, t1 = (torch.tensor(t, dtype=FLOAT64, requires_grad=True) for t in (0.0, 3.0))

        class Energy(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.oscillator = oscillator

            def forward(self, t, y):
                return self.oscillator(t, y[0]), rate * y[0].square().sum(-1) - y[1]

        problem = nde.ODEProblem(Energy(), (y0, total), t0, t1, params=(rate,))
        options = {"rtol": 1e-4, "atol": 1e-4, "gradient": gradient, "stiffness": stiffness}
        found = self.solve(problem, method, saveat=[0.0, 0.5, 0.51, 2.5], **options)
        assert found.stats.rejected > 0
        outputs = (*found.y1, *found.y, found.steps.scaled_error, found.steps.stiffness, *found(1.234))
        inputs = (y0, source, oscillator.damping, t0, t1)
        results = []
        for output in outputs:
            cotangent = torch.linspace(0.5, 1.5, output.numel(), dtype=FLOAT64).view(output.shape)
            results += torch.autograd.grad(output, inputs, cotangent, retain_graph=True, materialize_grads=True)
        return results

    def test_lengths_and_times_of_steps_are_constants_of_the_gradient(self):
        y0 = torch.tensor([2.0, 0.0], dtype=FLOAT64, requires_grad=True)
        steps = self.solve(nde.ODEProblem(van_der_pol, y0, 0.0, 1.0)).steps
        assert not steps.t.requires_grad
        assert not steps.dt.requires_grad
        assert steps.scaled_error.requires_grad
        assert steps.stiffness.requires_grad

    def test_estimates_that_a_method_does_not_have_ask_for_no_gradient(self, gradient):
        y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
        steps = self.solve(nde.ODEProblem(decay, y0), "rk4", dt=0.25, gradient=gradient).steps
        assert not steps.scaled_error.requires_grad
        assert not steps.stiffness.requires_grad

    def test_only_what_asks_for_a_gradient_gets_one(self, gradient):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64)
        field.drive.requires_grad_(False)
        t1 = torch.tensor(1.0, dtype=FLOAT64)
        self.solve(nde.ODEProblem(field, y0, 0.0, t1), gradient=gradient).y1.sum().backward()
        assert field.damping.grad is not None
        assert (field.drive.grad, y0.grad, t1.grad) == (None, None, None)

    def test_an_output_that_is_not_used_costs_no_gradient_and_a_constant_field_gives_none(self, gradient):
        y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
        idle = torch.ones(3, dtype=FLOAT64, requires_grad=True)
        found = self.solve(nde.ODEProblem(lambda t, y: torch.ones_like(y), y0, params=(idle,)), gradient=gradient)
        found.y1.sum().backward()
        assert y0.grad.tolist() == [1.0, 1.0]
        assert idle.grad is None or not bool(idle.grad.any())

    def test_a_field_may_return_its_state_or_a_parameter_itself(self):
        for gradient in self.gradients:
            y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
            slope = torch.full((2,), 3.0, dtype=FLOAT64, requires_grad=True)
            self.solve(nde.ODEProblem(lambda t, y: y, y0), gradient=gradient, rtol=1e-9).y1.sum().backward()
            assert y0.grad.tolist() == pytest.approx([math.e, math.e], rel=1e-6)
            problem = nde.ODEProblem(lambda t, y, slope=slope: slope, y0.detach(), 0.0, 2.0, params=(slope,))
            self.solve(problem, gradient=gradient).y1.sum().backward()
            assert slope.grad.tolist() == pytest.approx([2.0, 2.0], rel=1e-12)

    def test_a_save_time_that_is_also_the_start_passes_its_gradient_to_the_initial_state(self):
        for gradient in self.gradients:
            y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
            found = self.solve(nde.ODEProblem(decay, y0), saveat=[0.0, 0.5], gradient=gradient)
            (grad,) = torch.autograd.grad(found.y[0].sum(), y0)
            assert grad.tolist() == [1.0, 1.0]

    def test_the_gradient_of_a_failed_solve_is_that_of_its_accepted_steps(self, gradient):
        y0 = torch.tensor([1.0, -0.5], dtype=FLOAT64, requires_grad=True)
        problem = nde.ODEProblem(decay, y0, 0.0, 5.0)
        found = self.solve(problem, max_steps=4, raise_on_failure=False, gradient=gradient, rtol=1e-10, atol=1e-10)
        (grad,) = torch.autograd.grad(found.y1.sum(), y0)
        assert grad.tolist() == pytest.approx([math.exp(-found.t_reached)] * 2, rel=1e-9)

    def test_no_gradient_is_recorded_under_no_grad(self):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64, requires_grad=True)
        with torch.no_grad():
            plain = self.solve(nde.ODEProblem(field, y0), saveat=[0.5])
            tensors = (plain.y1, plain.y, plain.steps.scaled_error, plain.steps.stiffness, plain(0.3))
        assert not any(tensor.requires_grad for tensor in tensors)
        graded = self.solve(nde.ODEProblem(field, y0), saveat=[0.5])
        assert torch.equal(plain.y1, graded.y1)
        assert plain.stats == graded.stats

    def test_a_solve_in_inference_mode_leaves_later_gradients_alone(self):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64)
        with torch.inference_mode():
            inferred = self.solve(nde.ODEProblem(field, y0), "vern9", saveat=[0.5])
            values = inferred.y1.clone(), inferred(0.3).clone()
        found = self.solve(nde.ODEProblem(field, y0), "vern9", saveat=[0.5])
        assert torch.equal(found.y1, values[0])
        torch.testing.assert_close(found(0.3), values[1], rtol=1e-13, atol=0)
        found.y1.sum().backward()
        assert field.damping.grad is not None

    def test_a_second_derivative_is_refused_with_a_way_out(self, gradient):
        y0 = torch.ones(2, dtype=FLOAT64, requires_grad=True)
        found = self.solve(nde.ODEProblem(van_der_pol, y0), gradient=gradient)
        with pytest.raises(RuntimeError, match="cannot be differentiated again") as raised:
            torch.autograd.grad(found.y1.sum(), y0, create_graph=True)
        check_sentence(raised.value, "create_graph=True")

    def test_a_graph_that_is_retained_can_be_used_twice(self, gradient):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64, requires_grad=True)
        found = self.solve(nde.ODEProblem(field, y0), gradient=gradient, saveat=[0.3, 0.7], rtol=1e-4)
        loss = found.y1.sum() + found.y.square().sum() + found.steps.stiffness.sum()
        first = torch.autograd.grad(loss, (y0, *field.parameters()), retain_graph=True)
        second = torch.autograd.grad(loss, (y0, *field.parameters()))
        assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))

    def test_a_parameter_that_was_changed_before_the_backward_pass_is_noticed(self, gradient):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64, requires_grad=True)
        for changed in (field.damping, y0):
            found = self.solve(nde.ODEProblem(field, y0), gradient=gradient)
            with torch.no_grad():
                changed.add_(1.0)
            with pytest.raises(RuntimeError, match="changed in place between the solve and its backward pass"):
                found.y1.sum().backward()

    def test_a_tensor_that_f_uses_but_nobody_declared_receives_its_gradient(self, gradient):
        hidden = torch.tensor([0.3, 0.4], dtype=FLOAT64, requires_grad=True)
        for y0 in (torch.ones(2, dtype=FLOAT64), torch.ones(2, dtype=FLOAT64, requires_grad=True)):
            found = self.solve(nde.ODEProblem(lambda t, y: hidden * y, y0), rtol=1e-9, atol=1e-9, gradient=gradient)
            (found_gradient,) = torch.autograd.grad(found.y1.sum(), hidden)
            torch.testing.assert_close(found_gradient, hidden.detach().exp(), rtol=1e-7, atol=0.0)
        with torch.no_grad():
            found = self.solve(nde.ODEProblem(lambda t, y: hidden * y, torch.ones(2, dtype=FLOAT64)), gradient=gradient)
        assert not found.y1.requires_grad

    def test_dense_output_is_not_replayed_after_a_change(self):
        field, y0 = Oscillator(), torch.tensor([[2.0, 0.0]], dtype=FLOAT64, requires_grad=True)
        for changed in (field.drive, y0):
            early, late = (self.solve(nde.ODEProblem(field, y0)) for _ in range(2))
            kept = self.solve(nde.ODEProblem(field, y0), saveat=nde.SaveAt(dense=True))
            before = early(0.3)
            with torch.no_grad():
                changed.mul_(0.5)
            assert torch.equal(early(0.3), before)
            torch.testing.assert_close(kept(0.3), before, rtol=1e-13, atol=0)
            with pytest.raises(RuntimeError, match="cannot be replayed") as raised:
                late(0.3)
            check_sentence(raised.value, "SaveAt(dense=True)")
