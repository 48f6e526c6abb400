"""A cell that fails, is mended and gone on with, in a real kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

SETUP = """
import json
from dagflow_nb import DagFlow
flow = DagFlow("work.db")
from pathlib import Path

class Count:  # in a file, which no result depends on
    def add(self, name):
        with open("calls.txt", "a") as file: file.write(name + "\\n")
count = Count()
def show(run):
    calls = Path("calls.txt").read_text().split()
    counts = {name: calls.count(name) for name in ("fetch", "clean", "total", "side")}
    print(json.dumps([str(run.status), {n.id: str(n.status) for n in run.snapshot().nodes}, counts]))
"""
HELPER = """
def parse(row): return int(row)
"""
FETCH = """
@flow.action(cache=True)
def fetch(source: str = "x"):
    count.add("fetch")
    return ["1", "2", "three"]
"""
CLEAN = """
@flow.action
def clean(rows):
    count.add("clean")
    return [parse(row) for row in rows]
"""
REST = """
@flow.action
def total(rows):
    count.add("total")
    return sum(rows)

@flow.action
def side(rows):
    count.add("side")
    return len(rows)

@flow.workflow
def pipe(source="x"):
    rows = fetch(source)
    return total(clean(rows)), side(rows)
"""
CELLS = [
    SETUP,
    HELPER,
    FETCH,
    CLEAN,
    REST,
    "run = flow.run(pipe, view=False, raise_on_failure=False); show(run)",
    'print(run.error.node_id, "|", str(run.error))',
    # the helper is mended, not the action: its cell need not run again
    "def parse(row): return int(row) if row.isdigit() else 0",
    "run = flow.retry(run, view=False); show(run); print(run.result)",
    # a good node whose code has changed runs again by name, with what comes after it
    FETCH.replace('"three"', '"10"'),
    "print(flow.preview(pipe).set_index('node_id').loc['fetch'].reason)",
    "run.retry('fetch').wait(60); show(run); print(run.result)",
    "print(flow.preview(pipe).set_index('node_id').loc['fetch', ['reason']].tolist())",
    "def parse(row): return -int(row)",
    "print(flow.preview(pipe).set_index('node_id').loc['clean', ['reason', 'detail']].tolist())",
    # comments and layout are no change
    FETCH.replace('"three"', '"10"').replace("    return", "    # all of them\n    return"),
    "again = flow.run(pipe, view=False); show(again)",
    "flow.close()",
]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AsyncKernelManager]:
    """A kernel without this machine's settings, whose sockets lie in a short folder."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with TemporaryDirectory(prefix="nb-") as sockets:
        yield AsyncKernelManager(transport="ipc", connection_file=f"{sockets}/kernel.json")


def printed(cells: list[str], folder: Path, kernel: AsyncKernelManager) -> dict[int, list[str]]:
    """What each cell of a notebook prints, by its number, as lines."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    client = NotebookClient(
        notebook,
        km=kernel,
        timeout=120,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(cleanup_kc=True)
    return {
        i: "".join(out.text for out in cell.outputs if out.get("name") == "stdout").splitlines()
        for i, cell in enumerate(notebook.cells)
    }


def test_fix_and_continue(tmp_path: Path, kernel: AsyncKernelManager) -> None:
    """After the mended cell only the failed node and what follows it runs, in the same run; a good node whose
    code has changed runs by its name; a comment changes nothing."""
    said = printed(CELLS, tmp_path, kernel)

    def shown(cell: int) -> Any:
        return json.loads(said[cell][0])

    done = "completed"
    assert shown(5) == [
        "failed",
        {"fetch": done, "clean": "failed", "total": "skipped", "side": done},
        {"fetch": 1, "clean": 1, "total": 0, "side": 1},
    ]
    assert said[6][0].startswith("clean | ") and "invalid literal" in said[6][0]
    assert shown(8) == [
        "completed",
        dict.fromkeys(["fetch", "clean", "total", "side"], done),
        {"fetch": 1, "clean": 2, "total": 1, "side": 1},
    ]
    assert said[8][1] == "(3, 3)"
    assert said[10] == ["code changed"]
    assert shown(11)[2] == {"fetch": 2, "clean": 3, "total": 2, "side": 2}
    assert said[11][1] == "(13, 3)"
    assert said[12][0].startswith("['cached'")
    assert said[14] == ["['code changed', 'function parse changed']"]
    assert shown(16)[1] == {"fetch": "cached", "clean": done, "total": done, "side": done}
