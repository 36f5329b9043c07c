"""The quick latent ODE's data: utterances of two vowels, of which sktime ships a recording, with points left out.

Only sktime's files are read. Importing sktime, which takes seconds, is not needed for it.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pyndereg.experiments.data.packaged import packaged_file
from pyndereg.experiments.data.series import IrregularSeries, SplitSeries

FOLDER = ("datasets", "data", "JapaneseVowels")
LEAST_POINTS = 3


def load_japanese_vowels(*, keep: float, seed: int, dtype: torch.dtype) -> SplitSeries:
    """Nine speakers' utterances, 270 for training and 370 for testing: 12 coefficients of sound at 7 to 29 points.

    The points of a series are the first of 29 equally spaced times. Of each series, points are left out at random,
    with all their coefficients, so that it becomes irregular. Each coefficient is scaled to [0, 1] by its smallest and
    largest value in both parts.

    Args:
        keep: probability that a point is kept, between 0 and 1 (dimensionless); at least three of each series are.
        seed: seed of the points that are left out.
        dtype: floating-point type of times, values and mask.
    Raises:
        ModuleNotFoundError: sktime is not installed.
        FileNotFoundError: the installed sktime does not ship the data.
        ValueError: the probability is not between 0 and 1.
    Source: Kudo, Toyama and Shimbo, Multidimensional curve classification using passing-through regions (1999).
    """
    if not 0.0 <= keep <= 1.0:
        raise ValueError(f"keep is {keep}; pass a probability between 0 and 1")
    train, test = (_read_part(part) for part in ("TRAIN", "TEST"))
    points = np.concatenate([*train, *test])
    lowest, highest = points.min(axis=0), points.max(axis=0)
    longest = max(len(series) for series in [*train, *test])
    generator = np.random.default_rng(seed)

    def irregular(part: Sequence[np.ndarray]) -> IrregularSeries:
        values = np.zeros((len(part), longest, points.shape[1]))
        mask = np.zeros_like(values)
        for row, series in enumerate(part):
            kept = np.flatnonzero(_keep_points(len(series), keep, generator))
            values[row, kept] = (series[kept] - lowest) / (highest - lowest)
            mask[row, kept] = 1.0
        times = torch.linspace(0, 1, longest, dtype=dtype)
        return IrregularSeries(times, torch.tensor(values, dtype=dtype), torch.tensor(mask, dtype=dtype))

    return SplitSeries(train=irregular(train), test=irregular(test))


def parse_ts(text: str, *, name: str) -> list[np.ndarray]:
    """The series of a file in the .ts format of the archive of time series classification, without their classes.

    Args:
        text: comments "#", tags "@", then a series a line: features apart by ":", their points by ",", the class last.
        name: the file's name, for messages.
    Returns:
        One array of shape (points, features) per series; the number of points may differ.
    Raises:
        ValueError: there are no data, they carry time stamps, or a line is not of this form.
    """
    header, found, data = text.lower().partition("@data")
    if not found or "@timestamps true" in header:
        raise ValueError(f"{name} is no .ts file of series without time stamps; take one from sktime's datasets")
    classes = 1 if "@classlabel true" in header else 0
    series = []
    for number, line in enumerate(filter(None, map(str.strip, data.splitlines())), start=1):
        features = line.split(":")
        try:
            series.append(np.array([feature.split(",") for feature in features[: len(features) - classes]], float).T)
        except ValueError:
            raise ValueError(
                f"{name}, series {number}, holds features of different lengths, or what is no number; "
                f"take the file from sktime's datasets"
            ) from None
    return series


def _read_part(part: str) -> list[np.ndarray]:
    path = packaged_file("sktime", *FOLDER, f"JapaneseVowels_{part}.ts", data="the utterances")
    return parse_ts(path.read_text("utf-8"), name=path.name)


def _keep_points(count: int, keep: float, generator: np.random.Generator) -> np.ndarray:
    """Which points of a series are kept. Shape (count,), bool."""
    draws = generator.random(count)
    return draws <= max(keep, np.sort(draws)[:LEAST_POINTS][-1])
