"""The papers' table: it says what the records say."""

import math

from pyndereg.experiments.table import format_table
from pyndereg.results import RunRecord, StepTrace

TRACE = StepTrace(t=(0.0,), dt=(1.0,), scaled_error=(0.1,), stiffness=(math.nan,))
CONFIG = {"epochs": 50, "method": "tsit5", "precision": "float64", "rtol": 1.4e-8, "atol": 1.4e-8}


def make_record(regularizer, seed, *, accuracies=(100.0, 97.0), nfe, training=40.0, prediction=0.06, **config):
    return RunRecord(
        experiment="digits-ode",
        config={**CONFIG, "regularizer": regularizer, **config},
        versions={},
        seed=seed,
        device="cpu",
        curves={},
        metrics={
            "train_accuracy": accuracies[0],
            "test_accuracy": accuracies[1],
            "nfe": nfe,
            "training_seconds": training,
            "prediction_seconds": prediction,
        },
        steps_before=TRACE,
        steps_after=TRACE,
    )


RECORDS = [
    make_record("none", 0, accuracies=(100.0, 97.0), nfe=130.0, training=40.0, prediction=0.060),
    make_record("none", 1, accuracies=(99.0, 98.0), nfe=134.0, training=42.0, prediction=0.062),
    make_record("error", 0, accuracies=(98.0, 97.5), nfe=50.0, training=25.0, prediction=0.024),
    make_record("error", 1, accuracies=(98.5, 97.5), nfe=56.0, training=26.0, prediction=0.026),
]


def cells(line):
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def rows(records):
    """The table's rows without header, rules and caption."""
    _, rule, *lines = format_table(records).splitlines()
    return lines[: lines.index(rule)]


def test_the_table_has_means_sample_deviations_and_costs_relative_to_none():
    header, rule, none, error, *rest = format_table(RECORDS).splitlines()
    assert cells(header) == [
        "method",
        "train accuracy (%)",
        "test accuracy (%)",
        "training (s)",
        "prediction (ms)",
        "NFE",
        "NFE vs none",
        "speed-up",
    ]
    assert [cells(none), cells(error)] == [
        ["none", "99.50 ± 0.71", "97.50 ± 0.71", "41.0 ± 1.4", "61.00 ± 1.41", "132.0 ± 2.8", "1.00", "1.00"],
        ["error", "98.25 ± 0.35", "97.50 ± 0.00", "25.5 ± 0.7", "25.00 ± 1.41", "53.0 ± 4.2", "0.40", "2.44"],
    ]
    assert len({len(line) for line in (header, rule, none, error)}) == 1
    assert rest[0] == rule
    assert "seeds 0, 1; 50 epochs, momentum, tsit5, float64, rtol 1.4e-08, atol 1.4e-08" in rest[1]


def test_one_seed_has_no_deviation():
    (none, _) = rows(RECORDS[::2])
    assert cells(none)[:3] == ["none", "100.00", "97.00"]


def test_without_plain_runs_nothing_is_relative_to_them():
    (error,) = rows(RECORDS[2:])
    assert error.rstrip().endswith("53.0 ± 4.2")


def test_a_method_is_named_by_regularizer_random_end_times_and_gradient_in_the_order_of_the_records():
    records = [
        make_record("none", 0, nfe=100.0, steer=True),
        make_record("local-biased", 0, nfe=70.0, gradient="gauss"),
        make_record("none", 0, nfe=140.0),
        make_record("error", 0, nfe=35.0, steer=True, gradient="discrete"),
    ]
    table = [cells(row) for row in rows(records)]
    assert [row[0] for row in table] == ["none+steer", "local-biased@gauss", "none", "error+steer@discrete"]
    assert [row[-2] for row in table] == ["0.71", "0.50", "1.00", "0.25"]


def test_plain_runs_with_another_gradient_are_what_others_are_relative_to_where_there_are_no_others():
    records = [
        make_record("none", 0, nfe=140.0, gradient="gauss"),
        make_record("taylor", 0, nfe=70.0, gradient="gauss"),
    ]
    assert [cells(row)[-2] for row in rows(records)] == ["1.00", "0.50"]


def test_a_method_that_lacks_a_seed_says_which_it_has():
    assert [cells(row)[0] for row in rows(RECORDS[:3])] == ["none", "error (seeds 0)"]
