"""A bar that shows where runs stand."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

# Tqdm is an extra: without it this module can be imported, and says what is missing when training is asked for.
TQDM_IS_INSTALLED = find_spec("tqdm") is not None
if TYPE_CHECKING or TQDM_IS_INSTALLED:
    from tqdm import tqdm


class Report(Protocol):
    """Where a run stands, for whoever watches."""

    @property
    def title(self) -> str:
        """The run in a few words."""
        ...

    @property
    def standing(self) -> str:
        """What it has reached, in a few words."""
        ...


@contextlib.contextmanager
def progress_bar(total: int, *, unit: str = "epoch", shown: bool | None = None) -> Iterator[Callable[[Report], None]]:
    """A bar that moves one on with every report that it is given, and shows the report.

    Args:
        total: reports to come.
        unit: what there is a report of.
        shown: True, False, or None for only where standard error is a terminal.
    Raises:
        ModuleNotFoundError: tqdm is not installed.
    """
    if not TQDM_IS_INSTALLED:
        raise ModuleNotFoundError(
            'the progress bar needs tqdm, which is not installed; run pip install "pyndereg[experiments]"'
        )
    with tqdm(total=total, unit=unit, disable=None if shown is None else not shown, dynamic_ncols=True) as bar:

        def show(report: Report) -> None:
            bar.set_description_str(report.title, refresh=False)
            bar.set_postfix_str(report.standing, refresh=False)
            bar.update()

        yield show


def announce(line: str) -> None:
    """Write a line to standard error, above a bar if there is one."""
    tqdm.write(line, file=sys.stderr)
