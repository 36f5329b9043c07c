"""The comparison: the table says what the records say, and nothing is trained in vain."""

import math

import pytest

from pyndereg import results
from pyndereg.experiments import demo, digits_ode
from pyndereg.experiments.config import DigitsODEConfig
from pyndereg.results import RunRecord, StepTrace

TRACE = StepTrace(t=(0.0,), dt=(1.0,), scaled_error=(0.1,), stiffness=(math.nan,))
CONFIG = {"epochs": 50, "method": "tsit5", "precision": "float64", "rtol": 1.4e-8, "atol": 1.4e-8}
QUICK = DigitsODEConfig(epochs=1, rtol=1e-3, atol=1e-3, hidden=16)


def make_record(regularizer, seed, *, accuracy, nfe, training, prediction):
    return RunRecord(
        experiment="digits-ode",
        config={**CONFIG, "regularizer": regularizer},
        versions={},
        seed=seed,
        device="cpu",
        curves={},
        metrics={
            "test_accuracy": accuracy,
            "nfe": nfe,
            "training_seconds": training,
            "prediction_seconds": prediction,
        },
        steps_before=TRACE,
        steps_after=TRACE,
    )


RECORDS = [
    make_record("none", 0, accuracy=97.0, nfe=130.0, training=40.0, prediction=0.060),
    make_record("none", 1, accuracy=98.0, nfe=134.0, training=42.0, prediction=0.062),
    make_record("error", 0, accuracy=97.5, nfe=50.0, training=25.0, prediction=0.024),
    make_record("error", 1, accuracy=97.5, nfe=56.0, training=26.0, prediction=0.026),
]


def test_the_table_has_means_sample_deviations_and_costs_relative_to_none():
    header, rule, none, error, *rest = demo.format_table(RECORDS).splitlines()
    columns = [column.strip() for column in header.split("  ") if column.strip()]
    assert columns == [
        "regularizer",
        "test accuracy (%)",
        "NFE",
        "training (s)",
        "prediction (ms)",
        "NFE vs none",
        "speed-up",
    ]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in (none, error)]
    assert cells == [
        ["none", "97.50 ± 0.71", "132.0 ± 2.8", "41.0 ± 1.4", "61.00 ± 1.41", "1.00", "1.00"],
        ["error", "97.50 ± 0.00", "53.0 ± 4.2", "25.5 ± 0.7", "25.00 ± 1.41", "0.40", "2.44"],
    ]
    assert len({len(line) for line in (header, rule, none, error)}) == 1
    assert "seeds 0, 1; 50 epochs, tsit5, float64, rtol 1.4e-08, atol 1.4e-08" in rest[1]


def test_one_seed_has_no_deviation():
    table = demo.format_table(RECORDS[::2])
    assert "±" not in table.splitlines()[2]
    assert "97.00" in table


def test_without_plain_runs_nothing_is_relative_to_them():
    error = demo.format_table(RECORDS[2:]).splitlines()[2]
    assert error.rstrip().endswith("25.00 ± 1.41")


def test_every_regularizer_is_trained_with_every_seed_and_each_run_leaves_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(digits_ode, "PREDICTION_REPEATS", 2)
    records = demo.compare(QUICK, [3], tmp_path, workers=2)
    assert [(record.config["regularizer"], record.seed) for record in records] == [
        ("none", 3),
        ("error", 3),
        ("stiffness", 3),
    ]
    assert [results.read(tmp_path / f"digits-ode-{name}-seed3.json") for name in demo.REGULARIZERS] == records
    assert all(record.metrics["prediction_seconds"] > 0.0 for record in records)
    assert len({record.steps_before for record in records}) == 1


def test_an_existing_record_is_noticed_before_anything_is_trained(tmp_path, monkeypatch):
    (tmp_path / "digits-ode-error-seed1.json").write_text("precious")
    monkeypatch.setattr(demo, "train_all", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(FileExistsError, match=r"digits-ode-error-seed1\.json exists already"):
        demo.compare(QUICK, [0, 1], tmp_path)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_must_be_given_once_each(tmp_path, seeds):
    with pytest.raises(ValueError, match="pass at least one, each once"):
        demo.compare(QUICK, seeds, tmp_path)


def test_an_error_in_a_worker_is_told_in_its_own_words(tmp_path):
    with pytest.raises(ValueError, match="no stiffness estimate"):
        demo.compare(DigitsODEConfig(epochs=1, rtol=1e-3, atol=1e-3, hidden=16, method="bs3"), [0], tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []
