"""What the README says is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_the_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example runs as it stands, grows by the node its hook adds, and gives what it says."""
    example, _ = blocks("python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    with names["flow"]:  # type: ignore[attr-defined]  # a DagFlow
        run = names["run"]
        assert run.status == "completed"  # type: ignore[attr-defined]
        assert run.outputs["validate"]["valid_data"] == ["a", "b"]  # type: ignore[attr-defined]
        assert set(run.nodes()["node_id"]) == {"fetch", "validate", "refetch"}  # type: ignore[attr-defined]


def test_the_agent_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second example runs as it stands, and its planner gives what it says."""
    _, example = blocks("python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    with names["flow"]:  # type: ignore[attr-defined]  # a DagFlow
        said = re.findall(r"^run.result  # (.+)$", example, flags=re.MULTILINE)
        assert [repr(names["run"].result)] == said  # type: ignore[attr-defined]  # a Run


def test_the_table_of_dependencies_is_complete() -> None:
    """Each dependency has its reason in the table, and nothing else has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[><=;\[ ]", text)[0] for text in project["dependencies"]}
    table = README[README.index("| dependency | why |") :].split("\n\n")[0]
    rows = re.findall(r"^\| ([\w, -]+) \| .+ \|$", table, flags=re.MULTILINE)
    listed = {name for row in rows for name in row.split(", ")} - {"dependency", "---"}
    assert listed == declared


def test_ci_runs_the_test_command() -> None:
    """The README's second command is the one that CI runs."""
    _, test_command = blocks("bash")
    assert test_command.strip() in (ROOT / ".ci" / "run").read_text().splitlines()


def test_links_lead_somewhere() -> None:
    """Each relative link and picture of the README exists."""
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
