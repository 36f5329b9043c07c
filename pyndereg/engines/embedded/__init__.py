"""The embedded engine: explicit Runge–Kutta methods in PyTorch, on the device of the state."""

from pyndereg.engines.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
