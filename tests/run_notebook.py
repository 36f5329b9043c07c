"""Runs a notebook's code cells in their order, in one namespace: python -m tests.run_notebook PATH."""

import json
import sys
from pathlib import Path


def main(path: Path) -> None:
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], start=1):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
