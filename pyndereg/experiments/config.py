"""What the experiments with ordinary differential equations can be told, as values checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from dataclasses import field as setting
from typing import Any, ClassVar, Literal, TypeVar, get_args

from pyndereg.experiments.settings import Config, about

Regularizer = Literal["none", "error", "stiffness", "both", "local-unbiased", "local-biased", "taylor", "rnode"]
Precision = Literal["float32", "float64"]
Engine = Literal["embedded", "julia"]
Field = Literal["auto", "native", "callback"]
GradientName = Literal[
    "auto",
    "discrete",
    "backprop",
    "interpolating",
    "interpolating-checkpointing",
    "backsolve",
    "quadrature",
    "gauss",
]
FirstStep = Literal["search", "remembered"]
Optimizer = Literal["momentum", "adam", "adamax"]
LearningRateSchedule = Literal["constant", "inverse", "cosine"]
WeightsChange = Literal["epoch", "update"]
Aggregates = Literal["code", "paper"]
LocalGradient = Literal["published", "step", "solution"]

# Made of the record of the solver's steps, which only the gradients through these steps differentiate.
OF_THE_RECORD: tuple[Regularizer, ...] = ("error", "stiffness", "both")
THROUGH_THE_STEPS: tuple[GradientName, ...] = ("auto", "discrete", "backprop")

SCHEDULE = about(
    "how the step size changes from update to update: divided by 1 + decay n in the nth, or along half a cosine"
)
LOCAL_GRADIENT = about(
    "what of the local step is differentiated: all but its first stage (as published), the whole step, or also the "
    "solution up to it"
)


StartedConfig = TypeVar("StartedConfig", bound="FirstStepConfig")


@dataclass(frozen=True, kw_only=True)
class FirstStepConfig(Config):
    """What every experiment can be told of the first step of its solves; bounds as `Config` says."""

    first_step: FirstStep = setting(
        default="search",
        metadata=about(
            "what solves start with: a length that is searched for (as published), or the one that the last training "
            "solve could have started with"
        ),
    )

    # With a remembered start the error is near what was asked for from the first step on, and the penalties have
    # another scale: what other fields are then by default.
    REMEMBERED: ClassVar[Mapping[str, Any]] = {}

    def remembering(self: StartedConfig) -> StartedConfig:
        """The same with a remembered first step and what belongs to it; what was chosen, not left at default, stays."""
        defaults = {one.name: one.default for one in fields(self)}
        left = {name: value for name, value in self.REMEMBERED.items() if getattr(self, name) == defaults[name]}
        return replace(self, first_step="remembered", **left)


def weight_setting(start: float, stop: float, what: str) -> tuple[float, float]:
    """A field for the weight of a regularizer."""
    meaning = f"weight of {what} at the start and the end of an exponential change"
    return setting(default=(start, stop), metadata=about(meaning, above=0.0))


@dataclass(frozen=True, kw_only=True)
class ODEConfig(FirstStepConfig):
    """How to train a model with a neural ODE inside; one value per choice.

    Defaults are those of [@pal2021opening] and its published code, for local steps those of [@pal2023locally], for the
    experiment that both begin with, the neural ODE on MNIST. The experiments' own configurations replace some, and say
    why.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is outside its bounds, the message names the field, the value and the bound; or the gradient
            is none of what the regularizer is made of.
    """

    regularizer: Regularizer = setting(
        default="none",
        metadata=about(
            "what joins the loss: the solver's error or stiffness estimates, the error of one step at a random time or"
            " of a random step, a Taylor derivative, or kinetic energy and Jacobian"
        ),
    )
    steer: bool = setting(default=False, metadata=about("sample the end times of the training solves"))
    steer_halfwidth: float = setting(
        default=0.5, metadata=about("b of an end time sampled from U(1 - b, 1 + b), in units of time", above=0.0)
    )
    seed: int = setting(
        default=0, metadata=about("seed of the weights, the order of the batches and all else in training", least=0)
    )
    epochs: int = setting(default=75, metadata=about("passes through the training data", least=1))
    batch_size: int = setting(default=512, metadata=about("samples per update", least=1))
    method: str = setting(default="tsit5", metadata=about("solver"))
    rtol: float = setting(default=1.4e-8, metadata=about("relative tolerance of the solver, dimensionless", above=0.0))
    atol: float = setting(
        default=1.4e-8, metadata=about("absolute tolerance of the solver, in units of the state", above=0.0)
    )
    precision: Precision = setting(default="float32", metadata=about("floating-point type of states and weights"))
    steps: int = setting(default=0, metadata=about("take so many equal steps; 0: adaptive ones", least=0))
    engine: Engine = setting(default="embedded", metadata=about("who takes the steps"))
    field: Field = setting(
        default="auto",
        metadata=about("with the julia engine, whether the vector field is a Julia network or called back from Julia"),
    )
    # The first three give the same gradient, the others that of the exact solution; where memory is no concern, keeping
    # the graph is faster than replaying the steps, but only steps taken in PyTorch have one.
    gradient: GradientName = setting(
        default="auto",
        metadata=about(
            "how gradients flow: auto is backprop in the embedded engine; those after backprop are continuous adjoints"
        ),
    )
    optimizer: Optimizer = setting(
        default="momentum", metadata=about("gradient descent with momentum 0.9, Adam or AdaMax")
    )
    learning_rate: float = setting(default=0.1, metadata=about("step size of the optimizer", above=0.0))
    learning_rate_schedule: LearningRateSchedule = setting(default="constant", metadata=SCHEDULE)
    learning_rate_decay: float = setting(
        default=1e-5, metadata=about("decay of the inverse schedule, per update", least=0.0)
    )
    learning_rate_end: float = setting(
        default=1e-4, metadata=about("step size at the end of the cosine schedule", above=0.0)
    )
    weights_change: WeightsChange = setting(
        default="epoch", metadata=about("whether the regularizer's weight changes after every epoch or every update")
    )
    error_weight: tuple[float, float] = weight_setting(100.0, 10.0, "the error estimate")
    stiffness_weight: tuple[float, float] = weight_setting(0.1, 0.1, "the stiffness estimate")
    both_weight: tuple[float, float] = weight_setting(
        10.0, 10.0, "error and stiffness together, the mean of E dt + 0.1 S / 3.5 in the published code"
    )
    local_weight: tuple[float, float] = weight_setting(2.5, 1.0, "the local step's error")
    local_gradient: LocalGradient = setting(default="published", metadata=LOCAL_GRADIENT)
    taylor_order: int = setting(default=3, metadata=about("order of the Taylor derivative", least=1))
    taylor_weight: tuple[float, float] = weight_setting(0.00302, 0.00302, "the Taylor derivative")
    kinetic_weight: tuple[float, float] = weight_setting(0.01, 0.01, "the kinetic energy")
    jacobian_weight: tuple[float, float] = weight_setting(0.01, 0.01, "the Jacobian's norm")
    # The paper prints sums over the steps; the weights that it states belong to what its code computes.
    aggregates: Aggregates = setting(
        default="code",
        metadata=about(
            "how the steps' estimates become one number: as the code of the paper has it (mean of E dt, max of S/3.5)"
            " or as the paper prints it (sum of E dt, sum of S dt)"
        ),
    )
    threads: int = setting(default=1, metadata=about("processor threads for the tensor operations", least=1))
    device: str = setting(default="cpu", metadata=about("where the tensors live, in torch's words"))

    def __post_init__(self) -> None:
        if self.gradient == "forward":
            raise ValueError(
                "gradient is 'forward', which is for up to about a hundred parameters, and this network has more; "
                f"choose one of {', '.join(get_args(GradientName))}"
            )
        super().__post_init__()
        if self.steps and self.first_step == "remembered":
            raise ValueError("steps are equal, and first_step is 'remembered'; leave one of the two out")
        if self.regularizer in OF_THE_RECORD and self.gradient not in THROUGH_THE_STEPS:
            raise ValueError(
                f"regularizer is {self.regularizer!r}, which the gradient {self.gradient!r} cannot see, since it has "
                f"none of the solver's steps; choose gradient {', '.join(THROUGH_THE_STEPS)}, or a local regularizer"
            )


def check_fraction(name: str, value: float) -> None:
    """Make sure that a part of the data leaves another part.

    Raises:
        ValueError: it does not.
    """
    if value >= 1:
        raise ValueError(f"{name} is {value}; pass a number above 0 and below 1")
