"""The example notebooks, run from top to bottom in a real kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


@pytest.fixture
def private_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels that know nothing of this machine's settings and talk over sockets in a folder of their own.

    The folder is a short one of its own, as the path of a socket has at most 107 characters.
    """
    with TemporaryDirectory(prefix="nb-") as runtime:
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", runtime)
        monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
        yield


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook as it is after all its cells have run in `folder`; an error in a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(transport="ipc"),
        timeout=120,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def outputs(notebook: nbformat.NotebookNode, source: str) -> list[nbformat.NotebookNode]:
    """What the one cell that contains `source` has put out."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and source in c.source]
    return list(cell.outputs)


def text(notebook: nbformat.NotebookNode, source: str) -> str:
    """The plain text among what that cell has put out."""
    found = outputs(notebook, source)
    return "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in found)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_saved_without_outputs(path: Path) -> None:
    """A notebook in the repository has no outputs, no counters, the usual kernel, and ids on its cells."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.id
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.usefixtures("private_jupyter")
def test_first_pipeline(tmp_path: Path) -> None:
    """The first notebook shows growth, a retry after a locked file, a failure, its mending, and pictures."""
    notebook = execute(NOTEBOOKS / "01_first_pipeline.ipynb", tmp_path)

    assert "failed" in text(notebook, "print(run.error)")
    assert "combine_results" in text(notebook, "print(run.error)")
    nodes = text(notebook, "run.nodes()")
    assert re.search(r"combine_results\s+failed", nodes)
    assert re.search(r"licence_report\s+skipped", nodes)
    assert "database is locked" in text(notebook, "run.attempts()")
    assert text(notebook, "flow.retry(run)").startswith("completed\n")
    assert "not stated" in text(notebook, "flow.retry(run)")
    assert "data_processing_pipeline" in text(notebook, "flow.runs()")

    pictures = [
        *outputs(notebook, 'flow.graph("data_processing_pipeline")'),
        *outputs(notebook, "run = flow.run("),
        *outputs(notebook, "run.graph()"),
    ]
    assert len(pictures) >= 3
    shown = [str(dict(output.get("data", {}))) for output in pictures]
    assert all("svg" in output for output in shown)
    errors = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    assert errors == []
