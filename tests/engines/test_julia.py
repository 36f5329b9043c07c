"""The julia engine keeps the contract."""

import pytest

import pyndereg as nde
from tests.engines.contract import Bounds, EngineContract

pytestmark = pytest.mark.julia


class TestJulia(EngineContract):
    engine = "julia"
    gradients = (nde.DiscreteAdjoint(), nde.DiscreteAdjoint(checkpoints=2))

    def reference_bounds(self, case):
        # The step-size controllers call an approximate power function, of about five digits.
        return Bounds(t=1e-4, dt=1.0, scaled_error=10.0, stiffness=1.0, y=1e-5)
