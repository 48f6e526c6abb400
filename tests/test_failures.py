"""Actions that go wrong in every way there is: the run ends as it should, and nothing else is lost."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from dagflow_nb import DagFlow, NodeExecutionError, NodeOutput, Workflow, ref
from dagflow_nb.core.model import OnFailure
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, event_data, kinds, reason_of, rows, single, states, still_clock


@pytest.fixture
def flow(tmp_path: Any) -> Iterator[DagFlow]:
    """A flow on a file."""
    with DagFlow(tmp_path / "flow.db", echo=False) as flow:
        yield flow


def run(flow: DagFlow, workflow: Workflow, **settings: Any) -> Any:
    """A run that raises nothing."""
    started = flow.start(workflow, view=False, raise_on_failure=False, **settings)
    return started.wait(PATIENCE)


class Unspeakable(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class ToTheEnd(BaseException):
    """What no `except Exception` catches."""


ERRORS = [
    ValueError("plain"),
    Unspeakable(),
    SystemExit(3),
    KeyboardInterrupt(),
    ToTheEnd("base"),
    GeneratorExit(),
    asyncio.CancelledError("cancelled itself"),
    StopIteration("stop"),
    StopAsyncIteration("stop"),
    ValueError("x" * 1_000_000),
    ValueError("lone surrogate \ud800 and \x00"),
    ExceptionGroup("several", [ValueError("a"), TypeError("b")]),
    MemoryError(),
]


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_whatever_is_raised_fails_its_node_only(flow: DagFlow, error: BaseException, is_async: bool) -> None:
    """Any exception at all fails its node; a neighbour completes, and the flow goes on to work."""
    if is_async:

        @flow.action
        async def bad() -> None:
            raise error

    else:

        @flow.action
        def bad() -> None:
            raise error

    @flow.action
    def good(x: int = 1) -> int:
        return x

    workflow = Workflow("w")
    failing = workflow.add(bad)
    workflow.add(good, id="beside")
    workflow.add(good, id="after", after=[failing])
    found = run(flow, workflow)
    assert found.status == "failed"
    assert states(found) == {"bad": "failed", "beside": "completed", "after": "skipped"}
    assert isinstance(found.error, NodeExecutionError)
    assert found.error.node_id == "bad"
    assert type(found.error.__cause__) is type(error) or isinstance(error, StopIteration)
    assert len(str(found.error)) < 5000
    assert run(flow, single(good)).result == 1
    assert rows(flow, "select status from runs where run_id = ?", found.run_id) == [("failed",)]
    assert flow.get(found.run_id).status == "failed"


def test_the_cause_is_the_actions_own_exception_with_its_traceback(flow: DagFlow) -> None:
    """`flow.run` raises with `.run`, `.node_id`, `.report`, and the very exception as `__cause__`."""
    raised = ValueError("mine")

    def deep() -> None:
        raise raised

    @flow.action
    def outer() -> None:
        deep()

    with pytest.raises(NodeExecutionError) as caught:
        flow.run(single(outer), view=False)
    error = caught.value
    assert error.__cause__ is raised
    names = [frame.name for frame in traceback.extract_tb(raised.__traceback__)]
    assert names[-2:] == ["outer", "deep"]
    assert error.node_id == error.culprit == "node"
    assert error.run is flow.get() and error.run.status == "failed"
    assert error.report.failed_nodes == 1 and not error.report.success
    assert "mine" in str(error)


@pytest.mark.parametrize("unsendable", [False, True])
def test_an_error_in_another_process_says_where_it_was_raised(flow: DagFlow, unsendable: bool) -> None:
    """The frames it passed there are in the attempt, in the cell and in the cause, whatever it holds."""

    def deep() -> None:
        raise ValueError(threading.Lock() if unsendable else "mine")

    @flow.action(executor="process")
    def outer() -> None:
        deep()

    with pytest.raises(NodeExecutionError) as caught:
        flow.run(single(outer), view=False)
    error = caught.value
    assert type(error.__cause__) is ValueError
    cause = "".join(traceback.format_exception(error.__cause__))
    for text in (flow.get().attempts()["traceback"][0], "\n".join(error._render_traceback_()), cause):
        assert "in outer\n    deep()" in text and "in deep\n" in text and "ValueError: " in text
        assert "dagflow_nb/" not in text


class Hostile:
    """An object that nobody can print, compare or copy."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


def make_unstorable() -> dict[str, Any]:
    """Values that have no stored form."""
    return {
        "lock": threading.Lock(),
        "generator": (i for i in range(3)),
        "socket": socket.socket(),
        "hostile": Hostile(),
        "function": lambda: 1,
        "loop": [],
    }


def test_what_cannot_be_stored_stays_in_memory_with_the_reason(flow: DagFlow) -> None:
    """A lock, a generator, a socket flow on to the next node; the database says why it lacks them."""

    @flow.action
    def make() -> dict[str, Any]:
        return make_unstorable()

    @flow.action
    def use(lock: Any, generator: Any, hostile: Any) -> int:
        with lock:
            return sum(generator)

    @flow.workflow
    def w() -> Any:
        made = make()
        return use(made["lock"], made["generator"], made["hostile"])

    found = flow.run(w, view=False)
    assert found.result == 3
    found.outputs["make"]["socket"].close()
    sql = "select key, codec, reason from artifacts where run_id = ? and namespace = 'make'"
    stored = {key: (codec, reason) for key, codec, reason in rows(flow, sql, found.run_id)}
    for name in ("lock", "generator", "socket", "hostile"):
        assert stored[name][0] == "memory", name
        assert stored[name][1], name


NAMES = [
    "<script>alert(1)</script>",
    "a\nb\x00c",
    "",
    "x" * 100_000,
    "größe 数",
    "\ud800",
    "a.b/c",
    "__class__",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda n: ascii(n)[:20])
def test_outputs_may_have_any_name(flow: DagFlow, name: str) -> None:
    """An output's name is any text; it is stored, handed on, and there after a reload."""

    @flow.action
    def make() -> dict[str, Any]:
        return {name: 5, "plain": name}

    @flow.action
    def use(everything: dict[str, Any]) -> Any:
        return everything[name]

    @flow.workflow
    def w() -> Any:
        return use(make())

    found = flow.run(w, view=False)
    assert found.result == 5
    assert found.outputs["make"][name] == 5
    loaded = flow._load(found.run_id).scheduler.nodes["make"].outcome.outputs
    # SQLite's texts are UTF-8, which has no lone surrogates: a name with one comes back escaped
    stored = name.encode("utf-8", "backslashreplace").decode()
    assert dict(loaded) == {stored: 5, "plain": name}


class Unreadable(dict[str, Any]):
    """A mapping that cannot be read."""

    def __iter__(self) -> Any:
        raise RuntimeError("unreadable")

    items = keys = __iter__


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("outputs", [{1: 2}, Unreadable(a=1)], ids=["names", "unreadable"])
def test_outputs_that_cannot_be_read_fail_their_node(flow: DagFlow, outputs: Any, is_async: bool) -> None:
    """Outputs whose names are no texts, or that raise when they are read: an error, never a hang."""
    if is_async:

        @flow.action
        async def odd() -> NodeOutput:
            return NodeOutput(outputs)

    else:

        @flow.action
        def odd() -> NodeOutput:
            return NodeOutput(outputs)

    found = run(flow, single(odd))
    assert found.status == "failed" and "outputs" in str(found.error)


def test_megabytes_of_output_are_cut_not_lost_silently(flow: DagFlow) -> None:
    """What an attempt prints is kept up to a bound, and a line says that the rest was dropped."""

    @flow.action
    def talkative() -> int:
        for _ in range(50):
            print("x" * 100_000)
        sys.stderr.write("no end of line \ud800")
        return 1

    found = flow.run(single(talkative), view=False)
    assert found.result == 1
    logged = rows(flow, "select message from logs where run_id = ?", found.run_id)
    total = sum(len(message) for (message,) in logged)
    assert 900_000 < total < 1_200_000
    assert "the rest is dropped" in logged[-1][0]


def test_a_coroutine_that_never_ends_times_out(flow: DagFlow) -> None:
    """An attempt that outlives its timeout fails, after the attempts it has, with `TimeoutError` as cause."""
    clock = still_clock(flow)

    @flow.action(timeout=30, retries=1, retry_strategy="immediate")
    async def hang() -> None:
        await asyncio.Event().wait()

    started = flow.start(single(hang), view=False)
    for _ in range(2):
        clock.wait_for_timer(PATIENCE)
        clock.advance(30)
    with pytest.raises(NodeExecutionError, match="timed out after 30 s") as caught:
        started.wait(PATIENCE)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert started.snapshot().nodes[0].attempt == 2


def test_a_thread_that_never_ends_is_abandoned_and_its_slot_freed(flow: DagFlow) -> None:
    """A hanging thread frees its slot at the timeout, and its late result is ignored."""
    clock = still_clock(flow)
    gate = Gate()

    @flow.action(timeout=5)
    def hang() -> str:
        gate.hold()
        return "late"

    @flow.action
    def after() -> str:
        return "ran"

    workflow = Workflow("w")
    workflow.add(hang)
    workflow.add(after)
    started = flow.start(workflow, view=False, config={"max_parallel_nodes": 1}, raise_on_failure=False)
    gate.wait_for(1)
    clock.wait_for_timer(PATIENCE)
    clock.advance(5)
    found = started.wait(PATIENCE)
    assert states(found) == {"hang": "failed", "after": "completed"}
    gate.open()
    assert states(flow.get(found.run_id)) == {"hang": "failed", "after": "completed"}


def test_recursion_without_end_is_an_error_like_any_other(flow: DagFlow) -> None:
    """A `RecursionError` fails its node, and its traceback is kept short."""

    @flow.action
    def deep(n: int = 0) -> int:
        return deep.__wrapped__(n + 1) + 1

    found = run(flow, single(deep))
    assert isinstance(found.error.__cause__, RecursionError)
    ((text,),) = rows(flow, "select traceback from attempts where run_id = ?", found.run_id)
    assert len(text) < 20_000


def test_a_result_that_contains_itself_is_no_problem(flow: DagFlow) -> None:
    """A list that contains itself cannot be stored, and stays in memory."""

    @flow.action
    def circle() -> list[Any]:
        ring: list[Any] = []
        ring.append(ring)
        return ring

    found = flow.run(single(circle), view=False)
    assert found.result[0] is found.result
    assert rows(flow, "select codec from artifacts where namespace = 'node'") == [("memory",)]


def test_deeply_nested_results_are_no_problem(flow: DagFlow) -> None:
    """A list nested a hundred thousand deep neither crashes nor hangs."""

    @flow.action
    def nest() -> list[Any]:
        inner: list[Any] = []
        for _ in range(100_000):
            inner = [inner]
        return inner

    found = flow.run(single(nest), view=False)
    assert found.success and len(found.result) == 1


def test_a_coroutine_as_result_is_refused_with_the_way_out(flow: DagFlow) -> None:
    """A coroutine that nobody would await is an error, and no attempt follows it."""

    async def other() -> int:
        return 1

    @flow.action(retries=3)
    def forgets() -> Any:
        return other()

    found = run(flow, single(forgets))
    assert "define the action with `async def`" in str(found.error)
    assert found.snapshot().nodes[0].attempt == 1


def test_a_generator_as_result_stays_in_memory(flow: DagFlow) -> None:
    """The next node gets it as it is; the database says why it lacks it."""

    @flow.action
    def generate() -> Any:
        return (i for i in range(3))

    @flow.action
    def use(numbers: Any) -> int:
        return sum(numbers)

    workflow = Workflow("w")
    workflow.add(use, numbers=workflow.add(generate))
    found = flow.run(workflow, view=False)
    assert found.result == 3
    row = found.cache().query("namespace == 'generate'").iloc[0]
    assert row["codec"] == "memory"


def test_retries_count_attempts_and_only_what_retry_on_names(flow: DagFlow) -> None:
    """`retries=2` are three attempts in all; an exception that `retry_on` does not name is not retried."""
    tries: list[int] = []

    @flow.action(retries=2, retry_strategy="immediate", retry_on=ValueError)
    def picky(ctx: Any, kind: str) -> None:
        tries.append(ctx.attempt)
        raise ValueError("v") if kind == "value" else TypeError("t")

    found = run(flow, single(picky, kind="value"))
    assert tries == [1, 2, 3]
    assert kinds(found).count("NodeRetrying") == 2
    tries.clear()
    run(flow, single(picky, kind="type"))
    assert tries == [1]


def test_a_soft_failure_is_not_retried(flow: DagFlow) -> None:
    """`NodeOutput.failure` is `NodeCompleted` with `success == False`, state `failed`, and no retry."""

    @flow.action(retries=5)
    def soft() -> NodeOutput:
        return NodeOutput.failure("no valid data", {"seen": 3})

    found = run(flow, single(soft))
    assert found.status == "failed" and found.snapshot().nodes[0].attempt == 1
    assert "no valid data" in str(found.error) and found.error.__cause__ is None
    assert "NodeFailed" not in kinds(found) and "NodeCompleted" in kinds(found)
    assert found.report.node_outcomes["node"].outputs["seen"] == 3


def failing_pair(flow: DagFlow, **settings: Any) -> Workflow:
    """`bad` fails; `slow` runs at the same time; `after` depends on `bad`, `last` on `slow`."""

    @flow.action
    def bad() -> None:
        raise ValueError("bad")

    @flow.action
    def good() -> int:
        return 1

    workflow = Workflow("policies")
    failing = workflow.add(bad, **settings)
    first = workflow.add(good, id="first")
    workflow.add(good, id="after", after=[failing])
    workflow.add(good, id="last", after=[first])
    return workflow


def test_continue_skips_what_depends_on_a_failure(flow: DagFlow) -> None:
    """CONTINUE: only what depends on the failed node is skipped, with the reason."""
    found = run(flow, failing_pair(flow))
    assert states(found) == {"bad": "failed", "first": "completed", "after": "skipped", "last": "completed"}
    assert "bad" in str(reason_of(found, "after"))


def test_stop_skips_all_that_has_not_started(flow: DagFlow) -> None:
    """STOP: nothing new starts, the rest is skipped, the run has failed."""
    found = run(flow, failing_pair(flow), config={"on_failure": "stop", "max_parallel_nodes": 1})
    assert states(found)["bad"] == "failed"
    assert states(found)["after"] == states(found)["last"] == "skipped"
    assert found.status == "failed"


def test_pause_by_failure_raises_and_goes_on_when_it_is_mended(flow: DagFlow) -> None:
    """PAUSE: the run is `paused` and `flow.run` raises; the mended action lets it complete."""
    workflow = failing_pair(flow)
    with pytest.raises(NodeExecutionError, match="bad") as caught:
        flow.run(workflow, view=False, config={"on_failure": OnFailure.PAUSE})
    paused = caught.value.run
    assert paused is not None and paused.status == "paused" and states(paused)["after"] == "pending"

    @flow.action
    def bad() -> int:
        return 2

    assert flow.resume(paused, view=False).status == "completed"
    assert states(paused)["after"] == "completed"


def test_a_failure_handler_that_recovers_lifts_the_failure(flow: DagFlow) -> None:
    """`failure=` runs once after the last attempt as `ID.on_failure`; its recovered outputs stand in."""
    seen: dict[str, Any] = {}

    @flow.action
    def mend(error: str, node_id: str, inputs: dict[str, Any]) -> NodeOutput:
        seen.update(error=error, node_id=node_id, inputs=dict(inputs))
        return NodeOutput.ok({"result": 7}, recovered=True)

    @flow.action(failure="mend", retries=1, retry_strategy="immediate")
    def bad(x: int) -> int:
        raise ValueError("bad x")

    @flow.action
    def use(v: int) -> int:
        return v + 1

    @flow.workflow
    def w(x: int = 3) -> Any:
        return use(bad(x))

    found = flow.run(w, view=False)
    assert found.result == 8
    assert states(found) == {"bad": "recovered", "use": "completed", "bad.on_failure": "completed"}
    assert seen == {"error": "ValueError: bad x", "node_id": "bad", "inputs": {"x": 3}}


def test_a_failure_handler_that_fails_itself_changes_nothing(flow: DagFlow) -> None:
    """The policy applies when the handler has failed too; the run's error stays the first."""

    @flow.action
    def mend() -> None:
        raise TypeError("mend is bad too")

    @flow.action(failure="mend")
    def bad() -> None:
        raise ValueError("first")

    found = run(flow, single(bad))
    assert states(found) == {"node": "failed", "node.on_failure": "failed"}
    assert "first" in str(found.error) and found.error.node_id == "node"


def test_a_mistaken_input_fails_before_the_action_runs(flow: DagFlow) -> None:
    """A value of the wrong type fails the node without retries, naming parameter, type and value."""
    ran: list[int] = []

    @flow.action(retries=5)
    def typed(count: int) -> None:
        ran.append(count)

    found = run(flow, single(typed, count="many"))
    assert not ran and found.snapshot().nodes[0].attempt == 1
    for part in ("node", "count", "int", "many"):
        assert part in str(found.error)


def test_the_advice_fits_the_failure(flow: DagFlow) -> None:
    """An action is to be mended, a wrong run input given anew; a text that tells the way out stays alone."""

    @flow.action
    def typed(count: int) -> None:
        if count < 0:
            raise ValueError("too few" if count > -2 else "go on with another one")

    wf = Workflow("w", inputs=["n"])
    wf.add("typed", id="node", count=ref("inputs.n"))
    mend = "(mend the action, then go on with flow.retry())"
    again = "(start again with flow.run('w', n=...), or with flow.fork(inputs={'n': ...}))"
    for n, end in {-1: mend, -2: "go on with another one", "many": again}.items():
        with pytest.raises(NodeExecutionError) as caught:
            flow.run(wf, n=n, view=False)
        assert str(caught.value).endswith(end) and str(caught.value).count("(") == end.count("(")
    literal = str(run(flow, single(typed, count="many")).error)
    assert literal.endswith(mend)


def test_a_missing_output_names_what_there_is(flow: DagFlow) -> None:
    """A reference to an output that was not given fails the node that needs it, and lists the others."""

    @flow.action
    def make() -> dict[str, int]:
        return {"rows": 1}

    @flow.action
    def use(v: int) -> int:
        return v

    workflow = Workflow("w")
    workflow.add(use, v=workflow.add(make)["row"])
    found = run(flow, workflow)
    assert found.error.node_id == "use" and "'rows'" in str(found.error)


def test_log_records_that_cannot_be_formatted_do_no_harm(
    flow: DagFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log call with the wrong arguments is recorded with what went wrong."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own would raise

    @flow.action
    def clumsy() -> int:
        logging.getLogger("clumsy").warning("%d items", "no number")
        return 1

    found = flow.run(single(clumsy), view=False)
    ((message, stream, level),) = rows(flow, "select message, stream, level from logs")
    assert found.success and "%d items" in message and (stream, level) == ("logging", "WARNING")


def test_an_exception_with_a_long_chain_is_kept_bounded(flow: DagFlow) -> None:
    """Ten thousand chained causes do not become a report of megabytes."""

    @flow.action
    def chain() -> None:
        last: Exception = ValueError("0")
        for i in range(1, 2000):
            new = ValueError(str(i))
            new.__cause__ = last
            last = new
        raise last

    found = run(flow, single(chain))
    assert found.status == "failed"
    assert event_data(found, "NodeFailed")
