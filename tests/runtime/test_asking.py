"""Hooks are asked one event after the other, of what they want to hear only, and see the run as it is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from dagflow_nb import CompositeHook, DagFlow, EventHook, NodeCompleted, NodeSpec, Workflow
from dagflow_nb.testing import Gate
from tests.flows import kinds, single, states


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
