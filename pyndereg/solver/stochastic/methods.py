"""The stochastic methods by name, each stating what it solves and what it gives."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pyndereg.solver.stochastic.low_order import (
    euler_maruyama_step,
    heun_step,
    milstein_ito_step,
    milstein_stratonovich_step,
)
from pyndereg.solver.stochastic.rossler import rossler_step
from pyndereg.solver.stochastic.step import StepFunction
from pyndereg.solver.stochastic.tableau import RosslerTableau
from pyndereg.solver.stochastic.tableaus import SOSRA, SOSRI, SOSRI2, SRA1, SRIW1

Noise = Literal["diagonal", "scalar", "additive", "general"]
Interpretation = Literal["ito", "stratonovich"]


@dataclass(frozen=True, eq=False)  # compared by identity: a method is made once
class StochasticMethod:
    """A method for stochastic differential equations.

    Attributes:
        name: lower-case name. Methods that solve both interpretations are two values of one name.
        interpretation: what it means by the stochastic integral. With additive noise both mean the same.
        strong_order: order of strong convergence for each noise that it supports. Diagonal noise means that element i
            of g depends on element i of y; with other dependences the order of every method falls to 0.5.
        stages: how often a step evaluates g; f at most as often.
        step: its formula.
        needs_dZ: whether a step needs the space-time area of the path.
        controller_order: the order p from which the controller's exponents 7/(10 p) and 2/(5 p) and the first step are
            made; None for a method without an error estimate, which takes steps of given lengths only.
        stability_size: length of the stability interval by which stiffness estimates are scaled; None for a method
            without a stiffness estimate.
    """

    name: str
    interpretation: Interpretation
    strong_order: Mapping[Noise, float]
    stages: int
    step: StepFunction
    needs_dZ: bool = False
    controller_order: float | None = None
    stability_size: float | None = None

    @property
    def has_error_estimate(self) -> bool:
        """Whether its steps carry an error estimate."""
        return self.controller_order is not None

    @property
    def has_stiffness_estimate(self) -> bool:
        """Whether its steps carry the stages of a stiffness estimate."""
        return self.stability_size is not None

    def solves(self, noise: Noise, interpretation: Interpretation) -> bool:
        """Whether it solves equations of this kind."""
        return noise in self.strong_order and (noise == "additive" or interpretation == self.interpretation)


_COMMUTATIVE: Mapping[Noise, float] = {"diagonal": 1.0, "scalar": 1.0, "additive": 1.0}


def _rossler(tableau: RosslerTableau, stability_size: float | None = None) -> StochasticMethod:
    """A Rößler method. StochasticDiffEq 7.1 calls the order of methods for additive noise 2, not 1.5."""
    additive = tableau.is_additive
    return StochasticMethod(
        name=tableau.name,
        interpretation="ito",
        strong_order={"additive": 1.5} if additive else {"diagonal": 1.5, "scalar": 1.5, "additive": 1.5},
        stages=tableau.diffusion_stages,
        step=partial(rossler_step, tableau),
        needs_dZ=True,
        controller_order=2.0 if additive else 1.5,
        stability_size=stability_size,
    )


METHODS: tuple[StochasticMethod, ...] = (
    StochasticMethod(
        "em", "ito", {"diagonal": 0.5, "scalar": 0.5, "additive": 1.0, "general": 0.5}, 1, euler_maruyama_step
    ),
    StochasticMethod("heun", "stratonovich", {**_COMMUTATIVE, "general": 0.5}, 2, heun_step),
    StochasticMethod("milstein", "ito", _COMMUTATIVE, 2, milstein_ito_step),
    StochasticMethod("milstein", "stratonovich", _COMMUTATIVE, 2, milstein_stratonovich_step),
    _rossler(SRA1),
    _rossler(SOSRA),
    _rossler(SRIW1),
    _rossler(SOSRI),
    _rossler(SOSRI2, stability_size=10.6),
)


def get_method(name: str, noise: Noise, interpretation: Interpretation) -> StochasticMethod:
    """The method of a name for one kind of equation.

    Raises:
        ValueError: there is no method of that name, or it does not solve equations of this kind.
    """
    names = list(dict.fromkeys(method.name for method in METHODS))
    if name not in names:
        close = difflib.get_close_matches(str(name), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown stochastic method {name!r}; {hint}choose one of {', '.join(names)}")
    able = [method for method in METHODS if method.solves(noise, interpretation)]
    for method in able:
        if method.name == name:
            return method
    raise ValueError(
        f"method {name!r} does not solve {interpretation} equations with {noise} noise; "
        f"choose one of {', '.join(method.name for method in able)}"
    )
