"""A workflow as a Mermaid flowchart and as a Python script."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dagflow_nb.core.model import Ref, ref
from dagflow_nb.errors import ValidationError
from dagflow_nb.workflow import REQUIRED, Workflow


def run_script(text: str) -> Workflow:
    found: dict[str, Any] = {}
    exec(text, found)
    made = found["wf"]
    assert isinstance(made, Workflow)
    return made


def everything() -> Workflow:
    inner = Workflow("inner", inputs=["x"])
    inner.result = inner.add("sum", x=inner.input("x"))["total"]
    wf = Workflow(
        "all",
        description='a "b"\nc',
        version="1",
        tags=["t"],
        config={"max_attempts": 2, "limits": {"a": 1}},
        inputs={"folder": REQUIRED, "day": datetime.date(2024, 1, 2)},
    )
    scan = wf.add(
        "scan", id="scan it", when="all_done", timeout=1.5, try_count=2, on_failure="stop", failure="mend",
        cache="24h", executor="process", ask="Go?", tags=["a"], inputs={"timeout": 1, "class": (1,)}, limit=3,
    )  # fmt: skip
    wf.describe(scan, description="d", instructions="i", outputs=["files", "a.b"], defaults={"limit": 4})
    values = [Decimal("1.5"), Path("a/b"), UUID(int=1), b"x", float("inf"), datetime.timedelta(1), None, True]
    wf.map("smooth", over={"path": scan["files"], "w": [1, 2]}, limit=2, k=values, d=wf.input("folder")[0])
    wf.map(inner, over=[{"x": 1}], id="each", after="scan it")
    part = wf.add(inner, x=ref("scan it.a.b"), y=scan["files"]["k.k"])
    wf.branch(scan["files"], then=part, otherwise=())
    wf.result = {"total": part, "files": (scan["files"][-1], 3)}
    return wf


def test_the_script_builds_an_equal_workflow() -> None:
    """All of it: settings, inputs, maps, branches, sub-workflows, result."""
    wf = everything()
    assert wf.nodes["inner"].inputs["y"] == Ref("scan it", ("files", "k.k"))
    wf.describe("scan it", outputs=["files", "a"])
    again = run_script(wf.to_python())
    assert again == wf
    assert again.workflows == wf.workflows
    assert run_script(Workflow("empty").to_python()) == Workflow("empty")


def test_the_script_is_as_one_writes_it() -> None:
    """Required inputs are names, a question is a text: no import but of the public names."""
    wf = Workflow("w", inputs=["q"])
    wf.add("use", q=wf.input("q"), ask="go on?")
    text = wf.to_python()
    assert "inputs=['q']" in text and "ask='go on?'" in text
    assert [line for line in text.splitlines() if "import" in line] == [
        "from dagflow_nb import Workflow, ref"
    ]


def test_what_python_cannot_say_is_refused_with_node_and_input() -> None:
    """Objects, key functions, and workflows of which only the name is known."""
    wf = Workflow("w")
    wf.add("a", x=[object()])
    with pytest.raises(ValidationError, match="x of node 'a'"):
        wf.to_python()
    wf = Workflow("w")
    wf.add("a", cache=len)
    with pytest.raises(ValidationError, match="'a'"):
        wf.to_python()
    wf = Workflow("w")
    wf.add(Workflow("inner"))
    wf.workflows.clear()
    with pytest.raises(ValidationError, match="'inner'"):
        wf.to_python()


def test_mermaid_has_a_shape_for_each_kind_and_no_open_characters() -> None:
    """Names are escaped; edges are the dependencies."""
    text = everything().to_mermaid()
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    assert '    n0["scan it<br/>scan"]' in lines
    assert '    n1[/"smooth"/]' in lines
    assert '    n2[/"each<br/>inner"/]' in lines
    assert '    n3[["inner"]]' in lines
    assert '    n4{"branch"}' in lines
    assert "    n0 --> n1" in lines
    assert "    n4 --> n3" in lines
    wf = Workflow("w")
    wf.add('say "<b>"')
    assert '"say #34;#60;b#62;#34;"' in wf.to_mermaid()
