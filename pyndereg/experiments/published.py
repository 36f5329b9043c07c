"""What the papers report: their tables as data, transcribed and never computed with across machines."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyndereg.plotting import PublishedPoint
from pyndereg.plotting.groups import QUALITIES

OPENING, LOCALLY = "pal2021opening", "pal2023locally"
YEARS = {OPENING: "2021", LOCALLY: "2023"}

# What experiments here are compared with where the papers have no table of their own on them.
STANDS_FOR = {"digits-ode": "mnist-ode", "digits-sde": "mnist-sde"}
# In the units of a run record's metrics of the same name.
UNITS = {"%": 1.0, "1e-3": 1e-3, "": 1.0, "s": 1.0, "h": 3600.0, "s/batch": 1.0}


@dataclass(frozen=True)
class Published:
    """One number of a table.

    Args:
        paper: key in references.bib.
        experiment: as the command line has it.
        method: as runs are named, such as "error+steer".
        metric: as run records name it.
        mean, std: over the paper's runs, in `unit`.
        unit: one of the UNITS; training times are "h" or "s" for the whole training, or "s/batch" for one update.
    """

    paper: str
    experiment: str
    method: str
    metric: str
    mean: float
    std: float
    unit: str

    @property
    def value(self) -> float:
        """The mean in the unit of a run record's metric of this name; for "s/batch" seconds of one update."""
        return self.mean * UNITS[self.unit]


@dataclass(frozen=True)
class Table:
    """One table of a paper.

    Args:
        paper, experiment: as `Published` has them.
        columns: metric and unit of each.
        rows: mean and standard deviation in each column, under the method's name.
    """

    paper: str
    experiment: str
    columns: tuple[tuple[str, str], ...]
    rows: Mapping[str, tuple[tuple[float, float], ...]]

    @property
    def numbers(self) -> tuple[Published, ...]:
        """All numbers of the table."""
        return tuple(
            Published(self.paper, self.experiment, method, metric, mean, std, unit)
            for method, cells in self.rows.items()
            for (metric, unit), (mean, std) in zip(self.columns, cells, strict=True)
        )


ACCURACIES = (("train_accuracy", "%"), ("test_accuracy", "%"))
LOSSES = (("train_loss", "1e-3"), ("test_loss", "1e-3"))
COSTS = (("training_seconds", "h"), ("prediction_seconds", "s/batch"), ("nfe", ""))
COSTS_PER_UPDATE = (("training_seconds", "s/batch"), *COSTS[1:])

# The 2023 paper prints the 2021 paper's rows again; they stand here once. The function counts of "taylor" are another
# integrator's, which the 2023 paper calls not directly comparable.
TABLES = (
    Table(
        OPENING,
        "mnist-ode",
        (*ACCURACIES, *COSTS),
        {
            "none": ((100.0, 0.00), (97.94, 0.02), (0.98, 0.03), (0.094, 0.010), (253.0, 3.46)),
            "none+steer": ((100.0, 0.00), (97.94, 0.03), (1.31, 0.07), (0.092, 0.002), (265.0, 3.46)),
            "taylor": ((98.98, 0.06), (97.89, 0.00), (1.19, 0.07), (0.079, 0.007), (80.3, 0.43)),
            "stiffness": ((100.0, 0.00), (98.08, 0.15), (1.24, 0.06), (0.094, 0.003), (259.0, 3.46)),
            "error": ((99.71, 0.28), (97.32, 0.06), (0.82, 0.02), (0.060, 0.001), (177.0, 0.00)),
            "stiffness+steer": ((100.0, 0.00), (97.88, 0.06), (1.55, 0.27), (0.101, 0.009), (275.0, 12.5)),
            "error+steer": ((99.91, 0.02), (97.61, 0.11), (1.37, 0.11), (0.086, 0.018), (197.0, 9.17)),
            "both": ((99.98, 0.03), (97.77, 0.05), (1.37, 0.04), (0.081, 0.006), (221.0, 17.3)),
        },
    ),
    Table(
        OPENING,
        "physionet-latent-ode",
        (*LOSSES, *COSTS),
        {
            "none": ((3.48, 0.00), (3.55, 0.00), (1.75, 0.39), (0.53, 0.12), (733.0, 84.29)),
            "none+steer": ((3.43, 0.02), (3.48, 0.01), (1.62, 0.26), (0.54, 0.06), (699.0, 141.1)),
            "taylor": ((4.21, 0.02), (4.21, 0.01), (12.3, 0.32), (0.22, 0.02), (167.3, 11.93)),
            # The deviation 1.44 is printed so.
            "stiffness": ((3.52, 1.44), (3.58, 0.05), (0.87, 0.09), (0.20, 0.01), (273.0, 0.000)),
            "error": ((3.51, 0.00), (3.57, 0.00), (0.94, 0.13), (0.21, 0.02), (287.0, 17.32)),
            "stiffness+steer": ((3.67, 0.02), (3.73, 0.02), (0.89, 0.08), (0.20, 0.01), (271.0, 12.49)),
            "error+steer": ((3.41, 0.02), (3.48, 0.01), (1.03, 0.25), (0.24, 0.05), (269.0, 33.05)),
            "both": ((3.48, 0.11), (3.56, 0.03), (1.12, 0.08), (0.21, 0.01), (263.0, 12.49)),
        },
    ),
    Table(
        OPENING,
        "spiral-sde",
        (("loss", ""), ("training_seconds", "s"), ("prediction_seconds", "s"), ("nfe", "")),
        {
            "none": ((0.0217, 0.0088), (178.95, 20.22), (0.07553, 0.0186), (528.67, 6.11)),
            "stiffness": ((0.0204, 0.0091), (166.42, 14.51), (0.07250, 0.0017), (502.00, 4.00)),
            "error": ((0.0227, 0.0090), (173.43, 4.18), (0.07552, 0.0008), (502.00, 4.00)),
        },
    ),
    Table(
        OPENING,
        "mnist-sde",
        (*ACCURACIES, *COSTS),
        {
            "none": ((98.97, 0.11), (96.95, 0.11), (6.32, 0.19), (15.07, 0.93), (411.33, 6.11)),
            "stiffness": ((98.79, 0.12), (96.80, 0.07), (8.54, 0.37), (14.50, 0.40), (382.00, 4.00)),
            "error": ((98.16, 0.11), (96.27, 0.35), (4.19, 0.04), (7.23, 0.14), (184.67, 2.31)),
        },
    ),
    Table(OPENING, "spiral-ode", (("nfe", ""),), {"none": ((1083.0, 57.55),), "both": ((676.2, 68.20),)}),
    Table(
        LOCALLY,
        "mnist-ode",
        (*ACCURACIES, *COSTS),
        {
            "none": ((99.898, 0.066), (97.612, 0.163), (0.54, 0.001), (0.088, 0.020), (303.559, 3.194)),
            "local-unbiased": ((99.447, 0.039), (97.526, 0.131), (0.49, 0.002), (0.046, 0.002), (187.961, 1.812)),
            "local-biased": ((99.477, 0.051), (97.488, 0.016), (1.12, 0.065), (0.044, 0.002), (182.849, 1.578)),
        },
    ),
    Table(
        LOCALLY,
        "mnist-sde",
        (*ACCURACIES, *COSTS),
        {
            "none": ((98.27, 0.11), (96.66, 0.16), (2.70, 0.00), (0.51, 0.07), (313.86, 2.94)),
            "local-unbiased": ((98.05, 0.09), (96.57, 0.13), (2.10, 0.01), (0.39, 0.10), (228.93, 1.77)),
            "local-biased": ((98.02, 0.07), (96.44, 0.16), (1.90, 0.00), (0.36, 0.03), (230.10, 0.71)),
        },
    ),
    Table(
        LOCALLY,
        "physionet-latent-ode",
        (LOSSES[1], *COSTS),
        {
            "none": ((3.41, 0.10), (2.48, 0.22), (0.16, 0.01), (758.0, 25.87)),
            "local-unbiased": ((3.64, 0.07), (2.31, 0.02), (0.09, 0.00), (422.0, 4.580)),
            "local-biased": ((3.63, 0.08), (2.12, 0.24), (0.10, 0.01), (463.0, 63.02)),
        },
    ),
    Table(
        LOCALLY,
        "cifar10-ode",
        (*ACCURACIES, *COSTS_PER_UPDATE),
        {
            "none": ((83.683, 1.450), (67.394, 0.849), (0.457, 0.018), (0.130, 0.013), (115.315, 12.136)),
            "local-unbiased": ((83.665, 0.805), (67.678, 0.874), (0.399, 0.014), (0.096, 0.007), (89.048, 7.335)),
            "local-biased": ((83.958, 1.032), (67.745, 0.824), (0.555, 0.008), (0.088, 0.003), (81.301, 1.255)),
        },
    ),
    Table(
        LOCALLY,
        "cifar10-multiscale-ode",
        (*ACCURACIES, *COSTS_PER_UPDATE),
        {
            "none": ((92.807, 12.458), (80.048, 6.740), (0.572, 0.012), (0.170, 0.005), (27.616, 0.905)),
            "local-unbiased": ((94.159, 9.694), (80.432, 5.548), (0.641, 0.025), (0.175, 0.019), (27.760, 0.177)),
            "local-biased": ((99.987, 0.023), (83.460, 0.727), (0.774, 0.293), (0.163, 0.015), (26.334, 0.992)),
        },
    ),
)
PUBLISHED = tuple(number for table in TABLES for number in table.numbers)


def published_of(experiment: str, paper: str) -> dict[tuple[str, str], Published]:
    """A paper's numbers on an experiment, or on the one that it stands for, under method and metric."""
    named = STANDS_FOR.get(experiment, experiment)
    return {(one.method, one.metric): one for one in PUBLISHED if (one.paper, one.experiment) == (paper, named)}


def ratio_to_none(numbers: Mapping[tuple[str, str], Published], method: str, metric: str) -> float | None:
    """A method's mean relative to that of the same paper's plain model; None where one of them is not published."""
    one, plain = numbers.get((method, metric)), numbers.get(("none", metric))
    return None if one is None or plain is None else one.value / plain.value


def published_points(experiment: str) -> tuple[PublishedPoint, ...]:
    """What the papers report of accuracy (or loss) and NFE on an experiment, for a figure of both."""
    points = []
    for paper, year in YEARS.items():
        numbers = published_of(experiment, paper)
        source = f"MNIST {year}" if experiment in STANDS_FOR else year
        for method in dict.fromkeys(method for method, _ in numbers):
            quality = next((numbers[method, one.name] for one in QUALITIES if (method, one.name) in numbers), None)
            if quality is not None:
                label = method.replace("+steer", " + STEER")
                points.append(PublishedPoint(label, source, numbers[method, "nfe"].value, quality.value))
    return tuple(points)
