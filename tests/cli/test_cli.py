"""The command `dagflow`: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagflow_nb import DagFlow
from dagflow_nb.cli import commands as cli
from dagflow_nb.cli.commands import FAILED, PAUSED, SUCCESS, WRONG_USE

WORKFLOW = """
name: greetings
nodes:
  - id: greet
    action: greet
    inputs:
      - {name: names, reference: inputs.names}
      - {name: loud, value: false}
  - id: count
    action: count
    inputs:
      - {name: lines, reference: greet.lines}
"""
ACTIONS = """
def greet(names: list[str], loud: bool) -> dict:
    if not names:
        raise ValueError("nobody to greet")
    return {"lines": [f"hello {name}" for name in names]}

def count(lines: list[str]) -> dict:
    return {"number": len(lines)}
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a current folder of its own, and leaves `sys.path` and `sys.modules` as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def write(name: str, text: str) -> str:
    """A file in the current folder."""
    Path(name).write_text(textwrap.dedent(text))
    return name


def dagflow(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and error of the command."""
    capsys.readouterr()
    try:
        status = cli.main(arguments)
    except SystemExit as exit:  # argparse's way out
        status = exit.code if isinstance(exit.code, int) else 1
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_run_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    """A workflow whose actions are in the Python file beside it runs, with inputs read as YAML."""
    write("greetings.yaml", WORKFLOW)
    write("greetings.py", ACTIONS)
    status, out, _ = dagflow(capsys, "run", "greetings.yaml", "--input", "names=[Ann, Bo]", "--db", "g.db")
    assert status == SUCCESS
    assert "completed" in out and "number: 2" in out
    with DagFlow("g.db") as flow:
        assert flow.get().inputs == {"names": ["Ann", "Bo"]}
    dagflow(capsys, "run", "greetings.yaml", "--input", "names=", "--db", "g.db")
    with DagFlow("g.db") as flow:
        assert flow.get().inputs == {"names": ""}


def test_a_failed_run_exits_1_and_can_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    """The action's error is printed without a traceback; once it is mended, `resume` completes the run."""
    write("greetings.yaml", WORKFLOW)
    write("steps.py", ACTIONS)
    status, out, err = dagflow(
        capsys, "run", "greetings.yaml", "--actions", "steps.py", "--input", "names=[]"
    )
    assert status == FAILED
    assert "nobody to greet" in err and "Traceback" not in err
    assert re.search(r"dagflow resume \w+ --actions steps.py$", out, flags=re.MULTILINE)

    write("mended.py", ACTIONS.replace("if not names:", "if False:"))
    status, out, _ = dagflow(capsys, "resume", "--actions", "mended.py")
    assert status == SUCCESS and "number: 0" in out


def test_a_paused_run_exits_3_and_takes_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that waits for a person says for what; `resume --answer` gives it."""
    write("ask.yaml", "name: ask\nnodes:\n  - {id: decide, action: decide, ask: 'Ship it?'}\n")
    write("ask.py", "def decide(human_input: dict):\n    return {'answer': human_input['ship']}\n")
    status, out, _ = dagflow(capsys, "run", "ask.yaml")
    assert status == PAUSED
    assert "Ship it?" in out and "decide" in out
    status, out, _ = dagflow(capsys, "resume", "--actions", "ask.py", "--answer", "ship=true")
    assert status == SUCCESS and "answer: True" in out


def test_a_paused_run_lists_what_is_to_be_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """The names that a form asks for are told, as `--answer` takes them."""
    write("ask.yaml", "name: ask\nnodes:\n  - {id: decide, action: decide}\n")
    write(
        "ask.py",
        "import pydantic\n"
        "from dagflow_nb import ActionRegistry\n"
        "class Order(pydantic.BaseModel):\n    copies: int\n    colour: str = 'red'\n"
        "@ActionRegistry().action(ask=Order)\ndef decide(human_input: dict):\n    return human_input\n",
    )
    status, out, _ = dagflow(capsys, "run", "ask.yaml")
    assert status == PAUSED and "(answers: copies, colour)" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "none.yaml"], "none.yaml"),
        (["run", "greetings.yaml"], "greet"),
        (["run", "greetings.yaml"], "--actions FILE.py"),
        (["run", "greetings.yaml", "--actions", "none.py"], "none.py"),
        (["run", "greetings.yaml", "--actions", "no_such_module"], "no_such_module"),
        (["run", "greetings.yaml", "--actions", "steps.py", "--input", "names"], "KEY=VALUE"),
        (["run", "greetings.yaml", "--actions", "steps.py", "--input", "nmes=[a]"], "nmes"),
        (["run", "greetings.yaml", "--actions", "steps.py"], "names"),
        (["run", "broken.yaml"], "broken.yaml:3"),
        (["runs"], "dagflow.db"),
        (["show", "greetings"], "dagflow.db"),
        (["resume", "--db", "none.db"], "none.db"),
        (["runs", "--db", "foreign.db"], "foreign.db"),
        ([], "COMMAND"),
        (["walk"], "walk"),
    ],
)
def test_wrong_use_exits_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use is told in a line that names the culprit, without a traceback and without a new database."""
    write("greetings.yaml", WORKFLOW)
    write("steps.py", ACTIONS)
    write("broken.yaml", "name: broken\nnodes:\n  - {id: a, actoin: b}\n")
    write("foreign.db", "this is no database\n" * 100)
    before = set(Path.cwd().iterdir())
    status, _, err = dagflow(capsys, *arguments)
    assert status == WRONG_USE
    assert said in err and "Traceback" not in err
    if arguments[:1] != ["run"]:
        assert set(Path.cwd().iterdir()) == before


def test_an_actions_file_that_does_not_import_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    """An error inside the actions file is told with that file's name and line."""
    write("greetings.yaml", WORKFLOW)
    write("steps.py", "x = 1\ny = undefined\n")
    status, _, err = dagflow(capsys, "run", "greetings.yaml", "--actions", "steps.py")
    assert status == WRONG_USE
    assert "steps.py" in err and "line 2" in err and "undefined" in err


def test_decorated_actions_and_hooks_of_a_module_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    """Actions and hooks of a `DagFlow` that the actions file makes are used, on the database asked for."""
    write("one.yaml", "name: one\nnodes:\n  - {id: first, action: make}\n")
    write(
        "steps.py",
        """
        from dagflow_nb import DagFlow, NodeSpec

        flow = DagFlow("other.db")

        @flow.action(name="make")
        def _make() -> dict:
            return {"number": 1}

        @flow.action
        def double(number: int) -> dict:
            return {"number": 2 * number}

        @flow.on_completed(node="first")
        def grow(outputs):
            return NodeSpec("double", id="second", inputs={"number": outputs["number"]})
        """,
    )
    status, out, _ = dagflow(capsys, "run", "one.yaml", "--actions", "steps.py", "--db", "mine.db")
    assert status == SUCCESS
    assert "second" in out
    with DagFlow("mine.db") as flow:
        assert flow.get().outputs["second"]["number"] == 2


def test_actions_of_a_registry_and_of_a_class_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    """An `ActionRegistry`, a `NodeAction` class and a module's name work as sources too."""
    write(
        "two.yaml", "name: two\nnodes:\n  - {id: a, action: from_registry}\n  - {id: b, action: from_class}\n"
    )
    write(
        "my_steps.py",
        """
        from dagflow_nb import ActionRegistry, NodeAction, NodeOutput

        registry = ActionRegistry()

        @registry.action
        def from_registry() -> dict:
            return {"x": 1}

        class FromClass(NodeAction):
            name = "from_class"

            async def execute(self, ctx):
                return NodeOutput.ok({"y": 2})
        """,
    )
    status, out, err = dagflow(capsys, "run", "two.yaml", "--actions", "my_steps")
    assert status == SUCCESS, err
    assert "from_class" in out


def test_runs_lists_and_filters(capsys: pytest.CaptureFixture[str]) -> None:
    """`runs` lists the newest first and filters by workflow and state."""
    write("greetings.yaml", WORKFLOW)
    write("greetings.py", ACTIONS)
    dagflow(capsys, "run", "greetings.yaml", "--input", "names=[Ann]", "--run-id", "good")
    dagflow(capsys, "run", "greetings.yaml", "--input", "names=[]", "--run-id", "bad")
    status, out, _ = dagflow(capsys, "runs")
    assert status == SUCCESS and out.index("bad") < out.index("good")
    _, out, _ = dagflow(capsys, "runs", "--status", "failed")
    assert "bad" in out and "good" not in out
    _, out, _ = dagflow(capsys, "runs", "--dag", "nothing")
    assert "no such run" in out


def test_a_picture_that_cannot_be_written_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says which folder is missing, or what else is wrong."""
    write("greetings.yaml", WORKFLOW)
    Path("taken.svg").mkdir()
    for file, why in (("no/x.svg", "there is no folder 'no': make it first"), ("taken.svg", "cannot be")):
        status, _, err = dagflow(capsys, "show", "greetings.yaml", "-o", file)
        assert status == WRONG_USE and why in err and err.count("\n") == 1


def test_show_prints_and_draws(capsys: pytest.CaptureFixture[str]) -> None:
    """`show` describes a file without running it, and a run by the beginning of its id; `-o` draws them."""
    write("greetings.yaml", WORKFLOW)
    write("greetings.py", ACTIONS)
    status, out, _ = dagflow(capsys, "show", "greetings.yaml", "-o", "plan.svg")
    assert status == SUCCESS and "count  (count)  after greet" in out
    assert "<svg" in Path("plan.svg").read_text()
    assert list(Path().glob("*.db")) == []

    dagflow(capsys, "run", "greetings.yaml", "--input", "names=[Ann]", "--run-id", "first-of-all")
    status, out, _ = dagflow(capsys, "show", "first", "-o", "run.svg")
    assert status == SUCCESS and "first-of-all" in out and "greet" in out
    assert "<svg" in Path("run.svg").read_text()


def test_help_says_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names every command and exit status, and that of `run` says where actions are looked for."""
    status, out, _ = dagflow(capsys, "--help")
    assert status == SUCCESS
    for word in ("demo", "run", "runs", "show", "resume", "lab", "exit status", "paused", "examples"):
        assert word in out
    _, out, _ = dagflow(capsys, "run", "--help")
    for word in ("--actions", "--input", "--db", "ActionRegistry", "NodeAction", "plain public functions"):
        assert word in out


def test_lab_without_jupyterlab(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without JupyterLab the command says how to install it."""
    monkeypatch.setattr(cli, "_has_module", lambda name: False)
    status, _, err = dagflow(capsys, "lab")
    assert status == WRONG_USE and "pip install" in err


def test_lab_opens_copies(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`lab` opens copies of the examples in the current folder and keeps those that have been edited."""
    opened: list[list[str]] = []
    monkeypatch.setattr(cli, "_wait_for", lambda command: opened.append(command) or 0)
    Path("mine").mkdir()
    Path("mine/01_first_pipeline.ipynb").write_text("edited")
    status, _, _ = dagflow(capsys, "lab", "--folder", "mine", "--", "--no-browser")
    assert status == SUCCESS and opened[0][-3:] == ["jupyterlab", "mine", "--no-browser"]
    assert Path("mine/01_first_pipeline.ipynb").read_text() == "edited"
    dagflow(capsys, "lab")
    assert "cells" in Path("dagflow-notebooks/01_first_pipeline.ipynb").read_text()


def test_demo_runs_end_to_end(tmp_path: Path) -> None:
    """`dagflow demo` grows its graph, has a failed attempt retried, prints the history and draws it."""
    command = [sys.executable, "-W", "error", "-m", "dagflow_nb", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == SUCCESS, done.stderr
    assert "installed distributions" in done.stdout and "Traceback" not in done.stderr
    picture = (tmp_path / "dagflow-demo.svg").read_text()
    assert picture.lstrip().startswith("<") and "combine_results" in picture
    with sqlite3.connect(tmp_path / "dagflow-demo.db") as database:
        nodes = dict(database.execute("select node_id, status from node_runs"))
        failed = database.execute("select node_id, error from attempts where status = 'failed'").fetchall()
    database.close()
    assert {"validate_input", "transform_data", "parallel_analysis_a", "parallel_analysis_b"} < set(nodes)
    assert set(nodes.values()) == {"completed"}
    assert any(node.startswith("licence_of_") for node in nodes) and "licence_report" in nodes
    assert failed and {node for node, _ in failed} == {"parallel_analysis_b"}
    assert all("OperationalError" in error for _, error in failed)
    assert "brings along most" in done.stdout and "OperationalError" in done.stdout
