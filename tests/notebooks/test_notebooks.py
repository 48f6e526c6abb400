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
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AsyncKernelManager]:
    """A kernel that knows nothing of this machine's settings and is talked to over sockets in files.

    These are in a short folder of their own, as the path of a socket has at most 107 characters.
    """
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with TemporaryDirectory(prefix="nb-") as sockets:
        yield AsyncKernelManager(transport="ipc", connection_file=f"{sockets}/kernel.json")


def execute(path: Path, folder: Path, kernel: AsyncKernelManager) -> nbformat.NotebookNode:
    """The notebook as it is after all its cells have run in `folder`; an error in a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        km=kernel,
        timeout=120,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(cleanup_kc=True)  # also of a kernel that was given


def outputs(notebook: nbformat.NotebookNode, source: str) -> list[nbformat.NotebookNode]:
    """What the one cell that contains `source` has put out."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and source in c.source]
    return list(cell.outputs)


def printed(notebook: nbformat.NotebookNode, source: str) -> str:
    """What that cell has printed."""
    return "".join(output.text for output in outputs(notebook, source) if output.output_type == "stream")


def text(notebook: nbformat.NotebookNode, source: str) -> str:
    """The plain text of what that cell has shown."""
    return "".join(output.get("data", {}).get("text/plain", "") for output in outputs(notebook, source))


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


def test_first_pipeline(tmp_path: Path, kernel: AsyncKernelManager) -> None:
    """The first notebook shows growth, a retry after a locked file, a failure, its mending, and pictures."""
    notebook = execute(NOTEBOOKS / "01_first_pipeline.ipynb", tmp_path, kernel)

    assert "failed" in printed(notebook, "print(run.error)")
    assert "combine_results" in printed(notebook, "print(run.error)")
    nodes = text(notebook, "run.nodes()")
    assert re.search(r"combine_results\s+failed", nodes)
    assert re.search(r"licence_report\s+skipped", nodes)
    assert "OperationalError" in text(notebook, "run.attempts()")
    assert printed(notebook, "flow.retry(run)").startswith("completed\n")
    assert "not stated" in printed(notebook, "flow.retry(run)")
    assert "data_processing_pipeline" in text(notebook, "flow.runs()")

    for source in ('flow.graph("data_processing_pipeline")', "run = flow.run(", "run.graph()"):
        shown = [output.get("data", {}).get("text/html", "") for output in outputs(notebook, source)]
        assert any("svg" in html for html in shown), source
    errors = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "error"]
    assert errors == []
