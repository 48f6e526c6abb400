"""The guide's chapter "Quick Start"."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dagflow_nb import (
    ActionRegistry,
    Cache,
    Coordinator,
    DagExecutor,
    EventHook,
    NodeAction,
    NodeCompleted,
    NodeOutput,
    NodeSpec,
)

WORKFLOW = """
name: my_workflow
nodes:
  - id: greet
    action: my_action
    inputs:
      - name: who
        reference: inputs.who
"""


class MyAction(NodeAction):
    name = "my_action"

    async def execute(self, ctx):
        return NodeOutput.ok({"greeting": f"hello {ctx.inputs['who']}"})


class MyHook(EventHook):
    async def handle(self, ctx, event):
        if isinstance(event, NodeCompleted) and event.node.node_id == "greet":
            return [NodeSpec("my_action", id="greet_again", inputs={"who": event.outputs["greeting"]})]
        return []


def test_quick_start(folder: Path, query):
    """Registry, hooks, coordinator, executor and a YAML file make a run that grows and is in the database."""
    (folder / "workflow.yaml").write_text(WORKFLOW)

    async def main():
        registry = ActionRegistry()
        registry.register(MyAction())
        hooks = [MyHook()]
        coordinator = Coordinator(hooks, 100, 100)
        async with DagExecutor(None, registry, "sqlite:workflows.db") as executor:
            executor.load_yaml_file("workflow.yaml")
            cache = Cache()
            cache.insert("inputs", "who", "you")
            report = await coordinator.run_parallel(executor, cache, "my_workflow", "run_001")
        return report, cache

    report, cache = asyncio.run(main())
    assert (report.status, report.success, report.completed_nodes) == ("completed", True, 2)
    assert cache.get("greet", "greeting") == "hello you"
    assert cache.get("greet_again", "greeting") == "hello hello you"
    assert query("workflows.db", "select run_id, dag_name, status, nodes from runs") == [
        ("run_001", "my_workflow", "completed", 2)
    ]
    assert query("workflows.db", "select node_id, status, added_by from node_runs order by position") == [
        ("greet", "completed", None),
        ("greet_again", "completed", "greet"),
    ]
