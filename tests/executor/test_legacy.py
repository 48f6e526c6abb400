"""Old-style actions: what their executor, node and cache do, and when it takes effect."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import (
    ActionNotFound,
    ActionRegistry,
    BranchPaused,
    Cache,
    CancelToken,
    Coordinator,
    DagExecutor,
    DagFlow,
    DependencyNotFound,
    InvalidState,
    NodeAlreadyExists,
    NodeExecutionError,
    NodeNotFound,
    NodeOutput,
    NodeRetrying,
    NodeSpec,
    RetryNode,
    ValidationError,
    get_value_from_cache,
    register_action,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def registry() -> ActionRegistry:
    """`step` notes in `ran` that it ran and returns what it got."""
    found = ActionRegistry()
    found.ran = []  # type: ignore[attr-defined]

    @found.action
    async def step(ctx, value=None):
        found.ran.append(ctx.node_id)
        return {"value": value}

    return found


def run(registry: ActionRegistry, text: str, cache: Any = None, hooks=(), **old_style: Any) -> Any:
    """Run a workflow with these old-style actions; returns the report and the executor (closed)."""
    cache = Cache() if cache is None else cache

    async def main():
        async with DagExecutor({"retry_strategy": "immediate"}, registry) as executor:
            for name, fn in old_style.items():
                with pytest.warns(DeprecationWarning):
                    register_action(executor, name, fn)
            dag = executor.load_yaml_string(text).name
            report = await asyncio.wait_for(
                Coordinator(hooks).run_parallel(executor, cache, dag, "r"), timeout=30
            )
            states = {node.id: node.status for node in executor._records.scheduler("r").nodes.values()}
            return report, states

    return asyncio.run(main())


# --- registering --------------------------------------------------------------------------------


def test_registering_warns_and_points_to_the_caller():
    """The warning names the action and comes from the line that registers it."""

    async def old(executor, node, cache):
        pass

    executor = DagExecutor()
    with pytest.warns(DeprecationWarning, match="'old'.*hook") as caught:
        register_action(executor, "old", old)
    assert caught[0].filename == __file__
    assert "old" in executor.registry


@pytest.mark.parametrize("fn", [None, 42, "old", lambda executor, node, cache: None])
def test_only_coroutine_functions_are_old_style_actions(fn):
    """Anything else is refused, and nothing is registered."""
    executor = DagExecutor()
    with pytest.raises(ValidationError, match="async def"):
        register_action(executor, "old", fn)
    assert "old" not in executor.registry


def test_partials_and_objects_are_old_style_actions_too(registry):
    """What gives something to await will do."""

    async def old(value, executor, node, cache):
        cache.insert(node.id, "value", value)

    class Old:
        async def __call__(self, executor, node, cache):
            return {"value": node.id}

    cache = Cache()
    text = "name: w\nnodes: [{id: a, action: one}, {id: b, action: two}]"
    run(registry, text, cache, one=functools.partial(old, 7), two=Old())
    assert cache.as_dict() == {"a": {"value": 7}, "b": {"value": "b"}}


# --- what is checked at once --------------------------------------------------------------------


def test_each_call_is_checked_at_once(registry):
    """What cannot be done raises where it is asked for, with the culprit; the action may go on."""
    errors: list[Any] = []

    def attempt(call, *arguments):
        try:
            call(*arguments)
        except Exception as error:
            errors.append(error)

    async def old(executor, node, cache):
        attempt(executor.add_node, "w", "b", "step", ["a"])
        attempt(executor.add_node, "w", "new", "step", ["missing"])
        attempt(executor.add_node, "w", "new", "stepp", ["a"])
        attempt(executor.add_node, "other", "new", "step", ["a"])
        attempt(executor.add_node, "w", "inputs", "step", ["a"])
        attempt(executor.add_node, "w", "new", "step", ["new"])
        attempt(executor.disable_nodes, ["b", "bb"])
        attempt(executor.enable_nodes, "aa")
        attempt(executor.disable_nodes, "a")
        attempt(lambda: executor.load_yaml_file("x.yaml"))
        executor.add_node("w", "new", "step", "a")
        attempt(executor.add_node, "w", "new", "step", ["a"])
        executor.add_node("w", "newer", "step", ["new", "new"])

    text = "name: w\nnodes: [{id: a, action: old}, {id: b, action: step, dependencies: [a]}]"
    report, _ = run(registry, text, old=old)
    assert [type(error) for error in errors] == [
        NodeAlreadyExists,
        DependencyNotFound,
        ActionNotFound,
        ValidationError,
        ValidationError,
        DependencyNotFound,
        NodeNotFound,
        NodeNotFound,
        InvalidState,
        AttributeError,
        NodeAlreadyExists,
    ]
    assert (errors[1].node_id, errors[1].dependency) == ("new", "missing")
    assert "did you mean 'step'" in str(errors[2])
    assert "'other'" in str(errors[3])
    assert "did you mean 'b'" in str(errors[6])
    assert "running" in str(errors[8])
    assert "load_yaml_file" in str(errors[9]) and "add_node" in str(errors[9])
    assert report.success
    assert sorted(registry.ran) == ["b", "new", "newer"]


def test_an_error_that_is_not_caught_fails_the_attempt(registry):
    """What the proxy raises is the node's error, and what was asked for before is dropped."""

    async def old(executor, node, cache):
        executor.add_node("w", "new", "step", [node.id])
        executor.add_node("w", "new", "step", [node.id])

    report, states = run(registry, "name: w\nnodes: [{id: a, action: old}]", old=old)
    assert report.failed_nodes == 1
    assert "already a node 'new'" in report.node_outcomes["a"].error
    assert list(states) == ["a"]


# --- when it takes effect -----------------------------------------------------------------------


def test_what_is_asked_for_is_applied_when_the_node_completes(registry):
    """While the action runs, nothing of it is in the graph; afterwards all of it is, in order."""

    async def main():
        asked, go = asyncio.Event(), asyncio.Event()

        async def old(executor, node, cache):
            executor.add_node("w", "new", "step", [node.id])
            executor.disable_nodes("b")
            asked.set()
            await go.wait()

        async with DagExecutor(None, registry) as executor:
            with pytest.warns(DeprecationWarning):
                register_action(executor, "old", old)
            executor.load_yaml_string(
                "name: w\nnodes: [{id: a, action: old}, {id: b, action: step, dependencies: [a]}]"
            )
            execution = asyncio.create_task(executor.execute_static_dag("w", Cache()))
            await asked.wait()
            with pytest.raises(NodeNotFound):
                executor.get_node_state("w", "new")
            assert executor.get_node_state("w", "b").status == "pending"
            go.set()
            await execution
            return executor.get_node_state("w", "new").status, executor.get_node_state("w", "b").status

    assert asyncio.run(main()) == ("completed", "skipped")


@pytest.mark.parametrize("how", ["raises", "soft", "timeout"])
def test_what_is_asked_for_is_dropped_if_the_attempt_fails(registry, how):
    """Nodes, pauses and values of a failed attempt leave no trace; those of the next one count."""
    attempts = []

    async def old(executor, node, cache):
        attempts.append(None)
        executor.add_node("w", f"new_{len(attempts)}", "step", [node.id])
        cache.insert("elsewhere", f"key_{len(attempts)}", 1)
        cache.insert(node.id, f"key_{len(attempts)}", 1)
        if len(attempts) == 1:
            executor.set_paused(True)
            if how == "raises":
                raise ValueError("no rows")
            if how == "timeout":
                await asyncio.Event().wait()
            return NodeOutput.failure("not yet")

    def again(event):
        failed_softly = getattr(event, "outcome", None) is not None and not event.outcome.success
        return RetryNode(event.node.node_id) if failed_softly else None

    cache = Cache()
    timeout = ", timeout: 0.05" if how == "timeout" else ""
    text = f"name: w\nnodes: [{{id: a, action: old, try_count: 2{timeout}}}]"
    report, states = run(registry, text, cache, [again], old=old)
    assert (report.status, len(attempts)) == ("completed", 2)
    assert list(states) == ["a", "new_2"]
    assert cache.as_dict() == {"a": {"key_2": 1}, "elsewhere": {"key_2": 1}, "new_2": {"value": None}}


def test_what_is_asked_for_is_dropped_if_the_node_is_cancelled(registry):
    """A cancelled node adds nothing."""

    async def main():
        cancel = CancelToken()

        async def old(executor, node, cache):
            executor.add_node("w", "new", "step", [node.id])
            cancel.cancel()
            await asyncio.Event().wait()

        async with DagExecutor(None, registry) as executor:
            with pytest.warns(DeprecationWarning):
                register_action(executor, "old", old)
            executor.load_yaml_string("name: w\nnodes: [{id: a, action: old}]")
            report = await Coordinator().run_parallel(executor, Cache(), "w", "r", cancel)
            tree = await executor.store.load_execution_tree("w")
            return report.status, list(tree.nodes)

    assert asyncio.run(main()) == ("cancelled", ["a"])


CRASH = """
import asyncio, os, signal, warnings
from dagflow_nb import *

warnings.simplefilter("ignore")

async def old(executor, node, cache):
    executor.add_node("w", "new", "step", [node.id])
    executor.disable_nodes(["b"])
    executor.set_paused(True)
    cache.insert("elsewhere", "key", 1)

def crash(event):
    if isinstance(event, NodeCompleted):
        os.kill(os.getpid(), signal.SIGKILL)

async def step(executor, node, cache):
    pass

async def main():
    async with DagExecutor({"durability": "sync"}, None, "sqlite:flows.db") as executor:
        register_action(executor, "old", old)
        register_action(executor, "step", step)
        executor.load_yaml_string(
            "name: w\\nnodes: [{id: a, action: old}, {id: b, action: step, dependencies: [a]}]"
        )
        await Coordinator([crash]).run_parallel(executor, Cache(), "w", "r")

asyncio.run(main())
"""


def test_what_is_asked_for_outlives_a_crash(registry, tmp_path):
    """Killed after the node's result was stored and before what it asked for was applied, the run goes on
    with all of it in another process."""
    killed = subprocess.run(
        [sys.executable, "-c", CRASH], cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)}, timeout=60
    )
    assert killed.returncode == -9

    async def old(executor, node, cache):
        raise AssertionError("it has run already")

    async def main():
        async with DagExecutor(None, registry, f"sqlite:{tmp_path}/flows.db") as executor:
            with pytest.warns(DeprecationWarning):
                register_action(executor, "old", old)
            cache = await executor.load_cache_snapshot("w")
            paused = await Coordinator().run_parallel(executor, cache, "w", "r")
            done = await executor.resume_from_pause(cache)
            return paused, done, cache

    paused, done, cache = asyncio.run(main())
    assert (paused.status, done.status, registry.ran) == ("paused", "completed", ["new"])
    assert (done.completed_nodes, done.skipped_nodes) == (2, 1)
    assert cache.get("elsewhere", "key") == 1


def test_set_paused_holds_the_whole_run_and_is_taken_back_by_false(registry):
    """Nothing else starts, also nothing that does not come after the node; False undoes it."""

    async def main():
        go = asyncio.Event()

        async def pause(executor, node, cache):
            executor.set_paused(True)

        async def gated(executor, node, cache):
            await go.wait()

        def hear(event):
            if isinstance(event, BranchPaused):
                go.set()

        async def both(executor, node, cache):
            executor.set_paused()
            executor.set_paused(False)

        async with DagExecutor({"max_parallel_nodes": 2}, registry) as executor:
            with warnings.catch_warnings(action="ignore"):
                for name, fn in {"pause": pause, "gated": gated, "both": both}.items():
                    register_action(executor, name, fn)
            executor.load_yaml_string(
                "name: w\nnodes: [{id: a, action: pause}, {id: b, action: gated}, "
                "{id: c, action: step, dependencies: [b]}, {id: d, action: step, dependencies: [a]}]"
            )
            cache = Cache()
            paused = await Coordinator([hear]).run_parallel(executor, cache, "w", "r")
            before = list(registry.ran)
            done = await executor.resume_from_pause(cache)
            executor.load_yaml_string("name: w2\nnodes: [{id: a, action: both}]")
            not_paused = await executor.execute_static_dag("w2", Cache())
            return paused, before, done, not_paused

    paused, before, done, not_paused = asyncio.run(main())
    assert (paused.status, before) == ("paused", [])
    assert (done.status, sorted(registry.ran)) == ("completed", ["c", "d"])
    assert not_paused.status == "completed"


# --- the cache and the node ---------------------------------------------------------------------


def test_what_is_written_into_the_cache_is_there_for_later_nodes(registry, tmp_path):
    """Under its own id: the node's output, also by reference. Elsewhere: for the caches of later nodes, the
    caller and the database. Under `inputs`: for references to the run's inputs too."""
    seen = {}

    async def old(executor, node, cache):
        cache.insert(node.id, "value", 1)
        cache.insert("elsewhere", "key", [2])
        cache.insert("inputs", "late", 3)
        # it reads what it has written, and what the run has
        assert (cache.get(node.id, "value"), cache.get("elsewhere", "key")) == (1, [2])
        assert get_value_from_cache(cache, "inputs", "given") == 0
        executor.add_node("w", "more", "read_cache", [node.id])

    @registry.action
    async def read_cache(ctx):
        seen["new style"] = [
            ctx.cache.get(*at) for at in (("a", "value"), ("elsewhere", "key"), ("inputs", "late"))
        ]

    async def old_too(executor, node, cache):
        seen["old style"] = [cache.get("elsewhere", "key"), cache.get("none", "none", "default")]

    text = """
name: w
nodes:
  - {id: a, action: old}
  - {id: b, action: old_too, dependencies: [a]}
  - {id: c, action: step, inputs: [{name: value, reference: a.value}]}
  - {id: d, action: step, dependencies: [a], inputs: [{name: value, reference: inputs.late, default: 0}]}
"""

    async def main():
        cache = Cache({"inputs": {"given": 0}})
        async with DagExecutor(None, registry, f"sqlite:{tmp_path}/flows.db") as executor:
            with warnings.catch_warnings(action="ignore"):
                register_action(executor, "old", old)
                register_action(executor, "old_too", old_too)
            executor.load_yaml_string(text)
            await executor.execute_static_dag("w", cache)
            assert await executor.load_cache_snapshot("w") == cache
        return cache

    cache = asyncio.run(main())
    assert seen == {"new style": [1, [2], 3], "old style": [[2], "default"]}
    assert cache.as_dict() == {
        "inputs": {"given": 0, "late": 3},
        "a": {"value": 1},
        "elsewhere": {"key": [2]},
        "c": {"value": 1},
        "d": {"value": 3},
    }
    with contextlib.closing(sqlite3.connect(tmp_path / "flows.db")) as connection:
        sql = "select value from artifacts where namespace = 'elsewhere'"
        assert connection.execute(sql).fetchall() == [(b"[2]",)]


@pytest.mark.parametrize(
    ("returned", "outputs"),
    [
        (None, {"written": 1}),
        ({"value": 2}, {"written": 1, "value": 2}),
        ({"written": 2}, {"written": 2}),
        (7, {"written": 1, "result": 7}),
        (NodeOutput.ok({"value": 3}), {"written": 1, "value": 3}),
    ],
)
def test_what_is_returned_joins_what_was_written(registry, returned, outputs):
    """A mapping, an outcome or any other value joins the node's output, and what was asked for counts."""

    async def old(executor, node, cache):
        cache.insert(node.id, "written", 1)
        executor.add_node("w", "new", "step", [node.id])
        return returned

    cache = Cache()
    run(registry, "name: w\nnodes: [{id: a, action: old}]", cache, old=old)
    assert cache.as_dict()["a"] == outputs
    assert registry.ran == ["new"]


def test_the_node_says_who_it_is(registry):
    """Id, action, workflow, inputs as values, and dependencies."""
    seen = []

    async def old(executor, node, cache):
        seen.append((node.id, node.node_id, node.action, node.dag_name, node.inputs, node.dependencies))
        seen.append(repr(node))

    text = """
name: w
nodes:
  - {id: a, action: step, inputs: [{name: value, value: 5}]}
  - {id: b, action: old, inputs: [{name: value, reference: a.value}, {name: more, value: [1]}]}
"""
    run(registry, text, old=old)
    assert seen == [("b", "b", "old", "w", {"value": 5, "more": [1]}, ["a"]), "<node 'b' of 'w'>"]


# --- failure handlers ---------------------------------------------------------------------------


def test_a_failure_handler_is_called_as_the_node_that_failed(registry):
    """It finds the node, its inputs and its error; what it writes under the node's id is its own output and
    stays in the cache; the failure stays a failure."""
    seen = []

    async def broken(executor, node, cache):
        cache.insert(node.id, "half", 1)
        raise ValueError("no rows")

    async def handler(executor, node, cache):
        error = cache[node.id]["error"]
        assert error == cache.get(node.id, "error") == get_value_from_cache(cache, node.id, "error")
        seen.append((node.id, node.action, node.inputs, error))
        cache.insert(node.id, "recovery_attempted", True)
        executor.add_node("w", "clean_up", "step", [])

    text = """
name: w
nodes:
  - {id: a, action: broken, failure: handler, inputs: [{name: rows, value: [1]}], try_count: 2}
  - {id: b, action: step, dependencies: [a]}
"""
    cache = Cache()
    report, states = run(registry, text, cache, broken=broken, handler=handler)
    assert seen == [("a", "broken", {"rows": [1]}, "ValueError: no rows")]
    assert states == {"a": "failed", "b": "skipped", "a.on_failure": "completed", "clean_up": "completed"}
    assert report.node_outcomes["a.on_failure"].outputs == {"recovery_attempted": True}
    assert cache.as_dict()["a"] == {"recovery_attempted": True}


def test_a_failure_handler_that_recovers_gives_the_node_its_outputs(registry):
    """With `recovered=True` what depends on the node goes on with the handler's outputs, once."""
    added = []

    async def broken(executor, node, cache):
        raise ValueError("no rows")

    async def handler(executor, node, cache):
        executor.add_node("w", "note", "step", [])
        added.append(node.id)
        return NodeOutput.ok({"value": 9}, recovered=True)

    text = """
name: w
nodes:
  - {id: a, action: broken, failure: handler, onfailure: false}
  - {id: b, action: step, inputs: [{name: value, reference: a.value}]}
"""
    cache = Cache()
    report, states = run(registry, text, cache, broken=broken, handler=handler)
    assert states == {"a": "recovered", "b": "completed", "a.on_failure": "completed", "note": "completed"}
    assert (report.status, added) == ("completed", ["a"])
    assert (cache.get("a", "value"), cache.get("b", "value")) == (9, 9)


# --- who may run them ---------------------------------------------------------------------------


def test_a_registry_may_be_shared_by_executors(registry, tmp_path):
    """An old-style action works with whichever executor drives its run."""

    async def old(executor, node, cache):
        executor.add_node("w", "new", "step", [node.id])

    async def main():
        async with DagExecutor(None, registry) as first, DagExecutor(None, registry) as second:
            with pytest.warns(DeprecationWarning):
                register_action(first, "old", old)
            for executor in (first, second):
                executor.load_yaml_string("name: w\nnodes: [{id: a, action: old}]")
            reports = await asyncio.gather(
                *(executor.execute_static_dag("w", Cache()) for executor in (first, second))
            )
        return [report.completed_nodes for report in reports]

    assert asyncio.run(main()) == [2, 2]


def test_in_a_flow_an_old_style_action_says_what_to_do(registry):
    """It needs a `DagExecutor`: the node fails with the way out."""

    async def old(executor, node, cache):
        raise AssertionError("it is not called")

    with pytest.warns(DeprecationWarning):
        register_action(DagExecutor(None, registry), "old", old)
    with DagFlow(":memory:", registry=registry) as flow:
        flow.load_yaml_string("name: w\nnodes: [{id: a, action: old}]")
        with pytest.raises(NodeExecutionError, match="DagExecutor"):
            flow.run("w", view=False)


def test_an_action_that_is_registered_meanwhile_can_be_added(registry):
    """What was defined after the run had started is known."""

    async def old(executor, node, cache):
        @registry.action
        async def later():
            registry.ran.append("later")

        executor.add_node("w", "new", "later", [node.id])

    report, _ = run(registry, "name: w\nnodes: [{id: a, action: old}]", old=old)
    assert (report.success, registry.ran) == (True, ["later"])


def test_hooks_are_asked_beside_what_the_action_asked_for(registry):
    """Both add to the graph, and retries are events as for any action."""
    retried = []

    async def old(executor, node, cache):
        executor.add_node("w", "mine", "step", [node.id])
        if not retried:
            raise ValueError("once")

    def hook(event):
        if isinstance(event, NodeRetrying):
            retried.append(event.attempt)
        if type(event).__name__ == "NodeCompleted" and event.node.node_id == "a":
            return NodeSpec("step", id="hooks")

    text = "name: w\nnodes: [{id: a, action: old, try_count: 2}]"
    _, states = run(registry, text, None, [hook], old=old)
    assert (list(states), retried) == (["a", "mine", "hooks"], [1])
