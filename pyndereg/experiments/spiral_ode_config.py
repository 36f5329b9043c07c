"""What the fit of a neural ODE to a spiral can be told, as values that are checked when they are made."""

from dataclasses import dataclass
from dataclasses import field as setting

from pyndereg.experiments.config import ODEConfig, Optimizer, Precision, WeightsChange
from pyndereg.experiments.settings import about

# There is one trajectory, of which every iteration sees the whole: no passes through data, no batches.
FIXED = {"epochs": 1, "batch_size": 1, "weights_change": "update"}


@dataclass(frozen=True, kw_only=True)
class SpiralODEConfig(ODEConfig):
    """How to fit a neural ODE to a trajectory on a spiral; one value per choice.

    Network, loss and optimizer are those of [@rackauckas2019diffeqflux], tolerances and weights those of
    [@pal2021opening]; a comment says where and why a default deviates. Bounds as `ODEConfig` says.

    Raises:
        ValueError: also where epochs, batch_size or weights_change is changed, which have no meaning here.
    """

    # The published 1000 take minutes; 300 bring the states to within some 0.06 of the data (root mean square).
    iterations: int = setting(default=300, metadata=about("updates of the weights", least=1))
    hidden: int = setting(default=50, metadata=about("width of the vector field's hidden layer", least=1))
    epochs: int = setting(default=1, metadata=about("always 1: see iterations", least=1))
    batch_size: int = setting(default=1, metadata=about("always 1: there is one trajectory", least=1))
    weights_change: WeightsChange = setting(
        default="update", metadata=about("always update: the regularizer's weight changes in every iteration")
    )
    # The papers compute in float32, in which the error estimate is mostly round-off at this tolerance; see the digits.
    precision: Precision = setting(default="float64", metadata=about("floating-point type of states and weights"))
    optimizer: Optimizer = setting(default="adam", metadata=about("gradient descent with momentum 0.9, Adam or AdaMax"))
    learning_rate: float = setting(default=0.1, metadata=about("step size of the optimizer", above=0.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in FIXED.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but every iteration sees the whole of the one trajectory; "
                    f"leave it at {value!r} and set iterations"
                )
