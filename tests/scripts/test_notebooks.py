"""The notebooks in examples/ run from top to bottom without a network, and are stored without what they said."""

import json
import os

import pytest
from scripts.pages import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
# What is shown at the end of each, with how well it went.
LAST = {"photos": "2 predictions", "text_own_trainer": "2 predictions"}


def test_each_is_told_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert {path.stem for path in NOTEBOOKS} == set(LAST)
    assert all(f"examples/{path.name}" in readme for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path):
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 6
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    assert path.stat().st_size < 30_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_its_last_cell_predicts(path, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads of tests beside it would wait for one another
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert shown[-1]["text/plain"].startswith(LAST[path.stem])
    assert "<table" in shown[-1]["text/html"]
    assert sum("text/html" in each for each in shown) >= 3
    assert list(tmp_path.iterdir()) == []
