"""What fields find in another module."""

from types import SimpleNamespace

SCALE = 2.0
EPOCH = CALLS = 0
CONFIG = SimpleNamespace(scale=2.0, epoch=0)
SETTINGS = {"scale": 2.0, "epoch": 0}
COUNTS = {"calls": 0}
LOSSES = []


class Defaults:
    """Settings as class attributes."""

    scale = 2.0


def scale():
    """The scale of this module."""
    return SCALE
