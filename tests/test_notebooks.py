"""Every notebook runs from start to end and draws a figure, and is kept without what a run adds to it."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEED_JULIA = {"07_julia_engine"}


def read(path):
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.julia] * (path.stem in NEED_JULIA)) for path in NOTEBOOKS],
)
def test_a_notebook_runs_from_start_to_end_and_draws_a_figure(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient, which executes notebooks, is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat, which reads notebooks, is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel, in which notebooks run, is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib, which draws the figures of notebooks, is not installed")
    monkeypatch.setenv("PYNDEREG_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # small problems gain nothing from threads
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no figure was drawn"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_a_run_adds(path):
    notebook = read(path)
    remedy = f"run .venv/bin/pre-commit run nbstripout --files notebooks/{path.name}"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}, remedy
    assert notebook["metadata"]["language_info"] == {"name": "python"}, remedy
    # Random names of cells would differ after every change.
    assert [cell["id"] for cell in notebook["cells"]] == [str(place) for place in range(len(notebook["cells"]))], remedy
    assert all(cell["metadata"] == {} for cell in notebook["cells"]), remedy
    for cell in code_cells(notebook):
        assert (cell["outputs"], cell["execution_count"]) == ([], None), remedy


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_code_cell_of_a_notebook_prepares_colab(path):
    assert 'if "google.colab" in sys.modules:' in "".join(code_cells(read(path))[0]["source"])
