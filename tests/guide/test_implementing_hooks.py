"""The guide's chapter "Implementing Hooks"."""

from __future__ import annotations

import asyncio
from collections import Counter

from dagflow_nb import (
    ActionRegistry,
    AddNode,
    Cache,
    Coordinator,
    DagExecutor,
    EventHook,
    NodeCompleted,
    NodeFailed,
    NodeSpec,
    NodeStarted,
)

WORKFLOW = """
name: study
nodes:
  - {id: analyze_sales, action: analyze}
  - {id: analyze_returns, action: fail}
"""


def registry() -> ActionRegistry:
    found = ActionRegistry()

    @found.action
    async def analyze():
        return {"needs_validation": True, "data": [1, 2, 3]}

    @found.action
    async def fail():
        raise OSError("no connection")

    @found.action
    async def validate(data):
        return {"valid": data}

    @found.action
    async def recover(failed_node, error):
        return {"handled": f"{failed_node}: {error}"}

    return found


def run(hooks):
    async def main():
        async with DagExecutor(None, registry(), "sqlite:workflows.db") as executor:
            executor.load_yaml_string(WORKFLOW)
            return await Coordinator(hooks, 100, 100).run_parallel(executor, Cache(), "study", "run_001")

    return asyncio.run(main())


class PlannerHook(EventHook):
    def __init__(self, max_depth: int) -> None:
        self.max_depth = max_depth
        self.told: list[str] = []

    async def handle(self, ctx, event):
        match event:
            case NodeCompleted(node=node, outcome=outcome):
                # check if this was an analysis node, and read the outcome to decide the next steps
                analysis = outcome.outputs
                if node.node_id.startswith("analyze_") and analysis["needs_validation"]:
                    return [
                        AddNode(
                            dag_name=ctx.dag_name,
                            spec=NodeSpec("validate")
                            .with_id(f"validate_{node.node_id}")
                            .with_deps([node.node_id])
                            .with_inputs({"data": analysis["data"]}),
                        )
                    ]
            case NodeFailed(node=node, error=error):
                # add a recovery node for failures
                return [
                    AddNode(
                        dag_name=ctx.dag_name,
                        spec=NodeSpec("recover")
                        .with_id(f"recover_{node.node_id}")
                        .with_deps([node.node_id])
                        .with_inputs({"failed_node": node.node_id, "error": error}),
                    )
                ]
        return []

    async def on_start(self, ctx):
        self.told.append(f"Starting workflow: {ctx.dag_name}")
        return []

    async def on_complete(self, ctx, success):
        self.told.append(f"Workflow {ctx.dag_name} completed: {success}")
        return []


def test_eventhook_for_dynamic_behavior(query):
    """A hook adds a node after a result and another after a failure, and is told of the start and the end."""
    hook = PlannerHook(max_depth=3)
    report = run([hook])
    assert report.node_outcomes["validate_analyze_sales"].outputs == {"valid": [1, 2, 3]}
    assert report.node_outcomes["recover_analyze_returns"].outputs == {
        "handled": "analyze_returns: OSError: no connection"
    }
    assert hook.told == ["Starting workflow: study", "Workflow study completed: False"]
    assert query("workflows.db", "select node_id, status, added_by from node_runs order by node_id") == [
        ("analyze_returns", "failed", None),
        ("analyze_sales", "completed", None),
        ("recover_analyze_returns", "completed", "analyze_returns"),
        ("validate_analyze_sales", "completed", "analyze_sales"),
    ]
    kinds = Counter(kind for (kind,) in query("workflows.db", "select kind from events"))
    assert (kinds["NodesAdded"], kinds["CommandRejected"], kinds["HookFailed"]) == (2, 0, 0)


class MonitorHook(EventHook):
    def __init__(self) -> None:
        self.metrics: Counter[str] = Counter()
        self.lines: list[str] = []

    async def handle(self, _ctx, event):
        match event:
            case NodeStarted(node=node):
                self.metrics["nodes_started"] += 1
                self.lines.append(f"⚡ Started: {node.node_id}")
            case NodeCompleted(node=node):
                self.metrics["nodes_completed"] += 1
                self.lines.append(f"✅ Completed: {node.node_id}")
            case NodeFailed(node=node, error=error):
                self.metrics["nodes_failed"] += 1
                self.lines.append(f"❌ Failed: {node.node_id} - {error}")
        return []  # a monitor gives no commands


def test_monitoring_hook():
    """A hook that only counts hears of every start and end, in order, and changes nothing."""
    hook = MonitorHook()
    report = run([hook])
    assert hook.metrics == {"nodes_started": 2, "nodes_completed": 1, "nodes_failed": 1}
    assert hook.lines.index("⚡ Started: analyze_sales") < hook.lines.index("✅ Completed: analyze_sales")
    assert "❌ Failed: analyze_returns - OSError: no connection" in hook.lines
    assert set(report.node_outcomes) == {"analyze_sales", "analyze_returns"}
