"""Every notebook runs from start to end, and is kept without what a run adds to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEED_JULIA = {"07_julia_engine"}


def code_cells(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.julia] * (path.stem in NEED_JULIA)) for path in NOTEBOOKS],
)
def test_a_notebook_runs_from_start_to_end_in_a_process_of_its_own(path, tmp_path, request):
    if path.stem in NEED_JULIA:
        request.getfixturevalue("julia")
    pytest.importorskip("matplotlib", reason="matplotlib, which draws the figures of notebooks, is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.run_notebook", path],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    for cell in code_cells(path):
        assert (cell["outputs"], cell["execution_count"]) == ([], None), "clear all outputs before saving"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_of_a_notebook_prepares_colab(path):
    assert '"google.colab" in sys.modules' in "".join(code_cells(path)[0]["source"])
