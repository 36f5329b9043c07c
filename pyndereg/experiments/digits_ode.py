"""A neural ODE classifier of handwritten digits, regularized to be easy to solve."""

from collections.abc import Callable

from pyndereg.experiments import image_ode
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.data import PIXELS
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.image_data import digits_of
from pyndereg.experiments.image_ode import ODEClassifier
from pyndereg.experiments.train import EpochReport
from pyndereg.results import RunRecord

EXPERIMENT = "digits-ode"
QUICK = DigitsODEConfig()
PRESETS = {"quick": QUICK, "remembered": QUICK.remembering()}


def run(config: DigitsODEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm or scikit-learn is not installed.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    return image_ode.run_classifier(EXPERIMENT, config, digits_of(config), lambda: build(config), checkpoint=checkpoint)


def train_classifier(
    config: DigitsODEConfig, *, report: Callable[[EpochReport], None] | None = None
) -> tuple[ODEClassifier, RunRecord]:
    """Train one classifier as configured; returns, reports and raises as `train_and_record`."""
    return image_ode.train_classifier(EXPERIMENT, config, digits_of(config), lambda: build(config), report=report)


def build(config: DigitsODEConfig) -> ODEClassifier:
    """The classifier before training."""
    return ODEClassifier(config, PIXELS)
