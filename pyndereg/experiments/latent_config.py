"""What the latent ODE of irregular series can be told, as values that are checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as setting
from typing import Any, ClassVar, Literal

from pyndereg.experiments.config import (
    LOCAL_GRADIENT,
    LocalGradient,
    ODEConfig,
    Optimizer,
    Precision,
    check_fraction,
    weight_setting,
)
from pyndereg.experiments.settings import about
from pyndereg.models.recurrent import Direction

SeriesData = Literal["japanese-vowels", "physionet"]
AnnealingChange = Literal["epoch", "update"]


@dataclass(frozen=True, kw_only=True)
class LatentODEConfig(ODEConfig):
    """How to train a latent ODE that reconstructs irregular series; one value per choice.

    Network, solver, tolerances and optimizer are those of [@pal2021opening] on Physionet and its published code; a
    comment says where and why a default deviates, so that a run takes minutes on a processor. Bounds as `ODEConfig`
    says.
    """

    REMEMBERED: ClassVar[Mapping[str, Any]] = {"error_weight": (100.0, 100.0)}

    data: SeriesData = setting(
        default="japanese-vowels",
        metadata=about("spoken vowels of which points are left out, which a package ships, or records of patients"),
    )
    data_dir: str = setting(
        default="",
        metadata=about("folder of the data's files; empty: the user's cache, into which they are downloaded"),
    )
    keep: float = setting(
        default=0.7, metadata=about("part of the vowels' points that is left, the others unobserved", above=0.0)
    )
    used: float = setting(
        default=0.8,
        metadata=about("part of the patients that is used at all, as the published file holds it", above=0.0),
    )
    test_fraction: float = setting(
        default=0.2, metadata=about("part of the used patients that is kept for testing", above=0.0)
    )
    split_seed: int = setting(
        default=0,
        metadata=about(
            "seed of what is left out or kept for testing, which runs that are compared must share", least=0
        ),
    )
    # The loss still falls after these, the NFE of the plain model still rises.
    epochs: int = setting(default=60, metadata=about("passes through the training series", least=1))
    # The paper's 512 series are more than there are vowels.
    batch_size: int = setting(default=54, metadata=about("series per update", least=1))
    updates: int = setting(default=0, metadata=about("stop after this many updates; 0: after the last epoch", least=0))
    drop_last: bool = setting(default=False, metadata=about("leave out the last, smaller batch of every epoch"))
    latent: int = setting(default=20, metadata=about("size of the latent state", least=1))
    hidden: int = setting(default=50, metadata=about("width of the vector field's wide layers", least=1))
    blocks: int = setting(default=4, metadata=about("pairs of a wide and a narrow layer in the vector field", least=1))
    encoder_state: int = setting(default=50, metadata=about("size of each half of the encoder's state", least=1))
    encoder_hidden: int = setting(default=40, metadata=about("width of the encoder's hidden layers", least=1))
    recognition_hidden: int = setting(
        default=50, metadata=about("width of the hidden layer between the encoder and the latent state", least=1)
    )
    direction: Direction = setting(
        default="backward", metadata=about("whether the encoder reads from the last time (2021) or the first (2023)")
    )
    first_spread: float = setting(
        default=0.0, metadata=about("where the second half of the encoder's state starts: 0 (2021) or 1 (2023)")
    )
    bounded: bool = setting(default=False, metadata=about("end the encoder's new state in a tanh (2023)"))
    # The papers' 1 needs thousands of updates before a series' latent state says more of it than the noise hides.
    first_deviation: float = setting(
        default=0.1, metadata=about("standard deviation of the latent state before training", above=0.0)
    )
    # As in 2023: a latent state that is drawn anew makes the cost and the loss of one model vary.
    sample_in_evaluation: bool = setting(
        default=False, metadata=about("draw the latent state in evaluation too (2021), not only in training")
    )
    annealing_change: AnnealingChange = setting(
        default="epoch", metadata=about("whether the divergence's weight changes every epoch or every update")
    )
    annealing_start: int = setting(
        default=10, metadata=about("epochs or updates without the divergence, whose weight then goes to 1", least=0)
    )
    # The paper computes in float32, with an error estimate that is mostly round-off at its tolerance; see the digits.
    precision: Precision = setting(default="float64", metadata=about("floating-point type of states and weights"))
    optimizer: Optimizer = setting(
        default="adamax", metadata=about("gradient descent with momentum 0.9, Adam or AdaMax")
    )
    learning_rate: float = setting(default=0.01, metadata=about("step size of the optimizer", above=0.0))
    error_weight: tuple[float, float] = weight_setting(1000.0, 100.0, "the error estimate")
    stiffness_weight: tuple[float, float] = weight_setting(10.0, 10.0, "the stiffness estimate")
    # One short step's error must be weighed more; see the digits. The published gradient is far larger.
    local_weight: tuple[float, float] = weight_setting(1e5, 1e5, "the local step's error")
    local_gradient: LocalGradient = setting(default="step", metadata=LOCAL_GRADIENT)
    taylor_order: int = setting(default=2, metadata=about("order of the Taylor derivative", least=1))
    taylor_weight: tuple[float, float] = weight_setting(0.01, 0.01, "the Taylor derivative")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("test_fraction", self.test_fraction)
        for name in ("keep", "used"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is {getattr(self, name)}; pass a number above 0 and at most 1")
