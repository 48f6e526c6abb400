"""A run as a static workflow: `run.to_yaml()` with what grew, maps and sub-workflows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import SecretStr

from dagflow_nb import DagFlow, NodeSpec, ValidationError, Workflow, ref


def both(x: float) -> dict[str, float]:
    return {"half": x / 2, "twice": 2 * x}


def total(items: list[float]) -> float:
    return sum(items)


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[DagFlow]:
    with DagFlow(tmp_path / "a.db") as flow:
        for function in (both, total):
            flow.action(function)
        yield flow


def outputs(run: Any) -> dict[str, dict[str, Any]]:
    return {id: dict(run.outputs[id]) for id in run.outputs}


def nested() -> Workflow:
    """A map over an action, one over a workflow with another inside, and a sub-workflow with defaults."""
    innermost = Workflow("innermost", inputs={"y": 3, "unused": 1})
    innermost.add(both, x=innermost.input("y"))
    inner = Workflow("inner", inputs={"q": 7.0})
    part = inner.add(innermost, y=inner.add(both, x=inner.input("q"))["twice"])
    inner.result = {"all": part, "half": part["half"]}
    wf = Workflow("w", inputs={"x": 3.0})
    single = wf.map(both, over={"x": [wf.input("x"), 4]}, limit=1)
    many = wf.map(inner, over=[{"q": 1}, {}], id="many")
    group = wf.add(inner, id="group")
    wf.add(total, items=single["half"], after=[many])
    wf.branch(group["half"], then=wf.add(total, id="chosen", items=many["half"]))
    wf.result = {"total": ref("total"), "group": group}
    return wf


def test_a_run_is_written_as_the_workflow_that_it_became(flow: DagFlow) -> None:
    """With maps, sub-workflows and branches: loaded and run, it gives the same, node by node."""

    @flow.on_completed(node="total")
    def grow() -> NodeSpec:
        return NodeSpec("both", id="grown", inputs={"x": ref("total")})

    wf = flow.add_workflow(nested())
    run = flow.run(wf, x=5.0, view=False)
    text = run.to_yaml()
    assert flow.get(run.run_id).to_yaml() == text
    with DagFlow(":memory:") as other:
        other.add_workflow(wf)
        loaded = other.load_yaml_string(text)
        assert [*loaded.nodes] == [*wf.nodes, "grown"]
        assert loaded.inputs == {"x": 5.0}
        again = other.run(loaded, view=False)
    assert outputs(again) == outputs(run) and again.result == run.result


def test_the_inputs_of_the_run_are_the_defaults(flow: DagFlow) -> None:
    """What YAML cannot say is an input that has to be given again; a secret is not written."""

    @flow.action
    def take(n: int, frame: Any, key: SecretStr) -> int:
        return n + len(frame)

    wf = Workflow("w", inputs=["n", "frame", "key"])
    wf.add(take, **{name: wf.input(name) for name in wf.inputs})
    given = {"frame": pd.DataFrame({"a": [1, 2]}), "key": SecretStr("hush")}
    text = flow.run(wf, n=3, **given, view=False).to_yaml()
    assert "hush" not in text
    loaded = flow.load_yaml_string(text)
    assert loaded.inputs["n"] == 3
    with pytest.raises(ValidationError, match="frame"):
        flow.run(loaded, key="k", view=False)
    assert flow.run(loaded, given, view=False).result == 5


def test_what_grew_from_items_and_children_comes_after_their_group(flow: DagFlow) -> None:
    """A node that refers to an item of a map refers to it through the map."""

    @flow.on_completed(node="many/1")
    def grow(node: Any) -> NodeSpec:
        return NodeSpec("both", id="grown", inputs={"x": ref("many/1.half")})

    @flow.on_completed(node="group/both")
    def grow_more(node: Any) -> NodeSpec:
        return NodeSpec("both", id="more", inputs={"x": 1})

    inner = Workflow("inner", inputs=["q"])
    inner.add(both, x=inner.input("q"))
    wf = Workflow("w")
    wf.map(both, over={"x": [1, 2]}, id="many")
    wf.add(inner, id="group", q=1)
    run = flow.run(wf, view=False)
    with DagFlow(":memory:") as other:
        other.add_workflow(inner)
        loaded = other.load_yaml_string(run.to_yaml())
        assert loaded.nodes["grown"].deps == ("many",) and loaded.nodes["more"].deps == ("group",)
        for function in (both, total):
            other.action(function)
        assert outputs(other.run(loaded, view=False)) == outputs(run)


def test_an_input_that_was_not_given_is_not_asked_for(flow: DagFlow) -> None:
    """The default that stood in for it stands there again, in a sub-workflow too."""

    @flow.action
    def load(path: str, sep: str = ",") -> str:
        return path + sep

    inner = Workflow("inner")
    inner.add(load, path=ref("inputs.path"), sep=ref("inputs.sep"))
    wf = Workflow("w")
    wf.add(load, path=ref("inputs.path"), sep=ref("inputs.sep"))
    wf.add(inner, id="group", path=ref("inputs.path"))
    run = flow.run(wf, path="a", view=False)
    assert run.result == {"load": "a,", "group": "a,"}
    loaded = flow.load_yaml_string(run.to_yaml())
    flow.add_workflow(inner)
    assert flow.run(loaded, view=False).result == run.result


def test_mermaid_python_and_yaml_of_the_same_workflow(flow: DagFlow) -> None:
    """Each of them has all nodes; script and YAML give an equal workflow."""
    wf = flow.add_workflow(nested())
    assert flow.load_yaml_string(flow.to_yaml("w")) == wf
    script: dict[str, Any] = {}
    exec(wf.to_python(), script)
    assert script["wf"] == wf and script["wf"].workflows == wf.workflows
    assert sum('["' in line or '{"' in line or '/"' in line for line in wf.to_mermaid().splitlines()) == len(
        wf.nodes
    )
