"""The guide's chapter "Dynamic Graph Growth"."""

from __future__ import annotations

import asyncio
import json

import pytest

from dagflow_nb import (
    ActionRegistry,
    AddNode,
    AddNodes,
    Cache,
    Coordinator,
    DagExecutor,
    EventHook,
    NodeCompleted,
    NodeSpec,
)


class DynamicBuilderHook(EventHook):
    async def handle(self, ctx, event):
        commands = []
        if isinstance(event, NodeCompleted) and event.node.node_id == "analyze_task":
            # build the workflow based on the analysis
            for i, step in enumerate(event.outcome.outputs["steps"]):
                commands.append(
                    AddNode(
                        dag_name=ctx.dag_name,
                        spec=NodeSpec(step["action"])
                        .with_id(f"step_{i}")
                        .with_deps([event.node.node_id] if i == 0 else [f"step_{i - 1}"])
                        .with_inputs(step["inputs"]),
                    )
                )
        return commands


def test_adding_nodes_during_execution(query):
    """What an analysis returns becomes a chain of nodes that run one after the other, with their inputs."""
    registry, order = ActionRegistry(), []

    @registry.action
    async def analyze():
        return {
            "steps": [{"action": name, "inputs": {"n": i}} for i, name in enumerate(["load", "fit", "plot"])]
        }

    for name in ("load", "fit", "plot"):

        @registry.action(name=name)
        async def step(ctx, n):
            order.append((ctx.node_id, ctx.action, n))
            return {"n": n}

    async def main():
        async with DagExecutor(None, registry, "sqlite:workflows.db") as executor:
            executor.load_yaml_string("name: workflow\nnodes: [{id: analyze_task, action: analyze}]")
            return await Coordinator([DynamicBuilderHook()]).run_parallel(executor, Cache(), "workflow", "r")

    report = asyncio.run(main())
    assert order == [("step_0", "load", 0), ("step_1", "fit", 1), ("step_2", "plot", 2)]
    assert (report.status, report.completed_nodes) == ("completed", 4)
    rows = query("workflows.db", "select node_id, dependencies, added_by from node_runs order by position")
    assert [(id, json.loads(deps), by) for id, deps, by in rows] == [
        ("analyze_task", [], None),
        ("step_0", ["analyze_task"], "analyze_task"),
        ("step_1", ["step_0"], "analyze_task"),
        ("step_2", ["step_1"], "analyze_task"),
    ]


@pytest.mark.parametrize("good", [True, False], ids=["all", "none"])
def test_batch_node_addition(good, query):
    """A batch is added all at once, its nodes depending on each other; with one bad node none is added, that
    is reported, and the run goes on."""
    registry, order = ActionRegistry(), []
    for name in ("begin", "process_1", "process_2", "aggregate"):

        @registry.action(name=name)
        async def note(ctx):
            order.append(ctx.node_id)

    class Batch(EventHook):
        async def handle(self, ctx, event):
            if isinstance(event, NodeCompleted) and event.node.node_id == "start":
                return AddNodes(
                    dag_name="workflow",
                    specs=[
                        NodeSpec("process_1").with_deps(["start"]),
                        NodeSpec("process_2").with_deps(["start"]),
                        NodeSpec("aggregate").with_deps(["process_1", "process_2" if good else "process_3"]),
                    ],
                )

    async def main():
        async with DagExecutor(None, registry, "sqlite:workflows.db") as executor:
            executor.load_yaml_string("name: workflow\nnodes: [{id: start, action: begin}]")
            return await Coordinator([Batch()]).run_parallel(executor, Cache(), "workflow", "r")

    report = asyncio.run(main())
    assert report.status == "completed"
    rejected = query("workflows.db", "select data from events where kind = 'CommandRejected'")
    if good:
        assert order[0] == "start" and set(order[1:3]) == {"process_1", "process_2"}
        assert order[3:] == ["aggregate"]
        assert not rejected
    else:
        assert order == ["start"]
        assert len(rejected) == 1 and "process_3" in rejected[0][0]
        assert query("workflows.db", "select node_id from node_runs") == [("start",)]
