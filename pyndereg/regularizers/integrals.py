"""Integrals along the solution: regularizers of the dynamics that ride along as further states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyndereg.ivp.julia import JuliaFunction
from pyndereg.ivp.options import SolveOptions
from pyndereg.ivp.problem import ODEProblem
from pyndereg.ivp.solution import Solution
from pyndereg.numbers import at_least
from pyndereg.regularizers.augmented import DenseWithoutIntegrals, FieldWithIntegrals, UserState, norm_of_first
from pyndereg.regularizers.derivatives import Dynamics, Parts

PROBES = ("gaussian", "rademacher")


@dataclass(frozen=True)
class RunningIntegral:
    """What running integrals have in common; pass one in `regularizers=` of a solve or of a model.

    The integral is solved for together with the state, without a say in the steps: these stay what they are without
    it. It runs from t0 to t1 with |dt|, so that it is >= 0 backwards in time, too.
    """

    @property
    def highest_order(self) -> int:
        """Which total derivative of the state it needs; the first is the slope."""
        return 1

    def draw_probe(self, y0: Parts) -> Parts | None:
        """What is drawn once per solve to be multiplied with the Jacobian. Shapes of y0; None if nothing is."""
        return None

    def integrand(self, at: Dynamics, product: Parts | None) -> Tensor:
        """The integrand at one point. Shape (), >= 0.

        Args:
            at: the right-hand side and its derivatives.
            product: of its own probe with the Jacobian.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class TaylorDerivative(RunningIntegral):
    """Integral of the mean square of the K-th total derivative of the state: int mean |d^K y/dt^K|^2 |dt|.

    The mean is over all elements of the state, batch included; units of y^2 over time^(2K - 1). Each point costs one
    evaluation of f and K reverse passes, each over all before it. f has to be one that `torch.func` can differentiate,
    K - 1 times for the value and K times for its gradient.

    Args:
        order: K >= 1; 2 and 3 are usual.
    Source: [@kelly2020learning]; the mean is that of its published code.
    """

    order: int

    def __post_init__(self) -> None:
        order = at_least(self.order, 1, "order", "a positive whole number, e.g. 3")
        object.__setattr__(self, "order", order)

    @property
    def highest_order(self) -> int:
        """K."""
        return self.order

    def integrand(self, at: Dynamics, product: Parts | None) -> Tensor:
        """mean |d^K y/dt^K|^2. Shape ()."""
        return _mean_square(at.derivatives[self.order])


@dataclass(frozen=True)
class KineticEnergy(RunningIntegral):
    """Integral of half the mean square of the slope: int 1/2 mean |f|^2 |dt|.

    The mean is over all elements of the state, batch included; units of y^2 over time. f is not evaluated again.

    Source: [@finlay2020how]; the mean is that of its published code.
    """

    def integrand(self, at: Dynamics, product: Parts | None) -> Tensor:
        """1/2 mean |f|^2. Shape ()."""
        return 0.5 * _mean_square(at.slope)


@dataclass(frozen=True)
class JacobianFrobenius(RunningIntegral):
    """Integral of the mean square of a random product with the Jacobian: int mean |e^T df/dy|^2 |dt|, in 1/time.

    The probe e has the state's shape, batch included; it is drawn once per solve and fixed during it, also in the
    backward pass. With n elements in the whole state, the expectation of the integrand is |df/dy|_F^2 / n, the Jacobian
    being that of the whole state. Where f treats the samples of a batch apart, that is the mean over the batch of
    |J_b|_F^2 / dim; every sample has a probe of its own, so the estimate's variance falls with the batch's size. f has
    to be one that `torch.func` can differentiate.

    Args:
        generator: source of randomness, on the CPU; None for torch's own.
        probe: `"gaussian"`, standard normal numbers, or `"rademacher"`, signs.
    Source: [@finlay2020how]; the mean is that of its published code.
    """

    generator: torch.Generator | None = None
    probe: str = "gaussian"

    def __post_init__(self) -> None:
        if self.probe not in PROBES:
            raise ValueError(f"probe is {self.probe!r}; pass {' or '.join(map(repr, PROBES))}")

    def draw_probe(self, y0: Parts) -> Parts:
        """e. Shapes of y0."""
        drawn = []
        for part in y0:
            if self.probe == "gaussian":
                numbers = torch.randn(part.shape, generator=self.generator, dtype=part.dtype, device="cpu")
            else:
                signs = torch.randint(0, 2, part.shape, generator=self.generator, device="cpu")
                numbers = 2.0 * signs.to(part.dtype) - 1.0
            drawn.append(numbers.to(part.device))
        return tuple(drawn)

    def integrand(self, at: Dynamics, product: Parts | None) -> Tensor:
        """mean |e^T df/dy|^2. Shape ()."""
        assert product is not None
        return _mean_square(product)


def with_integrals(
    problem: ODEProblem, options: SolveOptions, integrals: Sequence[RunningIntegral]
) -> tuple[ODEProblem, SolveOptions]:
    """The problem with the integrals as further states, which do not control the steps.

    Each is one more tensor of a tuple state, shape (), from 0. The right-hand side of all evaluates f once, so that
    counts of evaluations are those of f; the passes that differentiate this evaluation are not counted.

    Raises:
        ValueError: f is a Julia function.
    """
    if isinstance(problem.f, JuliaFunction):
        raise ValueError(
            f"f is the Julia function {problem.f.name}, which running integrals cannot differentiate; pass a torch "
            "module, or regularize solution.steps"
        )
    y0 = problem.y0 if isinstance(problem.y0, tuple) else (problem.y0,)
    t0, t1 = problem.interval
    f = FieldWithIntegrals(
        f=problem.f,
        is_tuple=problem.layout.is_tuple,
        integrands=tuple(integral.integrand for integral in integrals),
        orders=frozenset(integral.highest_order for integral in integrals),
        probes=tuple(integral.draw_probe(y0) for integral in integrals),
        direction=math.copysign(1.0, t1 - t0),
    )
    with torch.inference_mode(False):  # as the user's own state, whose versions are looked at
        zeros = tuple(y0[0].new_zeros(()) for _ in integrals)
    augmented = ODEProblem(f, (*y0, *zeros), problem.t0, problem.t1, problem.parameters)
    norm = options.norm if problem.layout.is_tuple else norm_of_first(options.norm)
    return augmented, replace(options, uncontrolled=options.uncontrolled + len(integrals), norm=norm)


def without_integrals(solution: Solution, problem: ODEProblem, count: int) -> tuple[Solution, tuple[Tensor, ...]]:
    """The solution of the problem itself, and the integrals' values. Shape () each.

    Args:
        solution: of the problem with `count` integrals. Its steps, status and counts are kept.
        problem: without them.
    """
    user_state = UserState(problem.layout.is_tuple, count)
    assert isinstance(solution.y1, tuple)
    stripped = replace(
        solution,
        y=user_state(solution.y),
        y1=user_state(solution.y1),
        interpolate=DenseWithoutIntegrals(solution.interpolate, user_state),
        samples=tuple(replace(sample, y=user_state(sample.y)) for sample in solution.samples),
    )
    return stripped, solution.y1[-count:]


def _mean_square(parts: Parts) -> Tensor:
    """Over all elements of all tensors. -> ()."""
    return torch.stack([part.square().sum() for part in parts]).sum() / sum(part.numel() for part in parts)
