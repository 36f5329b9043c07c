"""The papers' neural SDE classifier of MNIST, regularized to be easy to solve."""

from dataclasses import replace

from pyndereg.experiments import image_sde
from pyndereg.experiments.checkpoint import Checkpoint
from pyndereg.experiments.image_data import mnist_of
from pyndereg.experiments.sde_config import MnistSDEConfig
from pyndereg.results import RunRecord

EXPERIMENT = "mnist-sde"
QUICK = MnistSDEConfig()
PRESETS = {
    "quick": QUICK,
    "remembered": QUICK.remembering(),
    # [@pal2021opening]. The published code divides gradients by 1 + 1e-5 n, which Adam does not see.
    "paper-a": replace(
        QUICK,
        data="mnist",
        epochs=40,
        batch_size=512,
        precision="float32",
        trajectories=10,
        error_weight=(10.0, 10.0),
        gradient="discrete",
        seed=1999,
    ),
    # [@pal2023locally]; its text has a constant step size, its code divides it by 1 + 1e-5 n.
    "paper-b": replace(
        QUICK,
        data="mnist",
        epochs=35,
        updates=4000,
        drop_last=True,
        batch_size=512,
        precision="float32",
        trajectories=1,
        regularizer="local-unbiased",
        local_weight=(1000.0, 1000.0),
        gradient="discrete",
    ),
}


def run(config: MnistSDEConfig, *, checkpoint: Checkpoint | None = None) -> RunRecord:
    """Train one classifier under a progress bar and time its predictions.

    Raises:
        ModuleNotFoundError: tqdm, or what brings the data, is not installed.
        FileNotFoundError: the images are neither on this machine nor to be had.
        ValueError, TrainingDiverged, SolveFailed, and more: as `train_and_record` says.
    """
    return image_sde.run_classifier(EXPERIMENT, config, mnist_of(config), checkpoint=checkpoint)
