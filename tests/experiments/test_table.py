"""The papers' table: it says what the records say."""

import math
from dataclasses import replace

import pytest

from pyndereg.experiments.table import format_table, method_of, papers_table
from pyndereg.results import RunRecord, StepTrace

TRACE = StepTrace(t=(0.0,), dt=(1.0,), scaled_error=(0.1,), stiffness=(math.nan,))
CONFIG = {
    "epochs": 50,
    "optimizer": "momentum",
    "method": "tsit5",
    "precision": "float64",
    "rtol": 1.4e-8,
    "atol": 1.4e-8,
}


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
            "end_error": 0.5,
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
        "end error",
        "NFE vs none",
        "speed-up",
    ]
    assert [" ".join(cells(none)), " ".join(cells(error))] == [
        "none 99.50 ± 0.71 97.50 ± 0.71 41.0 ± 1.4 61.00 ± 1.41 132.0 ± 2.8 0.50 ± 0.00 1.00 1.00",
        "error 98.25 ± 0.35 97.50 ± 0.00 25.5 ± 0.7 25.00 ± 1.41 53.0 ± 4.2 0.50 ± 0.00 0.40 2.44",
    ]
    assert len({len(line) for line in (header, rule, none, error)}) == 1
    assert rest[0] == rule
    assert "seeds 0, 1; 50 epochs, momentum, tsit5, float64, rtol 1.4e-08, atol 1.4e-08" in rest[1]


def test_one_seed_has_no_deviation():
    (none, _) = rows(RECORDS[::2])
    assert cells(none)[:3] == ["none", "100.00", "97.00"]


def test_what_an_earlier_version_did_not_measure_is_missing():
    earlier = [replace(one, metrics={k: v for k, v in one.metrics.items() if k != "end_error"}) for one in RECORDS]
    assert [cells(row)[6] for row in rows(earlier)] == ["-", "-"]


def test_without_plain_runs_nothing_is_relative_to_them():
    (error,) = rows(RECORDS[2:])
    assert error.rstrip().endswith("53.0 ± 4.2  0.50 ± 0.00")


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


def papers_rows(records):
    """The rows of one experiment's table as cells, and the notes under it."""
    name, header, rule, *lines = papers_table(records).splitlines()
    end = lines.index(rule)
    return name, [cells(line) for line in (header, *lines[:end])], lines[end + 1 :]


MNIST = [replace(record, experiment="mnist-ode") for record in RECORDS]


def test_the_papers_numbers_stand_under_those_of_the_records():
    name, (header, *rows), _ = papers_rows(MNIST)
    assert name == "mnist-ode"
    assert header == [
        *("method", "source", "seeds", "train accuracy (%)", "test accuracy (%)"),
        *("training", "ratio", "prediction", "ratio", "NFE", "ratio"),
    ]
    assert rows[0][:6] == ["none", "here", "0, 1", "99.50 ± 0.71", "97.50 ± 0.71", "41.00 ± 1.41 s"]
    assert rows[1][:5] == ["2021", "-", "100.00 ± 0.00", "97.94 ± 0.02", "0.98 ± 0.03 h"]
    assert rows[1][-2:] == ["253.0 ± 3.5", "1.00"]
    assert rows[2][-2:] == ["303.6 ± 3.2", "1.00"]
    assert rows[3][:3] == ["error", "here", "0, 1"]
    assert rows[3][-2:] == ["53.0 ± 4.2", "0.40"]
    assert rows[4][-2:] == ["177.0 ± 0.0", "0.70"]


def test_what_a_paper_does_not_report_is_a_dash():
    _, (_, *rows), _ = papers_rows(MNIST)
    assert rows[5] == ["2023", *["-"] * 9]


def test_times_are_labelled_and_only_related_to_those_of_the_same_source():
    _, (_, *rows), notes = papers_rows(MNIST)
    here, published = rows[3], rows[4]
    assert here[5:7] == ["25.50 ± 0.71 s", "0.62"]  # 25.5 of 41.0 seconds
    assert published[4:6] == ["0.82 ± 0.02 h", "0.84"]  # 0.82 of 0.98 hours
    assert notes[1] == "2021, 2023: published, here rounded, from other machines; a ratio is to the same source's none"


def test_digits_are_compared_with_mnist_and_the_table_says_so():
    _, (_, *rows), notes = papers_rows(RECORDS)
    assert rows[1][-2] == "253.0 ± 3.5"
    assert notes[2] == "the papers have no digits-ode: their numbers are those of mnist-ode, on all of MNIST"
    assert not any("digits" in note for note in papers_rows(MNIST)[2])


def test_the_plain_model_comes_first_whatever_the_order_of_the_records():
    assert papers_rows(MNIST[::-1])[1] == papers_rows(MNIST)[1]


def test_a_gradient_of_its_own_changes_nothing_about_what_is_published():
    gauss = [replace(record, config={**record.config, "gradient": "gauss"}) for record in MNIST]
    _, (_, *rows), _ = papers_rows(gauss)
    assert rows[0][0] == "none@gauss"
    assert rows[1][-2:] == ["253.0 ± 3.5", "1.00"]


def test_losses_are_told_in_the_papers_unit():
    metrics = {"test_loss": 0.00361, "train_loss": 0.0034, "nfe": 300.0}
    record = replace(MNIST[0], experiment="physionet-latent-ode", metrics=metrics)
    _, (header, here, opening, locally), _ = papers_rows([record])
    assert header[3:5] == ["train loss (1e-3)", "test loss (1e-3)"]
    assert here[3:5] == ["3.40", "3.61"]
    assert opening[2:4] == ["3.48 ± 0.00", "3.55 ± 0.00"]
    assert locally[2:4] == ["-", "3.41 ± 0.10"]


def test_an_experiment_that_no_paper_has_stands_alone():
    record = replace(
        MNIST[0], experiment="lotka-volterra", config={"iterations": 100}, metrics={"loss": 1.5, "nfe": 80.0}
    )
    _, (_, *rows), notes = papers_rows([record])
    assert rows == [["none", "here", "0", "1.5000", "80.0", "1.00"]]
    assert notes == ["here: mean ± sample standard deviation over the seeds; 100 iterations"]


def test_each_experiment_has_a_table_of_its_own():
    tables = papers_table([*RECORDS, *MNIST]).split("\n\n")
    assert [table.splitlines()[0] for table in tables] == ["digits-ode", "mnist-ode"]


def test_settings_that_the_runs_do_not_share_are_all_named():
    other = replace(MNIST[2], config={**MNIST[2].config, "epochs": 60})
    assert papers_rows([MNIST[0], other])[2][0].endswith(
        "epochs 50, 60, momentum, tsit5, float64, rtol 1.4e-08, atol 1.4e-08"
    )


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([], "no record to tabulate"),
        ([MNIST[0], MNIST[0]], r"'none' on mnist-ode have seeds \[0, 0\]; name each seed once"),
    ],
)
def test_records_that_make_no_table_are_refused(records, sentence):
    with pytest.raises(ValueError, match=sentence):
        papers_table(records)


def test_a_run_without_a_regularizer_in_its_settings_is_a_plain_one():
    assert method_of({}) == "none"
    assert method_of({"regularizer": "error", "steer": True, "gradient": "gauss"}) == "error+steer@gauss"
