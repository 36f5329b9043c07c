"""Irregular series: several quantities, each observed at some times only."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class IrregularSeries:
    """Series of several features over the same times, with what was observed of each.

    Args:
        times: from 0 to 1, in units of the longest observation. Shape (times,), rising.
        values: scaled by feature, dimensionless; 0 where nothing was observed. Shape (series, times, features).
        mask: 1 where a value was observed, 0 elsewhere. Shape (series, times, features).
    """

    times: Tensor
    values: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device | str) -> "IrregularSeries":
        """The same series on a device."""
        return IrregularSeries(self.times.to(device), self.values.to(device), self.mask.to(device))

    def select(self, rows: Tensor) -> "IrregularSeries":
        """Some of the series: the rows by number, shape (rows,), or those marked True, shape (series,)."""
        return replace(self, values=self.values[rows], mask=self.mask[rows])


@dataclass(frozen=True)
class SplitSeries:
    """Series for training and others for testing, over the same times and scaled alike."""

    train: IrregularSeries
    test: IrregularSeries

    def to(self, device: torch.device | str) -> "SplitSeries":
        """The same series on a device."""
        return SplitSeries(self.train.to(device), self.test.to(device))


def split_series(series: IrregularSeries, *, used: float, test_fraction: float, seed: int) -> SplitSeries:
    """Series drawn at random for training, and others for testing.

    Args:
        series: at least a training and a test series must come of it.
        used: part of the series that is kept at all, above 0 and at most 1 (dimensionless).
        test_fraction: part of the kept series that is for testing, between 0 and 1 (dimensionless).
        seed: seed of both draws.
    Raises:
        ValueError: a part would be empty.
    """
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(series)))
    kept = order[: round(used * len(series))]
    train_count = round((1.0 - test_fraction) * len(kept))
    if not 0 < train_count < len(kept):
        raise ValueError(
            f"{len(kept)} series of {len(series)} are kept, of which {train_count} are for training; "
            f"choose used and test_fraction so that both parts hold some"
        )
    return SplitSeries(train=series.select(kept[:train_count]), test=series.select(kept[train_count:]))
