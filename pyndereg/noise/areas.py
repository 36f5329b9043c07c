r"""How increments and space-time areas of neighbouring intervals belong together.

Over an interval of length h let W be the increment of a Brownian motion and Z its normalised space-time area, so that
the integral of the path above its first value is I = h/2 (W + Z/sqrt(3)); W and Z are independent and N(0, h)
[@foster2020optimal]. Cut the interval into pieces of lengths h_i, with the time r_i left after piece i. Increments add
up, and integrals add up after a shift, I = sum_i (I_i + r_i W_i), which in terms of the areas reads

    W = sum_i W_i,    Z = sum_i (a_i W_i + h_i/h Z_i),    a_i = sqrt(3) ((h_i + 2 r_i)/h - 1).    (1)

The pieces given the whole are Gaussian. Draw independent x_i, z_i ~ N(0, h_i), let X and Y be the whole that (1) makes
of them, and add what is missing, weighted by the covariances of the pieces with the whole over its variance h:

    W_i = x_i + h_i/h (W - X) + a_i h_i/h (Z - Y),    Z_i = z_i + (h_i/h)^2 (Z - Y).              (2)

For two halves (2) is the midpoint rule of [@foster2020optimal], which needs two normals in place of four:

    W_1 = W/2 + sqrt(3)/4 Z + sqrt(h)/4 n_1,    Z_1 = Z/4 - sqrt(3 h)/4 n_1 + sqrt(h)/2 n_2,
    W_2 = W/2 - sqrt(3)/4 Z - sqrt(h)/4 n_1,    Z_2 = Z/4 - sqrt(3 h)/4 n_1 - sqrt(h)/2 n_2.      (3)
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

ROOT_3 = 3**0.5


class Whole(NamedTuple):
    """Weights of eq. (1), dimensionless, each of shape (pieces,): of the W_i in Z, and of the Z_i in Z."""

    tilt: np.ndarray
    fraction: np.ndarray


class Split(NamedTuple):
    """Eq. (2) as matrices for stacked rows (W_1 .. W_n, Z_1 .. Z_n), or (W, Z) of the whole.

    Attributes:
        scale: sqrt(h_i) of each row. Shape (2 pieces, 1), units of sqrt(time).
        whole: the pieces' rows -> the whole's. Shape (2, 2 pieces), dimensionless.
        share: what is missing in the whole's rows -> what each row gets. Shape (2 pieces, 2), dimensionless.
    """

    scale: np.ndarray
    whole: np.ndarray
    share: np.ndarray


def weights(lengths: np.ndarray) -> Whole:
    """Weights by which neighbouring pieces make up the area of their whole.

    Args:
        lengths: lengths of the pieces in time order, all > 0, in any one unit. Shape (pieces,).
    """
    left = np.cumsum(lengths)
    whole = left[-1]
    return Whole(ROOT_3 * ((lengths + 2 * (whole - left)) / whole - 1), lengths / whole)


def join(lengths: np.ndarray, W: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Increment and area of an interval from those of its pieces, eq. (1).

    Args:
        lengths: lengths of the pieces in time order, in any one unit. Shape (pieces,).
        W, Z: increments and areas of the pieces. Shape (pieces, count), units of sqrt(time).
    Returns:
        Shape (2, count), units of sqrt(time): W, then Z.
    """
    return joining(tuple(lengths)) @ np.concatenate((W, Z))


@lru_cache(maxsize=1024)
def joining(lengths: tuple[float, ...]) -> np.ndarray:
    """Eq. (1) as a matrix: rows (W_1 .. W_n, Z_1 .. Z_n) -> (W, Z). Shape (2, 2 pieces); steps repeat, so it is kept.

    Args:
        lengths: lengths of the pieces in time order, in any one unit. Shape (pieces,).
    """
    tilt, fraction = weights(np.array(lengths))
    return np.stack((np.concatenate((np.ones_like(tilt), np.zeros_like(tilt))), np.concatenate((tilt, fraction))))


def split(lengths: np.ndarray) -> Split:
    """What cuts an interval into pieces by eq. (2). Args: lengths, shape (pieces,), units of time."""
    _, fraction = weights(lengths)
    whole = joining(tuple(lengths))
    # The rows' variances are the lengths, and that of the whole is their sum: so the share is h_i/h times `whole`.
    share = whole.T * np.concatenate((fraction, fraction))[:, None]
    return Split(np.sqrt(np.concatenate((lengths, lengths)))[:, None], whole, share)


def midpoint(length: float) -> np.ndarray:
    """Matrix of eq. (3): rows (W, Z, n_1, n_2) -> (W_1, W_2, Z_1, Z_2). Args: length, > 0, units of time."""
    a, b, r = ROOT_3 / 4, 0.25, length**0.5
    return np.array(
        [
            [0.5, a, b * r, 0.0],
            [0.5, -a, -b * r, 0.0],
            [0.0, b, -a * r, 0.5 * r],
            [0.0, b, -a * r, -0.5 * r],
        ]
    )


def within(start: float, stop: float) -> np.ndarray:
    """Part of an interval of which nothing is known but (W, Z): its conditional expectation, a parabola.

    With m = stop - start, the parabola W(p) = p W + sqrt(3) p (1 - p) Z over the fraction p of the interval has over
    the part the increment m (W + sqrt(3) (1 - start - stop) Z) and the area m^2 Z, which obey eq. (1) exactly.

    Args:
        start, stop: ends of the part as fractions of the interval, 0 <= start < stop <= 1.
    Returns:
        Matrix (W, Z) of the interval -> (W, Z) of the part. Shape (2, 2), dimensionless.
    """
    m = stop - start
    return np.array([[m, m * ROOT_3 * (1 - start - stop)], [0.0, m * m]])
