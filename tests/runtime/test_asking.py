"""Hooks are asked one event after the other, of what they want to hear only, and see the run as it is."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from decimal import Decimal
from typing import Any

import pytest

from dagflow_nb import (
    CompositeHook,
    DagFlow,
    EventHook,
    NodeCancelled,
    NodeCompleted,
    NodeSpec,
    RetryNode,
    RunCancelled,
    Workflow,
)
from dagflow_nb.hooks import calling
from dagflow_nb.runtime.asking import Asking
from dagflow_nb.store.writer import Writer
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, kinds, single, states


def act(v: Any = 1) -> Any:
    return v


def test_hooks_are_asked_in_the_order_of_events_and_of_definition() -> None:
    """Two hooks, five nodes: for each event the first is asked before the second."""
    asked: list[tuple[str, int]] = []
    with DagFlow(":memory:", echo=False) as flow:

        @flow.hook
        def first(event: Any) -> None:
            asked.append(("first", event.seq))

        @flow.hook
        async def second(event: Any) -> None:
            asked.append(("second", event.seq))

        workflow = Workflow("w")
        for i in range(5):
            workflow.add(act, id=f"n{i}")
        run = flow.run(workflow, view=False)
        expected = [(name, seq) for seq in range(1, len(kinds(run)) + 1) for name in ("first", "second")]
        assert asked == expected


def test_a_hook_sees_what_was_answered_before() -> None:
    """What a hook answers to one event is in the graph when it is asked about the next one."""
    with DagFlow(":memory:", echo=False, strict=True) as flow:

        @flow.on_completed(action="act")
        async def add_once(ctx: Any, node: Any) -> Any:
            return None if "more" in ctx.graph.nodes else NodeSpec("more", inputs={"by": node.node_id})

        @flow.action
        async def more(by: str) -> str:
            return by

        workflow, act_at_once = Workflow("w"), flow.action(name="act")(_act_at_once)
        for i in range(20):
            workflow.add(act_at_once, id=f"n{i}")
        run = flow.run(workflow, view=False)
        assert run.success and run.outputs["more"]["result"] == "n0" and len(run.outputs) == 21


def test_what_hooks_print_is_logged_with_the_node_they_are_asked_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Printed or logged, whole lines or not, in a class or a function; it is shown as ever."""

    class Watcher(EventHook):
        async def on_start(self, ctx: Any) -> None:
            print("begin", ctx.dag_name)

        def on_complete(self, ctx: Any, success: bool) -> None:
            print("end", success)

    with DagFlow(":memory:", echo=False, hooks=[Watcher]) as flow:

        @flow.on_completed
        def tell(node: Any) -> None:
            print("done", node.node_id, end="")
            print("careful", file=sys.stderr)
            logging.getLogger("somewhere").warning("a record")

        run = flow.run(single(act), view=False)
        found = run.logs()[["node_id", "level", "stream", "message"]]
        assert found.astype(object).where(found.notna(), None).values.tolist() == [
            [None, "INFO", "stdout", "begin single"],
            ["node", "ERROR", "stderr", "careful"],
            ["node", "WARNING", "logging", "a record"],
            ["node", "INFO", "stdout", "done node"],
            [None, "INFO", "stdout", "end True"],
        ]
    shown = capsys.readouterr()
    assert shown.out == "begin single\ndone node\nend True\n" and "careful\n" in shown.err


def test_a_cancelled_run_of_a_strict_flow_stays_cancelled() -> None:
    """A command that is refused while the run is being ended does not make a failed run of it."""
    with DagFlow(":memory:", echo=False, strict=True) as flow:

        @flow.hook(NodeCancelled)
        def too_late(node: Any) -> Any:
            return NodeSpec(act, id=f"after_{node.node_id}")

        gate = Gate()

        async def waits() -> None:
            await gate.hold_async()

        run = flow.start(single(waits), view=False)
        gate.wait_for(1)
        run.cancel(reason="enough")
        with pytest.raises(RunCancelled, match="enough"):
            run.wait(PATIENCE)
        assert run.status == "cancelled" and "CommandRejected" in kinds(run)


async def _act_at_once() -> int:
    return 1


def test_an_object_hook_has_a_beginning_and_an_end() -> None:
    """`on_start` once before the first node, `handle` for the events, `on_complete` with the success."""
    seen: list[Any] = []

    class Watcher(EventHook):
        async def on_start(self, ctx: Any) -> Any:
            seen.append(("start", list(ctx.graph.nodes), ctx.graph.status("node")))
            return NodeSpec(act, id="added", deps=())

        async def handle(self, ctx: Any, event: Any) -> None:
            seen.append(type(event).__name__)

        async def on_complete(self, ctx: Any, success: bool) -> Any:
            seen.append(("end", success, ctx.cache.get("node", "result")))
            return NodeSpec(act, id="late", deps=())

    with DagFlow(":memory:", echo=False, hooks=[Watcher()]) as flow:
        run = flow.run(single(act), view=False)
        assert states(run) == {"node": "completed", "added": "completed"}
        assert kinds(run)[-1] == "CommandRejected" or "CommandRejected" in kinds(run)
    assert seen[0] == ("start", ["node"], "pending") and ("end", True, 1) in seen


def test_filters_decide_who_is_asked() -> None:
    """`node=` and `dag=` are globs, `action=` a name, `when=` a function of the event."""
    seen: list[str] = []
    with DagFlow(":memory:", echo=False) as flow:
        flow.on_completed(node="n_*", when=lambda e: e.outputs["result"] > 1)(
            lambda node: seen.append(node.node_id)
        )
        flow.on_completed(dag="other*")(lambda node: seen.append("other"))
        flow.on_completed(action="act", node="x")(lambda outputs: seen.append(f"x{outputs['result']}"))
        workflow = Workflow("w")
        for id, v in (("n_1", 1), ("n_2", 2), ("x", 3)):
            workflow.add(act, id=id, v=v)
        flow.run(workflow, view=False)
    assert sorted(seen) == ["n_2", "x3"]


def test_when_is_asked_once_an_event() -> None:
    """By each hook, whether it lets the event through or not, however many events wait."""
    asked: list[tuple[str, int]] = []
    seen: list[int] = []

    def ask(name: str, event: Any) -> bool:
        asked.append((name, event.outputs["result"]))
        return bool(event.outputs["result"] % 2)

    async def later(event: Any) -> bool:
        return ask("async", event)

    with DagFlow(":memory:", echo=False) as flow:
        flow.on_completed(when=lambda event: ask("def", event))(
            lambda outputs: seen.append(outputs["result"])
        )
        flow.on_completed(when=later)(lambda outputs: seen.append(outputs["result"]))
        workflow = Workflow("w")
        for i in range(20):
            workflow.add(act, id=f"n{i}", v=i)
        assert flow.run(workflow, view=False).success
    assert sorted(asked) == [(name, i) for name in ("async", "def") for i in range(20)]
    assert sorted(seen) == sorted(2 * [i for i in range(20) if i % 2])


def test_a_filter_that_raises_is_a_hook_that_failed() -> None:
    """A `when` that raises is `HookFailed`; the run goes on."""
    with DagFlow(":memory:", echo=False) as flow:
        flow.on_completed(when=lambda event: 1 / 0)(lambda: None)
        run = flow.run(single(act), view=False)
        assert run.success and "HookFailed" in kinds(run)


def test_a_hook_that_was_quick_and_is_slow_now_holds_nobody_up() -> None:
    """The loop waits for a quick hook itself; once it takes long, other nodes start and end meanwhile."""
    gate, ended = Gate(), threading.Event()
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        async def step(i: int = 0) -> None:
            if i == 4:
                ended.set()

        @flow.on_completed
        def quick(node: Any) -> None:
            if node.node_id == "slow":
                gate.hold()

        workflow = Workflow("w")
        last = None
        for i in range(3):
            last = workflow.add(step, id=f"n{i}", after=[last] if last is not None else [])
        assert last is not None
        workflow.add(step, id="slow", after=[last])
        workflow.add(step, id="n4", i=4, after=[last])
        run = flow.start(workflow, view=False)
        gate.wait_for(1)
        assert ended.wait(10)  # a node ran while the hook did not answer
        gate.open()
        run.wait()
        assert run.success


def test_a_hook_that_cancels_its_task_has_failed() -> None:
    """The other hooks are asked about that event and the next ones, and the run goes on."""
    asked: list[str] = []
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        async def step() -> int:
            return 1

        @flow.on_completed
        async def cancels(event: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        @flow.on_completed
        async def other(node: Any) -> None:
            asked.append(node.node_id)

        workflow = Workflow("w")
        workflow.add(step, id="b", after=workflow.add(step, id="a"))
        run = flow.run(workflow, view=False, config={"timeout_seconds": 10})
        failed = run.events().query("kind == 'HookFailed'")
    assert (str(run.status), asked, len(failed)) == ("completed", ["a", "b"], 2)


def test_a_hook_that_fails_in_a_composite_takes_no_answer_with_it() -> None:
    """What the others answer is done, and who failed is said."""

    def good(node: Any) -> NodeSpec | None:
        return NodeSpec("act", id="grown") if node.node_id == "node" else None

    def bad(node: Any) -> None:
        raise ValueError(f"not {node.node_id}")

    for hooks in ([good, bad], [bad, CompositeHook([bad, good])]):
        with DagFlow(":memory:", echo=False) as flow:
            flow.hook(NodeCompleted)(CompositeHook(hooks))
            run = flow.run(single(act), view=False)
            assert set(states(run)) == {"node", "grown"}
            failed = run.events(kind="HookFailed")["data"].map(str)
            assert len(failed) == (2 if hooks[0] is good else 4)
            assert failed.str.contains("bad: ValueError: not ").all()


def test_nodes_of_one_answer_are_refused_one_by_one_and_in_any_order() -> None:
    """A node may depend on one that comes later in the list; a wrong one takes with it what needs it only."""
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="node")
        def grow() -> Any:
            def added(id: str, *deps: str) -> NodeSpec:
                return NodeSpec(act, id=id, deps=deps)

            return [
                added("c", "a", "b"),
                added("b", "a"),
                added("a"),
                added("x", "lost"),
                added("lost", "no"),
            ]

        run = flow.run(single(act), view=False)
        assert states(run) == dict.fromkeys(("node", "a", "b", "c"), "completed")
        assert kinds(run).count("NodesAdded") == 3 and kinds(run).count("CommandRejected") == 2


# --- answers of hooks that provably only look and decide --------------------------------------------


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each question was answered at once, without a task; hooks are read at their first call."""
    seen: list[bool] = []
    real = Asking.at_once

    def watched(self: Asking, event: Any) -> Any:
        found = real(self, event)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(Asking, "at_once", watched)
    monkeypatch.setattr(calling, "READ_AT", 1)
    monkeypatch.setattr(calling, "SLOW", PATIENCE)  # however busy the machine is
    return seen


def chain(flow: DagFlow, nodes: int) -> Any:
    """Run a chain of nodes that are all there."""
    workflow = Workflow("w")
    for i in range(nodes):
        workflow.add(act, id=f"n{i}", after=[f"n{i - 1}"] if i else [])
    return flow.run(workflow, view=False)


def test_an_answer_that_is_there_at_once_is_stored_with_its_event(
    at_once: list[bool], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `durability="sync"` a node that such a hook adds costs one commit, not two, and none is lost."""
    commits = 0
    real = Writer._commit

    def commit(self: Writer, units: Any) -> None:
        nonlocal commits
        commits += 1
        real(self, units)

    monkeypatch.setattr(Writer, "_commit", commit)
    count = 0
    with DagFlow(tmp_path / "x.db", echo=False, config={"durability": "sync"}) as flow:

        @flow.action
        async def step() -> int:
            return 1

        @flow.on_completed
        def grow(event: Any) -> Any:
            nonlocal count
            count += 1
            if count < 40:
                return NodeSpec("step", id=f"n{count}", deps=[event.node.node_id])

        workflow = Workflow("w")
        workflow.add("step", id="n0")
        run = flow.run(workflow, view=False)
        assert len(run.outputs) == 40 and count == 40
        assert at_once == [True] * 40
        (journal,) = flow.sql("select group_concat(data, char(10)) as data from journal")["data"]
        begin, *others = map(json.loads, journal.split("\n"))
        assert begin["$dagflow"] == "Begin" and len(others) == 80
        assert [line[3] for line in others[::2]] == ["value"] * 40  # how the attempt returned
        assert [[node[2] for node in line[2:]] for line in others[1::2]] == [
            [f"n{i}"] for i in range(1, 40)
        ] + [[]]
    assert 40 <= commits <= 48


def test_hooks_of_both_kinds_answer_in_their_order(at_once: list[bool]) -> None:
    """Where one of two hooks has to be asked in a task both are, each once for each event."""
    count = 0
    asked: list[str] = []
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="n*")
        def first(event: Any) -> Any:
            nonlocal count
            count += 1
            return NodeSpec("act", id=f"first_{count}")

        @flow.on_completed(node="n*")
        async def second(event: Any) -> Any:
            asked.append(event.node.node_id)
            return NodeSpec("act", id=f"second_{len(asked)}")

        run = chain(flow, 5)
        added = [id for id in states(run) if "_" in id]
        assert added == [f"{who}_{n}" for n in range(1, 6) for who in ("first", "second")]
    assert count == 5 and asked == [f"n{i}" for i in range(5)] and not any(at_once)


def test_two_hooks_that_only_decide_are_asked_in_their_order(at_once: list[bool]) -> None:
    """The answers stand one after the other, as those of any hooks."""
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="n*")
        def first(event: Any) -> Any:
            return NodeSpec("act", id=f"first_{event.node.node_id}")

        @flow.on_completed(node="n*")
        def second(event: Any) -> Any:
            return [NodeSpec("act", id=f"second_{event.node.node_id}")]

        run = chain(flow, 5)
        added = [id for id in states(run) if "_" in id]
        assert added == [f"{who}_n{i}" for i in range(5) for who in ("first", "second")]
    assert at_once == [True] * 5


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return event.outputs['nothing']", "KeyError"),
        ("return 3", "a hook returns or yields a NodeSpec"),
        ("return NodeSpec('', id='x')", "takes an action, its name"),
    ],
)
def test_a_hook_that_fails_at_once_has_failed_once(at_once: list[bool], body: str, problem: str) -> None:
    """It is told as that of any hook is, and the hook is asked once."""
    names: dict[str, Any] = {"NodeSpec": NodeSpec, "state": {"calls": 0}}
    text = f"def hook(event):\n    state['calls'] += 1\n    {body}\n"
    exec(compile(text, "<cell of a test>", "exec"), names)
    import linecache

    linecache.cache["<cell of a test>"] = (len(text), None, text.splitlines(True), "<cell of a test>")
    with DagFlow(":memory:", echo=False) as flow:
        flow.on_completed(names["hook"])
        run = chain(flow, 3)
        failed = flow.sql("select data from events where kind = 'HookFailed'")["data"]
        assert len(failed) == 3 and all(problem in text for text in failed)
        assert run.status == "completed"
    assert names["state"] == {"calls": 3} and at_once[0] is False and not any(at_once)


def test_an_answer_that_asks_a_person_takes_a_task_but_no_second_question(at_once: list[bool]) -> None:
    """What the hook has answered is kept until what checks answers has been loaded."""
    count = 0
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed(node="n*")
        def ask(event: Any) -> Any:
            nonlocal count
            count += 1
            if count == 3:
                return NodeSpec("act", id="asked", ask="really?")

        run = chain(flow, 4)
        assert run.status == "paused" and states(run)["asked"] == "paused"
    assert count == 4 and at_once == [True, True, False, True]


def test_an_answer_of_its_own_kind_is_read_in_a_task(at_once: list[bool]) -> None:
    """A plan that a hook hands over is an object of the user's: it is read beside the loop's work."""

    class Plan:
        def __init__(self) -> None:
            self.read = 0

        def commands(self) -> Any:
            self.read += 1
            return [RetryNode("nobody")]

    plan, count = Plan(), 0
    with DagFlow(":memory:", echo=False) as flow:

        @flow.on_completed
        def hand_over(event: Any) -> Any:
            nonlocal count
            count += 1
            return plan

        run = chain(flow, 3)
        assert kinds(run).count("CommandRejected") == 3
    assert plan.read == count == 3


def test_a_hook_is_asked_once_of_each_of_many_events(at_once: list[bool]) -> None:
    """Answers that a task has to read, between others that are there at once, are no second question."""
    count = 0
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        async def step(v: int = 0) -> int:
            return v

        @flow.on_completed
        def look(outputs: Any) -> Any:
            nonlocal count
            count += 1
            return [None] if outputs["result"] % 2 else None

        workflow = Workflow("w")
        first = workflow.add(step, id="first")
        for i in range(20):
            workflow.add(step, id=f"n{i}", v=i, after=[first])
        flow.run(workflow, view=False)
    assert count == 21 and True in at_once


def test_an_event_that_waits_to_be_stored_is_asked_about_before_later_ones(
    at_once: list[bool], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the hook would answer at once about the later one, and needs a thread for the first."""
    armed, held, stored = threading.Event(), threading.Event(), threading.Event()
    real = Writer._commit

    def commit(self: Writer, units: Any) -> None:
        if armed.is_set():
            held.set()
            assert stored.wait(PATIENCE)
        real(self, units)

    monkeypatch.setattr(Writer, "_commit", commit)
    last, late = 0, 0
    with DagFlow(tmp_path / "x.db", echo=False, config={"durability": "sync"}) as flow:

        @flow.action
        async def begin() -> int:
            return 0

        @flow.action
        async def early() -> Decimal:
            armed.set()
            return Decimal(1)

        @flow.action
        async def later() -> int:
            while not held.is_set():
                await asyncio.sleep(0.001)
            asyncio.get_running_loop().call_later(0.05, stored.set)
            return 2

        @flow.on_completed
        def look(event: Any, outputs: Any) -> Any:
            nonlocal last, late
            late += 1 if event.seq < last else 0
            last = event.seq
            return NodeSpec("begin") if outputs["result"] > 1000 else None

        workflow = Workflow("w")
        first = workflow.add("begin")
        workflow.add("early", after=[first]), workflow.add("later", after=[first])
        flow.run(workflow, view=False)
    assert late == 0 and last > 0 and held.is_set()
