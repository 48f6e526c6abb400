"""The guide's chapters "API Reference Summary", "Best Practices" and "Troubleshooting"."""

from __future__ import annotations

import asyncio
import inspect

import pytest

import dagflow_nb
from dagflow_nb import (
    ActionNotFound,
    ActionRegistry,
    Cache,
    Coordinator,
    CycleError,
    DagExecutor,
    EventHook,
    ExecutionEvent,
    ExecutorCommand,
    HookContext,
    NodeAction,
    NodeCompleted,
    NodeCtx,
    NodeOutput,
    NodeRef,
    NodeSpec,
)


def test_coordinator_system():
    """Every name of the guide's summary is there, takes what it says, and is what it says."""

    class Thing(NodeAction):
        name = "thing"

        async def execute(self, ctx):
            return NodeOutput.ok()

    # action registry
    registry, thing = ActionRegistry(), Thing()
    registry.register(thing)
    assert registry.get("thing") is not None
    assert registry.get("nothing") is None
    # coordinator
    assert list(inspect.signature(Coordinator.run_parallel).parameters) == [
        "self",
        "executor",
        "cache",
        "dag_name",
        "run_id",
        "cancel",
    ]
    coordinator = Coordinator([EventHook()], 100, 100)
    assert (coordinator.event_capacity, coordinator.command_capacity) == (100, 100)
    # traits
    assert inspect.isabstract(NodeAction)
    assert inspect.iscoroutinefunction(NodeAction.execute)
    for name in ("handle", "on_start", "on_complete"):
        assert inspect.iscoroutinefunction(getattr(EventHook, name))
    # core types
    ctx = NodeCtx(dag_name="d", node_id="n", inputs={"a": 1}, app_data="mine")
    assert (ctx.dag_name, ctx.node_id, ctx.inputs["a"], ctx.app_data) == ("d", "n", 1, "mine")
    assert ctx.cache.get("any", "thing") is None
    output = NodeOutput.ok({"a": 1}, metadata={"m": 2})
    assert (output.outputs, output.success, output.metadata) == ({"a": 1}, True, {"m": 2})
    events = {kind.__name__ for kind in ExecutionEvent.__args__}
    assert events >= {"NodeStarted", "NodeCompleted", "NodeFailed"}
    commands = {kind.__name__ for kind in ExecutorCommand.__args__}
    assert commands >= {
        "AddNode",
        "AddNodes",
        "SetNodeInputs",
        "PauseBranch",
        "ResumeBranch",
        "CancelBranch",
    }
    assert events | commands <= set(dagflow_nb.__all__)


def test_best_practices_actions_and_hooks_are_tested_by_themselves():
    """Without an executor an action takes a context and a hook an event."""

    class Double(NodeAction):
        name = "double"

        async def execute(self, ctx):
            return NodeOutput.ok({"value": 2 * ctx.get_input("value", int)})

    class Again(EventHook):
        async def handle(self, ctx, event):
            return [NodeSpec("double", inputs={"value": event.outputs["value"]})]

    output = asyncio.run(Double().execute(NodeCtx(inputs={"value": "3"})))
    assert output.outputs == {"value": 6}
    event = NodeCompleted(NodeRef("d", "a", "double"), output)
    assert asyncio.run(Again().handle(HookContext("r", "d"), event))[0].inputs == {"value": 6}


def test_common_issues():
    """A workflow that is not loaded, an action that is not registered and a cycle each say so, by name."""
    executor = DagExecutor()
    assert not executor.has_dag("name")
    executor.load_yaml_string("name: name\nnodes: [{id: a, action: missing}]")
    assert executor.has_dag("name")
    with pytest.raises(ActionNotFound) as unknown:
        executor.validate("name")
    assert (unknown.value.name, unknown.value.node_id) == ("missing", "a")
    with pytest.raises(CycleError) as cycle:
        executor.load_yaml_string(
            "name: round\nnodes:\n  - {id: a, action: x, dependencies: [b]}\n"
            "  - {id: b, action: x, dependencies: [a]}\n"
        )
    assert set(cycle.value.cycle) == {"a", "b"}
    assert not executor.has_dag("round")

    async def main():
        async with executor:
            await Coordinator().run_parallel(executor, Cache(), "name", "run_001")

    with pytest.raises(ActionNotFound):
        asyncio.run(main())
