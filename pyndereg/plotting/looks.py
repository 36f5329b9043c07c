"""How kinds of runs look: told apart by colour, and without colour by dashes, marker and lightness."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How one group of runs is drawn: a colour, and dashes and a marker that tell it apart without colour.

    Args:
        color: six hexadecimal digits after #.
        dashes: on and off lengths, in line widths; empty for a solid line.
        marker: as matplotlib names markers.
    """

    color: str
    dashes: tuple[float, ...]
    marker: str

    @property
    def lightness(self) -> float:
        """How light the colour is in print or to an eye that sees no hue: 0 is black, 100 white (CIE L*)."""
        red, green, blue = (_linear(int(self.color[place : place + 2], 16) / 255.0) for place in (1, 3, 5))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        return 116.0 * luminance ** (1.0 / 3.0) - 16.0 if luminance > 0.008856 else 903.3 * luminance


# In the order of legends and looks.
REGULARIZERS = ("none", "error", "stiffness", "both", "local-unbiased", "local-biased", "taylor", "rnode")
# Hues that colour-blind readers can tell apart. No two are equally light, and neighbours in this order, which meet most
# often, differ by far; none is so light that text in it would fade on white.
LOOKS = (
    Look("#000000", (), "o"),
    Look("#d55e00", (4.0, 1.6), "s"),
    Look("#0a4b8c", (1.0, 1.2), "^"),
    Look("#3aba8a", (6.0, 1.5, 1.0, 1.5), "D"),
    Look("#5a1a5a", (8.0, 2.0), "v"),
    Look("#b08d00", (3.0, 1.0, 1.0, 1.0, 1.0, 1.0), "X"),
    Look("#00677a", (2.0, 2.0), "P"),
    Look("#f0a3b5", (10.0, 1.5, 2.0, 1.5), "*"),
    Look("#3d1f00", (5.0, 3.0), "<"),
    Look("#7a7000", (1.5, 0.8, 1.5, 2.5), ">"),
)
SHARED = Look("#777777", (), "o")  # for what all groups have in common


def choose_looks(labels: Sequence[str]) -> dict[str, Look]:
    """One look per label; the regularizers without STEER have the same look in every figure.

    Raises:
        ValueError: there are more labels than looks.
    """
    if len(labels) > len(LOOKS):
        raise ValueError(f"found {len(labels)} kinds of runs; plot at most {len(LOOKS)} in one figure")
    looks = {label: LOOKS[REGULARIZERS.index(label)] for label in labels if label in REGULARIZERS}
    free = [look for look in reversed(LOOKS) if look not in looks.values()]
    return {label: looks[label] if label in looks else free.pop(0) for label in labels}


def _linear(channel: float) -> float:
    """One channel of an sRGB colour, in [0, 1], as a share of light."""
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
