"""The guide's chapter "Setting Up the System"."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from dagflow_nb import (
    ActionRegistry,
    Cache,
    Coordinator,
    DagConfig,
    DagExecutor,
    EventHook,
    HumanTimeoutAction,
    NodeAction,
    NodeCompleted,
    NodeFailed,
    NodeOutput,
    NodeSpec,
    NodeStarted,
    OnFailure,
    RetryStrategy,
    ValidationError,
)


class ProcessAction(NodeAction):
    name = "process"

    async def execute(self, ctx):
        return NodeOutput.ok({"rows": [1, 2, 3]})


class ValidateAction(NodeAction):
    name = "validate"

    async def execute(self, ctx):
        if ctx.inputs["rows"]:
            raise ValueError("row 2 is bad")
        return NodeOutput.ok()


class TransformAction(NodeAction):
    name = "transform"

    async def execute(self, ctx):
        return NodeOutput.ok({"rows": [2 * row for row in ctx.inputs["rows"]]})


def test_basic_setup(query):
    """Three actions and three hooks (one adds nodes, one watches, one answers failures) work in one run."""
    seen = []

    class PlannerHook(EventHook):
        async def handle(self, ctx, event):
            if isinstance(event, NodeCompleted) and event.node.action == "process":
                return [NodeSpec("transform", inputs={"rows": event.outputs["rows"]})]

    class MonitorHook(EventHook):
        async def handle(self, ctx, event):
            if isinstance(event, NodeStarted):
                seen.append(event.node.node_id)

    class ErrorHook(EventHook):
        async def handle(self, ctx, event):
            if isinstance(event, NodeFailed):
                return [NodeSpec("transform", id="instead", inputs={"rows": [7]})]

    action_registry = ActionRegistry()
    action_registry.register(ProcessAction())
    action_registry.register(ValidateAction())
    action_registry.register(TransformAction())
    assert action_registry.list() == ["process", "validate", "transform"]
    hooks = [PlannerHook(), MonitorHook(), ErrorHook()]
    coordinator = Coordinator(
        hooks,
        100,  # event channel capacity
        100,  # command channel capacity
    )

    async def main():
        executor = await DagExecutor.open(None, action_registry, "sqlite:workflows.db")
        try:
            executor.load_yaml_string(
                "name: w\n"
                "nodes:\n"
                "  - {id: process, action: process}\n"
                "  - {id: validate, action: validate, inputs: [{name: rows, reference: process.rows}]}\n"
            )
            return await coordinator.run_parallel(executor, Cache(), "w", "run_001")
        finally:
            await executor.close()

    report = asyncio.run(main())
    assert report.node_outcomes["transform"].outputs == {"rows": [2, 4, 6]}
    assert report.node_outcomes["instead"].outputs == {"rows": [14]}
    assert set(seen) == {"process", "validate", "transform", "instead"}
    assert (report.status, report.failed_nodes) == ("failed", 1)
    assert query("workflows.db", "select node_id from node_runs where status = 'failed'") == [("validate",)]


def test_custom_configuration():
    """Every setting of the guide is there, has the guide's meaning, and is what runs of the executor use."""
    config = DagConfig(
        # parallel execution settings
        enable_parallel_execution=True,
        max_parallel_nodes=4,
        # retry configuration
        max_attempts=3,
        retry_strategy=RetryStrategy.exponential(initial_delay=2, max_delay=60, multiplier=2.0),
        # failure handling
        on_failure=OnFailure.CONTINUE,
        # timeouts
        timeout_seconds=3600,
        # human intervention
        human_wait_minutes=30,
        human_timeout_action=HumanTimeoutAction.AUTOPILOT,
        # resource limits
        max_tokens=100_000,
        max_iterations=10,
        # cache settings
        enable_incremental_cache=True,
        cache_snapshot_interval=60,  # seconds
    )
    registry = ActionRegistry()
    running = []
    most = []

    @registry.action
    async def step(ctx):
        running.append(ctx.node_id)
        most.append(len(running))
        await asyncio.sleep(0)
        running.remove(ctx.node_id)

    async def main():
        async with DagExecutor(config, registry, "sqlite:workflows.db") as executor:
            assert executor.config is config
            nodes = "".join(f"  - {{id: n{i}, action: step}}\n" for i in range(12))
            executor.load_yaml_string(f"name: w\nnodes:\n{nodes}")
            return await Coordinator().run_parallel(executor, Cache(), "w", "run_001")

    assert asyncio.run(main()).completed_nodes == 12
    assert max(most) == 4
    assert [config.retry_strategy.delay(n) for n in (1, 2, 3, 6)] == [2, 4, 8, 60]
    assert OnFailure.HALT is OnFailure.STOP
    assert inspect.signature(DagExecutor).parameters["config"].default is None
    with pytest.raises(ValidationError, match="max_parallel_nodes") as bad:
        DagConfig(max_parallel_nodes=0)
    assert bad.value.field == "max_parallel_nodes"
