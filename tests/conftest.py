"""What every test runs under: one thread, a fixed seed, the same examples of every property."""

import pytest
import torch
from hypothesis import settings

from pyndereg import julia_runtime

# The contract's assertions explain themselves like those of a test module.
pytest.register_assert_rewrite("tests.engines.contract", "tests.engines.adjoint_contract")

# Small problems gain nothing from threads, and the sums of one thread are repeatable.
torch.set_num_threads(1)

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=40)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(20)


@pytest.fixture(scope="session")
def julia():
    """The Julia that tests marked `julia` use; where there is none, they skip with the reason."""
    found = julia_runtime.find()
    if isinstance(found, str):
        pytest.skip(found)
    return found


def pytest_runtest_setup(item):
    """A test marked `julia` skips, with the reason, where there is no Julia with the packages."""
    if item.get_closest_marker("julia") is not None:
        found = julia_runtime.find()
        if isinstance(found, str):
            pytest.skip(found)
