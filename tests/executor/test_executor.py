"""The core API: `DagExecutor`, `Coordinator`, `CancelToken`, and the database by the guide's names."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from dagflow_nb import (
    ActionNotFound,
    ActionRegistry,
    Cache,
    CancelToken,
    Coordinator,
    CycleError,
    DagConfig,
    DagExecutor,
    DagNotFound,
    DatabaseError,
    DependencyNotFound,
    EventHook,
    InvalidState,
    LoggingHook,
    NodeAlreadyExists,
    NodeCompleted,
    NodeExecutionError,
    NodeNotFound,
    NodeOutput,
    NodeSpec,
    NodeStarted,
    PauseBranch,
    RetryStrategy,
    RunCancelled,
    ValidationError,
    Workflow,
)
from dagflow_nb.core import messages as m
from dagflow_nb.core.model import NodeDef
from dagflow_nb.core.scheduler import Scheduler
from dagflow_nb.executor.inspecting import metrics_of

CHAIN = """
name: chain
description: two steps
nodes:
  - {id: a, action: add, inputs: [{name: n, reference: inputs.n, default: 1}]}
  - {id: b, action: add, inputs: [{name: n, reference: a.n}]}
"""


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/flows.db"


@pytest.fixture
def query(tmp_path: Path) -> Callable[..., list[Any]]:
    def ask(sql: str, *params: Any) -> list[Any]:
        with contextlib.closing(sqlite3.connect(tmp_path / "flows.db")) as connection:
            return connection.execute(sql, params).fetchall()

    return ask


@pytest.fixture
def registry() -> ActionRegistry:
    """`add` adds one, `fail` raises while `broken` is not empty; `ran` notes which nodes ran."""
    found = ActionRegistry()
    found.ran, found.broken = [], ["yes"]  # type: ignore[attr-defined]

    @found.action
    async def add(ctx, n=0):
        found.ran.append(ctx.node_id)
        return {"n": n + 1}

    @found.action
    async def fail(ctx, n=0):
        found.ran.append(ctx.node_id)
        if found.broken:
            raise ValueError("no rows")
        return {"n": n + 1}

    return found


def nodes(*lines: str, name: str = "w") -> str:
    """A workflow's YAML from `id: action, more` lines."""
    parts = (line.split(": ", 1) for line in lines)
    return f"name: {name}\nnodes:\n" + "".join(f"  - {{id: {id}, action: {rest}}}\n" for id, rest in parts)


def with_executor(test, *args: Any, **kwargs: Any) -> Any:
    """`await test(executor)` with an open executor, which is closed afterwards."""

    async def main() -> Any:
        async with DagExecutor(*args, **kwargs) as executor:
            return await asyncio.wait_for(test(executor), timeout=30)

    return asyncio.run(main())


# --- coordinator --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["event_capacity", "command_capacity", "max_parallel"])
@pytest.mark.parametrize("value", [0, -1, True, "4", 2.5])
def test_capacities_are_numbers_of_at_least_one(name, value):
    """Anything else is refused, naming the argument and the value."""
    with pytest.raises(ValidationError, match=name) as bad:
        Coordinator(**{name: value})
    assert (bad.value.culprit, bad.value.value) == (name, value)


def test_a_coordinator_takes_hooks_of_every_kind_and_refuses_others():
    """Classes, instances and functions are hooks; something else is not."""
    coordinator = Coordinator([EventHook, EventHook(), lambda event: None])
    assert len(list(coordinator.hooks)) == 3
    with pytest.raises(ValidationError, match="hook"):
        Coordinator([42])
    for wrong in (42, EventHook()):
        with pytest.raises(ValidationError, match=r"hooks is a list of hooks, not .*\[brackets\]"):
            Coordinator(wrong)
    assert repr(Coordinator([LoggingHook()], 1, 2, 3)) == (
        "Coordinator(['LoggingHook'], event_capacity=1, command_capacity=2, max_parallel=3)"
    )


def test_capacities_of_one_work_with_growth_events_threads_and_logs(registry):
    """With room for one message a wide run that grows, emits, prints and uses threads comes to its end."""

    @registry.action
    def in_thread(ctx, n):
        ctx.emit("seen", n)
        ctx.log(f"thread {n}")
        return {"n": n}

    @registry.action
    async def on_loop(ctx, n):
        for i in range(5):
            ctx.emit("seen", i)
        ctx.report_usage(tokens=1)
        return {"n": n}

    def grow(event):
        if isinstance(event, NodeCompleted) and event.node.node_id == "a":
            return [NodeSpec("in_thread" if i % 2 else "on_loop", inputs={"n": i}) for i in range(60)]

    async def test(executor):
        executor.load_yaml_string(nodes("a: add"))
        return await Coordinator([grow], 1, 1).run_parallel(executor, Cache(), "w", "r")

    report = with_executor(test, None, registry)
    assert (report.status, report.completed_nodes) == ("completed", 61)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((Cache(), "none", "r"), DagNotFound),
        ((Cache(), "unknown", "r"), ActionNotFound),
        (({}, "chain", "r"), ValidationError),
        ((Cache(), "needs", "r"), ValidationError),
        ((Cache(), "chain", ""), ValidationError),
        ((Cache(), "chain", 7), ValidationError),
        ((Cache(), "chain", "r", "now"), ValidationError),
    ],
    ids=["workflow", "action", "cache", "input", "no run id", "number as run id", "token"],
)
def test_wrong_use_raises_before_anything_has_happened(registry, database, query, arguments, error):
    """An unknown workflow or action, a missing input, no cache or no run id: an error, and no run is
    stored."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        executor.load_yaml_string(nodes("a: nothing", name="unknown"))
        executor.load_yaml_string(nodes("a: add, inputs: [{name: n, reference: a2.n}]", "a2: add", name="ok"))
        executor.load_yaml_string("name: needs\ninputs: [{name: x}]\nnodes: [{id: a, action: add}]")
        with pytest.raises(error):
            await Coordinator().run_parallel(executor, *arguments)
        with pytest.raises(ValidationError, match="executor is a DagExecutor, not None"):
            await Coordinator().run_parallel(None, *arguments[:2], "r")

    with_executor(test, None, registry, database)
    assert query("select count(*) from runs") == [(0,)]


def test_a_report_tells_of_failures_without_raising(registry):
    """Failed, soft-failed and skipped nodes are counted and their outcomes are in the report."""

    @registry.action
    async def soft():
        return NodeOutput.failure("not today", {"partial": 1})

    async def test(executor):
        executor.load_yaml_string(
            nodes(
                "a: fail", "b: soft", "c: add, dependencies: [a]", "d: add, dependencies: [b], when: all_done"
            )
        )
        return await Coordinator().run_parallel(executor, Cache(), "w", "r")

    report = with_executor(test, None, registry)
    assert (report.run_id, report.dag_name, report.status, report.success) == ("r", "w", "failed", False)
    assert (report.completed_nodes, report.failed_nodes, report.skipped_nodes) == (1, 2, 1)
    assert report.node_outcomes["a"] == NodeOutput.failure("ValueError: no rows")
    assert report.node_outcomes["b"].outputs == {"partial": 1}
    assert "c" not in report.node_outcomes
    assert report.error in ("ValueError: no rows", "not today")
    assert report.duration >= 0


def test_what_nodes_return_arrives_in_the_callers_cache(registry):
    """Each node's outputs are in the namespace of its id, those of maps, their items and sub-workflows too;
    what was in the cache before is what `ctx.cache` reads."""

    @registry.action
    async def look(ctx):
        return {"seen": ctx.cache.get("before", "key"), "a": ctx.cache.get("a", "n")}

    async def test(executor):
        inner = Workflow("inner", inputs=["x"])
        inner.add("add", id="step", n=inner.input("x"))
        workflow = Workflow("w")
        a = workflow.add("add", id="a", n=1)
        workflow.map("add", {"n": [1, 2]}, id="m")
        workflow.add(inner, id="sub", x=5)
        workflow.add("look", id="look", after=a)
        executor.add_workflow(workflow)
        cache = Cache({"before": {"key": "value"}})
        await Coordinator().run_parallel(executor, cache, "w", "r")
        return cache, await executor.load_cache_snapshot("w")

    cache, stored = with_executor(test, None, registry)
    assert cache.as_dict() == {
        "before": {"key": "value"},
        "a": {"n": 2},
        "m/0": {"n": 2},
        "m/1": {"n": 3},
        "m": {"n": [2, 3]},
        "sub/step": {"n": 6},
        "sub": {"n": 6},
        "look": {"seen": "value", "a": 2},
    }
    assert stored == cache


# --- going on with a run ------------------------------------------------------------------------


def test_an_unfinished_run_id_is_continued_with_the_hooks(registry, database, query):
    """A run whose task was cancelled is interrupted; the same call goes on with it: what was running runs
    again, hooks are asked, and the cache gets what was there before."""
    hook_saw = []

    def watch(event):
        if isinstance(event, NodeCompleted):
            hook_saw.append(event.node.node_id)
            if event.node.node_id == "b":
                return NodeSpec("add", id="grown", inputs={"n": event.outputs["n"]})

    async def first(executor):
        started = asyncio.Event()

        @registry.action(name="gated")
        async def endless(n):
            started.set()
            await asyncio.Event().wait()

        executor.load_yaml_string(nodes("a: add", "b: gated, inputs: [{name: n, reference: a.n}]"))
        run = asyncio.create_task(Coordinator([watch]).run_parallel(executor, Cache(), "w", "run_001"))
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert query("select status from runs") == [("interrupted",)]

    async def second(executor):
        @registry.action(name="gated")
        async def ending(n):
            return {"n": n + 1}

        executor.load_yaml_string(nodes("a: add", "b: gated, inputs: [{name: n, reference: a.n}]"))
        cache = Cache()
        return await Coordinator([watch]).run_parallel(executor, cache, "w", "run_001"), cache

    with_executor(first, None, registry, database)
    report, cache = with_executor(second, None, registry, database)
    assert (report.run_id, report.status, report.completed_nodes) == ("run_001", "completed", 3)
    assert registry.ran == ["a", "grown"]
    assert hook_saw == ["a", "b", "grown"]
    assert cache.as_dict() == {"a": {"n": 1}, "b": {"n": 2}, "grown": {"n": 3}}
    assert query("select node_id, status from attempts where node_id = 'b' order by attempt") == [
        ("b", "interrupted"),
        ("b", "completed"),
    ]


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
def test_a_finished_run_id_is_invalid_state(registry, how):
    """However a run has ended, `run_parallel` does not take its id again, and says what to do."""

    async def test(executor):
        executor.load_yaml_string(nodes("a: fail" if how == "failed" else "a: add"))
        cancel = CancelToken()
        if how == "cancelled":
            cancel.cancel()
        report = await Coordinator().run_parallel(executor, Cache(), "w", "run_001", cancel)
        assert report.status == how
        with pytest.raises(InvalidState, match=f"{how}.*another run_id") as taken:
            await Coordinator().run_parallel(executor, Cache(), "w", "run_001")
        assert taken.value.culprit == "run_001"

    with_executor(test, None, registry)


def test_a_run_id_of_another_workflow_is_invalid_state(registry):
    """An unfinished run is not continued under another workflow's name."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        executor.load_yaml_string(nodes("a: add"))
        pause = lambda event: PauseBranch("a") if isinstance(event, NodeCompleted) else None  # noqa: E731
        assert (await Coordinator([pause]).run_parallel(executor, Cache(), "chain", "r")).status == "paused"
        with pytest.raises(InvalidState, match="'chain'"):
            await Coordinator().run_parallel(executor, Cache(), "w", "r")
        assert (await Coordinator().run_parallel(executor, Cache(), "chain", "r")).status == "completed"

    with_executor(test, None, registry)


def test_a_run_under_way_is_nobody_elses(registry, database):
    """Neither this executor nor another one on the file may drive a run that is under way."""

    async def test(executor):
        started, go = asyncio.Event(), asyncio.Event()

        @registry.action
        async def gated():
            started.set()
            await go.wait()

        executor.load_yaml_string(nodes("a: gated"))
        run = asyncio.create_task(Coordinator().run_parallel(executor, Cache(), "w", "r"))
        await started.wait()
        with pytest.raises(InvalidState, match="under way"):
            await Coordinator().run_parallel(executor, Cache(), "w", "r")
        async with DagExecutor(None, registry, database) as other:
            with pytest.raises(InvalidState, match="'r'"):
                await Coordinator().run_parallel(other, Cache(), "w", "r")
            with pytest.raises(InvalidState, match="'r'"):
                await other.resume_execution(await other.load_cache_snapshot("w"))
            assert other.get_node_state("w", "a").status == "running"
        go.set()
        assert (await run).success

    with_executor(test, None, registry, database)


def test_the_executors_config_rules_when_a_run_is_continued(registry, database):
    """More attempts in the executor's config count for the rest of a run, where the workflow says nothing."""

    async def first(executor):
        executor.load_yaml_string(nodes("a: fail"))
        with pytest.raises(NodeExecutionError):
            await executor.execute_static_dag("w", Cache())

    async def second(executor):
        with pytest.raises(NodeExecutionError):
            await executor.resume_execution(await executor.load_cache_snapshot("w"))

    with_executor(first, {"max_attempts": 1}, registry, database)
    config = DagConfig(max_attempts=3, retry_strategy=RetryStrategy.immediate())
    with_executor(second, config, registry, database)
    assert registry.ran == ["a"] * 4


def test_with_sync_durability_hooks_hear_of_an_event_once_it_is_on_disk(registry, database):
    """However long a commit takes, and also if a node ends while the hooks are asked about another event."""
    heard, too_early, stored = [], [], set()

    async def test(executor):
        ending, store = asyncio.Event(), executor._session.store
        write = store.write

        async def confirm(unit, committed):
            await committed
            for _ in range(20):
                await asyncio.sleep(0)
            stored.update(event[0] for event in unit.events)

        def write_slowly(unit, **how):
            committed = write(unit, **how)
            return committed and asyncio.ensure_future(confirm(unit, committed))

        store.write = write_slowly

        @registry.action
        async def tell():
            ending.set()

        async def look(event):
            heard.append(event.seq)
            if event.seq not in stored:
                too_early.append(event)
            if isinstance(event, NodeStarted):
                await ending.wait()
                for _ in range(5):
                    await asyncio.sleep(0)  # the node's end is taken, and not stored yet

        executor.load_yaml_string(nodes("a: tell"))
        return await Coordinator([look]).run_parallel(executor, Cache(), "w", "r")

    assert with_executor(test, {"durability": "sync"}, registry, database).success
    assert heard == [1, 2, 3, 4]
    assert too_early == []


# --- cancelling ---------------------------------------------------------------------------------


def test_a_token_cancels_from_a_thread(registry):
    """Cancelled in a thread, a run ends: coroutines are cancelled, threads see `ctx.cancelled`."""
    seen = []

    async def test(executor):
        cancel, started = CancelToken(), threading.Barrier(2, timeout=30)

        @registry.action
        def polling(ctx):
            started.wait()
            while not ctx.cancelled:
                pass
            seen.append("told")

        @registry.action
        async def endless():
            await asyncio.Event().wait()

        executor.load_yaml_string(nodes("a: polling", "b: endless", "c: add, dependencies: [a]"))

        def stop():
            started.wait()
            cancel.cancel("enough")

        thread = threading.Thread(target=stop)
        thread.start()
        report = await Coordinator().run_parallel(executor, Cache(), "w", "r", cancel)
        thread.join()
        return report, {id: executor.get_node_state("w", id).status for id in "abc"}

    report, states = with_executor(test, None, registry)
    assert (report.status, report.error) == ("cancelled", "enough")
    assert states == {"a": "cancelled", "b": "cancelled", "c": "cancelled"}


def test_a_token_that_is_cancelled_already_lets_nothing_start(registry):
    """No attempt of the run begins, and `execute_static_dag` raises with the reason."""

    async def test(executor):
        cancel = CancelToken()
        cancel.cancel("changed my mind")
        cancel.cancel("again")
        executor.load_yaml_string(CHAIN)
        with pytest.raises(RunCancelled, match="changed my mind") as cancelled:
            await executor.execute_static_dag("chain", Cache(), cancel)
        assert (cancelled.value.reason, cancelled.value.report.status) == ("changed my mind", "cancelled")
        assert executor.get_node_state("chain", "a").attempts == 1 or not registry.ran

    with_executor(test, None, registry)
    assert registry.ran == []


def test_one_token_cancels_several_runs_and_forgets_those_that_ended(registry):
    """What has ended is not touched; what goes on is cancelled."""

    async def test(executor):
        cancel, started = CancelToken(), asyncio.Event()

        @registry.action
        async def endless():
            started.set()
            await asyncio.Event().wait()

        executor.load_yaml_string(CHAIN)
        executor.load_yaml_string(nodes("a: endless"))
        done = await Coordinator().run_parallel(executor, Cache(), "chain", "r1", cancel)
        run = asyncio.create_task(Coordinator().run_parallel(executor, Cache(), "w", "r2", cancel))
        await started.wait()
        cancel.cancel()
        return done.status, (await run).status, repr(cancel)

    assert with_executor(test, None, registry) == ("completed", "cancelled", "CancelToken(cancelled=True)")


def test_a_cancelled_run_is_resumed(registry):
    """`resume_execution` goes on with what was cancelled."""

    async def test(executor):
        cancel = CancelToken()
        cancel.cancel()
        executor.load_yaml_string(CHAIN)
        cache = Cache({"inputs": {"n": 5}})
        with pytest.raises(RunCancelled):
            await executor.execute_static_dag("chain", cache, cancel)
        report = await executor.resume_execution(cache)
        return report.status, cache.get("b", "n")

    assert with_executor(test, None, registry) == ("completed", 7)


# --- errors of execute_static_dag ---------------------------------------------------------------


def test_a_failure_raises_with_the_actions_own_exception(registry):
    """`__cause__` is what the action raised, its traceback intact, for an item of a map too."""

    async def test(executor):
        workflow = Workflow("w")
        workflow.map("fail", {"n": [1]}, id="m")
        executor.add_workflow(workflow)
        with pytest.raises(NodeExecutionError) as failed:
            await executor.execute_static_dag("w", Cache())
        return failed.value

    error = with_executor(test, None, registry)
    assert error.node_id == "m/0" or error.node_id == "m"
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.__traceback__ is not None
    assert error.report.failed_nodes == 2


def test_a_run_that_waits_for_a_person_or_a_budget_does_not_raise(registry):
    """It comes back paused."""

    @registry.action
    async def spend(ctx):
        ctx.report_usage(tokens=100)

    async def test(executor):
        executor.load_yaml_string(nodes("a: spend", "b: add, dependencies: [a]"))
        budget = await executor.execute_static_dag("w", Cache())
        executor.load_yaml_string(nodes("a: add, ask: really?", name="asks"))
        person = await executor.execute_static_dag("asks", Cache())
        return budget.status, person.status, executor.is_paused()

    assert with_executor(test, {"max_tokens": 10}, registry) == ("paused", "paused", True)


# --- workflows ----------------------------------------------------------------------------------


def test_tags_match_all_or_any():
    """One tag may be given as a text; another `match` is refused."""
    executor = DagExecutor()
    executor.load_yaml_string("name: x\ntags: [a, b]\nnodes: [{id: n, action: act}]")
    executor.load_yaml_string("name: y\ntags: [b]\nnodes: [{id: n, action: act}]")
    assert executor.list_dags_by_tags("b") == ["x", "y"]
    assert executor.list_dags_by_tags(["a", "b"]) == ["x"]
    assert executor.list_dags_by_tags(["a", "b"], match="any") == ["x", "y"]
    assert executor.list_dags_by_tags([]) == ["x", "y"]
    assert executor.list_dags_by_tags([], match="any") == []
    with pytest.raises(ValidationError, match="'all' or 'any'"):
        executor.list_dags_by_tags(["a"], match="some")


def test_a_folder_is_loaded_as_a_whole_or_not_at_all(tmp_path):
    """Workflows of a folder may contain each other; an error in one of them loads none."""
    (tmp_path / "a.yaml").write_text("name: outer\nnodes: [{id: part, workflow: inner}]")
    (tmp_path / "b.yml").write_text("name: inner\nnodes: [{id: n, action: act}]")
    executor = DagExecutor()
    assert [w.name for w in executor.load_yaml_dir(tmp_path)] == ["outer", "inner"]
    (tmp_path / "c.yaml").write_text("name: third\nnodes: [{id: n}]")
    other = DagExecutor()
    with pytest.raises(ValidationError, match=r"c\.yaml"):
        other.load_yaml_dir(tmp_path)
    assert other.list_dags() == []


def test_a_node_that_is_added_is_part_of_runs_from_then_on(registry):
    """It runs, is drawn, and goes with its workflow when that is loaded again."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        executor.add_node("chain", "c", "add", ["b"])
        executor.add_node("chain", "d", "add", "c")
        assert "d" in await executor.serialize_tree_to_dot("chain")
        grown = await executor.execute_static_dag("chain", Cache())
        executor.load_yaml_string(CHAIN)
        again = await executor.execute_static_dag("chain", Cache())
        return grown.completed_nodes, again.completed_nodes

    assert with_executor(test, None, registry) == (4, 2)
    assert registry.ran == ["a", "b", "c", "d", "a", "b"]


def test_a_node_that_cannot_be_added_changes_nothing(registry):
    """Each reason has its error, which names the culprit."""
    executor = DagExecutor(None, registry)
    executor.load_yaml_string(CHAIN)
    with pytest.raises(NodeAlreadyExists) as exists:
        executor.add_node("chain", "b", "add", ["a"])
    assert exists.value.node_id == "b"
    with pytest.raises(DependencyNotFound, match="did you mean") as missing:
        executor.add_node("chain", "c", "add", ["aa"])
    assert (missing.value.node_id, missing.value.dependency) == ("c", "aa")
    with pytest.raises(DagNotFound):
        executor.add_node("chian", "c", "add", ["a"])
    with pytest.raises(ActionNotFound, match="'ad'"):
        executor.add_node("chain", "c", "ad", ["a"])
    for id in ("inputs", "", " c", 7):
        with pytest.raises(ValidationError):
            executor.add_node("chain", id, "add", ["a"])
    with pytest.raises(DependencyNotFound):
        executor.add_node("chain", "c", "add", ["c"])
    assert executor._extra == {}
    executor.add_node("chain", "c", "add", ["a"])
    with pytest.raises(NodeAlreadyExists):
        executor.add_node("chain", "c", "add", ["a"])


def test_disabled_nodes_are_skipped_until_they_are_enabled(registry):
    """They and what needs them are skipped with the reason; unknown ids are refused."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        executor.disable_nodes(["a"])
        off = await executor.execute_static_dag("chain", Cache())
        executor.enable_nodes("a")
        on = await executor.execute_static_dag("chain", Cache())
        with pytest.raises(NodeNotFound, match="did you mean 'a'"):
            executor.disable_nodes(["aa"])
        return off, on

    off, on = with_executor(test, None, registry)
    assert (off.status, off.skipped_nodes, on.completed_nodes) == ("completed", 2, 2)
    assert registry.ran == ["a", "b"]


def test_validate_finds_what_a_run_would_find(registry):
    """A missing action and an input that nobody takes are found, missing run inputs are not asked for."""
    executor = DagExecutor(None, registry)
    executor.load_yaml_string("name: needs\ninputs: [{name: n}]\n" + CHAIN.split("\n", 2)[2])
    executor.validate("needs")
    executor.load_yaml_string(nodes("a: nothing"))
    with pytest.raises(ActionNotFound):
        executor.validate("w")
    executor.load_yaml_string(nodes("a: add, inputs: [{name: m, value: 1}]"))
    with pytest.raises(ValidationError, match="'m'"):
        executor.validate("w")
    with pytest.raises(DagNotFound):
        executor.validate("none")
    with pytest.raises(CycleError):
        executor.load_yaml_string(nodes("a: add, dependencies: [b]", "b: add, dependencies: [a]"))


# --- looking ------------------------------------------------------------------------------------


def test_the_state_of_a_node_while_and_after_it_runs(registry, database):
    """The state is that of the latest run: live while it goes on, then from the database, also before an
    executor is opened."""

    async def test(executor):
        started, go = asyncio.Event(), asyncio.Event()

        @registry.action
        async def gated():
            started.set()
            await go.wait()

        executor.load_yaml_string(nodes("a: gated", "b: fail, dependencies: [a], try_count: 2"))
        with pytest.raises(DagNotFound):
            executor.get_node_state("w", "a")
        run = asyncio.create_task(Coordinator().run_parallel(executor, Cache(), "w", "r"))
        await started.wait()
        running = executor.get_node_state("w", "a")
        with pytest.raises(NodeNotFound, match="'a'"):
            executor.get_node_state("w", "c")
        go.set()
        await run
        return running

    running = with_executor(test, {"retry_strategy": "immediate"}, registry, database)
    assert (running.status, running.attempts, running.finished_at) == ("running", 1, None)
    unopened = DagExecutor(None, registry, database)
    a, b = (unopened.get_node_state("w", id) for id in "ab")
    assert (a.status, a.attempts, a.last_error) == ("completed", 1, None)
    assert (b.status, b.attempts, b.last_error) == ("failed", 2, "ValueError: no rows")
    assert a.started_at <= a.finished_at <= b.finished_at
    assert unopened.get_execution_metrics("w").retries == 1
    assert not unopened.is_paused()
    with pytest.raises(NodeNotFound):
        unopened.get_node_state("w", "c")
    with pytest.raises(DagNotFound, match=r"did you mean 'w'|there is 'w'"):
        unopened.get_node_state("ww", "a")


def test_a_file_that_is_not_ours_is_refused_when_it_is_looked_at(tmp_path, database):
    """Before an executor is opened, too: no file is an empty database, a foreign one a `DatabaseError`."""
    assert not DagExecutor(None, None, database).is_paused()
    assert not (tmp_path / "flows.db").exists()
    with contextlib.closing(sqlite3.connect(tmp_path / "flows.db")) as connection:
        connection.execute("create table theirs (a)")
    with pytest.raises(DatabaseError, match="another program"):
        DagExecutor(None, None, database).is_paused()


def test_metrics_of_the_latest_run(registry):
    """Counts, times and the slowest node are of nodes that ran; groups do not count as slow."""
    with pytest.raises(DagNotFound):
        DagExecutor().get_execution_metrics("w")

    async def test(executor):
        workflow = Workflow("w")
        workflow.map("add", {"n": [1, 2, 3]}, id="m")
        workflow.add("fail", id="f", after="m")
        workflow.add("add", id="never", after="f")
        executor.add_workflow(workflow)
        report = await Coordinator().run_parallel(executor, Cache(), "w", "r")
        return report, executor.get_execution_metrics("w")

    report, metrics = with_executor(test, None, registry)
    assert (metrics.run_id, metrics.total_nodes) == ("r", 6)
    assert (metrics.completed_nodes, metrics.failed_nodes, metrics.skipped_nodes) == (4, 1, 1)
    assert metrics.completed_nodes == report.completed_nodes
    assert metrics.slowest_node in ("m/0", "m/1", "m/2", "f")
    assert 0 < metrics.avg_node_time <= metrics.total_time
    assert (metrics.retries, metrics.cache_hit_rate) == (0, 0.0)


def test_the_hit_rate_is_hits_of_what_can_be_cached():
    """Nodes whose results are kept count, by their action's or their own setting; the others do not; without
    any the rate is 0."""

    def rate(hits: set[str], **cache: Any) -> float:
        specs = [NodeDef(id=id, action="kept" if id in "ab" else "add", cache=cache.get(id)) for id in "abcd"]
        scheduler = Scheduler("w", "r", specs)
        scheduler.handle(m.Begin(1.0, DagConfig()))
        for spec in specs:
            outcome = NodeOutput.ok()
            scheduler.handle(m.AttemptEnded(spec.id, 1, 2.0, outcome, cached=spec.id in hits))
        return metrics_of(scheduler, lambda action: action == "kept").cache_hit_rate

    assert rate(set()) == 0.0
    assert rate({"a"}) == 0.5
    assert rate({"a", "b"}) == 1.0
    assert rate({"a"}, b="never") == 1.0
    assert rate({"a"}, c="always", d={"ttl": 5}) == 0.25
    assert rate(set(), a=False, b="never") == 0.0


# --- snapshots ----------------------------------------------------------------------------------


def test_a_snapshot_by_hand_is_loaded_with_what_the_run_has(registry, database):
    """What was saved by hand comes back; values that the run stored later stand over it."""

    async def test(executor):
        executor.load_yaml_string(nodes("a: add", "b: fail, inputs: [{name: n, reference: a.n}]"))
        cache = Cache()
        with pytest.raises(NodeExecutionError):
            await executor.execute_static_dag("w", cache)
        cache.insert("mine", "note", (1, 2))
        cache.insert("a", "n", 10)
        cache.insert("b", "n", 20)
        await executor.save_cache_snapshot("w", cache)
        saved = await executor.load_cache_snapshot("w")
        assert saved == cache
        registry.broken.clear()
        await executor.resume_execution(saved)
        return await executor.load_cache_snapshot("w")

    assert with_executor(test, None, registry, database).as_dict() == {
        "a": {"n": 10},
        "b": {"n": 2},
        "mine": {"note": (1, 2)},
    }


def test_a_snapshot_before_the_first_run(registry, database):
    """It is loaded as it was saved and begins a new run; values saved one by one are added to it; without
    any the workflow's name is refused."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        with pytest.raises(DagNotFound, match="'chain'"):
            await executor.load_cache_snapshot("chain")
        await executor.save_cache_snapshot("chain", Cache({"inputs": {"n": 5}}))
        await executor.store.save_cache_delta("chain", {"mine": {"note": 1}})
        cache = await executor.load_cache_snapshot("chain")
        assert cache.as_dict() == {"inputs": {"n": 5}, "mine": {"note": 1}}
        report = await executor.execute_static_dag("chain", cache)
        return report, await executor.load_cache_snapshot("chain")

    report, cache = with_executor(test, None, registry, database)
    assert report.success
    assert cache.as_dict() == {"inputs": {"n": 5}, "mine": {"note": 1}, "a": {"n": 6}, "b": {"n": 7}}


def test_a_loaded_cache_goes_on_with_its_run_and_another_one_begins_a_new_one(registry):
    """Bound to a run that has completed, nothing runs again and the report comes back; a plain cache with the
    same values begins anew."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        first = await executor.execute_static_dag("chain", Cache())
        cache = await executor.load_cache_snapshot("chain")
        again = await executor.execute_static_dag("chain", cache)
        resumed = await executor.resume_execution(cache)
        anew = await executor.execute_static_dag("chain", Cache(cache))
        return first, again, resumed, anew

    first, again, resumed, anew = with_executor(test, None, registry)
    assert again == resumed
    assert (again.run_id, again.status, again.completed_nodes) == (first.run_id, "completed", 2)
    assert {id: dict(o.outputs) for id, o in again.node_outcomes.items()} == {"a": {"n": 2}, "b": {"n": 3}}
    assert anew.run_id != first.run_id
    assert registry.ran == ["a", "b", "a", "b"]


def test_what_is_put_into_a_loaded_cache_reaches_the_rest_of_the_run(registry, database, query):
    """A secret input that could not be stored is given again, other values are there for `ctx.cache`, and the
    secret is still not in the database."""

    @registry.action
    async def login(ctx, token):
        if registry.broken:
            raise ValueError("no network")
        return {"length": len(token.get_secret_value()), "note": ctx.cache.get("mine", "note")}

    async def first(executor):
        executor.load_yaml_string(nodes("a: login, inputs: [{name: token, reference: inputs.token}]"))
        with pytest.raises(NodeExecutionError):
            await executor.execute_static_dag("w", Cache({"inputs": {"token": SecretStr("hush")}}))
        registry.broken.clear()

    async def second(executor):
        cache = await executor.load_cache_snapshot("w")
        assert "secret" in str(cache.get("inputs", "token"))
        cache.insert("inputs", "token", SecretStr("hush!"))
        cache.insert("mine", "note", "here")
        return await executor.resume_execution(cache)

    with_executor(first, None, registry, database)
    report = with_executor(second, None, registry, database)
    assert report.node_outcomes["a"].outputs == {"length": 5, "note": "here"}
    assert not any(b"hush" in (value or b"") for (value,) in query("select value from artifacts"))


def test_what_could_not_be_stored_is_made_again(registry, database):
    """A finished node whose output lives in memory only runs again when a failed one needs it, in another
    process: also an item of a map, without the others."""

    @registry.action
    async def make(ctx, n=1):
        registry.ran.append(ctx.node_id)
        return {"value": threading.Lock() if n == 1 else n}

    @registry.action
    async def use(one, many):
        if registry.broken:
            raise ValueError("no rows")
        return {"kinds": [type(value).__name__ for value in (one, *many)]}

    async def first(executor):
        workflow = Workflow("w")
        one = workflow.add("make", id="one")
        many = workflow.map("make", {"n": [1, 2]}, id="many")
        workflow.add("use", id="use", one=one["value"], many=many["value"])
        executor.add_workflow(workflow)
        with pytest.raises(NodeExecutionError):
            await executor.execute_static_dag("w", Cache())

    async def second(executor):
        return await executor.resume_execution(await executor.load_cache_snapshot("w"))

    with_executor(first, None, registry, database)
    assert sorted(registry.ran) == ["many/0", "many/1", "one"]
    registry.ran.clear()
    registry.broken.clear()
    report = with_executor(second, None, registry, database)
    assert report.node_outcomes["use"].outputs == {"kinds": ["lock", "lock", "int"]}
    assert sorted(registry.ran) == ["many/0", "one"]


# --- people -------------------------------------------------------------------------------------


class Decision(BaseModel):
    approved: bool
    limit: int = 3


def gate(event):
    """Pauses after `a` with a question, and after `b` with the same one."""
    if isinstance(event, NodeCompleted) and event.node.node_id in ("a", "b"):
        return PauseBranch(event.node.node_id, "sure?", Decision)


def test_human_input_is_checked_stored_and_used_once(registry, database, query):
    """An answer that does not fit leaves the run paused and free; one that does reaches what waited; a second
    question is not answered by the first answer."""

    @registry.action
    async def after(ctx, n, human_input):
        registry.ran.append(ctx.node_id)
        return {"n": n, **human_input}

    async def first(executor):
        executor.load_yaml_string(
            nodes(
                "a: add",
                "b: after, inputs: [{name: n, reference: a.n}]",
                "c: after, inputs: [{name: n, reference: b.n}]",
            )
        )
        await Coordinator([gate]).run_parallel(executor, Cache(), "w", "r")
        cache = await executor.load_cache_snapshot("w")
        cache.insert("human_input", "approved", "perhaps")
        with pytest.raises(ValidationError, match="approved"):
            await executor.resume_from_pause(cache)
        assert executor.is_paused()

    async def second(executor):
        cache = await executor.load_cache_snapshot("w")
        cache.insert("human_input", "approved", True)
        report = await Coordinator([gate]).run_parallel(executor, cache, "w", "r")
        assert (report.status, registry.ran) == ("paused", ["a", "b"])
        cache = await executor.load_cache_snapshot("w")
        assert cache.get("human_input", "approved") is True
        with pytest.raises(ValidationError, match="approved"):
            await executor.resume_from_pause(cache)
        cache.insert("human_input", "approved", False)
        cache.insert("human_input", "limit", 9)
        return await executor.resume_from_pause(cache), cache

    with_executor(first, None, registry, database)
    report, cache = with_executor(second, None, registry, database)
    assert report.status == "completed"
    assert cache.get("b", "approved") is True
    assert (cache.get("c", "approved"), cache.get("c", "limit")) == (False, 9)
    assert query("select value from artifacts where namespace = 'human_input' and key = 'limit'") == [(b"9",)]


def test_only_a_paused_run_is_resumed_from_pause(registry):
    """Without any run, and with one that has ended, it is `InvalidState`, which names the way out."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        assert not executor.is_paused()
        for resume in (executor.resume_from_pause, executor.resume_execution):
            with pytest.raises(InvalidState, match="no run to go on with"):
                await resume(Cache())
        await executor.execute_static_dag("chain", Cache())
        with pytest.raises(InvalidState, match="completed, not paused"):
            await executor.resume_from_pause(Cache())

    with_executor(test, None, registry)


# --- checkpoints --------------------------------------------------------------------------------


def test_recovery_takes_the_run_of_the_snapshot_or_else_the_latest(registry, database):
    """The checkpointed run goes on although a later one has been made; once it has completed, the latest is
    taken; a workflow that never ran is refused and nothing stays open."""

    async def test(executor):
        executor.load_yaml_string(nodes("a: fail"))
        with pytest.raises(DagNotFound):
            await executor.save_execution_snapshot("w")
        for run_id in ("first", "second"):
            await Coordinator().run_parallel(executor, Cache(), "w", run_id)
            if run_id == "first":
                await executor.save_execution_snapshot("w")

    async def recover():
        recovered = []
        for _ in range(2):
            executor = await DagExecutor.recover_from_snapshot("w", registry, database)
            recovered.append(await executor.resume_execution(Cache()))
            await executor.close()
        with pytest.raises(DagNotFound, match="'none'"):
            await DagExecutor.recover_from_snapshot("none", registry, database)
        return recovered

    with_executor(test, None, registry, database)
    registry.broken.clear()
    assert [(r.run_id, r.status) for r in asyncio.run(recover())] == [
        ("first", "completed"),
        ("second", "completed"),
    ]


# --- the store ----------------------------------------------------------------------------------


def test_the_execution_state_follows_the_run(registry, database):
    """A run is `active` while it goes on and while it is paused, not afterwards; other states are refused."""

    async def test(executor):
        states = []

        @registry.action
        async def look():
            states.append(await executor.store.load_execution_state("w", "active"))

        executor.load_yaml_string(nodes("a: look", "b: add, dependencies: [a], ask: true"))
        assert await executor.store.load_execution_state("w", "active") is None
        cache = Cache()
        await executor.execute_static_dag("w", cache)
        states.append(await executor.store.load_execution_state("w", "active"))
        await executor.resume_from_pause(cache)
        states.append(await executor.store.load_execution_state("w", "active"))
        assert await executor.store.load_execution_state("w", "pending") is None
        with pytest.raises(ValidationError, match="'active' or 'pending'"):
            await executor.store.load_execution_state("w", "done")
        return states

    running, paused, ended = with_executor(test, None, registry, database)
    assert running["state"] == paused["state"] == "active"
    assert running["run_id"] == paused["run_id"]
    assert ended is None


def test_the_execution_tree_has_what_was_grown(registry):
    """Its nodes are those of the latest run, with their states."""

    def grow(event):
        return NodeSpec("add", id="grown") if isinstance(event, NodeCompleted) and event.seq < 5 else None

    async def test(executor):
        executor.load_yaml_string(nodes("a: add"))
        assert await executor.store.load_execution_tree("w") is None
        await Coordinator([grow]).run_parallel(executor, Cache(), "w", "r")
        return await executor.store.load_execution_tree("w")

    tree = with_executor(test, None, registry)
    assert {id: row["status"] for id, row in tree.nodes.items()} == {"a": "completed", "grown": "completed"}
    assert tree.run_id == "r"


def test_values_by_hand_change_what_a_resumed_run_sees(registry, database):
    """A delta goes to the latest run: a node that runs later finds it, also a value that cannot be stored, as
    long as the process lives."""

    @registry.action
    async def look(ctx, n):
        if registry.broken:
            raise ValueError("no rows")
        return {"n": n, "lock": type(ctx.cache.get("mine", "lock")).__name__}

    async def test(executor):
        executor.load_yaml_string(nodes("a: add", "b: look, inputs: [{name: n, reference: a.n}]"))
        with pytest.raises(NodeExecutionError):
            await executor.execute_static_dag("w", Cache())
        await executor.store.save_cache_delta("w", {"a": {"n": 100}, "mine": {"lock": threading.Lock()}})
        registry.broken.clear()
        return await executor.resume_execution(Cache())

    report = with_executor(test, None, registry, database)
    assert report.node_outcomes["b"].outputs == {"n": 100, "lock": "lock"}


def test_the_database_prints_itself(registry, capsys):
    """Every table with its rows, in memory too, and the runs."""

    async def test(executor):
        executor.load_yaml_string(CHAIN)
        await Coordinator().run_parallel(executor, Cache(), "chain", "run_001")
        await executor.store.debug_print_db()

    with_executor(test, None, registry)
    printed = capsys.readouterr().out
    assert "node_runs: 2 rows" in printed
    assert "run run_001 of 'chain': completed, 2 of 2 nodes completed" in printed


# --- opening and closing ------------------------------------------------------------------------


def test_an_executor_opens_itself_and_closes_once_or_more(registry, database, query):
    """Without `async with` the first run opens the database; closing interrupts what is under way, which
    another executor goes on with; closing again does nothing."""

    async def main():
        started = asyncio.Event()

        @registry.action
        async def gated():
            started.set()
            if registry.broken:
                await asyncio.Event().wait()

        executor = DagExecutor(None, registry, database)
        executor.load_yaml_string(nodes("a: gated"))
        run = asyncio.create_task(Coordinator().run_parallel(executor, Cache(), "w", "r"))
        await started.wait()
        await executor.close()
        await executor.close()
        report = await run
        assert (report.status, report.success) == ("interrupted", False)
        registry.broken.clear()
        async with DagExecutor(None, registry, database) as other:
            other.load_yaml_string(nodes("a: gated"))
            return await Coordinator().run_parallel(other, Cache(), "w", "r")

    assert asyncio.run(main()).status == "completed"
    assert query("select status from runs") == [("completed",)]


def test_app_data_reaches_actions_and_hooks(registry):
    """It is the same object in both."""
    mine, seen = object(), []

    @registry.action
    async def look(ctx):
        seen.append(ctx.app_data)

    def hook(ctx, event):
        if isinstance(event, NodeCompleted):
            seen.append(ctx.app_data)

    async def test(executor):
        executor.load_yaml_string(nodes("a: look"))
        await Coordinator([hook]).run_parallel(executor, Cache(), "w", "r")

    with_executor(test, None, registry, app_data=mine)
    assert seen == [mine, mine]


def test_a_repr_says_what_is_there(registry):
    """Database, actions and workflows."""
    executor = DagExecutor(None, registry)
    executor.load_yaml_string(CHAIN)
    assert repr(executor) == "<DagExecutor :memory:: 2 actions, workflows: 'chain'>"


@pytest.mark.parametrize("where", [":memory:", "file"])
def test_an_executor_goes_on_with_another_loop(registry, database, where):
    """`asyncio.run` once for each step: what is stored, also in memory, is there in the next one."""

    class Pauses(EventHook):
        async def handle(self, ctx, event):
            if isinstance(event, NodeCompleted) and event.node.node_id == "a":
                yield PauseBranch("b")

    @registry.action
    async def begins():
        return {}

    @registry.action
    async def seen(human_input=None):
        return human_input

    executor = DagExecutor(None, registry, where if where == ":memory:" else database)
    executor.load_yaml_string(nodes("a: begins", "b: seen, dependencies: [a]"))
    cache = Cache()
    report = asyncio.run(Coordinator([Pauses()]).run_parallel(executor, cache, "w", "r"))
    assert report.status == "paused" and executor.is_paused()
    assert executor.get_node_state("w", "b").status == "paused"
    cache.insert("human_input", "approved", True)
    report = asyncio.run(executor.resume_from_pause(cache))
    assert (report.run_id, report.status) == ("r", "completed")
    assert asyncio.run(executor.load_cache_snapshot("w")).get("b", "approved") is True
    assert asyncio.run(executor.execute_static_dag("w", Cache(), CancelToken())).run_id != "r"
    asyncio.run(executor.close())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"config": 5}, "config is a DagConfig"),
        ({"registry": {}}, "registry is an ActionRegistry, not {}"),
        ({"database": None}, "database is a path or 'sqlite:PATH', not None"),
        ({"database": 5}, "database is a path or 'sqlite:PATH', not 5"),
    ],
)
def test_what_an_executor_is_made_of_is_checked(arguments, text):
    """A wrong argument is named with what it has to be."""
    with pytest.raises(ValidationError, match=re.escape(text)):
        DagExecutor(**arguments)


def test_only_a_cache_is_saved_and_a_report_is_shown_in_a_few_lines(registry):
    """A dict is refused by name; values that are big are shortened in a report."""

    @registry.action
    async def big():
        return {"text": "x" * 1_000_000}

    async def test(executor):
        executor.load_yaml_string(nodes("a: big"))
        with pytest.raises(ValidationError, match=r"cache is a Cache, not \{\}"):
            await executor.save_cache_snapshot("w", {})
        return await executor.execute_static_dag("w", Cache())

    text = repr(with_executor(test, None, registry))
    assert "status='completed'" in text and "completed_nodes=1" in text and len(text) < 600
