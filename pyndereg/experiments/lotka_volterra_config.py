"""What the fit of the Lotka-Volterra equations can be told, as values that are checked when they are made."""

from dataclasses import dataclass
from dataclasses import field as setting
from typing import Literal

from pyndereg.experiments.config import THROUGH_THE_STEPS, Engine, GradientName, Precision, weight_setting
from pyndereg.experiments.settings import Config, about

LotkaVolterraRegularizer = Literal["none", "error", "stiffness"]
LotkaVolterraGradient = Literal[GradientName, "forward"]


@dataclass(frozen=True, kw_only=True)
class LotkaVolterraConfig(Config):
    """How to fit the four parameters of the Lotka-Volterra equations; one value per choice.

    Defaults are those of [@rackauckas2019diffeqflux], with the default tolerances of
    [@rackauckas2017differentialequations], which it uses.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is outside its bounds, or the gradient is none of what the regularizer is made of.
    """

    regularizer: LotkaVolterraRegularizer = setting(
        default="none", metadata=about("what joins the loss: the solver's error or stiffness estimates")
    )
    seed: int = setting(default=0, metadata=about("names the run: nothing here is random", least=0))
    iterations: int = setting(default=100, metadata=about("updates of the parameters", least=1))
    learning_rate: float = setting(default=0.1, metadata=about("step size of the optimizer, Adam", above=0.0))
    method: str = setting(default="tsit5", metadata=about("solver"))
    rtol: float = setting(default=1e-3, metadata=about("relative tolerance of the solver, dimensionless", above=0.0))
    atol: float = setting(default=1e-6, metadata=about("absolute tolerance of the solver, in units of x", above=0.0))
    precision: Precision = setting(
        default="float64", metadata=about("floating-point type of populations and parameters")
    )
    engine: Engine = setting(default="embedded", metadata=about("who takes the steps"))
    # The forward gradient carries a tangent for each parameter: right for as few as here.
    gradient: LotkaVolterraGradient = setting(
        default="auto",
        metadata=about(
            "how gradients flow: auto is backprop in the embedded engine, forward is for few parameters; those between"
            " are continuous adjoints"
        ),
    )
    error_weight: tuple[float, float] = weight_setting(10.0, 10.0, "the error estimate")
    stiffness_weight: tuple[float, float] = weight_setting(0.1, 0.1, "the stiffness estimate")
    threads: int = setting(default=1, metadata=about("processor threads for the tensor operations", least=1))
    device: str = setting(default="cpu", metadata=about("where the tensors live, in torch's words"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.regularizer != "none" and self.gradient not in THROUGH_THE_STEPS:
            raise ValueError(
                f"regularizer is {self.regularizer!r}, which the gradient {self.gradient!r} cannot see, since it has "
                f"none of the solver's steps; choose gradient {', '.join(THROUGH_THE_STEPS)}"
            )
