"""Data that other packages ship: whether the package is there, and where its files are."""

from importlib.util import find_spec
from pathlib import Path


def check_installed(package: str, *, shipped_as: str, data: str) -> None:
    """Make sure that a package which brings data is installed.

    Args:
        package: its name in Python.
        shipped_as: the name under which it is known.
        data: what it brings, in the plural.
    Raises:
        ModuleNotFoundError: it is not.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(
            f'{data} come with {shipped_as}, which is not installed; run pip install "pyndereg[experiments]"'
        )


def packaged_file(package: str, *parts: str, data: str) -> Path:
    """Where a file that a package ships lies. The package itself is not imported, which can take seconds.

    Args:
        package: name of the package in Python and on the index.
        parts: folders and name of the file inside the package.
        data: what the file brings, in the plural.
    Raises:
        ModuleNotFoundError: the package is not installed.
        FileNotFoundError: this version of the package has no such file.
    """
    check_installed(package, shipped_as=package, data=data)
    specification = find_spec(package)
    folders = specification.submodule_search_locations if specification else None
    for folder in folders or ():
        path = Path(folder).joinpath(*parts)
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{'/'.join(parts)} with {data} is missing in the {package} that is installed; "
        f'run pip install "pyndereg[experiments]" for one that has it'
    )
