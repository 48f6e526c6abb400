"""What hooks answer is made ready: functions become actions, workflows become nodes, questions forms."""

from __future__ import annotations

from typing import Any

import pytest

from dagflow_nb import AddNode, DagFlow, NodeAction, NodeNotFound, NodeOutput, NodeSpec, Workflow
from tests.flows import event_data, single, states


def act(v: Any = 1) -> Any:
    return v


def test_a_workflow_can_be_grown() -> None:
    """A hook adds a whole workflow as one node with its children."""
    inner = Workflow("inner", inputs=["v"])
    inner.add(act, id="b", v=inner.add(act, id="a", v=inner.input("v")))
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> NodeSpec:
            return NodeSpec(inner, id="sub", inputs={"v": 7})

        run = flow.run(single(act), view=False)
        assert states(run) == dict.fromkeys(["node", "sub", "sub/a", "sub/b"], "completed"), event_data(
            run, "HookFailed"
        )
        assert run.outputs["sub/b"]["result"] == 7


def test_an_action_that_was_defined_meanwhile_can_be_used() -> None:
    """What is defined after a run has begun may be named by what is added to it."""
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> NodeSpec:
            flow.action(name="newer")(act)
            return NodeSpec("newer", id="grown")

        assert states(flow.run(single(act), view=False))["grown"] == "completed"


def test_hooks_see_the_graph_as_it_is() -> None:
    """Ids, states, dependencies, descendants; an unknown id is `NodeNotFound`."""
    seen: dict[str, Any] = {}
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="a")
        def look(ctx: Any) -> None:
            graph = ctx.graph
            seen.update(
                nodes=list(graph.nodes),
                a=graph.status("a"),
                deps=graph.dependencies("b"),
                all=graph.descendants("a"),
            )
            with pytest.raises(NodeNotFound):
                graph.status("nobody")
            seen["size"] = (len(graph), "a" in graph, "x" in graph)

        workflow = Workflow("w")
        first = workflow.add(act, id="a")
        workflow.add(act, id="c", after=[workflow.add(act, id="b", after=[first])])
        flow.run(workflow, view=False)
    assert seen["nodes"] == ["a", "b", "c"] and seen["a"] == "completed" and seen["deps"] == ["a"]
    assert seen["all"] == ["b", "c"] and seen["size"] == (3, True, False)


@pytest.mark.parametrize("ask", [True, "sure?", {"limit": int}])
def test_what_is_added_may_ask(ask: Any) -> None:
    """A grown node with `ask=` waits for a person."""
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> NodeSpec:
            return NodeSpec(act, id="grown", ask=ask)

        run = flow.run(single(act), view=False)
        assert run.status == "paused" and [w.branch_id for w in run.waiting] == ["grown"]
        assert flow.resume(run, view=False, limit=3).success


def test_a_node_with_an_items_id_is_refused_and_the_run_ends() -> None:
    """A hook that adds `map/0` is told so; one that had such an id before the map came fails the map."""
    with DagFlow(":memory:", echo=False) as flow:
        flow.action(name="act")(act)
        wf = Workflow("w")
        first = wf.add("act", id="first")
        wf.map("act", over={"v": [1, 2]}, id="m", after=first)

        @flow.on_completed(node="first")
        def grow() -> NodeSpec:
            return NodeSpec("act", id="m/0")

        run = flow.run(wf, view=False)
        assert "item of the map 'm'" in event_data(run, "CommandRejected")[0]
        assert states(run)["m/1"] == "completed"
    inner = Workflow("inner")
    inner.map("act", over={"v": [1, 2]}, id="m")
    with DagFlow(":memory:", echo=False) as flow:
        flow.action(name="act")(act)

        @flow.on_completed(node="node")
        def add() -> list[AddNode]:
            return [AddNode(NodeSpec("act", id="sub/m/0")), AddNode(NodeSpec(inner, id="sub"))]

        run = flow.run(single(act), view=False, raise_on_failure=False)
        assert states(run)["sub/m"] == "failed" and "item 'sub/m/0' cannot be made" in str(run.report.error)
        assert states(flow.get(run.run_id)) == states(run)


def test_a_workflow_with_a_map_over_a_workflow_can_be_grown() -> None:
    """What the items run is looked at, not the name of their workflow."""
    item = Workflow("item", inputs=["v"])
    item.add(act, id="a", v=item.input("v"))
    inner = Workflow("inner")
    inner.map(item, over={"v": [1, 2]}, id="m")
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> NodeSpec:
            return NodeSpec(inner, id="sub")

        run = flow.run(single(act), view=False)
        assert states(run)["sub/m/1/a"] == "completed", event_data(run, "CommandRejected")


def adder(n: int) -> Any:
    def add(v: int) -> int:
        return v + n

    return add


class Fixed(NodeAction):
    """Gives what it was made with."""

    name = "fixed"

    def __init__(self, value: int) -> None:
        self.value = value

    async def execute(self, ctx: Any) -> NodeOutput:
        """The value."""
        return NodeOutput.ok({"result": self.value})


def test_each_function_that_a_hook_gives_is_the_one_that_runs() -> None:
    """Of several of one name each has an action; what does the same shares one, as what has a name does."""
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> list[NodeSpec]:
            made = [adder(1), adder(2), adder(2), act, Fixed(8), Fixed(9)]
            return [NodeSpec(fn, id=f"n{i}", inputs={"v": 10}) for i, fn in enumerate(made)]

        run = flow.run(single(act), view=False)
        assert [run.outputs[f"n{i}"]["result"] for i in range(6)] == [11, 12, 12, 10, 8, 9]
        actions = run.nodes().set_index("node_id")["action"]
        expected = ["add", "add_2", "add_2", "act", "fixed", "fixed_2"]
        assert [actions[f"n{i}"] for i in range(6)] == expected


def test_a_failure_handler_that_a_hook_gives_is_the_one_that_runs() -> None:
    """Also where another one has its name."""
    handled: list[str] = []

    def handler(name: str) -> Any:
        def handle(node_id: str) -> None:
            handled.append(f"{name} {node_id}")

        return handle

    def fails() -> None:
        raise ValueError

    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> list[NodeSpec]:
            return [NodeSpec(fails, id=name, failure=handler(name)) for name in "ab"]

        flow.run(single(act), view=False, raise_on_failure=False)
        assert sorted(handled) == ["a a", "b b"]


def test_a_workflow_whose_actions_are_others_than_the_runs_is_refused() -> None:
    """Its nodes name them: that the run's own would run in their place is said, and nothing is added."""

    def other() -> int:
        return 2

    other.__name__ = "act"
    inner = Workflow("inner")
    inner.add(other, id="a")
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> NodeSpec:
            return NodeSpec(inner, id="sub")

        run = flow.run(single(act), view=False)
        assert list(run.outputs) == ["node"]
        assert "another action 'act' than the workflow that is added" in event_data(run, "HookFailed")[0]
