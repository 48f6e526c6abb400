"""The guide's chapter "Complete Examples"."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from dagflow_nb import (
    ActionRegistry,
    AddNode,
    Cache,
    Coordinator,
    DagConfig,
    DagExecutor,
    EventHook,
    NodeAction,
    NodeCompleted,
    NodeFailed,
    NodeOutput,
    NodeSpec,
    NodeStarted,
)

# --- example 1: data processing pipeline with coordinator ---------------------------------------


class FetchDataAction(NodeAction):
    name = "fetch_data"

    def __init__(self, source_adapter) -> None:
        self.source_adapter = source_adapter

    async def execute(self, ctx):
        source = ctx.inputs.get("source", "default")
        data = await self.source_adapter(source)
        return NodeOutput.ok({"raw_data": data, "record_count": len(data)})


class ValidateDataAction(NodeAction):
    name = "validate_data"

    async def execute(self, ctx):
        data = ctx.get_input("data", list[str])
        valid_data = [item for item in data if item]
        if not valid_data:
            return NodeOutput.failure("No valid data found")
        return NodeOutput.ok({"valid_data": valid_data, "validation_passed": True, "invalid_count": 0})


class TransformDataAction(NodeAction):
    name = "transform_data"

    def __init__(self, transform) -> None:
        self.transform = transform

    async def execute(self, ctx):
        data = ctx.get_input("data", list[str])
        return NodeOutput.ok(
            {"transformed": [self.transform(item) for item in data], "transform_type": "upper"}
        )


class ValidationHook(EventHook):
    async def handle(self, ctx, event):
        if (
            isinstance(event, NodeCompleted)
            and event.node.node_id == "validate"
            and not event.outcome.success
        ):
            # add error recovery node
            return [
                AddNode(
                    dag_name=ctx.dag_name,
                    spec=NodeSpec("handle_validation_error").with_deps([event.node.node_id]),
                )
            ]
        return []


class MonitorHook(EventHook):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    async def handle(self, ctx, event):
        if isinstance(event, NodeStarted | NodeCompleted | NodeFailed):
            self.seen.append((type(event).__name__, event.node.node_id))


DATA_PIPELINE = """
name: data_pipeline
nodes:
  - {id: fetch, action: fetch_data, inputs: [{name: source, reference: inputs.data_source}]}
  - {id: validate, action: validate_data, inputs: [{name: data, reference: fetch.raw_data}]}
  - {id: transform, action: transform_data, inputs: [{name: data, reference: validate.valid_data}]}
"""


@pytest.mark.parametrize("records", [["a", "", "b"], ["", ""]], ids=["valid", "invalid"])
def test_example_1_data_processing_pipeline_with_coordinator(records, folder: Path, query):
    """Fetch, validate and transform run in order on the inputs of the cache; where no record is valid, a
    hook adds the recovery node and the transformation is skipped; the graph is written as DOT."""
    (folder / "pipeline.yaml").write_text(DATA_PIPELINE)

    async def source_adapter(source):
        assert source == "database"
        return records

    async def main():
        # 1. setup action registry
        action_registry = ActionRegistry()
        action_registry.register(FetchDataAction(source_adapter))
        action_registry.register(ValidateDataAction())
        action_registry.register(TransformDataAction(str.upper))

        @action_registry.action
        async def handle_validation_error():
            return {"mail": "sent"}

        # 2. create hooks
        monitor = MonitorHook()
        hooks = [ValidationHook(), monitor]
        # 3. create coordinator
        coordinator = Coordinator(hooks, 100, 100)
        # 4. setup executor
        config = DagConfig(enable_parallel_execution=True, max_parallel_nodes=4)
        async with DagExecutor(config, action_registry, "sqlite:pipeline.db") as executor:
            # 5. load workflow
            executor.load_yaml_file("pipeline.yaml")
            # 6. prepare cache with inputs
            cache = Cache()
            cache.insert("inputs", "data_source", "database")
            cache.insert("inputs", "output_destination", "warehouse")
            # 7. execute with coordinator
            report = await coordinator.run_parallel(executor, cache, "data_pipeline", "run_001")
            # generate visualization
            dot = await executor.serialize_tree_to_dot("data_pipeline")
            (folder / "pipeline.dot").write_text(dot)
        return report, cache, monitor

    report, cache, monitor = asyncio.run(main())
    values = query("pipeline.db", "select namespace || '.' || key, value from artifacts where codec = 'json'")
    stored = {name: json.loads(value) for name, value in values}
    assert stored["inputs.output_destination"] == "warehouse"
    assert stored["fetch.record_count"] == len(records)
    dot = (folder / "pipeline.dot").read_text()
    if any(records):
        assert (report.status, report.completed_nodes) == ("completed", 3)
        assert cache.get("transform", "transformed") == ["A", "B"]
        assert stored["transform.transformed"] == ["A", "B"]
        assert monitor.seen == [
            (kind, id)
            for id in ("fetch", "validate", "transform")
            for kind in ("NodeStarted", "NodeCompleted")
        ]
        assert "handle_validation_error" not in dot
    else:
        assert (report.status, report.failed_nodes, report.skipped_nodes) == ("failed", 1, 1)
        assert report.node_outcomes["validate"].error == "No valid data found"
        assert report.node_outcomes["handle_validation_error"].outputs == {"mail": "sent"}
        assert ("NodeCompleted", "validate") in monitor.seen
        assert "handle_validation_error" in dot
        assert query("pipeline.db", "select status from node_runs where node_id = 'transform'") == [
            ("skipped",)
        ]


# --- example 2: dynamic workflow with agent-based planning --------------------------------------


class PlannerAgent(NodeAction):
    name = "planner_agent"

    def __init__(self, llm_client) -> None:
        self.llm_client = llm_client

    async def execute(self, ctx):
        # analyze task and generate plan
        plan = await self.llm_client(ctx.get_input("task", str))
        return NodeOutput.ok({"plan": plan, "steps": plan["steps"], "requires_tools": plan["tool_calls"]})


class WorkflowBuilderHook(EventHook):
    async def handle(self, ctx, event):
        commands = []
        if isinstance(event, NodeCompleted) and event.node.node_id == "planner":
            # read the plan
            prev_node = event.node.node_id
            for i, step in enumerate(event.outcome.outputs["steps"]):
                step_id = f"step_{i}"
                # add tool invocation node if needed
                if step.get("requires_tool", False):
                    tool_id = f"tool_{i}"
                    spec = NodeSpec("invoke_tool").with_id(tool_id).with_deps([prev_node])
                    commands.append(
                        AddNode(dag_name=ctx.dag_name, spec=spec.with_inputs(step["tool_params"]))
                    )
                    prev_node = tool_id
                # add execution step
                spec = NodeSpec("execute_step").with_id(step_id).with_deps([prev_node])
                inputs = {"instruction": step["instruction"], "context": step["context"]}
                commands.append(AddNode(dag_name=ctx.dag_name, spec=spec.with_inputs(inputs)))
                prev_node = step_id
            # add final validation
            spec = NodeSpec("validate_result").with_deps([prev_node])
            commands.append(AddNode(dag_name=ctx.dag_name, spec=spec))
        return commands


async def llm_client(task):
    assert task == "Analyze sales data and create report"
    return {
        "tool_calls": ["sql"],
        "steps": [
            {
                "instruction": "load sales",
                "context": "2024",
                "requires_tool": True,
                "tool_params": {"tool": "sql", "query": "select 1"},
            },
            {"instruction": "write report", "context": None},
        ],
    }


def test_example_2_dynamic_workflow_with_agent_based_planning(query):
    """From one planner node grows the whole workflow: tools before their steps, steps in order, validation
    last."""
    order = []

    async def main():
        # register actions
        registry = ActionRegistry()
        registry.register(PlannerAgent(llm_client))

        @registry.action
        async def invoke_tool(ctx, tool, query):
            order.append(ctx.node_id)
            return {"rows": f"{tool}: {query}"}

        @registry.action
        async def execute_step(ctx, instruction, context):
            order.append(ctx.node_id)
            return {"text": f"{instruction} ({context})"}

        @registry.action
        async def validate_result(ctx):
            order.append(ctx.node_id)
            return {"valid": True}

        # create coordinator
        monitor = MonitorHook()
        coordinator = Coordinator([WorkflowBuilderHook(), monitor], 200, 200)
        # start with minimal DAG
        initial_dag = """
        name: agent_workflow
        nodes:
          - id: planner
            action: planner_agent
            inputs:
              - name: task
                reference: inputs.task
        """
        async with DagExecutor(None, registry, "sqlite:agent.db") as executor:
            executor.load_yaml_string(initial_dag)
            # set the task
            cache = Cache()
            cache.insert("inputs", "task", "Analyze sales data and create report")
            # execute - workflow will be built dynamically
            report = await coordinator.run_parallel(executor, cache, "agent_workflow", "run_001")
        return report, cache, monitor

    report, cache, monitor = asyncio.run(main())
    assert order == ["tool_0", "step_0", "step_1", "validate_result"]
    assert (report.status, report.completed_nodes) == ("completed", 5)
    assert cache.get("tool_0", "rows") == "sql: select 1"
    assert cache.get("step_1", "text") == "write report (None)"
    assert [id for kind, id in monitor.seen if kind == "NodeStarted"] == ["planner", *order]
    rows = query("agent.db", "select node_id, dependencies from node_runs where added_by = 'planner'")
    assert {id: json.loads(deps) for id, deps in rows} == {
        "tool_0": ["planner"],
        "step_0": ["tool_0"],
        "step_1": ["step_0"],
        "validate_result": ["step_1"],
    }
