"""What the tests of the experiments share."""

import pytest

from pyndereg.experiments.train import reproducible


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors this small gain nothing from threads, and lose much where other processes want the cores."""
    with reproducible(0, threads=1):
        yield
