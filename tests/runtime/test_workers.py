"""Attempts where they belong: coroutines, threads, pools; late results and words of the dead are dropped."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from dagflow_nb import CustomEvent, DagFlow, NodeCompleted, NodeSpec, Workflow
from dagflow_nb.runtime import asking, workers
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, rows, single, states, still_clock


def test_each_kind_runs_where_it_belongs() -> None:
    """`async def` on the run's loop, `def` in a thread of the flow, named executors in theirs."""

    def name() -> str:
        return threading.current_thread().name

    async def name_async() -> str:
        return threading.current_thread().name

    with (
        ThreadPoolExecutor(1, "pool") as pool,
        DagFlow(":memory:", echo=False, executors={"mine": pool}) as flow,
    ):
        assert flow.run(single(name_async), view=False).result == "dagflow-engine"
        assert flow.run(single(name), view=False).result.startswith("dagflow-action")
        assert flow.run(single(name, executor="mine"), view=False).result.startswith("pool")


@pytest.mark.parametrize("in_thread", [True, False])
def test_events_come_in_the_order_in_which_they_were_emitted(in_thread: bool) -> None:
    """What an action emits and uses up is taken in order, before its end."""
    heard: list[Any] = []

    def say(ctx: Any) -> None:
        for i in range(5):
            ctx.emit("step", i)
            ctx.report_usage(tokens=1)

    async def say_async(ctx: Any) -> None:
        say(ctx)

    with DagFlow(":memory:", echo=False) as flow:

        @flow.hook(CustomEvent, NodeCompleted)
        def hear(event: Any) -> None:
            heard.append(event.data if isinstance(event, CustomEvent) else "ended")

        run = flow.run(single(say if in_thread else say_async), view=False)
        assert heard == [0, 1, 2, 3, 4, "ended"]
        data = run.events(kind="CustomEvent")["data"]
        assert [row["data"] for row in data] == [0, 1, 2, 3, 4]


def test_a_late_result_of_an_earlier_attempt_is_dropped() -> None:
    """The first attempt times out, the second gives the result; what the first returns later is nothing."""
    gates = [Gate(), Gate()]

    def slow(ctx: Any) -> int:
        print("attempt", ctx.attempt)
        gates[ctx.attempt - 1].hold()
        print("late", ctx.attempt)
        return ctx.attempt

    with DagFlow(":memory:", echo=False) as flow:
        clock = still_clock(flow)
        run = flow.start(
            single(slow, timeout=5, try_count=2), view=False, config={"retry_strategy": "immediate"}
        )
        gates[0].wait_for(1)
        clock.wait_for_timer()
        clock.advance(5)
        gates[1].wait_for(1)
        gates[0].open()
        gates[1].open()
        assert run.wait(PATIENCE).result == 2
        found = rows(flow, "select attempt, status from attempts order by attempt")
        assert found == [(1, "failed"), (2, "completed")]
        assert ("late 1",) not in rows(flow, "select message from logs")


class Broken(Executor):
    """An executor that takes nothing."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        raise RuntimeError("out of order")


class Odd(Executor):
    """An executor whose futures fail."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(RuntimeError("lost in space"))
        return future


@pytest.mark.parametrize(("executor", "text"), [(Broken(), "out of order"), (Odd(), "lost in space")])
def test_an_executor_that_fails_fails_the_node(executor: Executor, text: str) -> None:
    """What an executor does wrong is the node's error, never a hang."""

    def act() -> int:
        return 1

    with DagFlow(":memory:", echo=False) as flow:
        run = flow.start(single(act), view=False, executor=executor, raise_on_failure=False).wait(PATIENCE)
        assert run.status == "failed" and text in str(run.error)


def test_cleaning_up_after_a_cancellation_is_waited_for() -> None:
    """A cancelled coroutine may finish its `finally` before the run is over."""
    gate, cleaned = Gate(), threading.Event()

    async def careful() -> None:
        try:
            await gate.hold_async()
        finally:
            cleaned.set()

    with DagFlow(":memory:", echo=False) as flow:
        run = flow.start(single(careful), view=False, raise_on_failure=False)
        gate.wait_for(1)
        run.cancel().wait(PATIENCE)
        assert cleaned.is_set() and states(run) == {"node": "cancelled"}


def test_deep_chains_and_wide_fans_run() -> None:
    """Three thousand nodes one after the other, three thousand beside each other, and a map of as many."""
    size = 3000
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        async def step(v: int = 0) -> int:
            return v + 1

        chain, fan = Workflow("chain"), Workflow("fan")
        last = chain.add(step, id="n0")
        for i in range(1, size):
            last = chain.add(step, id=f"n{i}", v=last)
        assert flow.run(chain, view=False).result == size
        first = fan.add(step, id="first")
        fan.add("total", id="total", v=[fan.add(step, id=f"n{i}", v=first) for i in range(size)])
        fan.add("total", id="mapped", v=fan.map(step, {"v": list(range(size))}, id="all"))

        @flow.action
        def total(v: list[int]) -> int:
            return sum(v)

        run = flow.run(fan, view=False)
        assert run.result == {"total": 2 * size, "mapped": size * (size + 1) // 2}


def test_a_coroutine_that_blocks_keeps_no_thread_from_beginning() -> None:
    """What is ready at the same moment begins in its thread before a coroutine makes its first step."""
    begun = threading.Event()

    async def blocks() -> bool:
        return begun.wait(PATIENCE)

    def begins() -> None:
        begun.set()

    with DagFlow(":memory:", echo=False) as flow:
        workflow = Workflow("w")
        workflow.add(blocks), workflow.add(begins)
        assert flow.run(workflow, view=False).outputs["blocks"]["result"] is True


def test_what_a_coroutine_asks_of_its_run_comes_before_its_end() -> None:
    """A node that it adds and a pause that it wants in its first step hold for what follows."""
    with DagFlow(":memory:", echo=False) as flow:

        async def first(ctx: Any) -> None:
            flow.get(ctx.run_id).apply(NodeSpec("second", id="more", deps=())).pause()

        async def second() -> None:
            pass

        workflow = Workflow("w")
        workflow.add(second, after=[workflow.add(first)])
        run = flow.run(workflow, view=False)
        assert run.status == "paused"
        assert states(run) == {"first": "completed", "second": "pending", "more": "completed"}


def test_what_a_thread_asks_of_its_run_comes_before_its_end() -> None:
    """A hook that cancels the run, and an action that pauses it, keep what follows from running."""
    with DagFlow(":memory:", echo=False) as flow:

        def first(ctx: Any, pauses: bool) -> None:
            if pauses:
                flow.get(ctx.run_id).pause()

        async def second() -> None:
            pass

        @flow.on_completed(node="first", dag="stopped")
        def stop(event: Any) -> None:
            flow.get(event.run_id).cancel()

        for name, left in (("held", "pending"), ("stopped", "cancelled")):
            workflow = Workflow(name)
            workflow.add(second, after=[workflow.add(first, pauses=name == "held")])
            run = flow.run(workflow, view=False, raise_on_failure=False)
            assert states(run) == {"first": "completed", "second": left}


def test_a_mistyped_output_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The default is taken, and both logs say so: once, however many nodes want it."""
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        def conf() -> dict[str, int]:
            return dict(threshold=3)

        @flow.action
        def use(limit: int = 7) -> int:
            return limit

        wf = Workflow("mistyped")
        made = wf.add("conf")
        for id in ("one", "two"):
            wf.add("use", id=id, limit=made["treshold"])
        run = flow.run(wf, view=False)
        assert run.outputs["one"]["result"] == 7
        inner = Workflow("inner", inputs={"k": 1})
        inner.add("use", limit=inner.input("k"))
        outer = Workflow("outer")
        outer.add(inner, id="part", k=outer.add("conf")["limit"])
        assert "'conf' gave no output 'limit'" in flow.run(outer, view=False).logs("part")["message"][0]
        (message,) = run.logs()["message"]
        assert "'conf' gave no output 'treshold' (did you mean 'threshold'?)" in message
        assert caplog.text.count("treshold") == 1


# --- each attempt has a task of its own -----------------------------------------------------------


def two_nodes(first: Any, second: Any) -> Any:
    """The states, and the errors, of a node and one after it."""
    with DagFlow(":memory:", echo=False) as flow:
        workflow = Workflow("w")
        after = workflow.add(first, id="first")
        workflow.add(second, id="second", after=after)
        run = flow.run(workflow, view=False, raise_on_failure=False, config={"timeout_seconds": 10})
        return states(run), run.nodes().set_index("node_id")["error"]


async def _cancel_oneself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _cancel_from_a_group() -> None:
    parent = asyncio.current_task()
    assert parent is not None

    async def child() -> None:
        parent.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(1)


@pytest.mark.parametrize("action", [_cancel_oneself, _cancel_from_a_group])
def test_a_task_that_is_cancelled_by_its_action_has_failed(action: Any) -> None:
    """It is no reason to wait for its end for ever."""

    async def second() -> None:
        """It is skipped."""

    found, errors = two_nodes(action, second)
    assert found == {"first": "failed", "second": "skipped"}
    assert "CancelledError" in errors["first"]


@pytest.mark.parametrize("waits_in", ["action", "hook", "key"])
def test_a_run_whose_tasks_were_all_cancelled_ends(waits_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As no loop does that is not at its end; nodes that lost theirs have failed, hooks are asked again."""
    monkeypatch.setattr(workers, "ENDED_BY", 0.05)
    monkeypatch.setattr(asking, "ENDED_BY", 0.05)
    waits, go_on, asked = asyncio.Event(), threading.Event(), []

    async def cancels() -> None:
        await waits.wait()
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(5)

    async def other(n: Any) -> None:
        waits.set()
        await asyncio.sleep(5)

    def key(n: Any) -> int:
        asyncio.run_coroutine_threadsafe(_set(waits), loop[0])
        go_on.wait(PATIENCE)
        return 1

    with DagFlow(":memory:", echo=False) as flow:
        loop = [flow._engine.loop]

        @flow.on_completed
        async def hook(node: Any) -> None:
            asked.append(node.node_id)
            if waits_in == "hook" and len(asked) == 1:
                waits.set()
                await asyncio.sleep(5)

        flow.action(cancels)
        flow.action(other, cache=key if waits_in == "key" else None)
        workflow = Workflow("w")
        workflow.add("cancels")
        workflow.add(number, id="first")
        if waits_in != "hook":
            workflow.add("other", n=1)
        run = flow.start(workflow, view=False, raise_on_failure=False)
        try:
            assert run.wait(PATIENCE).status == "failed"
        finally:
            go_on.set()
        errors = dict(zip(run.nodes()["node_id"], run.nodes()["error"], strict=True))
        lost = {"cancels"} if waits_in == "hook" else {"cancels", "other"}
        assert {id for id, error in errors.items() if "its task was cancelled" in str(error)} == lost
        assert asked == ["first"] * (2 if waits_in == "hook" else 1)


async def _set(event: asyncio.Event) -> None:
    event.set()


def number() -> int:
    return 1


def test_a_task_that_another_node_cancels_has_failed() -> None:
    """The node whose task it was has failed, the one that did so has not."""
    tasks: dict[str, Any] = {}

    async def waits() -> None:
        tasks["waits"] = asyncio.current_task()
        await asyncio.sleep(5)

    async def cancels() -> None:
        while "waits" not in tasks:
            await asyncio.sleep(0)
        tasks["waits"].cancel()

    with DagFlow(":memory:", echo=False) as flow:
        workflow = Workflow("w")
        workflow.add(waits), workflow.add(cancels)
        run = flow.run(workflow, view=False, raise_on_failure=False)
        assert states(run) == {"waits": "failed", "cancels": "completed"}


def test_a_cancellation_that_comes_too_late_hits_nobody() -> None:
    """The task of a node that has ended is nobody else's."""

    async def late() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)

    async def second() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    assert two_nodes(late, second)[0] == {"first": "completed", "second": "completed"}


def test_what_belongs_to_a_task_belongs_to_one_attempt() -> None:
    """What is kept by the current task, its name, and who is told of its end do not go to the next node."""
    kept: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary()
    ended: list[str] = []
    room = asyncio.Semaphore(1)

    async def work(n: int) -> dict[str, Any]:
        await room.acquire()
        task = asyncio.current_task()
        assert task is not None
        had = task.get_name() in ("0", "1", "2", "3")
        task.set_name(str(n))
        task.add_done_callback(lambda task: room.release())
        task.add_done_callback(lambda task: ended.append(task.get_name()))
        kept.setdefault(task, []).append(n)
        return {"kept": list(kept[task]), "had": had}

    with DagFlow(":memory:", echo=False) as flow:
        workflow = Workflow("w")
        last: Any = ()
        for n in range(4):
            last = [workflow.add(work, id=f"n{n}", n=n, after=last)]
        run = flow.run(workflow, view=False, config={"timeout_seconds": 10})
        assert [run.outputs[f"n{n}"] for n in range(4)] == [{"kept": [n], "had": False} for n in range(4)]
    assert sorted(ended) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("waits", [False, True])
def test_an_attempt_that_has_ended_leaves_nothing_to_the_garbage_collector(waits: bool) -> None:
    """Its task is gone as soon as nobody needs it: nothing holds itself in a circle."""
    tasks: list[weakref.ref[Any]] = []

    async def step() -> int:
        tasks.append(weakref.ref(asyncio.current_task()))
        if waits:
            await asyncio.sleep(0)
        return sum(task() is not None for task in tasks)

    workflow = Workflow("chain")
    for i in range(9):
        workflow.add(step, id=f"n{i}", after=[f"n{i - 1}"] if i else [])
    with DagFlow(":memory:", echo=False) as flow:
        gc.disable()
        try:
            assert flow.run(workflow, view=False).result < 4
        finally:
            gc.enable()
