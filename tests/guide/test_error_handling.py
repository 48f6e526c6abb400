"""The guide's chapter "Error Handling"."""

from __future__ import annotations

import asyncio

import pytest

from dagflow_nb import (
    ActionRegistry,
    Cache,
    DagConfig,
    DagError,
    DagExecutor,
    ExecutionTimeout,
    NodeExecutionError,
    OnFailure,
    RetryStrategy,
    ValidationError,
    get_value_from_cache,
    insert_value,
    register_action,
)
from dagflow_nb.testing import ManualClock


def execute(registry, text, cache=None, config=None, prepare=None):
    """Run a workflow's YAML without hooks; returns the report, or raises."""

    async def main():
        async with DagExecutor(config, registry, "sqlite:workflows.db") as executor:
            if prepare is not None:
                prepare(executor)
            name = executor.load_yaml_string(text).name
            return await executor.execute_static_dag(name, Cache() if cache is None else cache)

    return asyncio.run(main())


def test_retry_strategies(query):
    """The three strategies wait as the guide says, and a node that fails is tried again until it works."""
    # exponential backoff
    exponential = RetryStrategy.exponential(initial_delay=2, max_delay=60, multiplier=2.0)
    assert [exponential.delay(n) for n in range(1, 8)] == [2, 4, 8, 16, 32, 60, 60]
    # linear backoff
    assert [RetryStrategy.linear(delay=5).delay(n) for n in range(1, 4)] == [5, 5, 5]
    # immediate retry
    assert RetryStrategy.immediate().delay(1) == 0
    registry = ActionRegistry()

    @registry.action
    async def flaky(ctx):
        if ctx.attempt < 3:
            raise OSError(f"attempt {ctx.attempt}")
        return {"attempt": ctx.attempt}

    config = DagConfig(max_attempts=3, retry_strategy=RetryStrategy.immediate())
    cache = Cache()
    report = execute(registry, "name: w\nnodes: [{id: a, action: flaky}]", cache, config)
    assert (report.status, cache.get("a", "attempt")) == ("completed", 3)
    assert query("workflows.db", "select attempt, status, error from attempts order by attempt") == [
        (1, "failed", "OSError: attempt 1"),
        (2, "failed", "OSError: attempt 2"),
        (3, "completed", None),
    ]
    assert query("workflows.db", "select count(*) from events where kind = 'NodeRetrying'") == [(2,)]


def test_failure_handlers(query, capsys):
    """An old-style handler runs once after the last attempt, is called as the node that failed, finds its
    error in the cache, and what it writes there stays."""
    registry, calls = ActionRegistry(), []

    @registry.action
    async def broken(rows):
        raise ValueError("no rows")

    async def handle_error(_executor, node, cache):
        # access error information
        error_msg = get_value_from_cache(cache, node.id, "error")
        # log the error
        print(f"Node {node.id} failed: {error_msg}")
        # attempt recovery
        insert_value(cache, node.id, "recovery_attempted", True)
        calls.append((node.id, node.action, node.inputs))

    def prepare(executor):
        with pytest.warns(DeprecationWarning):
            register_action(executor, "handle_error", handle_error)

    cache = Cache({"inputs": {"rows": [1]}})
    text = """
        name: w
        nodes:
          - id: load
            action: broken
            inputs: [{name: rows, reference: inputs.rows}]
            failure: handle_error
            try_count: 2
    """
    with pytest.raises(NodeExecutionError) as failed:
        execute(registry, text, cache, DagConfig(retry_strategy=RetryStrategy.immediate()), prepare)
    assert (failed.value.node_id, failed.value.error) == ("load", "ValueError: no rows")
    assert isinstance(failed.value.__cause__, ValueError)
    assert calls == [("load", "broken", {"rows": [1]})]
    assert "Node load failed: ValueError: no rows" in capsys.readouterr().out
    assert get_value_from_cache(cache, "load", "recovery_attempted") is True
    sql = "select value from artifacts where namespace = 'load' and key = 'recovery_attempted'"
    assert query("workflows.db", sql) == [(b"true",)]
    statuses = query("workflows.db", "select node_id, status, attempts from node_runs order by position")
    assert statuses == [("load", "failed", 2), ("load.on_failure", "completed", 1)]


def outcome(registry, text, config=None) -> str:
    """The guide's match over how an execution ended."""
    try:
        report = execute(registry, text, config=config)
    except ExecutionTimeout as late:
        assert late.report.status == "failed"
        return f"Timeout: {late}"
    except ValidationError as invalid:
        return f"Invalid workflow: {invalid}"
    except NodeExecutionError as failed:
        return f"Node {failed.node_id} failed: {failed.error}"
    except DagError as other:
        return f"Unexpected error: {other}"
    return f"Success: {report.completed_nodes} nodes completed"


def test_error_recovery_patterns():
    """Success, timeout, an invalid workflow and a failed node are told apart by the kind of error, each with
    the culprit and what to do."""
    registry = ActionRegistry()

    @registry.action
    async def fine():
        return {"a": 1}

    @registry.action
    async def endless():
        await asyncio.Event().wait()

    @registry.action
    async def broken():
        raise ValueError("no rows")

    def text(action, more=""):
        return f"name: w\nnodes:\n  - {{id: a, action: {action}}}\n{more}"

    assert outcome(registry, text("fine")) == "Success: 1 nodes completed"
    late = outcome(registry, text("endless"), DagConfig(timeout_seconds=0.01))
    assert late.startswith("Timeout: ") and "timeout_seconds" in late and "resume" in late
    invalid = outcome(registry, text("fine", "  - {id: b, action: fine, dependencies: [aa]}\n"))
    assert invalid.startswith("Invalid workflow: ") and "'aa'" in invalid and "'a'" in invalid
    assert outcome(registry, text("broken")) == "Node a failed: ValueError: no rows"
    unknown = outcome(registry, text("fin"))
    assert unknown.startswith("Unexpected error: ") and "did you mean 'fine'" in unknown


def test_error_recovery_patterns_a_timeout_is_resumed_with_more_time():
    """A run that took too long goes on with more time: what had finished stays."""
    registry, ran = ActionRegistry(), []
    text = """
        name: w
        nodes:
          - {id: first, action: first}
          - {id: slow, action: slow, inputs: [{name: a, reference: first.a}]}
    """

    @registry.action
    async def first():
        ran.append("first")
        return {"a": 1}

    async def main():
        clock, started = ManualClock(), asyncio.Event()

        @registry.action
        async def slow(a):
            ran.append("slow")
            started.set()
            await asyncio.Event().wait()

        async with DagExecutor(DagConfig(timeout_seconds=10), registry, "sqlite:workflows.db") as executor:
            executor._session.clock = clock
            executor.load_yaml_string(text)
            execution = asyncio.create_task(executor.execute_static_dag("w", Cache()))
            await started.wait()
            clock.advance(11)
            with pytest.raises(ExecutionTimeout):
                await execution

        @registry.action(name="slow")
        async def slow_but_ending(a):
            ran.append("slow again")
            return {"b": a + 1}

        async with DagExecutor(DagConfig(timeout_seconds=3600), registry, "sqlite:workflows.db") as executor:
            cache = await executor.load_cache_snapshot("w")
            return await executor.execute_static_dag("w", cache)

    report = asyncio.run(main())
    assert (report.status, ran) == ("completed", ["first", "slow", "slow again"])
    assert report.node_outcomes["slow"].outputs == {"b": 2}


@pytest.mark.parametrize("policy", [OnFailure.CONTINUE, OnFailure.PAUSE, OnFailure.STOP])
def test_error_recovery_patterns_on_failure(policy):
    """By the policy a failure lets independent nodes go on, pauses the run, or stops it; each raises."""
    registry, ran = ActionRegistry(), []

    @registry.action
    async def broken():
        raise ValueError("no rows")

    @registry.action
    async def step(ctx):
        ran.append(ctx.node_id)

    text = """
        name: w
        nodes:
          - {id: a, action: broken}
          - {id: after, action: step, dependencies: [a]}
          - {id: whatever, action: step, dependencies: [a], when: all_done}
    """
    with pytest.raises(NodeExecutionError) as failed:
        execute(registry, text, config=DagConfig(on_failure=policy))
    status, expected = {
        OnFailure.CONTINUE: ("failed", ["whatever"]),
        OnFailure.PAUSE: ("paused", []),
        OnFailure.STOP: ("failed", []),
    }[policy]
    assert (failed.value.report.status, ran) == (status, expected)
