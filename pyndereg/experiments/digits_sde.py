"""A neural SDE classifier of handwritten digits, regularized to be easy to solve."""

from pathlib import Path

from pyndereg.experiments import image_sde, naming
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.data import LabelledImages, load_handwritten_digits
from pyndereg.experiments.placement import PRECISIONS, check_device
from pyndereg.experiments.sde_config import DigitsSDEConfig, method_name
from pyndereg.results import RunRecord

EXPERIMENT = "digits-sde"
PRESETS = {"quick": DigitsSDEConfig()}


def run(config: DigitsSDEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm or scikit-learn is not installed.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    return image_sde.run_classifier(EXPERIMENT, config, images_of(config), checkpoint=checkpoint)


def images_of(config: DigitsSDEConfig) -> LabelledImages:
    """The images that a configuration asks for, on its device.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    check_device(config.device)
    images = load_handwritten_digits(
        test_fraction=config.test_fraction, seed=config.split_seed, dtype=PRECISIONS[config.precision]
    )
    return images.to(config.device)


def default_output(config: DigitsSDEConfig) -> Path:
    """Where the record of a run goes unless told otherwise."""
    return naming.default_output(EXPERIMENT, method_name(config), config.seed)
