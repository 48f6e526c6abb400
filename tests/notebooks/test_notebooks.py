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
    """What that cell has printed; what is logged goes to stderr."""
    return "".join(output.text for output in outputs(notebook, source) if output.get("name") == "stdout")


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


def test_control(tmp_path: Path, kernel: AsyncKernelManager) -> None:
    """The second notebook: people, choices, maps, failures, budgets, pausing, and the log of it."""
    notebook = execute(NOTEBOOKS / "02_control.ipynb", tmp_path, kernel)

    # people: what is asked, refused answers, the right one, a no, two questions, nobody
    assert "JSONObject" in text(notebook, "def ask_a_person")
    asked = printed(notebook, "(waiting,) = run.waiting")
    assert re.match(r"paused - find_undocumented - \d+ functions have no docstring\n", asked)
    assert "'maximum': 20" in asked
    assert printed(notebook, "except ValidationError as error").splitlines() == [
        "the answer 'greeting' is missing",
        "the answer 'most': input should be less than or equal to 20, not 50",
        "the form has no 'moust': did you mean 'most'?",
        "paused",
    ]
    assert re.fullmatch(
        r"completed\nDear maintainers, please describe \w+, \w+, \w+\.\n",
        printed(notebook, 'run.approve(greeting="Dear maintainers"'),
    )
    assert printed(notebook, "run.reject(") == "completed\n"
    assert re.search(r"write_letter\s+cancelled\s+they know", text(notebook, "run.reject("))
    two = printed(notebook, 'run.approve("copy", copies=2)').splitlines()
    assert "[('pin', 'Put the letter on the noticeboard?'), ('copy', 'How many copies?')]" in two
    assert "paused ['pin']" in two
    assert two[-1].startswith("completed {'pin': 1, 'copy': ['Please describe unparse.', 'Please")
    assert printed(notebook, "human_timeout_action") == "{'result': ['Please describe unparse.']}\n"
    assert "'by': 'autopilot'" in text(notebook, "human_timeout_action")

    # choices and maps: one item fails, its action is mended, only that item runs again
    chosen = printed(notebook, "by_length.branch(").splitlines()
    assert re.fullmatch(r"json/decoder\.py: \d+ lines", chosen[0]) and "HelpFormatter" in chosen[1]
    assert printed(notebook, "each = wf.map(longest_name").startswith("failed [(22, ")
    table = text(notebook, 'run.table("each")')
    assert re.search(r"__init__\.py\s+NaN\s+NaN\s+failed", table) and "ValueError: max()" in table
    assert printed(notebook, "flow.retry(run, view=False)").startswith("completed [(22, ")
    attempts = text(notebook, "flow.retry(run, view=False)")
    assert re.findall(r"each/\d\s+completed\s+(\d)", attempts) == ["2", "1", "1", "1", "1", "1", "1"]

    # failures: the three policies side by side, a handler, a rescue, longer and longer pauses
    policies = text(notebook, "for policy in OnFailure")
    assert re.search(r"run\s+failed\s+paused\s+failed", policies)
    assert re.search(r"after\s+completed\s+pending\s+skipped", policies)
    handled = printed(notebook, "failure=count_as_nothing")
    assert "missing: no_such_module.py is left out\n" in handled
    assert re.search(r"completed \d{4}\n", handled)
    assert re.search(r"missing\s+recovered", text(notebook, "failure=count_as_nothing"))
    assert re.fullmatch(r"\d{4}\n", printed(notebook, 'flow.on_failed(dag="rescued")'))
    retried = text(notebook, "patient = RetryStrategy")
    assert retried.count("FileNotFoundError") >= 3 and re.search(r"\d\s+completed", retried)

    # budgets and reviews: each pauses, and goes on when it is told to
    assert printed(notebook, 'config={"max_nodes": 3}').splitlines()[1] == "completed"
    assert printed(notebook, 'config={"max_nodes": 3}').startswith("paused - max_nodes is used up: 5 of 3\n")
    spent = printed(notebook, '"max_tokens": 1000,').splitlines()
    assert re.match(r"paused - max_tokens is used up: \d{4} of 1000", spent[0]) and spent[1] == "completed"
    assert "review" in spent[2] and spent[3] == "['__init__', 'decoder', 'encoder', 'scanner', 'tool']"
    assert re.search(r"tool\s+completed\s+\d+\.0\s+modules_of", text(notebook, '"max_tokens": 1000,'))

    # frames, and control from another thread
    assert re.match(r"\{'classes': -?\d+, 'imports': -?\d+\}", printed(notebook, "two.add(portrait"))
    assert printed(notebook, "run.pause, kwargs") == "paused - the machine is needed\n"
    assert printed(notebook, "run.cancel, kwargs") == "cancelled\n"
    assert re.search(r"cancelled\s+\d+", text(notebook, "run.cancel, kwargs"))
    assert printed(notebook, "run = flow.resume(run, view=False)\nprint(run.status)") == "completed\n"

    # the log of decisions names who, and what they said
    (log,) = outputs(notebook, "log = flow.events(")
    for told in ("ask_a_person", "autopilot", "greeting", "they know", "enough seen", "max_nodes"):
        assert told in log.data["text/html"], told

    shown = ['flow.run("docstrings", module="ast.py")', "by_length.branch(", "each = wf.map(longest_name"]
    for source in (*shown, "flow.run(rescued)", "run = flow.run(two)", "run.pause, kwargs"):
        html = [output.get("data", {}).get("text/html", "") for output in outputs(notebook, source)]
        assert any("svg" in text for text in html), source


def test_agents(tmp_path: Path, kernel: AsyncKernelManager) -> None:
    """The third notebook: tools, plans and their mistakes, a planner's rounds, a budget, and a gate."""
    notebook = execute(NOTEBOOKS / "03_agents.ipynb", tmp_path, kernel)

    assert "list_modules(package)" in outputs(notebook, "def rank(")[0].data["text/html"]
    assert "'input_schema'" in text(notebook, "flow.tools.schemas(")
    assert text(notebook, "counts = plan.map(") == "<Plan: list_modules, count_undocumented, rank>"
    wrong = printed(notebook, "Plan.from_json(wrong").splitlines()
    assert wrong[0] == "4 things are wrong with this plan:" and "did you mean 'list_modules'?" in wrong[1]

    # rounds: a tool call, a mistake that is mended, a plan with a map, the answer
    (result,) = [cell for cell in notebook.cells if cell.source == "run.result"]
    answer = result.outputs[0].data["text/plain"]
    assert re.fullmatch(r"\{'answer': 'json\.\w+ has \d+ functions without a docstring'\}", answer)
    nodes = text(notebook, 'str.contains("/")')
    assert re.search(r"think_3\s+think\s+completed\s+think_2", nodes) and "think_4" in nodes
    told = text(notebook, "pd.DataFrame(told)")
    assert "call_1" in told and re.search(r"think_2\s+think\s+refused", told)
    assert printed(notebook, "def stubborn(") == "paused - max_iterations is used up: 7 of 6\n"

    # the gate: two proposals, the second one changed; and a no
    assert printed(notebook, "run.approve().wait()") == "paused - Add 2 steps? count, order\n"
    assert re.match(r"completed - email\.(message|parser|header) has", printed(notebook, "fewer = Plan()"))
    assert "nobody uses" in text(notebook, "run.reject(reason=")

    for source in ('flow.run(agent, goal="json")', "gate=True", "counts = plan.map(", "run.graph()"):
        html = [output.get("data", {}).get("text/html", "") for output in outputs(notebook, source)]
        assert any("svg" in shown for shown in html), source
