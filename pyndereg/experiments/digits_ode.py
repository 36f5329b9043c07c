"""A neural ODE classifier of handwritten digits, regularized to be easy to solve."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pyndereg import fields
from pyndereg.experiments.config import DigitsODEConfig, json_values
from pyndereg.experiments.data import CLASSES, PIXELS, LabelledImages, load_handwritten_digits
from pyndereg.experiments.regularization import penalty_terms, solve_regularizers
from pyndereg.experiments.train import (
    EpochReport,
    accuracy,
    fit,
    prediction_seconds,
    progress_bar,
    reproducible,
    solve_once,
    trace,
)
from pyndereg.ivp.options import (
    Backprop,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    QuadratureAdjoint,
)
from pyndereg.ivp.solution import Solution
from pyndereg.models import EndTimeSampling, NeuralODE
from pyndereg.results import RunRecord, installed_versions

EXPERIMENT = "digits-ode"
EVALUATION_IMAGES = 512  # NFE and prediction time are those of one batch of this size, as in the paper
PREDICTION_REPEATS = 15
MOMENTUM = 0.9
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
GRADIENTS = {
    "discrete": DiscreteAdjoint(),
    "backprop": Backprop(),
    "interpolating": InterpolatingAdjoint(),
    "interpolating-checkpointing": InterpolatingAdjoint(checkpointing=True),
    "backsolve": BacksolveAdjoint(),
    "quadrature": QuadratureAdjoint(),
    "gauss": GaussAdjoint(),
}
GRADIENT_OF_ENGINE = {"embedded": GRADIENTS["backprop"], "julia": GRADIENTS["discrete"]}  # where it is not chosen


class ODEClassifier(nn.Module):
    """Images flow along a neural ODE for one unit of time; a linear layer reads the class off where they end.

    The vector field is f(t, x) = tanh(W2 [tanh(W1 [x; t] + b1); t] + b2), with W1 (hidden, 65) and W2 (64, hidden + 1).

    Args:
        config: solver, tolerances, gradient, regularizer, width, end time sampling, precision and device.
    Source: [@pal2021opening], the classifier of MNIST, at 64 pixels.
    """

    def __init__(self, config: DigitsODEConfig) -> None:
        super().__init__()
        self.node = NeuralODE(
            fields.TimeConcatMLP(PIXELS, hidden=config.hidden),
            t0=0.0,
            t1=1.0,
            method=config.method,
            rtol=config.rtol,
            atol=config.atol,
            gradient=GRADIENTS.get(config.gradient, GRADIENT_OF_ENGINE[config.engine]),
            engine=config.engine,
            field=None if config.field == "auto" else config.field,
            end_time_sampling=EndTimeSampling(b=config.steer_halfwidth) if config.steer else None,
            regularizers=tuple(solve_regularizers(config).values()),
        )
        self.readout = nn.Linear(PIXELS, CLASSES)
        self.to(config.device, PRECISIONS[config.precision])

    def forward(self, images: Tensor) -> tuple[Tensor, Solution]:
        """Logits and the solution behind them.

        Args:
            images: Shape (batch, 64), intensities in [0, 1].
        Returns:
            logits: Shape (batch, 10), dimensionless.
            solution: with the solver's record of its steps, and in training mode with the penalties.
        """
        state, solution = self.node(images)
        return self.readout(state), solution


def run(config: DigitsODEConfig) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm is not installed.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_classifier` says.
    """
    with progress_bar(config.epochs) as report:
        model, record = train_classifier(config, report=report)
    seconds = time_predictions([model], config)
    return with_prediction_time(record, seconds[0])


def train_classifier(
    config: DigitsODEConfig, *, report: Callable[[EpochReport], None] | None = None
) -> tuple[ODEClassifier, RunRecord]:
    """Train one classifier as configured; `report` is told after every epoch where the run stands.

    Returns:
        The trained model and the record of the run: curves as `fit` names them; metrics train_accuracy and
        test_accuracy (percent, of the trained model), nfe (evaluations) and training_seconds. The prediction time is
        missing, since it means something only if nothing else runs meanwhile; see `time_predictions`.
    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: the device, the method or a combination of choices cannot be used.
        TrainingDiverged: the loss or a penalty became infinite or NaN.
        SolveFailed: a solve ended badly.
    """
    check_device(config.device)
    images = _images(config)
    evaluation_batch = images.train_images[:EVALUATION_IMAGES]
    with reproducible(config.seed, config.threads):
        model = ODEClassifier(config)
        steps_before = trace(solve_once(model, evaluation_batch).steps)
        curves = fit(
            model,
            make_optimizer(model, config),
            images,
            epochs=config.epochs,
            batch_size=config.batch_size,
            terms=penalty_terms(config),
            evaluation_batch=evaluation_batch,
            title=title(config),
            report=report,
        )
        after = solve_once(model, evaluation_batch)
        metrics = {
            "train_accuracy": accuracy(model, images.train_images, images.train_labels),
            "test_accuracy": accuracy(model, images.test_images, images.test_labels),
            "nfe": float(after.stats.nfe),
            "training_seconds": curves["training_seconds"][-1],
        }
    record = RunRecord(
        experiment=EXPERIMENT,
        config=json_values(config),
        versions=installed_versions(),
        seed=config.seed,
        device=config.device,
        curves=curves,
        metrics=metrics,
        steps_before=steps_before,
        steps_after=trace(after.steps),
    )
    return model, record


def time_predictions(models: list[ODEClassifier], config: DigitsODEConfig) -> list[float]:
    """Median seconds that each model takes to predict the evaluation batch, one model at a time."""
    batch = _images(config).train_images[:EVALUATION_IMAGES]
    with reproducible(config.seed, config.threads):
        return prediction_seconds(models, batch, repeats=PREDICTION_REPEATS)


def with_prediction_time(record: RunRecord, seconds: float) -> RunRecord:
    """The record with one more metric, prediction_seconds: seconds per evaluation batch."""
    return replace(record, metrics={**record.metrics, "prediction_seconds": seconds})


def make_optimizer(model: nn.Module, config: DigitsODEConfig) -> torch.optim.Optimizer:
    """The configured optimizer over all parameters of a model."""
    if config.optimizer == "momentum":
        return torch.optim.SGD(model.parameters(), lr=config.learning_rate, momentum=MOMENTUM)
    return torch.optim.Adam(model.parameters(), lr=config.learning_rate)


def method_name(config: DigitsODEConfig) -> str:
    """What a run is trained with, in one word: "error", "none+steer", "local-unbiased@interpolating"."""
    steer = "+steer" if config.steer else ""
    return f"{config.regularizer}{steer}{'' if config.gradient == 'auto' else f'@{config.gradient}'}"


def title(config: DigitsODEConfig) -> str:
    """The run in a few words, for a bar or a line of output."""
    return f"{method_name(config)}, seed {config.seed}"


def default_output(config: DigitsODEConfig) -> Path:
    """Where the record of a run goes unless told otherwise."""
    return Path("runs") / record_name(config)


def record_name(config: DigitsODEConfig) -> str:
    """File name of a run's record."""
    method = method_name(config).replace("+", "-").replace("@", "-")
    return f"{EXPERIMENT}-{method}-seed{config.seed}.json"


def check_device(name: str) -> None:
    """Make sure that torch can place tensors on a device.

    Raises:
        ValueError: torch knows no such device, or there is none on this machine.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as reason:
        cause = str(reason).splitlines()[0].rstrip(".")
        raise ValueError(f"device is {name!r}, which cannot be used ({cause}); pass cpu, or cuda on a GPU") from None


def _images(config: DigitsODEConfig) -> LabelledImages:
    images = load_handwritten_digits(
        test_fraction=config.test_fraction, seed=config.split_seed, dtype=PRECISIONS[config.precision]
    )
    return images.to(config.device)
