"""A run out of its journal is the run that was left; growth, answers, recovery included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow, NodeSpec, PauseBranch, RetryNode, SetNodeOutputs, Workflow
from tests.flows import single


def full(flow: DagFlow) -> Any:
    """A run with growth, a map, a retry, a recovered node, an answer and a skip."""
    tries: list[int] = []

    @flow.action(retries=1, retry_strategy="immediate")
    def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("first")
        return 1

    @flow.action
    def bad() -> None:
        raise ValueError("bad")

    @flow.action
    def echo(v: Any = None, human_input: Any = None) -> Any:
        return v if human_input is None else human_input

    @flow.on_failed(action="bad")
    def mend() -> Any:
        return SetNodeOutputs("bad", {"result": 2})

    @flow.on_completed(action="flaky")
    def grow(node: Any) -> Any:
        yield NodeSpec("echo", id="grown", inputs={"v": 3})
        yield RetryNode("nobody")
        yield PauseBranch("end", "look")

    workflow = Workflow("full")
    first, second = workflow.add(flaky), workflow.add(bad)
    mapped = workflow.map(echo, {"v": [1, 2]}, id="all")
    workflow.add(echo, id="end", v=[first, second, mapped])
    workflow.add(echo, id="skipped", when="any_failed", after=[first])
    return flow.run(workflow, view=False)


def test_replaying_a_journal_gives_the_same_run(tmp_path: Path) -> None:
    """Every node's state, outcome, times and attempts; pauses, counts and the run's own state."""
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        run = full(flow)
        assert run.status == "paused"
        for _ in range(2):
            live, loaded = run._coordinator.scheduler, flow._load(run.run_id).scheduler
            assert list(loaded.nodes) == list(live.nodes)
            for id, node in live.nodes.items():
                other = loaded.nodes[id]
                for name in ("status", "attempt", "started_at", "finished_at", "error", "reason", "added_by"):
                    assert getattr(other, name) == getattr(node, name), (id, name)
                if node.outcome is not None:
                    assert dict(other.outcome.outputs) == dict(node.outcome.outputs), id
            assert (loaded.status, loaded.seq, loaded.count) == (live.status, live.seq, live.count)
            assert loaded.pauses == live.pauses and loaded.human == live.human
            assert loaded.error == live.error
            if run.status == "paused":
                flow.resume(run, view=False, limit=4)
        assert run.outputs["end"]["limit"] == 4


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_value_that_lives_here_is_found_again(tmp_path: Path, n: int) -> None:
    """What could not be stored is remembered by the process; the same object comes back."""
    made = object()

    def make() -> Any:
        return {"thing": made, "n": n}

    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        run = flow.run(single(make), view=False)
        outputs = flow._load(run.run_id).scheduler.nodes["node"].outcome.outputs
        assert outputs["thing"] is made and outputs["n"] == n and outputs.lost() == []
    with DagFlow(tmp_path / "x.db", echo=False) as other:
        outputs = other._load(run.run_id).scheduler.nodes["node"].outcome.outputs
        assert outputs.lost() == ["thing"] and type(outputs["thing"]).__name__ == "MissingValue"


@pytest.mark.parametrize("settled", [True, False])
def test_what_was_returned_is_read_back_in_its_order(tmp_path: Path, settled: bool) -> None:
    """A mapping's keys stay in the action's order: in another session, in frames, where they were known."""
    order = [f"k{i * 7 % 200}" for i in range(200)]

    def give() -> dict[str, Any]:
        return {key: 1 if settled else [key] for key in order}

    def keys(run: Any) -> list[list[str]]:
        values = run.cache()
        return [list(run.outputs["n"]), list(run.result), list(values[values["namespace"] == "n"]["key"])]

    ids = []
    for _ in range(3):
        with DagFlow(tmp_path / "x.db", echo=False) as flow:
            assert all(keys(flow.get(id)) == [order] * 3 for id in ids)
            flow.action(give, cache=True)
            nodes = "nodes: [{id: n, action: give, outputs: [{name: k1}, {name: k0}]}]"  # in another order
            run = flow.run(flow.load_yaml_string(f"name: w\n{nodes}"), view=False)
            assert keys(run) == [order] * 3
            assert run.nodes()["status"].tolist() == ["cached" if ids else "completed"]
            ids.append(run.run_id)
