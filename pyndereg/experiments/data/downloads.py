"""Files of public data sets: from a folder that the user names, or downloaded once into the user's cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

# Pooch is an extra: without it this module can be imported, and reads what the user has put into a folder.
POOCH_IS_INSTALLED = find_spec("pooch") is not None
if TYPE_CHECKING or POOCH_IS_INSTALLED:
    import pooch


@dataclass(frozen=True)
class PublicFile:
    """A file that can be downloaded.

    Args:
        name: its name.
        unpacked: name of the file or folder that unpacking it gives, which is taken in its place where there is one.
        sha256: checksum that a downloaded file must have, in hexadecimal.
        addresses: where it can be had; they are tried in this order.
    """

    name: str
    unpacked: str
    sha256: str
    addresses: tuple[str, ...]


def find_files(files: Sequence[PublicFile], folder: Path | None, *, data: str) -> list[Path]:
    """Where the files of a data set, or what unpacking them gave, are on this machine.

    Args:
        files: all that the data set consists of.
        folder: where they are. None: the user's cache, into which missing files are downloaded.
        data: the data set's name.
    Returns:
        One path per file. Only what was downloaded is checked against its checksum.
    Raises:
        FileNotFoundError: a file is not in the folder, or cannot be downloaded; the message says what to put where.
        ModuleNotFoundError: there is no folder, and pooch is not installed.
    """
    names = ", ".join(file.name for file in files)
    if folder is not None:
        found = [_on_disk(file, folder) for file in files]
        present = [path for path in found if path is not None]
        if len(present) < len(files):
            raise FileNotFoundError(
                f"{data} is not in {folder}; put {names} there, or leave out --data-dir to download them"
            )
        return present
    if not POOCH_IS_INSTALLED:
        raise ModuleNotFoundError(
            f'{data} is downloaded by pooch, which is not installed; run pip install "pyndereg[experiments]", '
            f"or put {names} into a folder and pass it as --data-dir"
        )
    cache = Path(pooch.os_cache("pyndereg"))
    cache.mkdir(parents=True, exist_ok=True)
    try:
        return [_download(file, cache) for file in files]
    except OSError as error:
        raise FileNotFoundError(
            f"{data} is not in {cache} and could not be downloaded ({error}); "
            f"put {names} there, or into another folder and pass it as --data-dir"
        ) from error


def _on_disk(file: PublicFile, folder: Path) -> Path | None:
    for name in (file.unpacked, file.name):
        if (folder / name).exists():
            return folder / name
    return None


def _download(file: PublicFile, cache: Path) -> Path:
    """The file's path in the cache, after it was downloaded from the first address that has it unaltered."""
    failures = []
    for address in file.addresses:
        try:
            return Path(
                pooch.retrieve(
                    address,
                    known_hash=f"sha256:{file.sha256}",
                    fname=file.name,
                    path=cache,
                    progressbar=True,
                )
            )
        except OSError as error:
            failures.append(f"{type(error).__name__} at {urlsplit(address).netloc}")
        except ValueError:  # what pooch raises for a wrong checksum
            failures.append(f"another file at {urlsplit(address).netloc}")
    raise OSError(f"{file.name}: {', '.join(failures)}")
