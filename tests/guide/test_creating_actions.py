"""The guide's chapter "Creating Actions"."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum

import pytest

from dagflow_nb import ActionRegistry, Cache, Coordinator, DagExecutor, NodeAction, NodeOutput


def run(registry, nodes, cache, database="sqlite:workflows.db"):
    """Run a workflow of these nodes (YAML) and return its report."""

    async def main():
        async with DagExecutor(None, registry, database) as executor:
            executor.load_yaml_string("name: w\nnodes:\n" + nodes)
            return await Coordinator().run_parallel(executor, cache, "w", "run_001")

    return asyncio.run(main())


class ProcessAction(NodeAction):
    @property
    def name(self) -> str:
        return "process_data"

    async def execute(self, ctx):
        print(f"Processing node: {ctx.node_id}")
        input_value = ctx.inputs.get("data")
        if input_value is None:
            raise ValueError("Missing input data")
        return NodeOutput.ok({"processed": input_value.upper(), "timestamp": datetime.now(UTC)})


def test_the_new_node_action_trait(query, capsys):
    """A class with a name and `execute(ctx)` is an action: it sees its inputs, cannot reach the executor,
    and what it returns is the node's output, types kept; what it prints is logged."""
    action_registry = ActionRegistry()
    action_registry.register(ProcessAction())
    cache = Cache({"inputs": {"text": "abc"}})
    node = "  - {id: process, action: process_data, inputs: [{name: data, reference: inputs.text}]}\n"
    report = run(action_registry, node, cache)
    outputs = report.node_outcomes["process"].outputs
    assert outputs["processed"] == "ABC"
    assert isinstance(outputs["timestamp"], datetime)
    assert cache.get("process", "processed") == "ABC"
    assert "Processing node: process" in capsys.readouterr().out
    assert query("workflows.db", "select node_id, stream, message from logs") == [
        ("process", "stdout", "Processing node: process")
    ]


def test_the_new_node_action_trait_with_a_missing_input(query):
    """What the action raises is the node's error."""
    registry = ActionRegistry()
    registry.register(ProcessAction())
    report = run(registry, "  - {id: process, action: process_data}\n", Cache())
    assert (report.status, report.failed_nodes) == ("failed", 1)
    assert report.node_outcomes["process"].error == "ValueError: Missing input data"
    assert query("workflows.db", "select status, error from node_runs") == [
        ("failed", "ValueError: Missing input data")
    ]


class Mode(Enum):
    UPPER = "upper"
    LOWER = "lower"
    REVERSE = "reverse"


class TransformAction(NodeAction):
    name = "transform_text"

    def __init__(self, mode: Mode) -> None:
        self.mode = mode

    async def execute(self, ctx):
        text = ctx.get_input("text", str)
        previous_result = ctx.cache.get("previous_run", "result")
        match self.mode:
            case Mode.UPPER:
                result = text.upper()
            case Mode.LOWER:
                result = text.lower()
            case Mode.REVERSE:
                result = text[::-1]
        return NodeOutput.ok(
            {
                "transformed": result,
                "original_length": len(text),
                "previous": previous_result,
                "read_only": not hasattr(ctx.cache, "insert"),
            }
        )


@pytest.mark.parametrize(
    ("mode", "expected"), [(Mode.UPPER, "ABC"), (Mode.LOWER, "abc"), (Mode.REVERSE, "CbA")]
)
def test_action_with_cache_access(mode, expected):
    """An action reads what the caller put into the cache, cannot write it, and returns several outputs."""
    registry = ActionRegistry()
    registry.register(TransformAction(mode))
    cache = Cache({"inputs": {"text": "AbC"}, "previous_run": {"result": [1, 2]}})
    node = "  - {id: t, action: transform_text, inputs: [{name: text, reference: inputs.text}]}\n"
    report = run(registry, node, cache)
    assert report.node_outcomes["t"].outputs == {
        "transformed": expected,
        "original_length": 3,
        "previous": [1, 2],
        "read_only": True,
    }


@dataclass
class ProcessingResult:
    status: str
    data: list[str]
    metadata: dict


class ComplexProcessor(NodeAction):
    name = "complex_processor"

    def __init__(self, processor_id: str) -> None:
        self.processor_id = processor_id

    async def execute(self, ctx):
        config = ctx.get_input("config", dict[str, object])
        result = ProcessingResult("completed", ["item1", "item2"], config)
        return NodeOutput.ok({**asdict(result), "whole": result})


def test_action_with_complex_types():
    """Nested structures and whole objects pass from the cache into an action and out of the database."""
    registry = ActionRegistry()
    registry.register(ComplexProcessor("p1"))
    config = {"timeout": 30, "nested": {"endpoints": ["a", "b"], "ratio": 0.5}, "none": None}
    node = "  - {id: c, action: complex_processor, inputs: [{name: config, reference: inputs.config}]}\n"
    run(registry, node, Cache({"inputs": {"config": config}}))

    async def reload():
        async with DagExecutor(None, registry, "sqlite:workflows.db") as executor:
            return await executor.load_cache_snapshot("w")

    cache = asyncio.run(reload())
    assert cache.get("c", "status") == "completed"
    assert cache.get("c", "data") == ["item1", "item2"]
    assert cache.get("c", "metadata") == config
    assert cache.get("c", "whole") == ProcessingResult("completed", ["item1", "item2"], config)
