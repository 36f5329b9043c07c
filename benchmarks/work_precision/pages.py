"""Tables into a page: each between its own pair of marks, in the place of what was there."""

import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.work_precision.tables import Table


def insert(page: Path, tables: Iterable[Table], sentence: str) -> list[str]:
    """Put tables between `<!-- bench: NAME -->` and `<!-- bench end -->` of a page; returns the names that it has.

    Args:
        page: a Markdown file.
        tables: those without a place in the page are left out.
        sentence: what was measured with, put between the marks of the name "machine".
    Raises:
        ValueError: the page has no such place.
    """
    contents = {table.name: table.markdown() for table in tables} | {"machine": sentence}
    text, placed = page.read_text("utf-8"), []

    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        if name not in contents:
            return found[0]
        placed.append(name)
        return f"<!-- bench: {name} -->\n{contents[name]}\n<!-- bench end -->"

    text = re.sub(r"<!-- bench: ([\w-]+) -->\n.*?<!-- bench end -->", replaced, text, flags=re.DOTALL)
    if not placed:
        raise ValueError(f"{page} has no place for a table; write <!-- bench: NAME --> and <!-- bench end --> into it")
    page.write_text(text, "utf-8")
    return placed
