"""Every answer belongs to one path: order, additivity, direction, copies, dtypes, memory, and what is not an answer."""

import copy
import math
import pickle
import random
import tracemalloc
from itertools import pairwise

import pytest
import torch

from pyndereg.noise import BrownianPath
from tests.sentences import check_sentence

T0, T1, SHAPE = -1.0, 2.0, (3, 2)
SHAPES_OF_GRIDS = [(1, 12), (5, 12), (24, 12), (100, 3), (1000, 0), (4096, 12)]


def new_path(cells=100, depth=12, **options):
    return BrownianPath(T0, T1, options.pop("shape", SHAPE), seed=3, cells=cells, depth=depth, **options)


def some_times(path, count, generator):
    """Ends of cells, dyadic parts of cells, other times, and both ends of the path."""
    cell = (path.t1 - path.t0) / path.cells
    kinds = [
        lambda: path.t0 + generator.randrange(path.cells + 1) * cell,
        lambda: path.t0 + (generator.randrange(path.cells) + generator.randrange(32) / 32) * cell,
        lambda: generator.uniform(path.t0, path.t1),
        lambda: generator.choice([path.t0, path.t1]),
    ]
    return [min(generator.choice(kinds)(), path.t1) for _ in range(count)]


def integral(increments, length):
    """Of W(u) - W(s) over the interval."""
    return length / 2 * (increments.dW + increments.dZ / math.sqrt(3))


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("cells", "depth"), SHAPES_OF_GRIDS)
def test_increments_and_integrals_of_neighbours_add_up(cells, depth):
    path, generator = new_path(cells, depth), random.Random(1)
    for _ in range(60):
        s, m, t = sorted(some_times(path, 3, generator))
        left, right, both = path.increments(s, m), path.increments(m, t), path.increments(s, t)
        close(left.dW + right.dW, both.dW)
        shifted = integral(left, m - s) + (t - m) * left.dW + integral(right, t - m)
        # A time within 2^-28 of a cell from a random time is taken to be it, so lengths differ by that much.
        close(shifted, integral(both, t - s), 1e-12)


@pytest.mark.parametrize(("cells", "depth"), SHAPES_OF_GRIDS)
def test_answers_do_not_depend_on_the_order_of_the_questions(cells, depth):
    generator = random.Random(2)
    times = sorted(some_times(new_path(cells, depth), 80, generator))
    questions = list(pairwise(times)) + [tuple(generator.sample(times, 2)) for _ in range(40)]
    forwards = new_path(cells, depth)
    expected = {question: forwards.increments(*question) for question in questions}
    shuffled = new_path(cells, depth)
    generator.shuffle(questions)
    for question in questions:
        for found in (shuffled.increments(*question), new_path(cells, depth).increments(*question)):
            close(found.dW, expected[question].dW, 1e-14)
            close(found.dZ, expected[question].dZ, 1e-14)


def test_a_step_that_is_tried_halved_and_retried_adds_up_to_the_first_try():
    path, s, t = new_path(), 0.1234, 0.5678
    first = path.increments(s, t)
    for parts in (2, 3, 7, 40):
        times = [s + (t - s) * k / parts for k in range(parts)] + [t]
        close(path.on_grid(times).dW.sum(0), first.dW)
    again = path.increments(s, t)
    close(again.dZ, first.dZ, 1e-14)


def test_a_reversed_interval_changes_the_sign_of_the_increment_and_keeps_the_area():
    path, s, t = new_path(), 0.1234, 1.5678
    forwards, backwards = path.increments(s, t), path.increments(t, s)
    close(backwards.dW, -forwards.dW, 0)
    close(backwards.dZ, forwards.dZ, 0)
    # The integral of W(u) - W(t) from t down to s is (t - s) dW less the forward one.
    close(integral(backwards, s - t), (t - s) * forwards.dW - integral(forwards, t - s))


def test_values_are_those_of_a_path_that_begins_at_zero():
    path, generator = new_path(), random.Random(4)
    times = some_times(path, 40, generator)
    values = path.values(torch.tensor(times, dtype=torch.float64))
    assert values.shape == (40, *SHAPE)
    assert torch.equal(path(T0), torch.zeros(SHAPE, dtype=torch.float64))
    for k, t in enumerate(times):
        close(values[k], path(t), 0)
        close(path.dW(times[0], t), values[k] - values[0])


@pytest.mark.parametrize("cells", [1, 24, 100, 1000])
@pytest.mark.parametrize("part", [(0, 1), (0.25, 0.75)])
def test_a_grid_at_once_is_the_same_as_step_by_step(cells, part):
    """Also with the rounding errors of added steps, which must not lead off the grid."""
    path, cell = new_path(cells), (T1 - T0) / cells
    first, last = (round(end * cells) for end in part)
    if first == last:
        first, last = 0, 1
    times = [T0 + first * cell]
    for _ in range(last - first):
        times.append(times[-1] + cell)
    dW, dZ = path.on_grid(times)
    assert dW.shape == dZ.shape == (last - first, *SHAPE)
    for k in range(last - first):
        step = new_path(cells).increments(T0 + (first + k) * cell, T0 + (first + k + 1) * cell) if k % 50 == 0 else None
        found = path.increments(times[k], times[k + 1])
        for expected in (found, step or found):
            close(dW[k], expected.dW, 1e-14)
            close(dZ[k], expected.dZ, 1e-14)


@pytest.mark.parametrize("times", [[0.0, 0.3, 0.31, 0.311, 1.9], [-1.0, -0.97, -0.94, -0.91]])
def test_a_grid_may_be_uneven_and_may_fall(times):
    path = new_path()
    dW, dZ = path.on_grid(times)
    for k in range(len(times) - 1):
        close(dW[k], path.increments(times[k], times[k + 1]).dW, 1e-14)
    falling = path.on_grid(times[::-1])
    close(falling.dW, -dW.flip(0), 0)
    close(falling.dZ, dZ.flip(0), 0)


def test_nothing_happens_within_no_time():
    path = new_path()
    for t in (T0, 0.3, 0.123456, T1):
        assert all(torch.equal(zero, torch.zeros(SHAPE, dtype=torch.float64)) for zero in path.increments(t, t))
    assert path.on_grid([0.5]).dW.shape == (0, *SHAPE)
    assert path.values([]).shape == (0, *SHAPE)


def test_below_its_resolution_the_path_is_smooth():
    """Increments shrink like the step, not like its root, and areas faster still."""
    path = new_path(cells=10, depth=2)
    assert path.resolution == pytest.approx(0.3 / 4)
    s = T0 + 0.4 * path.resolution
    long, short = (path.increments(s, s + path.resolution * part) for part in (0.1, 0.001))
    assert short.dW.abs().max() < 0.03 * long.dW.abs().max()
    close(short.dZ, long.dZ * 1e-4)


def test_deeper_paths_agree_at_the_times_that_both_resolve():
    coarse, fine, cell = new_path(depth=2), new_path(depth=10), (T1 - T0) / 100
    for k in range(0, 400, 17):
        close(fine(T0 + k * cell / 4), coarse(T0 + k * cell / 4))


def test_the_nearest_cheap_time_is_on_a_grid_as_fine_as_asked_for():
    path, cell = new_path(), (T1 - T0) / 100
    assert path.nearest_time(0.1234, 10.0) == pytest.approx(T0 + 37 * cell, abs=1e-15)
    assert path.nearest_time(0.1234, cell / 3) == pytest.approx(T0 + 37.5 * cell, abs=1e-15)
    for t in (T0, 0.1234, 1.99, T1):
        for spacing in (0.01, 0.001, 1e-5):
            nearest = path.nearest_time(t, spacing)
            assert abs(nearest - t) <= spacing / 2 * (1 + 1e-9)
            steps = (nearest - T0) / cell * 2 ** math.ceil(math.log2(cell / spacing))
            assert abs(steps - round(steps)) < 1e-6
    assert path.nearest_time(T1, 1e-12) == T1


def test_a_seed_is_the_path():
    a, b, other = (BrownianPath(0.0, 1.0, SHAPE, seed=seed)(0.7) for seed in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)


def test_without_a_seed_torchs_generator_gives_one_that_can_be_read():
    torch.manual_seed(1)
    first, second = (BrownianPath(0.0, 1.0, SHAPE) for _ in range(2))
    torch.manual_seed(1)
    again = BrownianPath(0.0, 1.0, SHAPE)
    assert first.seed == again.seed != second.seed
    assert torch.equal(BrownianPath(0.0, 1.0, SHAPE, seed=first.seed)(0.3), first(0.3))


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, lambda path: pickle.loads(pickle.dumps(path))])
def test_a_copy_is_the_same_path(make_copy):
    path = new_path(dtype=torch.float32)
    before = path(0.1234)
    copied = make_copy(path)
    assert repr(copied) == repr(path)
    assert torch.equal(copied(0.1234), before)
    assert torch.equal(copied(1.7), path(1.7))


def test_float32_is_the_same_path_rounded():
    single, double = new_path(dtype=torch.float32), new_path()
    for s, t in ((T0, T1), (0.1, 0.13), (0.1234, 0.1357)):
        for found, expected in zip(single.increments(s, t), double.increments(s, t), strict=True):
            assert found.dtype == torch.float32
            assert torch.equal(found, expected.float())
    assert single.on_grid([0.5, 0.53]).dW.dtype == single.values([0.3]).dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3, 4)])
def test_a_path_has_any_shape(shape):
    path = new_path(shape=shape)
    assert path(0.3).shape == path.increments(0.3, 0.4).dZ.shape == shape
    assert path.values([0.3, 0.4]).shape == (2, *shape)


def test_an_answer_can_be_overwritten_without_changing_the_path():
    path, times = new_path(), [0.5, 0.53]
    for ask in (lambda: path.increments(*times)[0], lambda: path.on_grid(times).dZ, lambda: path(T1)):
        before = ask().clone()
        ask().zero_()
        assert torch.equal(ask(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_path_is_the_same_on_a_gpu():
    on_gpu = new_path(device="cuda").increments(0.1234, 0.9)
    expected = new_path().increments(0.1234, 0.9)
    assert on_gpu.dW.is_cuda
    assert torch.equal(on_gpu.dW.cpu(), expected.dW)
    assert torch.equal(on_gpu.dZ.cpu(), expected.dZ)


def peak_growth_over(path, questions):
    """Bytes by which memory rose above its level after the first thousand questions, at its worst."""
    tracemalloc.start()
    try:
        for count, (s, t) in enumerate(questions):
            path.increments(s, t)
            if count == 1000:
                tracemalloc.reset_peak()
                level = tracemalloc.get_traced_memory()[0]
        return tracemalloc.get_traced_memory()[1] - level
    finally:
        tracemalloc.stop()


def test_memory_stays_bounded_over_thousands_of_mixed_questions():
    path, generator = new_path(cells=2**16), random.Random(6)
    times = some_times(path, 4001, generator)
    assert peak_growth_over(path, pairwise(times)) < 500_000


@pytest.mark.slow
def test_memory_stays_bounded_over_a_million_questions():
    """Every cell of a million once, in order: all of their numbers would be 100 MB."""
    cells = 10**6
    path = BrownianPath(0.0, 1.0, SHAPE, seed=3, cells=cells)
    assert peak_growth_over(path, ((k / cells, (k + 1) / cells) for k in range(cells))) < 500_000


@pytest.mark.parametrize(
    "ask",
    [
        lambda path: path(2.0001),
        lambda path: path.increments(-1.1, 0.0),
        lambda path: path.on_grid([0.0, math.nan]),
        lambda path: path.values([0.0, math.inf]),
    ],
)
def test_times_outside_the_interval_raise_a_sentence(ask):
    with pytest.raises(ValueError, match="outside") as raised:
        ask(new_path())
    check_sentence(raised.value, "[-1, 2]")


@pytest.mark.parametrize("times", [[], [0.0, 0.5, 0.2]])
def test_a_grid_that_turns_around_or_is_empty_raises_a_sentence(times):
    with pytest.raises(ValueError, match="rise or fall") as raised:
        new_path().on_grid(times)
    check_sentence(raised.value)


def test_a_table_of_times_raises_a_sentence():
    with pytest.raises(ValueError, match="shape") as raised:
        new_path().values(torch.zeros(2, 2))
    check_sentence(raised.value, "(2, 2)")


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"t1": 0.0}, "t0 < t1"),
        ({"t0": -math.inf}, "finite"),
        ({"shape": (3, 0)}, "shape=(3, 0)"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, f"seed={2**64}"),
        ({"cells": 0}, "cells=0"),
        ({"cells": 2**20 + 1}, "cells="),
        ({"cells": 10.0}, "cells=10.0"),
        ({"depth": 25}, "depth=25"),
        ({"dtype": torch.float16}, "float16"),
    ],
)
def test_arguments_out_of_range_raise_a_sentence(changed, part):
    arguments = {"t0": 0.0, "t1": 1.0, "shape": SHAPE, "seed": 1} | changed
    if changed == {"t1": 0.0}:
        arguments["t0"] = 0.0
    with pytest.raises(ValueError, match=r".") as raised:
        BrownianPath(**arguments)
    check_sentence(raised.value, part)
