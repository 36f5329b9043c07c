"""Increments that are drawn many steps at a time are those of the path."""

from itertools import pairwise

import pytest
import torch

from pyndereg.noise import BrownianPath, grid
from pyndereg.noise.grid import GridIncrements


def new_path(cells=10):
    return BrownianPath(0.0, 1.0, (3, 2), seed=4, cells=cells)


@pytest.mark.parametrize("step", [0.1, 0.3, 0.05])
def test_the_increments_over_the_steps_of_a_grid_are_those_of_the_path(step, monkeypatch):
    monkeypatch.setattr(grid, "NUMBERS_PER_DRAW", 4 * 6)
    times = [k * step for k in range(20) if k * step < 1.0] + [1.0]
    on_grid = GridIncrements(new_path(), times)
    steps = list(pairwise(times))
    for s, t in (*steps, *reversed(steps)):
        for found, expected in zip(on_grid.increments(s, t), new_path().increments(s, t), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_what_is_not_a_step_of_the_grid_is_answered_by_the_path():
    on_grid = GridIncrements(new_path(), [0.0, 0.1, 0.2])
    for s, t in ((0.0, 0.2), (0.1, 0.15), (0.2, 0.3), (0.05, 0.1)):
        assert torch.equal(on_grid.increments(s, t).dZ, new_path().increments(s, t).dZ)


def test_as_many_steps_are_drawn_at_once_as_the_bound_on_memory_lets(monkeypatch):
    asked = []
    monkeypatch.setattr(grid, "NUMBERS_PER_DRAW", 4 * 6)
    path, times = new_path(), [k / 10 for k in range(11)]
    whole = path.on_grid
    monkeypatch.setattr(path, "on_grid", lambda times: asked.append(len(times) - 1) or whole(times))
    on_grid = GridIncrements(path, times)
    for s, t in pairwise(times):
        on_grid.increments(s, t)
    assert asked == [4, 4, 2]
