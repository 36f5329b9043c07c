"""A neural SDE classifier of handwritten digits, regularized to be easy to solve."""

from pyndereg.experiments import image_sde
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.image_data import digits_of
from pyndereg.experiments.sde_config import DigitsSDEConfig
from pyndereg.results import RunRecord

EXPERIMENT = "digits-sde"
QUICK = DigitsSDEConfig()
PRESETS = {"quick": QUICK, "remembered": QUICK.remembering()}


def run(config: DigitsSDEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm or scikit-learn is not installed.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    return image_sde.run_classifier(EXPERIMENT, config, digits_of(config), checkpoint=checkpoint)
