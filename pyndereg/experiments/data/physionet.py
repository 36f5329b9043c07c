"""PhysioNet 2012: what was measured of patients in their first 48 hours in intensive care."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pyndereg.experiments.data.downloads import PublicFile, find_files
from pyndereg.experiments.data.series import IrregularSeries, SplitSeries, split_series

ADDRESS = "https://physionet.org/files/challenge-2012/1.0.0/"
# The checksums are those that the medical_ts_datasets and tsdm packages verify.
CHECKSUMS = {
    "set-a": "8cb250f179cd0952b4b9ebcf8954b63d70383131670fac1cfee13deaa13ca920",
    "set-b": "b1637a2a423a8e76f8f087896cfc5fdf28f88519e1f4e874fbda69b2a64dac30",
}
SETS = tuple(
    PublicFile(f"{name}.tar.gz", name, checksum, (f"{ADDRESS}{name}.tar.gz",)) for name, checksum in CHECKSUMS.items()
)

HOURS = 48
HEADER = "Time,Parameter,Value"
UNKNOWN = -1.0
DESCRIPTORS = frozenset({"RecordID", "Age", "Gender", "Height", "ICUType"})  # said once of a patient, and left out
# fmt: off
FEATURES = (
    "Weight", "Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine",
    "DiasABP", "FiO2", "GCS", "Glucose", "HCO3", "HCT", "HR", "K", "Lactate",
    "Mg", "MAP", "MechVent", "Na", "NIDiasABP", "NIMAP", "NISysABP", "PaCO2", "PaO2",
    "pH", "Platelets", "RespRate", "SaO2", "SysABP", "Temp", "TroponinI", "TroponinT", "Urine",
    "WBC",
)
# fmt: on
COLUMNS = {feature: column for column, feature in enumerate(FEATURES)}


def load_physionet(
    folder: Path | None, *, used: float = 0.8, test_fraction: float = 0.2, seed: int, dtype: torch.dtype
) -> SplitSeries:
    """Sets A and B, preprocessed as in [@kelly2020learning]: 37 features at the 49 full hours of two days.

    A patient's values of one feature that fall to the same hour are averaged; half past goes to the even hour. Each
    feature is scaled to (x - min) / max over all observed values of both sets, as published, and not by its range.

    Here the value -1, by which the data mark what is unknown, counts as unobserved; the published preprocessing keeps
    it as an observation of the weight. A patient of whom nothing is observed remains, with an empty mask.

    Args:
        folder: where set-a.tar.gz and set-b.tar.gz, or the folders set-a and set-b, are. None: the user's cache, after
            a download.
        used: part of the patients that is kept at all. The file that [@pal2021opening; @pal2023locally] train on holds
            only the four fifths that [@kelly2020learning] trained on; which patients, it does not say.
        test_fraction: part of the kept patients that is for testing, between 0 and 1 (dimensionless).
        seed: seed of both draws.
        dtype: floating-point type of times, values and mask.
    Raises:
        FileNotFoundError: a file is missing and cannot be downloaded.
        ModuleNotFoundError: there is no folder, and pooch is not installed.
        ValueError: a file is damaged, or a part of the split would be empty.
    Source: Silva, Moody, Scott, Celi and Mark, Predicting in-hospital mortality of ICU patients (2012).
    """
    places = find_files(SETS, folder, data="PhysioNet 2012")
    tables = [parse_record(text, name=name) for place in places for name, text in _records(place)]
    if not tables:
        raise ValueError(f"{', '.join(map(str, places))} hold no records; unpack the archives there again")
    values = scale_by_maximum(np.stack(tables))
    observed = ~np.isnan(values)
    series = IrregularSeries(
        times=torch.arange(HOURS + 1, dtype=dtype) / HOURS,
        values=torch.tensor(np.where(observed, values, 0.0), dtype=dtype),
        mask=torch.tensor(observed, dtype=dtype),
    )
    return split_series(series, used=used, test_fraction=test_fraction, seed=seed)


def parse_record(text: str, *, name: str) -> np.ndarray:
    """What one patient's file says, hour by hour.

    Args:
        text: lines of time ("hours:minutes"), parameter and value, under a header.
        name: the file's name, for messages.
    Returns:
        Means of the values in each hour, units of the feature; NaN where there are none. Shape (49, 37).
    Raises:
        ValueError: a line is not of this form, names an unknown parameter or lies outside the 48 hours.
    """
    header, *lines = text.splitlines() or [""]
    if header.strip() != HEADER:
        raise ValueError(f"{name} begins with {header!r}, where a record begins with {HEADER!r}; download it again")
    sums, counts = np.zeros((2, HOURS + 1, len(FEATURES)))
    for number, line in enumerate(lines, start=2):
        hour, parameter, value = _parse_line(line, f"{name}, line {number}")
        if parameter not in DESCRIPTORS and value != UNKNOWN:
            sums[hour, COLUMNS[parameter]] += value
            counts[hour, COLUMNS[parameter]] += 1
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def scale_by_maximum(values: np.ndarray) -> np.ndarray:
    """(x - min) / max of each feature, over all patients and hours; max counts as 1 where it is 0.

    Args:
        values: NaN where nothing was observed. Shape (patients, times, features), units of each feature.
    Returns:
        The same shape, dimensionless; NaN stays.
    Source: the published preprocessing of [@kelly2020learning].
    """
    lowest = np.nanmin(values, axis=(0, 1), initial=np.inf)
    highest = np.nanmax(values, axis=(0, 1), initial=-np.inf)
    return (values - lowest) / np.where(highest == 0, 1.0, highest)


def _parse_line(line: str, where: str) -> tuple[int, str, float]:
    try:
        time, parameter, value = line.strip().split(",")
        hours, minutes = time.split(":")
        hour, number = round(int(hours) + int(minutes) / 60), float(value)
    except ValueError:
        raise ValueError(f"{where} is {line!r}, where {HEADER!r} was expected; download the file again") from None
    if parameter not in COLUMNS and parameter not in DESCRIPTORS:
        raise ValueError(
            f"{where} names {parameter!r}, which is no parameter of PhysioNet 2012; download the file again"
        )
    if not 0 <= hour <= HOURS:
        raise ValueError(f"{where} is of {time}, outside the {HOURS} hours of PhysioNet 2012; download the file again")
    return hour, parameter, number


def _records(place: Path) -> list[tuple[str, str]]:
    """Name and text of each record of a set, sorted by name, so that equal seeds split alike on every machine."""
    return sorted(_folder_records(place) if place.is_dir() else _archive_records(place))


def _folder_records(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.glob("*.txt"):
        yield path.name, path.read_text("ascii")


def _archive_records(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None and member.name.endswith(".txt"):
                    yield Path(member.name).name, content.read().decode("ascii")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} is a damaged archive ({error}); download it again") from None
