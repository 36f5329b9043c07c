"""Methods for stochastic equations as StochasticDiffEq has them, and their steps in torch if both engines know them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyndereg.engines.julia.session import call, number_of
from pyndereg.ivp import DiscreteAdjoint, SDEProblem, SolveOptions
from pyndereg.ivp.julia import JuliaFunction, JuliaMethod
from pyndereg.solver.stochastic import Field, StochasticMethod, StochasticStep, get_method


@dataclass(frozen=True)
class ChosenMethod:
    """A method for one problem.

    Attributes:
        algorithm: for Julia.
        method: its step in torch; None for an algorithm that only Julia has.
        has_estimate: whether its steps carry an error estimate.
    """

    algorithm: JuliaMethod
    method: StochasticMethod | None
    has_estimate: bool


def chosen_method(problem: SDEProblem, options: SolveOptions) -> ChosenMethod:
    """The method of a solve.

    Raises:
        ValueError: there is none of that name, or it does not solve equations of this kind.
    """
    if isinstance(options.method, JuliaMethod):
        algorithm = options.method
        estimate = call(lambda bridge: bool(bridge.has_estimate(stochastic_method_number(bridge, algorithm))))
        return ChosenMethod(algorithm, None, estimate)
    method = get_method(options.method, problem.noise, problem.interpretation)
    choices = ()
    if method.name == "milstein":
        choices = (("interpretation", method.interpretation),)
        if method.interpretation == "stratonovich":
            method = replace(method, step=rkmil_stratonovich_step)
    return ChosenMethod(JuliaMethod(method.name, choices), method, method.has_error_estimate)


def check_replayable(chosen: ChosenMethod, problem: SDEProblem, options: SolveOptions) -> StochasticMethod:
    """The step in torch by which gradients are made.

    Raises:
        ValueError: there is none, or another gradient is asked for.
    """
    if not isinstance(options.gradient, DiscreteAdjoint):
        raise ValueError(
            f"gradient is {_name(options.gradient)}, which stochastic solves in the julia engine do not have; pass "
            "DiscreteAdjoint()"
        )
    for name, function in (("f", problem.f), ("g", problem.g)):
        if isinstance(function, JuliaFunction):
            raise ValueError(
                f"{name} is the Julia function {function.name}, through which DiscreteAdjoint cannot replay steps in "
                "torch; pass a Python function, or detach y0 and the parameters"
            )
    if chosen.method is None:
        raise ValueError(
            f"method {chosen.algorithm.name!r} has no step in torch, by which DiscreteAdjoint could replay it; pass a "
            "method by the lower-case name that both engines know, such as 'sosri', or detach y0 and the parameters"
        )
    return chosen.method


def rkmil_stratonovich_step(
    drift: Field, diffusion: Field, t: float, dt: float, y: Tensor, dW: Tensor, dZ: Tensor | None = None
) -> StochasticStep:
    """Milstein's step for Stratonovich equations as RKMil takes it, y1 = y + f dt + g dW + Dg dW^2/2.

    Dg = (g(t, y + g sqrt(dt)) - g)/sqrt(dt), where the embedded engine's step takes the difference along dW. Arguments
    as in `StepFunction`; diagonal, scalar or additive noise.

    Source: [@kloeden1992numerical] section 11.1; as `RKMil` of StochasticDiffEq 7.1.
    """
    time, root = torch.full((), t, dtype=y.dtype, device=y.device), math.sqrt(dt)
    g = diffusion(time, y)
    difference = diffusion(time, torch.add(y, g, alpha=root)) - g
    y1 = torch.addcmul(torch.add(y, drift(time, y), alpha=dt), g, dW)
    return StochasticStep(torch.addcmul(y1, difference, dW * dW, value=1 / (2 * root)), None, None, 1, 2)


def stochastic_method_number(bridge: Any, method: JuliaMethod) -> int:
    """The number of a stochastic algorithm; on the Julia thread."""
    keys, values = ([part[i] for part in method.options] for i in (0, 1))
    key = ("stochastic", method)
    return number_of(bridge, key, lambda bridge: bridge.stochastic_method(method.name, keys, values))


def _name(gradient: Any) -> str:
    return getattr(gradient, "name", type(gradient).__name__)
