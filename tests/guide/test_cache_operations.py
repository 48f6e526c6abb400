"""The guide's chapter "Cache Operations"."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dagflow_nb import (
    ActionRegistry,
    Cache,
    Coordinator,
    DagExecutor,
    NodeExecutionError,
    get_value_from_cache,
    insert_value,
    parse_input_from_name,
    register_action,
    serialize_cache_to_prettyjson,
)

REPOSITORY = Path(__file__).parents[2]
WORKFLOW = """
name: workflow_name
nodes:
  - id: node1
    action: produce
    inputs: [{name: username, reference: inputs.username}]
  - id: node2
    action: consume
    inputs: [{name: result, reference: node1.result}]
"""


def registry() -> ActionRegistry:
    found = ActionRegistry()

    @found.action
    async def produce(username="nobody"):
        return {"result": [1, 2, 3], "output": username}

    @found.action
    async def consume(result):
        return {"total": sum(result)}

    return found


def test_writing_to_cache():
    """Simple values, structures and a node's own namespace hold what was put in."""
    cache = Cache()
    # simple values
    insert_value(cache, "inputs", "username", "john_doe")
    insert_value(cache, "inputs", "age", 30)
    insert_value(cache, "inputs", "active", True)
    # complex structures
    config = {"timeout": 30, "retries": 3, "endpoints": ["api1.example.com", "api2.example.com"]}
    insert_value(cache, "inputs", "config", config)
    # a node's namespace
    insert_value(cache, "node1", "status", "completed")
    insert_value(cache, "node1", "result", [1, 2, 3, 4, 5])
    assert cache.as_dict() == {
        "inputs": {"username": "john_doe", "age": 30, "active": True, "config": config},
        "node1": {"status": "completed", "result": [1, 2, 3, 4, 5]},
    }


def test_reading_from_cache():
    """An action reads its inputs by the names of its node's inputs, converted to what it wants; values are
    also read directly."""
    seen = {}

    async def my_action(_executor, node, cache):
        # by the node's references
        seen["username"] = parse_input_from_name(cache, "username", node.inputs, str)
        # converted to a type
        seen["age"] = parse_input_from_name(cache, "age", node.inputs, int)
        # complex types
        seen["config"] = parse_input_from_name(cache, "config", node.inputs, dict[str, object])
        # directly
        seen["direct"] = get_value_from_cache(cache, "node1", "result")
        with pytest.raises(KeyError, match="nothing"):
            parse_input_from_name(cache, "nothing", node.inputs)

    async def main():
        async with DagExecutor(None, registry()) as executor:
            with pytest.warns(DeprecationWarning, match="my_action"):
                register_action(executor, "my_action", my_action)
            executor.load_yaml_string(
                """
                name: reading
                nodes:
                  - {id: node1, action: produce}
                  - id: node2
                    action: my_action
                    dependencies: [node1]
                    inputs:
                      - {name: username, reference: inputs.username}
                      - {name: age, reference: inputs.years}
                      - {name: config, reference: inputs.config}
                """
            )
            cache = Cache({"inputs": {"username": "john_doe", "years": "30", "config": {"retries": 3}}})
            return await executor.execute_static_dag("reading", cache), cache

    report, cache = asyncio.run(main())
    assert report.success
    assert seen == {"username": "john_doe", "age": 30, "config": {"retries": 3}, "direct": [1, 2, 3]}
    # outside of actions, by references as they stand in a workflow
    assert get_value_from_cache(cache, "node1", "result") == [1, 2, 3]
    inputs = [{"name": "first", "reference": "node1.result.0"}]
    assert parse_input_from_name(cache, "first", inputs, int) == 1
    with pytest.raises(KeyError, match="node1"):
        get_value_from_cache(cache, "node1", "none")


def test_cache_persistence():
    """Values are stored after each node by themselves; a snapshot by hand adds to them; another executor
    loads both; as JSON the cache is readable."""

    async def main():
        async with DagExecutor(None, registry(), "sqlite:workflows.db") as executor:
            executor.load_yaml_string(WORKFLOW)
            cache = Cache({"inputs": {"username": "john_doe"}})
            await Coordinator().run_parallel(executor, cache, "workflow_name", "run_001")
            # manual cache snapshot
            insert_value(cache, "notes", "checked_by", "me")
            await executor.save_cache_snapshot("workflow_name", cache)
        async with DagExecutor(None, registry(), "sqlite:workflows.db") as executor:
            # load cache from previous execution
            return cache, await executor.load_cache_snapshot("workflow_name")

    cache, restored = asyncio.run(main())
    assert restored == cache
    assert restored.as_dict() == {
        "inputs": {"username": "john_doe"},
        "node1": {"result": [1, 2, 3], "output": "john_doe"},
        "node2": {"total": 6},
        "notes": {"checked_by": "me"},
    }
    cache_json = serialize_cache_to_prettyjson(cache)
    assert json.loads(cache_json)["node2"] == {"total": 6}
    assert cache_json.count("\n") > 10


def test_sqlite_storage_details(query, capsys):
    """The guide's four tables are there, values are saved by hand into `artifacts`, the execution tree has
    the run's nodes, and the database prints itself."""

    async def main():
        async with DagExecutor(None, registry(), "sqlite:workflows.db") as executor:
            executor.load_yaml_string(WORKFLOW)
            assert await executor.store.load_execution_tree("workflow_name") is None
            cache = Cache({"inputs": {"username": "john_doe"}})
            await Coordinator().run_parallel(executor, cache, "workflow_name", "run_001")
            # access the store directly
            store = executor.store
            # save incremental cache updates (delta)
            await store.save_cache_delta("workflow_name", {"node1": {"output": "result"}})
            # load the execution tree
            tree = await store.load_execution_tree("workflow_name")
            assert list(tree.nodes) == ["node1", "node2"]
            assert tree.nodes["node2"]["status"] == "completed"
            assert await store.load_execution_state("workflow_name", "active") is None
            # debug database contents
            await store.debug_print_db()
            return await executor.load_cache_snapshot("workflow_name")

    restored = asyncio.run(main())
    assert restored.get("node1", "output") == "result"
    tables = {
        name for (name,) in query("workflows.db", "select name from sqlite_master where type = 'table'")
    }
    assert tables >= {"artifacts", "execution_trees", "snapshots", "execution_state"}
    sql = "select run_id, codec, value from artifacts where namespace = 'node1' and key = 'output'"
    assert query("workflows.db", sql) == [("run_001", "json", b'"result"')]
    assert query("workflows.db", "select run_id, dag_name from execution_trees") == [
        ("run_001", "workflow_name")
    ]
    assert query("workflows.db", "pragma journal_mode") == [("wal",)]
    printed = capsys.readouterr().out
    assert "artifacts: 4 rows" in printed
    assert "run run_001 of 'workflow_name': completed, 2 of 2 nodes completed" in printed


CRASH = """
import asyncio, os, signal
from dagflow_nb import ActionRegistry, Cache, DagExecutor

registry = ActionRegistry()

@registry.action
async def count(ctx, value):
    with open("ran.txt", "a") as file:
        file.write(ctx.node_id + " ")
    return {"value": value}

@registry.action
async def crash(value):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with DagExecutor({"durability": "sync"}, registry, "sqlite:workflows.db") as executor:
        executor.load_yaml_file("workflow.yaml")
        await executor.execute_static_dag("workflow_name", Cache({"inputs": {"start": 5}}))

asyncio.run(main())
"""
RECOVERABLE = """
name: workflow_name
nodes:
  - {id: first, action: count, inputs: [{name: value, reference: inputs.start}]}
  - {id: second, action: crash, inputs: [{name: value, reference: first.value}]}
  - {id: third, action: count, inputs: [{name: value, reference: second.value}]}
"""


def test_recovery_from_failures(folder: Path, query):
    """After kill -9 another process loads the cache, finds the active execution, and goes on with the same
    run: what had finished does not run again, what was running does."""
    (folder / "workflow.yaml").write_text(RECOVERABLE)
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CRASH)], env={"PYTHONPATH": str(REPOSITORY)}, timeout=60
    )
    assert killed.returncode == -9
    registry = ActionRegistry()
    ran = []

    @registry.action
    async def count(ctx, value):
        ran.append(ctx.node_id)
        return {"value": value}

    @registry.action
    async def crash(ctx, value):
        ran.append(ctx.node_id)
        return {"value": value + 1}

    async def main():
        # the same database
        async with DagExecutor(None, registry, "sqlite:workflows.db") as executor:
            # load the previous cache state
            cache = await executor.load_cache_snapshot("workflow_name")
            assert cache.as_dict() == {"inputs": {"start": 5}, "first": {"value": 5}}
            # check the execution state
            state = await executor.store.load_execution_state("workflow_name", "active")
            assert state is not None
            assert state["dag_name"] == "workflow_name"
            # resume execution from where it left off
            report = await executor.execute_static_dag("workflow_name", cache)
            assert report.run_id == state["run_id"]
            assert await executor.store.load_execution_state("workflow_name", "active") is None
            return report, cache

    report, cache = asyncio.run(main())
    assert (report.status, report.completed_nodes) == ("completed", 3)
    assert (folder / "ran.txt").read_text() == "first "
    assert ran == ["second", "third"]
    assert cache.get("third", "value") == 6
    assert query("workflows.db", "select status, completed from runs") == [("completed", 3)]
    attempts = query(
        "workflows.db", "select node_id, attempt, status from attempts order by node_id, attempt"
    )
    assert ("first", 1, "completed") in attempts
    assert attempts[-1] == ("third", 1, "completed")


def test_recovery_from_failures_of_a_node():
    """A run that failed goes on with its own cache: only the failed node and what comes after it run."""
    found = ActionRegistry()
    ran = []

    @found.action
    async def count(ctx, value):
        ran.append(ctx.node_id)
        return {"value": value}

    @found.action
    async def crash(ctx, value):
        ran.append(ctx.node_id)
        if ran.count("second") == 1:
            raise OSError("no connection")
        return {"value": 2 * value}

    async def main():
        async with DagExecutor(None, found, "sqlite:workflows.db") as executor:
            executor.load_yaml_string(RECOVERABLE)
            with pytest.raises(NodeExecutionError) as failed:
                await executor.execute_static_dag("workflow_name", Cache({"inputs": {"start": 5}}))
            assert failed.value.node_id == "second"
            cache = await executor.load_cache_snapshot("workflow_name")
            return failed.value.report, await executor.execute_static_dag("workflow_name", cache)

    before, after = asyncio.run(main())
    assert (before.status, before.failed_nodes, before.skipped_nodes) == ("failed", 1, 1)
    assert after.run_id == before.run_id
    assert (after.status, after.completed_nodes) == ("completed", 3)
    assert ran == ["first", "second", "second", "third"]
