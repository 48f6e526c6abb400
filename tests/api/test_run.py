"""`Run`: what it tells of itself, waiting for it, streaming it, from every kind of place."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagflow_nb import (
    CustomEvent,
    DagConfig,
    DagFlow,
    NodeCompleted,
    NodeExecutionError,
    NodeLog,
    NodeOutput,
    NodeProgress,
    RunCancelled,
    TokenStreamed,
    Workflow,
)
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, kinds, rows, single, states, still_clock


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[DagFlow]:
    """A flow on a file with a few small actions."""
    with DagFlow(tmp_path / "flow.db", echo=False) as flow:

        @flow.action
        def number(n: int = 1) -> int:
            return n

        @flow.action
        def record(n: int = 1) -> dict[str, int]:
            return {"n": n, "double": 2 * n}

        @flow.action
        def nothing() -> None: ...

        @flow.action(outputs=("left", "right"))
        def pair() -> tuple[int, int]:
            return 1, 2

        yield flow


# --- results --------------------------------------------------------------------------------------


def test_the_result_is_what_the_workflow_function_returned(flow: DagFlow) -> None:
    """A handle, an output, a tuple, a dict, nested: `run.result` has the same shape."""
    number, record, pair = (flow._session.registry.need(name) for name in ("number", "record", "pair"))
    shapes: list[tuple[Any, Any]] = [
        (lambda wf: wf.add(number, n=3), 3),
        (lambda wf: wf.add(record, n=3)["double"], 6),
        (lambda wf: wf.add(record, n=3), {"n": 3, "double": 6}),
        (lambda wf: wf.add(pair), (1, 2)),
        (lambda wf: (wf.add(number), wf.add(number, id="b", n=2)), (1, 2)),
        (lambda wf: {"a": wf.add(number), "b": [wf.add(pair)["right"], 5]}, {"a": 1, "b": [2, 5]}),
    ]
    for shape, expected in shapes:

        def w(wf: Any) -> Any:
            return shape(wf)  # noqa: B023  # called at once

        assert flow.run(flow.workflow(w), view=False).result == expected


def test_without_a_function_the_result_is_that_of_the_leaves(flow: DagFlow) -> None:
    """One leaf: what it returned; several: by their ids; what did not end well is None."""
    workflow = Workflow("leaves")
    first = workflow.add("number", id="first")
    workflow.add("record", id="a", after=[first])
    assert flow.run(workflow, view=False).result == {"n": 1, "double": 2}
    workflow.add("nothing", id="b", after=[first])
    assert flow.run(workflow, view=False).result == {"a": {"n": 1, "double": 2}, "b": None}
    assert flow.run(Workflow("empty"), view=False).result == {}


@pytest.mark.parametrize("how", ["fresh", "stored", "known", "forked"])
def test_a_result_is_of_the_same_types_always(flow: DagFlow, tmp_path: Path, how: str) -> None:
    """What nodes gave is a dict, also inside: ended here, out of the file, known, or kept by a fork."""

    @flow.action(cache=how == "known")
    def about(n: int = 1) -> dict[str, Any]:
        return {"n": n, "all": [n] * 3}

    inner = Workflow("inner")
    inner.result = {"one": inner.add(about), "more": [inner.add(about, id="b", n=2)]}
    one, leaves, every = single(about), Workflow("leaves"), Workflow("every")
    leaves.add(about, id="a")
    leaves.add(inner, id="sub")
    leaves.map(about, over={"n": [1, 2]}, id="items")
    sub, items = every.add(inner, id="sub"), every.map(about, over={"n": [1, 2]}, id="items")
    every.result = {"sub": sub, "more": sub["more"], "items": items, "n": (items["n"], every.add(about))}
    first, second = {"n": 1, "all": [1, 1, 1]}, {"n": 2, "all": [2, 2, 2]}
    whole = {"one": first, "more": [second]}
    expected = [
        (one, first),
        (leaves, {"a": first, "sub": whole, "items": [first, second]}),
        (every, {"sub": whole, "more": [second], "items": [first, second], "n": ([1, 2], first)}),
    ]
    for workflow, result in expected:
        run = flow.run(workflow, view=False)
        if how == "known":
            run = flow.run(workflow, view=False)
            assert "cached" in states(run).values()
        if how == "forked":
            run = flow.fork(run, node=run.nodes()["node_id"].iloc[-1], view=False)
        with DagFlow(tmp_path / "flow.db", echo=False) as other:
            found = (other if how == "stored" else flow).get(run.run_id).result
        assert found == result and type(found) is dict
        assert json.loads(json.dumps(found)) == json.loads(json.dumps(result))  # JSON takes dicts alone


def test_a_big_value_is_read_when_the_result_is_asked_for(flow: DagFlow, tmp_path: Path) -> None:
    """Not by what else is asked of a run that lies in the database."""

    @flow.action
    def big() -> dict[str, Any]:
        return {"text": "x" * 5_000_000}

    run = flow.run(single(big), view=False)
    with DagFlow(tmp_path / "flow.db", echo=False) as other:
        found = other.get(run.run_id)
        assert found.success and found.outputs["node"].keys() == {"text"}
        outputs: Any = found._scheduler.nodes["node"].outcome.outputs
        assert outputs._values == {}
        assert found.result == {"text": "x" * 5_000_000} and list(outputs._values) == ["text"]


def test_a_handler_is_no_leaf(flow: DagFlow) -> None:
    """The result of a workflow whose last node was mended is that node's, not its handler's."""

    @flow.action
    def mend() -> NodeOutput:
        return NodeOutput.ok({"result": 5}, recovered=True)

    @flow.action(failure="mend")
    def bad() -> int:
        raise ValueError

    assert flow.run(single(bad), view=False).result == 5


def test_missing_outputs_say_what_there_is(flow: DagFlow) -> None:
    """`KeyError` names the nodes, the keys, or the state of the node that has none."""
    workflow = Workflow("w")
    workflow.add("record", id="a")
    workflow.add("number", id="never", when="any_failed", after=["a"])
    run = flow.run(workflow, view=False)
    with pytest.raises(KeyError, match="'a'"):
        run.outputs["b"]
    with pytest.raises(KeyError, match="'double'"):
        run.outputs["a"]["triple"]
    with pytest.raises(KeyError, match="skipped"):
        run.outputs["never"]
    assert list(run.outputs) == ["a"] and len(run.outputs) == 1 and "b" not in run.outputs
    assert run.outputs["a"] == {"n": 1, "double": 2} and dict(run.outputs["a"])["n"] == 1
    assert run.outputs.get("b") is None
    assert "a" in repr(run.outputs) and "double" in repr(run.outputs["a"])


def test_a_run_from_the_database_tells_the_same(flow: DagFlow, tmp_path: Path) -> None:
    """Another session on the file sees status, inputs, outputs, result, report and the error's text."""
    good = flow.run(single("record", n=4), view=False)
    bad = flow.run(single("number", n="x"), view=False, raise_on_failure=False)
    with DagFlow(tmp_path / "flow.db", echo=False) as other:
        found = other.get(good.run_id[:8])
        assert (found.status, found.dag_name, found.result) == ("completed", "single", good.result)
        assert found.outputs["node"] == good.outputs["node"] and found.report.completed_nodes == 1
        failed = other.get(bad.run_id)
        assert isinstance(failed.error, NodeExecutionError) and str(failed.error) == str(bad.error)
        assert failed.error.__cause__ is None and failed.waiting == []


# --- waiting --------------------------------------------------------------------------------------


def test_a_wait_that_times_out_leaves_the_run_alone(flow: DagFlow) -> None:
    """`wait(timeout)` raises `TimeoutError`, the run goes on, and can be waited for again."""
    gate = Gate()
    run = flow.start(single(gate.hold), view=False)
    with pytest.raises(TimeoutError, match=run.run_id):
        run.wait(0.01)
    assert run.status == "running"
    gate.open()
    assert run.wait(PATIENCE) is run and run.wait() is run


def test_a_run_is_awaited_on_any_loop(flow: DagFlow) -> None:
    """`await run` gives the run, or raises as `flow.run` does; several may wait at once."""

    async def main() -> None:
        run = flow.start(single("number", n=3), view=False)
        assert await asyncio.gather(run, run) == [run, run]
        assert (await run).result == 3
        with pytest.raises(NodeExecutionError):
            await flow.start(single("number", n="x"), view=False)
        assert (await flow.run_async(single("number"), view=False)).success

    asyncio.run(main())


def test_the_callers_loop_stays_free(flow: DagFlow) -> None:
    """While `run_async` is awaited, other coroutines of the caller go on."""
    gate = Gate()

    async def main() -> Any:
        task = asyncio.ensure_future(flow.run_async(single(gate.hold), view=False))
        while gate.held == 0:
            await asyncio.sleep(0.001)
        gate.open()
        return await task

    assert asyncio.run(main()).success


@pytest.mark.parametrize("when", ["at once", "under way"])
def test_cancelling_who_awaits_leaves_the_run_interrupted(flow: DagFlow, when: str) -> None:
    """A cancelled `run_async` stops the run, which can be resumed."""
    gate = Gate()

    async def main() -> None:
        task = asyncio.ensure_future(flow.run_async(single(gate.hold_async), view=False, run_id="mine"))
        if when == "under way":
            while gate.held == 0:
                await asyncio.sleep(0.001)
        else:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    known = rows(flow, "select run_id from runs")
    if when == "under way":
        assert flow.get("mine").status == "interrupted"
        gate.open()
        assert flow.resume("mine", view=False).success
    else:
        assert known == [] or flow.get("mine").status in ("interrupted", "pending")
        assert not flow._session.live


def test_raise_on_failure_can_be_turned_off(flow: DagFlow) -> None:
    """With `raise_on_failure=False` neither `run`, `wait` nor `await` raise."""
    run = flow.run(single("number", n="x"), view=False, raise_on_failure=False)
    assert run.wait() is run and run.status == "failed"

    async def main() -> None:
        assert await run is run
        assert (await flow.run_async(single("number", n="x"), view=False, raise_on_failure=False)).error

    asyncio.run(main())


def test_the_runs_deadline_counts_no_pauses(flow: DagFlow) -> None:
    """`timeout_seconds` is of the time the run was under way; beyond it the run has failed, resumable."""
    from dagflow_nb import ExecutionTimeout

    clock = still_clock(flow)
    gate = Gate()
    workflow = Workflow("slow")
    asked = workflow.add("number", id="asked", ask=True)
    workflow.add(gate.hold_async, id="slow", after=[asked])
    run = flow.run(workflow, view=False, config={"timeout_seconds": 60})
    assert run.status == "paused"
    clock.advance(1000)
    run.approve()
    gate.wait_for(1)
    clock.advance(59)
    assert run.status == "running"
    clock.advance(2)
    with pytest.raises(ExecutionTimeout, match="60"):
        run.wait(PATIENCE)
    assert run.status == "failed"
    gate.open()
    assert flow.resume(run, view=False).status == "completed"


# --- streaming ------------------------------------------------------------------------------------


def test_a_stream_gives_every_event_however_late_it_begins(flow: DagFlow) -> None:
    """All events in order, whether the stream begins at once or after the run has ended."""

    async def main() -> None:
        run = flow.start(single("number"), view=False)
        live = [event async for event in run.stream()]
        late = [event async for event in run.stream()]
        assert [type(e).__name__ for e in live if e in late] == kinds(run)
        assert [e.seq for e in late] == list(range(1, len(late) + 1))
        assert all(e.run_id == run.run_id and e.at > 0 for e in late)

    asyncio.run(main())


def test_a_stream_has_what_actions_say(flow: DagFlow) -> None:
    """Progress, tokens, logs and the action's own events come through; hooks see only the last."""
    hooked: list[str] = []
    begin = Gate()

    @flow.action
    def chatty(ctx: Any) -> None:
        begin.hold()
        ctx.progress(0.5, "half")
        ctx.stream("tok")
        ctx.log("a line")
        ctx.emit("mine", {"x": 1})

    @flow.hook
    def hook(event: Any) -> None:
        hooked.append(type(event).__name__)

    async def main() -> list[Any]:
        run = flow.start(single(chatty), view=False)
        stream = run.stream()
        found = [await anext(stream)]
        begin.open()
        return found + [event async for event in stream]

    events = asyncio.run(main())
    by_kind = {type(event): event for event in events}
    assert by_kind[NodeProgress].fraction == 0.5 and by_kind[NodeProgress].message == "half"
    assert by_kind[TokenStreamed].token == "tok" and by_kind[NodeLog].message == "a line"
    assert by_kind[CustomEvent].data == {"x": 1} and by_kind[CustomEvent].name == "mine"
    assert "CustomEvent" in hooked and not {"NodeProgress", "TokenStreamed", "NodeLog"} & set(hooked)


def test_a_stream_that_begins_late_has_what_actions_said(flow: DagFlow) -> None:
    """A node was quicker than who listens: its tokens come between its beginning and its end all the same."""

    @flow.action
    async def chatty(ctx: Any) -> None:
        ctx.stream("tok")
        ctx.progress(0.5)
        ctx.log("a line")

    async def main() -> list[str]:
        run = flow.run(single(chatty), view=False)
        return [type(event).__name__ async for event in run.stream()]

    said = ["TokenStreamed", "NodeProgress", "NodeLog"]
    assert asyncio.run(main()) == ["RunStarted", "NodeStarted", *said, "NodeCompleted", "RunFinished"]


def test_a_stored_run_can_be_streamed(tmp_path: Path) -> None:
    """In another flow, and in parts in this one: every event once, in order, with what nodes returned."""

    async def read(run: Any) -> list[Any]:
        return [event async for event in run.stream()]

    with DagFlow(tmp_path / "flow.db", echo=False) as flow:
        workflow = Workflow("w")
        workflow.map(flow.action(lambda n: 2 * n, name="double"), {"n": [1, 2]}, id="all", ask=True)
        run = flow.resume(flow.run(workflow, view=False), approved=True, view=False)
        here = asyncio.run(read(run))
    with DagFlow(tmp_path / "flow.db", echo=False) as flow:
        stored = flow.get(run.run_id)
        found = asyncio.run(read(stored))
        assert [type(event).__name__ for event in found] == kinds(stored)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert [type(e) for e in found[-len(here) :]] == [type(e) for e in here]
    ended = {e.node.node_id: e.outputs["result"] for e in found if isinstance(e, NodeCompleted)}
    assert ended == {"all": [2, 4], "all/0": 2, "all/1": 4}


def test_a_stream_that_is_left_does_no_harm(flow: DagFlow) -> None:
    """Leaving a stream, or its loop ending, neither stops nor breaks the run."""
    gate = Gate()

    async def main() -> Any:
        run = flow.start(single(gate.hold), view=False)
        async for _ in run.stream():
            break
        return run

    run = asyncio.run(main())
    gate.open()
    assert run.wait(PATIENCE).success


# --- control from anywhere ------------------------------------------------------------------------


def test_controls_work_from_any_thread_and_return_the_run(flow: DagFlow) -> None:
    """`pause`, `resume`, `cancel` return the run at once, from another thread too."""
    gate = Gate()
    workflow = Workflow("w")
    workflow.add("number", id="after", after=[workflow.add(gate.hold, id="gate")])
    run = flow.start(workflow, view=False)
    gate.wait_for(1)
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.extend([run.pause(), run.resume(), run.cancel(reason="x")])
    )
    thread.start()
    thread.join(PATIENCE)
    assert found == [run, run, run]
    with pytest.raises(RunCancelled):
        run.wait(PATIENCE)
    gate.open()


def test_a_run_that_another_session_took_on_is_seen_so(flow: DagFlow, tmp_path: Path) -> None:
    """A run that was left paused here and completed elsewhere is `completed` here too."""
    run = flow.run(single("number", ask=True), view=False)
    assert run.status == "paused"
    with DagFlow(tmp_path / "flow.db", echo=False) as other:
        other.action(flow._session.registry.need("number"))
        other.resume(run.run_id, approved=True, view=False)
    assert run.status == "completed" and run.result == 1
    assert flow.get(run.run_id).status == "completed"
    assert states(run) == {"node": "completed"}


def test_a_run_of_another_session_can_be_waited_for(flow: DagFlow, tmp_path: Path) -> None:
    """`wait` of a run that is driven elsewhere waits for its end there."""
    gate = Gate()
    run = flow.start(single(gate.hold), view=False)
    gate.wait_for(1)
    flow._store.sync()  # another process sees what is on disk, some milliseconds later
    with DagFlow(tmp_path / "flow.db", echo=False) as other:
        seen = other.get(run.run_id)
        assert seen.status == "running"
        with pytest.raises(TimeoutError):
            seen.wait(0.01)
        gate.open()
        assert seen.wait(PATIENCE).status == "completed"


def test_retry_runs_one_node_and_what_follows(flow: DagFlow) -> None:
    """`flow.retry(run, node)` runs it again with its dependants; `cascade=False` it alone."""
    ran: list[str] = []

    @flow.action
    def note(ctx: Any, v: Any = None) -> str:
        ran.append(ctx.node_id)
        return ctx.node_id

    workflow = Workflow("chain")
    last = workflow.add(note, id="a")
    for id in ("b", "c"):
        last = workflow.add(note, id=id, v=last)
    run = flow.run(workflow, view=False)
    ran.clear()
    assert flow.retry(run, "b", view=False) is run and ran == ["b", "c"]
    ran.clear()
    flow.retry(run, "b", cascade=False, view=False)
    assert ran == ["b"] and run.status == "completed"
    run.retry("c").wait(PATIENCE)
    assert ran == ["b", "c"]


def test_a_run_is_one_line_in_the_cell_that_shows_it(
    flow: DagFlow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is asked there; in other cells, and outside of cells, it is a picture."""
    run = flow.run(single("number"), view=True)
    assert "text/html" in run._repr_mimebundle_()
    shell = SimpleNamespace(execution_count=1)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    run.view()
    assert list(run._repr_mimebundle_()) == list(run._repr_mimebundle_()) == ["text/plain"]
    shell.execution_count = 2
    assert "text/html" in run._repr_mimebundle_()
    assert "text/html" in flow.run("single", view=False)._repr_mimebundle_()
    capsys.readouterr()


def test_reprs_are_short_and_safe(flow: DagFlow) -> None:
    """A run's and a flow's repr are one line; HTML shows nothing of the user's unescaped."""
    run = flow.run(single("number"), view=False)
    assert repr(run).count("\n") == 0 and "completed" in repr(run) and run.run_id in repr(run)
    flow.action(name="<b>bold</b>")(lambda: 1)
    assert "<b>bold</b>" not in flow._repr_html_() and "actions" in repr(flow)
    html = DagConfig(limits={"<b>bold</b>": 2})._repr_html_()
    assert "<b>bold</b>" not in html and "<th>limits</th><td><b><code>" in html
    assert "<th>max_attempts</th><td><code>1</code>" in html


def test_an_interrupt_says_what_becomes_of_the_run(flow: DagFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cell, without frames: `run_async` takes its run along, one that is only waited for goes on."""
    gate = Gate()
    wf = single(gate.hold_async)
    run = flow.start(wf, run_id="mine", view=False)
    gate.wait_for(1)

    async def cancelled(waiting: Any, held: int) -> BaseException:
        task = asyncio.create_task(waiting)
        await asyncio.to_thread(gate.wait_for, held)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    taken = asyncio.run(cancelled(flow.run_async(wf, run_id="other", view=False), 2))
    monkeypatch.setattr("dagflow_nb.api.run.wait", interrupt)
    with pytest.raises(KeyboardInterrupt) as left:
        run.wait()
    goes_on = "run mine goes on: run.wait() waits again, run.cancel() ends it"
    for error, text in (
        (taken, "run other is interrupted: go on with flow.resume()"),
        (asyncio.run(cancelled(run._wait_async(), 2)), goes_on),
        (left.value, goes_on),
    ):
        assert str(error) == text
        assert error._render_traceback_() == [f"{type(error).__name__}: {text}"]  # type: ignore[attr-defined]
    assert (flow.get("other").status, run.status) == ("interrupted", "running")
