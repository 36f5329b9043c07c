"""What the neural ODE classifier of CIFAR-10 can be told."""

from dataclasses import dataclass
from dataclasses import field as setting
from typing import Literal

from pyndereg.experiments.config import (
    LOCAL_GRADIENT,
    SCHEDULE,
    LearningRateSchedule,
    LocalGradient,
    Optimizer,
    WeightsChange,
    weight_setting,
)
from pyndereg.experiments.image_config import DATA_DIR, ImageTrainingConfig
from pyndereg.experiments.settings import about

Cifar10Data = Literal["photograph-patches", "cifar10"]


@dataclass(frozen=True, kw_only=True)
class Cifar10ODEConfig(ImageTrainingConfig):
    """How to train the 2023 paper's convolutional neural ODE classifier; one value per choice.

    The network, the solver and the tolerances are those of [@pal2023locally] on CIFAR-10 and its published code; a
    comment says where and why a default deviates, so that a run takes minutes on a processor. Bounds as `ODEConfig`
    says.
    """

    data: Cifar10Data = setting(
        default="photograph-patches",
        metadata=about("a stand-in that needs no download, patches of scikit-learn's two photographs, or CIFAR-10"),
    )
    data_dir: str = setting(default="", metadata=DATA_DIR)
    patches_per_region: int = setting(
        default=50,
        metadata=about("patches of each of the stand-in's ten classes, a fifth of them for testing", least=5),
    )
    split_seed: int = setting(
        default=0, metadata=about("seed of the stand-in's patches, which runs that are compared must share", least=0)
    )
    # The paper's 64 channels are some thirty times the work.
    hidden: int = setting(default=8, metadata=about("channels of the vector field's layers between", least=1))
    epochs: int = setting(default=16, metadata=about("passes through the training images", least=1))
    batch_size: int = setting(default=32, metadata=about("images per update", least=1))
    rtol: float = setting(default=1e-4, metadata=about("relative tolerance of the solver, dimensionless", above=0.0))
    atol: float = setting(
        default=1e-4, metadata=about("absolute tolerance of the solver, in units of the state", above=0.0)
    )
    optimizer: Optimizer = setting(default="adam", metadata=about("gradient descent with momentum 0.9, Adam or AdaMax"))
    learning_rate: float = setting(default=3e-3, metadata=about("step size of the optimizer", above=0.0))
    learning_rate_schedule: LearningRateSchedule = setting(default="cosine", metadata=SCHEDULE)
    weights_change: WeightsChange = setting(
        default="update", metadata=about("whether the regularizer's weight changes after every epoch or every update")
    )
    # The paper has no global regularizer on these data.
    error_weight: tuple[float, float] = weight_setting(30.0, 30.0, "the error estimate")
    local_weight: tuple[float, float] = weight_setting(2.5, 2.5, "the local step's error")
    local_gradient: LocalGradient = setting(default="published", metadata=LOCAL_GRADIENT)
    threads: int = setting(default=2, metadata=about("processor threads for the tensor operations", least=1))
