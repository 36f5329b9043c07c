"""The comparison: every method with every seed, nothing trained in vain, and nothing finished is lost."""

from dataclasses import replace

import pytest

from pyndereg import results
from pyndereg.experiments import classification, comparison, digits_ode, naming
from pyndereg.experiments.comparison import Comparison, RunsFailed, compare, grid, with_method
from pyndereg.experiments.image_config import DigitsODEConfig
from pyndereg.experiments.image_data import digits_of

QUICK = DigitsODEConfig(epochs=1, rtol=1e-3, atol=1e-3, hidden=4)
KEPT = DigitsODEConfig.REMEMBERED


@pytest.fixture(autouse=True)
def few_timed_predictions(monkeypatch):
    monkeypatch.setattr(classification, "PREDICTION_REPEATS", 2)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("none", {}),
        ("taylor", {"regularizer": "taylor"}),
        ("none+steer", {"steer": True}),
        ("local-biased@quadrature", {"regularizer": "local-biased", "gradient": "quadrature"}),
        ("none+remembered", {"first_step": "remembered"} | KEPT),
        ("error+steer+remembered", {"regularizer": "error", "steer": True, "first_step": "remembered"} | KEPT),
        ("none+4-steps", {"steps": 4}),
        ("torchdiffeq", {"engine": "torchdiffeq", "method": "dopri5"}),
        ("both+steer@discrete", {"regularizer": "both", "steer": True, "gradient": "discrete"}),
    ],
)
def test_a_method_is_a_regularizer_with_random_end_times_and_a_gradient_if_they_are_named(method, changes):
    config = with_method(QUICK, method)
    assert config == replace(QUICK, **changes)
    assert naming.method_name(config) == method


def test_what_a_method_does_not_name_is_that_of_the_other_settings():
    base = replace(QUICK, gradient="gauss", steer=True)
    assert with_method(base, "taylor") == replace(base, regularizer="taylor")
    assert with_method(base, "error@discrete") == replace(base, regularizer="error", gradient="discrete")
    weighted = replace(QUICK, error_weight=(7.0, 7.0))
    assert with_method(weighted, "error+remembered").error_weight == (7.0, 7.0)
    assert with_method(QUICK, "error+remembered").error_weight == DigitsODEConfig.REMEMBERED["error_weight"]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("jacobian", "^regularizer is 'jacobian'; choose one of none, error"),
        ("", "^regularizer is ''; choose one of none, error"),
        ("none@euler", "^gradient is 'euler'; choose one of auto, discrete"),
        ("none@forward", "^gradient is 'forward', which is for up to about a hundred parameters"),
        ("error@gauss", "^regularizer is 'error', which the gradient 'gauss' cannot see"),
        ("none+steering", "^method is 'none[+]steering'; pass torchdiffeq, or a regularizer, optionally with [+]steer"),
        ("none+steer+steer", "^method is 'none[+]steer[+]steer'; pass torchdiffeq, or a regularizer"),
        ("none+0-steps", "^method is 'none[+]0-steps'; pass torchdiffeq, or a regularizer"),
        ("none+remembered+4-steps", "^steps are equal, and first_step is 'remembered'"),
        ("torchdiffeq+steer", "^regularizer is 'torchdiffeq'; choose one of none"),
        ("none@", "^method is 'none@'; pass torchdiffeq, or a regularizer"),
        ("none@gauss+steer", "^gradient is 'gauss[+]steer'; choose one of auto"),
    ],
)
def test_a_method_that_there_is_not_is_refused_in_one_sentence(method, sentence):
    with pytest.raises(ValueError, match=sentence):
        with_method(QUICK, method)


def test_the_grid_is_sorted_by_method_then_seed_in_the_order_given():
    configs = grid(QUICK, ["error", "none"], [7, 3])
    assert [(config.regularizer, config.seed) for config in configs] == [
        ("error", 7),
        ("error", 3),
        ("none", 7),
        ("none", 3),
    ]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_must_be_given_once_each(seeds):
    with pytest.raises(ValueError, match=r"^seeds are .*; pass at least one, each once$"):
        grid(QUICK, ["none"], seeds)


@pytest.mark.parametrize("methods", [[], ["none", "error", "none"], ["none", "none@auto"]])
def test_methods_must_be_given_once_each(methods):
    with pytest.raises(ValueError, match=r"^methods are .*; pass at least one, each once$"):
        grid(QUICK, methods, [0])


def test_every_method_is_trained_with_every_seed_and_each_run_leaves_its_record_and_weights(tmp_path):
    compared = compare(QUICK, ["none", "local-unbiased"], [3], tmp_path, workers=2)
    assert [(record.config["regularizer"], record.seed) for record in compared.records] == [
        ("none", 3),
        ("local-unbiased", 3),
    ]
    paths = [tmp_path / f"digits-ode-{name}-seed3.json" for name in ("none", "local-unbiased")]
    assert tuple(map(results.read, paths)) == compared.records
    assert all(record.metrics["prediction_seconds"] > 0.0 for record in compared.records)
    assert len({record.steps_before for record in compared.records}) == 1
    assert (tmp_path / "comparison.txt").read_text() == f"{compared.table}\n"
    assert compared.failures == ()
    # The weights are those of the trained model: they find as many digits.
    model = comparison._rebuild(replace(QUICK, seed=3), paths[0].with_suffix(".npz"))
    images = digits_of(QUICK)
    found = model.eval()(images.test_images)[0].argmax(dim=1) == images.test_labels
    assert 100.0 * found.double().mean().item() == compared.records[0].metrics["test_accuracy"]


def test_an_existing_record_is_noticed_before_anything_is_trained(tmp_path, monkeypatch):
    (tmp_path / "digits-ode-error-seed1.json").write_text("precious")
    monkeypatch.setattr(comparison, "train_all", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(FileExistsError, match=r"digits-ode-error-seed1\.json exists already"):
        compare(QUICK, ["none", "error"], [0, 1], tmp_path)


def train_here(monkeypatch, *, fail=(), interrupted_after=None):
    """Train in this process; let some regularizers fail, or Ctrl-C come after some runs. Returns what was trained."""
    trained = []

    def train_all(configs, *, workers, keep):
        for config in configs:
            if len(trained) == interrupted_after:
                raise KeyboardInterrupt
            if config.regularizer not in fail:
                model, record = digits_ode.train_classifier(config)
                keep(config, comparison.Trained(record, {name: x.numpy() for name, x in model.state_dict().items()}))
                trained.append(naming.title(config))
        return [f"{naming.title(config)}: it failed" for config in configs if config.regularizer in fail]

    monkeypatch.setattr(comparison, "train_all", train_all)
    return trained


def test_resuming_trains_what_is_missing_and_keeps_what_is_there(tmp_path, monkeypatch):
    trained = train_here(monkeypatch)
    first = compare(QUICK, ["none"], [0], tmp_path)
    second = compare(QUICK, ["error", "none"], [0], tmp_path, resume=True)
    assert trained == ["none, seed 0", "error, seed 0"]
    assert second.records[1].curves == first.records[0].curves
    assert [record.config["regularizer"] for record in second.records] == ["error", "none"]


def test_a_finished_comparison_can_be_resumed_for_its_table(tmp_path, monkeypatch):
    train_here(monkeypatch)
    compare(QUICK, ["none"], [0], tmp_path)
    monkeypatch.setattr(comparison, "train_all", lambda *_, **__: pytest.fail("training began"))
    assert compare(QUICK, ["none"], [0], tmp_path, resume=True).table.splitlines()[2].startswith("none ")


def test_records_of_other_settings_are_not_resumed_from(tmp_path, monkeypatch):
    train_here(monkeypatch)
    compare(QUICK, ["none"], [0], tmp_path)
    with pytest.raises(ValueError, match=r"seed0\.json was made with epochs 1, not 2; resume with the settings of"):
        compare(replace(QUICK, epochs=2), ["none"], [0], tmp_path, resume=True)
    (tmp_path / "digits-ode-none-seed0.npz").unlink()
    with pytest.raises(ValueError, match=r"has no weights beside it, in digits-ode-none-seed0\.npz"):
        compare(QUICK, ["none"], [0], tmp_path, resume=True)


def test_runs_that_fail_are_told_and_the_records_of_the_others_are_kept(tmp_path, monkeypatch):
    train_here(monkeypatch, fail=("error",))
    compared = compare(QUICK, ["none", "error"], [0], tmp_path)
    assert [record.config["regularizer"] for record in compared.records] == ["none"]
    assert not any(line.startswith("error") for line in compared.table.splitlines())
    with pytest.raises(RunsFailed, match=r"^1 of 2 runs failed: error, seed 0: it failed$"):
        compared.raise_failures()


def test_a_comparison_without_failures_raises_none():
    Comparison((), "", ()).raise_failures()


def test_where_every_run_fails_there_is_no_table(tmp_path, monkeypatch):
    train_here(monkeypatch, fail=("none",))
    compared = compare(QUICK, ["none"], [0], tmp_path)
    assert (compared.records, compared.table) == ((), "")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_says_what_was_kept(tmp_path, monkeypatch):
    train_here(monkeypatch, interrupted_after=1)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted; 1 of 2 runs are recorded in .*--resume goes on$"):
        compare(QUICK, ["none", "error"], [0], tmp_path)
    assert (tmp_path / "digits-ode-none-seed0.json").exists()
    train_here(monkeypatch, interrupted_after=0)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted; no record was written$"):
        compare(QUICK, ["none", "error"], [1], tmp_path)


def test_a_run_whose_numbers_fail_leaves_the_others_alone(tmp_path):
    base = replace(QUICK, stiffness_weight=(1.7e308, 1.7e308), aggregates="paper")
    compared = compare(base, ["stiffness", "none"], [0], tmp_path, workers=1)
    (failure,) = compared.failures
    assert failure.startswith("stiffness, seed 0: ")
    assert [record.config["regularizer"] for record in compared.records] == ["none"]


def test_a_choice_that_cannot_be_trained_ends_all_runs_in_its_own_words(tmp_path):
    with pytest.raises(ValueError, match="no stiffness estimate"):
        compare(replace(QUICK, method="bs3"), ["stiffness", "none"], [0], tmp_path, workers=1)


def test_without_a_worker_nothing_is_done(tmp_path):
    with pytest.raises(ValueError, match="workers is 0; pass at least 1"):
        compare(QUICK, ["none"], [0], tmp_path, workers=0)
