"""Small records to draw."""

from dataclasses import replace

from pyndereg.results import RunRecord, StepTrace

START = StepTrace(t=(0.0, 0.4), dt=(0.4, 0.6), scaled_error=(0.02, 0.1), stiffness=(2.0, 1.5))
END = StepTrace(t=(0.0, 0.2, 0.6), dt=(0.2, 0.4, 0.4), scaled_error=(0.02, 0.1, 0.1), stiffness=(3.0, 2.5, 1.0))


def make_record(regularizer="none", seed=0, *, nfe=(100.0, 120.0, 140.0), accuracy=(80.0, 95.0, 97.0), steer=False):
    return RunRecord(
        experiment="digits-ode",
        config={"regularizer": regularizer, "steer": steer},
        versions={},
        seed=seed,
        device="cpu",
        curves={"nfe": nfe, "test_accuracy": accuracy},
        metrics={"nfe": nfe[-1], "test_accuracy": accuracy[-1]},
        steps_before=START,
        steps_after=END,
    )


def make_spiral(regularizer="none", seed=0, **changes):
    columns = {"t": (0.0, 0.5, 1.0)}
    for place in (1, 2):
        columns |= {
            f"data mean {place}": (0.0, 1.0, 2.0 * place),
            f"data variance {place}": (0.0, 0.25, 1.0),
            f"before mean {place}": (0.0, 0.5, 0.5),
            f"before variance {place}": (0.0, 0.0, 0.0),
            f"after mean {place}": (0.0, 1.5, 3.0),
            f"after variance {place}": (0.0, 0.04, 4.0),
        }
    record = replace(make_record(regularizer, seed), experiment="spiral-sde", trajectories=columns)
    return replace(record, **changes)


def make_portrait(regularizer="none", seed=0):
    columns = {"t": (0.0, 0.5, 1.0)}
    for place in (1.0, 2.0):
        columns |= {
            f"data {place:.0f}": (0.0, place, 0.0),
            f"before {place:.0f}": (0.0, 50.0, 90.0),
            f"after {place:.0f}": (0.0, 1.0, 3.0 * place),
        }
    return replace(make_record(regularizer, seed), experiment="spiral-ode", trajectories=columns)


def make_series(regularizer="none", *, series=2, features=3):
    columns = {"t": (0.0, 0.5, 1.0)}
    for k in range(1, series + 1):
        for j in range(1, features + 1):
            columns |= {f"data {k} {j}": (0.1, float("nan"), 0.3), f"model {k} {j}": (0.1, 0.2, 0.3 + 0.1 * j)}
    return replace(make_record(regularizer), experiment="physionet-latent-ode", trajectories=columns)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend_labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def texts_that_cover_each_other(figure):
    """Pairs of visible texts of a drawn figure that share some of the page."""
    figure.draw_without_rendering()
    drawn = [text for panel in figure.axes for text in panel.texts if text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn]
    return [
        (one, other)
        for number, (one, box) in enumerate(boxes)
        for other, other_box in boxes[:number]
        if box.overlaps(other_box)
    ]
