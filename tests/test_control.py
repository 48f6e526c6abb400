"""Pauses, people, budgets, maps, branches, sub-workflows, rescue: what steers a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from dagflow_nb import (
    AddNode,
    AddNodes,
    CancelBranch,
    DagFlow,
    DisableNodes,
    EnableNodes,
    InvalidState,
    NodeExecutionError,
    NodeNotFound,
    NodeOutput,
    NodeSpec,
    PauseBranch,
    ResumeBranch,
    RetryNode,
    RunCancelled,
    SetNodeInputs,
    SetNodeOutputs,
    ValidationError,
    Workflow,
    ref,
)
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, event_data, kinds, reason_of, rows, single, states, still_clock


class Review(pydantic.BaseModel):
    """Shall it go out?"""

    approved: bool
    limit: int = 5


class Easy(pydantic.BaseModel):
    """Everything has a default."""

    approved: bool = True
    limit: int = 5


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[DagFlow]:
    """A flow on a file; `analyze -> publish`, and `side` beside them."""
    with DagFlow(tmp_path / "flow.db", echo=False) as flow:
        define(flow)
        yield flow


def define(flow: DagFlow) -> None:
    """The actions and the workflow of most tests here."""

    @flow.action
    def analyze(x: int = 1) -> dict[str, int]:
        return {"x": x}

    @flow.action
    def publish(x: int, human_input: Any = None) -> dict[str, Any]:
        return {"x": x, "human": human_input}

    @flow.action
    def side() -> int:
        return 1

    @flow.action
    def echo(v: Any = None) -> Any:
        return v

    @flow.workflow
    def w(x: int = 1) -> Any:
        side()
        return publish(analyze(x)["x"])


def rejected(run: Any) -> list[str]:
    """The reasons of refused commands."""
    return [json.loads(data)["reason"] for data in event_data(run, "CommandRejected")]


# --- people ---------------------------------------------------------------------------------------


def test_a_paused_branch_returns_the_run_and_goes_on_with_the_answer(flow: DagFlow) -> None:
    """`PauseBranch` with a form: the rest completes, the run is `paused`, the answer reaches the node."""

    @flow.on_completed(action="analyze")
    def gate(node: Any) -> PauseBranch:
        return PauseBranch(node.node_id, "please review", Review)

    run = flow.run("w", view=False)
    assert run.status == "paused" and run.error is None and not run.success
    assert states(run) == {"side": "completed", "analyze": "completed", "publish": "paused"}
    (waiting,) = run.waiting
    assert (waiting.branch_id, waiting.reason) == ("analyze", "please review")
    assert set(waiting.form.schema["properties"]) == {"approved", "limit"}
    assert rows(flow, "select state from execution_state") == [("active",)]
    with pytest.raises(ValidationError, match="approved"):
        run.resume("analyze", approved="maybe so")
    with pytest.raises(ValidationError, match="approved"):
        flow.resume(run, view=False)
    with pytest.raises(NodeNotFound, match="analyz"):
        run.resume("analyz", approved=True)
    with pytest.raises(InvalidState, match="publish"):
        run.resume("publish", approved=True)
    assert run.status == "paused"
    assert run.approve("analyze", limit="7").wait(PATIENCE).status == "completed"
    assert run.result == {"x": 1, "human": {"approved": True, "limit": 7}}
    assert flow.get(run.run_id)._state()[0].human["limit"] == 7
    assert event_data(run, "BranchResumed") and run.waiting == []


def test_the_answer_lands_in_the_cache_and_names_who_gave_it(flow: DagFlow) -> None:
    """Human input is in the namespace `human_input`, and the events say who paused and resumed and when."""

    @flow.action(ask="Which colour?")
    def paint(ctx: Any, human_input: Any) -> Any:
        return ctx.cache.get("human_input", "colour"), human_input["colour"]

    run = flow.run(single(paint), view=False)
    assert run.status == "paused" and run.waiting[0].form.question == "Which colour?"
    assert flow.resume(run, view=False, colour="red").result == ("red", "red")
    sql = "select key from artifacts where namespace = 'human_input'"
    assert rows(flow, sql) == [("colour",)]
    (resumed,) = event_data(run, "BranchResumed")
    assert json.loads(resumed)["by"]


@pytest.mark.parametrize("ask", [True, "Go on?", Easy, {"type": "object", "properties": {}}])
def test_ask_pauses_before_the_first_attempt(flow: DagFlow, ask: Any) -> None:
    """`ask=` on an action: its node pauses itself once ready; nothing of it has run."""
    ran: list[int] = []

    @flow.action(ask=ask)
    def careful() -> int:
        ran.append(1)
        return 1

    run = flow.run(single(careful), view=False)
    assert run.status == "paused" and not ran and run.snapshot().nodes[0].attempt == 0
    assert run.approve().wait(PATIENCE).status == "completed" and ran == [1]


@pytest.mark.parametrize("where", ["action", "map", "map over a workflow"])
def test_the_items_of_a_map_ask_once_each(flow: DagFlow, where: str) -> None:
    """The map itself does not ask; an item that is refused is None in its place."""

    @flow.action(ask=True if where == "action" else None)
    def careful(n: int, human_input: Any = None) -> Any:
        return n

    inner = Workflow("inner", inputs=["n"])
    inner.add(careful, n=inner.input("n"))
    workflow = Workflow("w")
    what = inner if where.endswith("workflow") else careful
    workflow.map(what, over={"n": [1, 2, 3]}, id="m", ask=None if where == "action" else True)
    run = flow.run(workflow, view=False)
    assert [waiting.branch_id for waiting in run.waiting] == ["m/0", "m/1", "m/2"]
    run.reject("m/1")
    assert run.approve().wait(PATIENCE).result == [1, None, 3] and run.success


def test_an_answer_without_fields_is_an_answer(flow: DagFlow) -> None:
    """A question that is answered with nothing: the parameter `human_input` is there, and empty."""

    @flow.action(ask="Go on?")
    def careful(human_input: dict[str, Any]) -> Any:
        return human_input

    run = flow.run(single(careful), view=False)
    assert run.resume().wait(PATIENCE).result == {}


def test_rejecting_cancels_the_branch_and_the_rest_stays(flow: DagFlow) -> None:
    """`run.reject()` cancels what waits; a run with a cancelled branch only is `completed`."""

    @flow.on_completed(action="analyze")
    def gate(node: Any) -> PauseBranch:
        return PauseBranch(node.node_id)

    run = flow.run("w", view=False)
    found = run.reject(reason="not good enough")
    found._raise = False
    found.wait(PATIENCE)
    assert states(run)["publish"] == "cancelled" and states(run)["side"] == "completed"
    assert "not good enough" in str(reason_of(run, "publish"))
    with pytest.raises(InvalidState):
        run.reject()
    with pytest.raises(InvalidState):
        run.resume("analyze")


def test_a_person_answers_in_another_process(tmp_path: Path) -> None:
    """The database holds all of it: a new flow on the file resumes without the workflow being loaded."""
    with DagFlow(tmp_path / "x.db", echo=False) as first:
        define(first)
        first.action(first._session.registry.need("publish"))

        @first.action(ask=Review)
        def publish(x: int, human_input: Any) -> Any:
            return human_input

        run_id = first.run("w", view=False).run_id
    with DagFlow(tmp_path / "x.db", echo=False) as second:
        second.action(publish)
        run = second.get(run_id)
        assert run.status == "paused" and run.waiting[0].branch_id == "publish"
        with pytest.raises(ValidationError, match="approved"):
            second.resume(approved="what?", view=False)
        assert second.resume(answers={"approved": False, "limit": 2}, view=False).result == {
            "approved": False,
            "limit": 2,
        }


@pytest.mark.parametrize(
    ("action", "status", "node"),
    [
        ("pause", "paused", "paused"),
        ("autopilot", "completed", "completed"),
        ("fail", "failed", "failed"),
        ("cancel", "completed", "cancelled"),
    ],
)
def test_what_happens_when_nobody_answers(flow: DagFlow, action: str, status: str, node: str) -> None:
    """After `human_wait_minutes` the `human_timeout_action` applies; other work goes on meanwhile."""
    clock = still_clock(flow)
    gate = Gate()

    @flow.action(ask=Easy)
    def asks(human_input: Any) -> Any:
        return human_input

    workflow = single(asks)
    workflow.add(gate.hold, id="beside")
    config = {"human_wait_minutes": 10, "human_timeout_action": action}
    run = flow.start(workflow, view=False, config=config, raise_on_failure=False)
    gate.wait_for(1)
    clock.wait_for_timer()
    clock.advance(599)
    assert states(run)["node"] == "paused"
    clock.advance(2)
    gate.open()
    run.wait(PATIENCE)
    assert run.status == status and states(run)["node"] == node
    if action == "autopilot":
        assert run.outputs["node"] == {"approved": True, "limit": 5}
        (resumed,) = event_data(run, "BranchResumed")
        assert json.loads(resumed)["automatic"] is True


def test_the_clock_of_a_paused_run_goes_on_while_nobody_holds_it(flow: DagFlow) -> None:
    """A run that lay paused for too long: the next resume without answers applies the action."""
    clock = still_clock(flow)

    @flow.action(ask=Easy)
    def asks(human_input: Any) -> Any:
        return human_input["limit"]

    config = {"human_wait_minutes": 10, "human_timeout_action": "autopilot"}
    run = flow.run(single(asks), view=False, config=config)
    assert run.status == "paused"
    clock.advance(601)
    assert flow.resume(run, view=False).result == 5


def test_autopilot_without_defaults_stays_paused_and_says_why(flow: DagFlow) -> None:
    """A form that declares no default for each field cannot be answered for: `CommandRejected`, no hang."""
    clock = still_clock(flow)

    @flow.action(ask=Review)
    def asks(human_input: Any) -> Any:
        return human_input

    config = {"human_wait_minutes": 1, "human_timeout_action": "autopilot"}
    run = flow.run(single(asks), view=False, config=config)
    clock.advance(61)
    again = flow.resume(run, view=False)
    assert again.status == "paused"
    assert any("default" in reason for reason in rejected(run))
    assert flow.resume(run, view=False, approved=True).status == "completed"


def test_a_run_that_is_paused_holds_what_has_not_started(flow: DagFlow) -> None:
    """`run.pause()`: what runs ends, nothing new starts, the run is `paused`; `resume` goes on."""
    gate = Gate()
    workflow = Workflow("held")
    first = workflow.add(gate.hold, id="first")
    workflow.add("echo", id="second", after=[first], v=3)
    run = flow.start(workflow, view=False)
    gate.wait_for(1)
    run.pause(reason="a moment")
    gate.open()
    assert run.wait(PATIENCE).status == "paused"
    assert states(run) == {"first": "completed", "second": "pending"}
    assert run.waiting[0].reason == "a moment"
    assert run.resume().wait(PATIENCE).result == 3


# --- cancelling -----------------------------------------------------------------------------------


def test_a_cancelled_run_raises_and_can_be_resumed(flow: DagFlow) -> None:
    """`run.cancel()`: `RunCancelled` with the reason; `flow.resume` goes on with what was cancelled."""
    gate = Gate()
    workflow = Workflow("w2")
    workflow.add("echo", id="after", v=1, after=[workflow.add(gate.hold_async, id="wait")])
    run = flow.start(workflow, view=False)
    gate.wait_for(1)
    run.cancel(reason="enough")
    with pytest.raises(RunCancelled, match="enough") as caught:
        run.wait(PATIENCE)
    assert caught.value.run is run and caught.value.reason == "enough"
    assert states(run) == {"wait": "cancelled", "after": "cancelled"}
    gate.open()
    assert flow.resume(run, view=False).status == "completed"


def test_what_has_ended_cannot_be_cancelled_paused_or_resumed(flow: DagFlow) -> None:
    """Each control of a completed run is `InvalidState`, never a silent nothing; `flow.resume` returns it."""
    run = flow.run("w", view=False)
    for control in (run.cancel, run.pause, run.resume, run.approve, run.reject):
        with pytest.raises(InvalidState):
            control()
    with pytest.raises(InvalidState):
        run.apply(CancelBranch("publish"))
    with pytest.raises(InvalidState):
        run.cancel("publish")
    assert flow.resume(run, view=False) is run and run.status == "completed"


def test_unknown_ids_are_errors_everywhere(flow: DagFlow) -> None:
    """A branch or node that is not there is `NodeNotFound` with a suggestion."""

    @flow.on_completed(action="analyze")
    def gate(node: Any) -> PauseBranch:
        return PauseBranch(node.node_id)

    run = flow.run("w", view=False)
    for control in (run.cancel, run.pause, run.resume, run.approve, run.reject, run.retry):
        with pytest.raises(NodeNotFound, match="analyze"):
            control("analyse")
    with pytest.raises(NodeNotFound):
        flow.retry(run, "analyse", view=False)
    with pytest.raises(NodeNotFound):
        flow.resume(run, branch="analyse", view=False)
    with pytest.raises(NodeNotFound):
        run.table("analyse")


def test_resuming_a_failed_run_with_an_unknown_branch_is_an_error(flow: DagFlow) -> None:
    """Where resume means retry, a branch that is not there is still an error, not ignored."""

    @flow.action
    def bad() -> None:
        raise ValueError("bad")

    run = flow.run(single(bad), view=False, raise_on_failure=False)
    with pytest.raises(NodeNotFound, match="nobody"):
        flow.resume(run, branch="nobody", view=False)
    assert run.status == "failed"


def test_a_run_can_be_cancelled_where_its_actions_are_not_defined(flow: DagFlow, tmp_path: Path) -> None:
    """Cancelling runs nothing: another session needs none of the actions for it, but to resume it does."""
    from dagflow_nb import ActionNotFound

    run = flow.run(single("echo", ask=True), view=False)
    with DagFlow(tmp_path / "flow.db", echo=False) as other:
        with pytest.raises(ActionNotFound, match="echo"):
            other.resume(run.run_id, view=False)
        with pytest.raises(RunCancelled):
            other.get(run.run_id).cancel(reason="not wanted").wait(PATIENCE)
    assert run.status == "cancelled"


def test_a_failed_run_goes_on_by_its_own_resume(flow: DagFlow) -> None:
    """`run.resume()` of a failed run is a retry that does not block."""
    broken = [1]

    @flow.action
    def fragile() -> int:
        if broken:
            raise ValueError("broken")
        return 1

    run = flow.run(single(fragile), view=False, raise_on_failure=False)
    broken.clear()
    assert run.resume() is run and run.wait(PATIENCE).status == "completed"


def test_a_cancelled_branch_stays_cancelled(flow: DagFlow) -> None:
    """Cancelling a branch ends what runs in it; resuming or cancelling it again is `InvalidState`."""
    gate = Gate()
    workflow = Workflow("branches")
    left = workflow.add(gate.hold_async, id="left")
    workflow.add("echo", id="left_end", after=[left])
    right = workflow.add("echo", id="right", v=1)
    workflow.add("echo", id="join", v=2, after=[left, right], when="one_success")
    run = flow.start(workflow, view=False, raise_on_failure=False)
    gate.wait_for(1)
    run.cancel("left", reason="wrong way")
    run.wait(PATIENCE)
    assert states(run) == {
        "left": "cancelled",
        "left_end": "cancelled",
        "right": "completed",
        "join": "completed",
    }
    for again in (lambda: run.cancel("left"), lambda: flow.resume(run, branch="left", view=False)):
        try:
            again()
        except InvalidState:
            continue
        assert run.status == "completed"


def test_a_thread_can_ask_whether_it_was_cancelled(flow: DagFlow) -> None:
    """`ctx.cancelled` becomes true in a `def` action whose branch is cancelled."""
    gate, seen = Gate(), Gate()

    @flow.action
    def polite(ctx: Any) -> None:
        gate.hold()
        assert ctx.cancelled
        seen.hold()

    run = flow.start(single(polite), view=False, raise_on_failure=False)
    gate.wait_for(1)
    run.cancel()
    run.wait(PATIENCE)
    gate.open()
    seen.wait_for(1)
    seen.open()


# --- commands -------------------------------------------------------------------------------------


def commands_in(flow: DagFlow, *commands: Any) -> Any:
    """A run in which a hook answers `analyze` with these commands."""

    @flow.on_completed(action="analyze")
    def hook() -> Any:
        return list(commands)

    return flow.start("w", view=False, raise_on_failure=False).wait(PATIENCE)


def test_growth_by_every_kind_of_answer(flow: DagFlow) -> None:
    """A spec, `AddNode`, a batch whose specs name each other, functions and references."""

    def double(v: int) -> int:
        return 2 * v

    run = commands_in(
        flow,
        NodeSpec("echo", id="one", inputs={"v": ref("analyze.x")}),
        AddNode(NodeSpec(double, id="two", inputs={"v": ref("one")}, deps=["one"])),
        AddNodes([NodeSpec("echo", id="c", deps=["b"]), NodeSpec("echo", id="b", deps=())]),
        NodeSpec("echo"),
        NodeSpec("echo"),
    )
    assert run.status == "completed", rejected(run)
    assert run.outputs["two"]["result"] == 2
    assert {"echo", "echo_2", "b", "c"} <= set(states(run))
    assert set(states(run).values()) == {"completed"}


@pytest.mark.parametrize(
    "command",
    [
        NodeSpec("echo", id="n", deps=["nobody"]),
        NodeSpec("no_such_action", id="n"),
        NodeSpec("echo", id="side"),
        NodeSpec("echo", id="inputs"),
        NodeSpec("echo", id="n", inputs={"v": ref("nobody.x")}),
        AddNodes([NodeSpec("echo", id="ok"), NodeSpec("echo", id="n", deps=["nobody"])]),
        AddNodes([NodeSpec("echo", id="p", deps=["q"]), NodeSpec("echo", id="q", deps=["p"])]),
        SetNodeInputs("analyze", {"x": 2}),
        SetNodeInputs("nobody", {"x": 2}),
        PauseBranch("nobody"),
        ResumeBranch("publish"),
        ResumeBranch("nobody"),
        CancelBranch("nobody"),
        EnableNodes(["nobody"]),
        DisableNodes(["nobody"]),
        DisableNodes("analyze"),
        RetryNode("nobody"),
        RetryNode("publish"),
        SetNodeOutputs("nobody", {}),
        SetNodeOutputs("analyze", {"x": 1}),
    ],
    ids=lambda c: f"{type(c).__name__}-{getattr(c, 'id', getattr(c, 'node_id', ''))}",
)
def test_a_refused_command_changes_nothing_and_says_so(flow: DagFlow, command: Any) -> None:
    """`CommandRejected` with a reason; nothing was added, and the run goes on."""
    run = commands_in(flow, command)
    assert run.status == "completed"
    assert states(run) == {"side": "completed", "analyze": "completed", "publish": "completed"}
    reasons = rejected(run)
    if not reasons:
        # an action that is not there is the hook's own mistake
        assert event_data(run, "HookFailed")
    else:
        assert len(reasons) == 1 and reasons[0]


def test_the_same_spec_again_is_nothing_new(flow: DagFlow) -> None:
    """The same id with an equal spec is a no-op, with another one it is refused."""
    run = commands_in(flow, *[NodeSpec("echo", id="n", inputs={"v": 1})] * 2, NodeSpec("echo", id="n"))
    assert run.status == "completed" and len(states(run)) == 4 and len(rejected(run)) == 1


def test_disabled_nodes_are_skipped_when_their_turn_comes(flow: DagFlow) -> None:
    """`DisableNodes` skips; `EnableNodes` undoes that until then."""
    run = commands_in(flow, DisableNodes(["publish"]))
    assert states(run)["publish"] == "skipped" and run.status == "completed"
    flow._session.hooks.__init__()  # type: ignore[misc]
    run = commands_in(flow, DisableNodes(["publish"]), EnableNodes("publish"))
    assert states(run)["publish"] == "completed"


def test_inputs_can_be_set_until_a_node_starts(flow: DagFlow) -> None:
    """`SetNodeInputs` replaces these inputs only."""
    run = commands_in(flow, SetNodeInputs("publish", {"x": 99}))
    assert run.outputs["publish"]["x"] == 99


def test_commands_from_outside_work_while_the_run_goes_on(flow: DagFlow) -> None:
    """`run.apply(...)` from the main thread adds nodes to a live run."""
    gate = Gate()
    run = flow.start(single(gate.hold), view=False)
    gate.wait_for(1)
    assert (
        run.apply(NodeSpec("echo", id="more", inputs={"v": 5}), NodeSpec("echo", id="x", deps=["no"])) is run
    )
    gate.open()
    run.wait(PATIENCE)
    assert run.outputs["more"]["result"] == 5 and len(rejected(run)) == 1
    with pytest.raises(ValidationError):
        run2 = flow.start(single(lambda_free), view=False)
        run2.apply("nonsense")


def lambda_free() -> int:
    """A function with a name."""
    return 1


@pytest.mark.parametrize(
    ("answer", "value", "state"),
    [
        (NodeSpec("spare", id="other", replaces="load", inputs={"n": 4}), -4, "recovered"),
        (SetNodeOutputs("load", {"result": 11}), 11, "recovered"),
        (RetryNode("load"), 4, "completed"),
    ],
    ids=["rescue", "outputs", "retry"],
)
def test_a_failed_node_is_rescued_by_a_hook(flow: DagFlow, answer: Any, value: int, state: str) -> None:
    """A rescue node (`replaces=`), `SetNodeOutputs` and `RetryNode` lift even STOP; dependants go on."""
    tries: list[int] = []

    @flow.action
    def load(n: int) -> int:
        tries.append(n)
        if len(tries) == 1:
            raise ValueError("not yet")
        return n

    @flow.action
    def spare(n: int) -> int:
        return -n

    @flow.on_failed(action="load")
    def mend() -> Any:
        return answer

    workflow = Workflow("rescue")
    workflow.add("echo", id="use", v=workflow.add(load, n=4))
    run = flow.run(workflow, view=False, config={"on_failure": "stop"})
    assert run.outputs["use"]["result"] == run.result == value
    assert states(run)["load"] == state


# --- hooks that misbehave -------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize(
    "error",
    [ValueError("v"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError("c"), StopIteration()],
)
def test_a_hook_that_raises_is_told_and_the_run_goes_on(
    flow: DagFlow, error: BaseException, is_async: bool
) -> None:
    """Whatever a hook raises is `HookFailed` (not offered to it again), and the other hooks are asked."""
    asked: list[str] = []
    if is_async:

        async def bad(event: Any) -> None:
            asked.append(type(event).__name__)
            raise error

    else:

        def bad(event: Any) -> None:
            asked.append(type(event).__name__)
            raise error

    flow.hook(bad)

    @flow.on_completed(action="analyze")
    def good() -> NodeSpec:
        return NodeSpec("echo", id="grown")

    run = flow.start("w", view=False).wait(PATIENCE)
    assert run.status == "completed" and "grown" in states(run)
    assert "HookFailed" not in asked and kinds(run).count("HookFailed") == len(asked)


@pytest.mark.parametrize(
    "rubbish", [5, "publish", object(), [1, 2], {"a": 1}, [NodeSpec("echo"), 7], b"x", True]
)
def test_a_hook_that_answers_rubbish_is_told(flow: DagFlow, rubbish: Any) -> None:
    """An answer that is no command is `HookFailed` that says what may be returned."""
    run = commands_in(flow, rubbish)
    assert run.status == "completed"
    (data,) = event_data(run, "HookFailed")
    assert "command" in json.loads(data)["error"].lower()
    assert set(states(run)) == {"side", "analyze", "publish"}


def test_a_hook_that_answers_for_ever_is_stopped(flow: DagFlow) -> None:
    """More than a hundred answers in a chain are `BudgetExceeded`, not an endless run."""
    from dagflow_nb import CustomEvent, EmitEvent

    @flow.hook(CustomEvent)
    def again() -> EmitEvent:
        return EmitEvent("again")

    @flow.on_completed(action="analyze")
    def begin() -> EmitEvent:
        return EmitEvent("begin")

    run = flow.start("w", view=False).wait(PATIENCE)
    assert run.status in ("paused", "completed") and "BudgetExceeded" in kinds(run)


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_nothing_waits_for_a_slow_hook_but_what_depends_on_its_answer(flow: DagFlow, is_async: bool) -> None:
    """While a hook thinks, other nodes run, attempts time out, and the run can be cancelled."""
    clock = still_clock(flow)
    gate = Gate()
    if is_async:

        @flow.on_completed(action="analyze")
        async def slow() -> None:
            await gate.hold_async()

    else:

        @flow.on_completed(action="analyze")
        def slow() -> None:
            gate.hold()

    @flow.action(timeout=5)
    async def hang() -> None:
        await asyncio.Event().wait()

    workflow = Workflow("slow")
    workflow.add("publish", x=1, after=[workflow.add("analyze")])
    workflow.add(hang)
    last = workflow.add("side")
    for i in range(5):
        last = workflow.add("echo", id=f"chain{i}", after=[last])
    run = flow.start(workflow, view=False, raise_on_failure=False)
    gate.wait_for(1)
    clock.wait_for_timer()
    clock.advance(5)
    wanted = {"hang": "failed", "chain4": "completed", "publish": "pending"}
    wait_until(lambda: wanted.items() <= states(run).items())
    run.cancel(reason="no patience")
    wait_until(lambda: states(run)["publish"] == "cancelled")
    gate.open()
    assert run.wait(PATIENCE).status == "cancelled"


def wait_until(condition: Any) -> None:
    """Wait for what is seen from outside only."""
    import time

    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        threading_event.wait(0.005)


def _event() -> Any:
    import threading

    return threading.Event()


threading_event = _event()


def test_a_hook_that_hangs_does_not_keep_a_run_from_being_cancelled(
    flow: DagFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that never answers is given up some time after the run was cancelled."""
    monkeypatch.setattr("dagflow_nb.runtime.asking.GRACE", 0.1)
    gate = Gate()

    @flow.on_completed(action="analyze")
    async def hang() -> None:
        await gate.hold_async()

    run = flow.start("w", view=False, raise_on_failure=False)
    gate.wait_for(1)
    run.cancel()
    assert run.wait(PATIENCE).status == "cancelled"
    assert "HookFailed" in kinds(run)


def test_one_answer_is_not_waited_for_as_long_as_all_of_them(
    flow: DagFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled, a run waits a moment for the answer under way; hooks that hear of the end have longer."""
    monkeypatch.setattr("dagflow_nb.runtime.asking.GRACE", 60.0)
    monkeypatch.setattr("dagflow_nb.runtime.asking.ONE", 0.1)
    gate, heard = Gate(), []

    @flow.on_completed(action="analyze")
    def hang() -> None:
        gate.hold()

    @flow.on_run_finished
    async def end(status: str) -> None:
        await asyncio.sleep(0.3)
        heard.append(status)

    run = flow.start("w", view=False, raise_on_failure=False)
    gate.wait_for(1)
    run.cancel()
    assert run.wait(PATIENCE).status == "cancelled" and heard == ["cancelled"]
    gate.open()


# --- budgets --------------------------------------------------------------------------------------


def growing(flow: DagFlow) -> Workflow:
    """A node that grows one after another, each reporting sixty tokens."""

    @flow.action
    def tick(ctx: Any) -> None:
        ctx.report_usage(tokens=60, cost=0.5)

    @flow.on_completed(action="tick")
    def more() -> NodeSpec:
        return NodeSpec("tick")

    workflow = Workflow("growing")
    workflow.add(tick)
    return workflow


@pytest.mark.parametrize(
    ("budget", "limit", "nodes"),
    [("max_tokens", 100, 3), ("max_cost", 1.2, 4), ("max_iterations", 4, 6), ("max_nodes", 3, 5)],
)
def test_a_budget_pauses_and_more_of_it_goes_on(flow: DagFlow, budget: str, limit: float, nodes: int) -> None:
    """A breach is `BudgetExceeded` and a pause that does not raise; a raised budget goes on."""
    run = flow.run(growing(flow), view=False, config={budget: limit})
    assert run.status == "paused" and run.error is None
    assert abs(len(states(run)) - nodes) <= 1
    (data,) = event_data(run, "BudgetExceeded")
    assert json.loads(data)["budget"] == budget and json.loads(data)["limit"] == limit
    assert budget in str(run.waiting[0].reason)
    before = len(states(run))
    assert flow.resume(run, view=False).status == "paused" and len(states(run)) <= before + 1
    again = flow.resume(run, view=False, config={budget: limit * 3})
    assert again.status == "paused" and len(states(run)) > before + 1


def test_a_wide_growth_is_one_iteration(flow: DagFlow) -> None:
    """A node for each of 500 files is a chain of one."""

    @flow.on_completed(action="side")
    def wide() -> Any:
        yield from (NodeSpec("echo", id=f"file_{i}") for i in range(500))

    run = flow.run("w", view=False, config={"max_iterations": 1})
    assert run.status == "completed" and len(states(run)) == 503


def test_branches_have_budgets_of_their_own(flow: DagFlow) -> None:
    """`branch_budgets`: the branch pauses, the rest completes."""
    growing(flow)
    workflow = Workflow("two")
    workflow.add("tick", id="greedy")
    workflow.add("echo", id="modest", v=1)
    run = flow.run(workflow, view=False, config={"branch_budgets": {"gre*": {"max_tokens": 100}}})
    assert run.status == "paused" and states(run)["modest"] == "completed"
    assert [w.branch_id for w in run.waiting] == ["greedy"]


def test_every_so_many_rounds_of_growth_are_reviewed(flow: DagFlow) -> None:
    """`review_frequency=N` pauses every N rounds; resuming goes on to the next review."""
    run = flow.run(growing(flow), view=False, config={"review_frequency": 3})
    assert run.status == "paused" and "review" in str(run.waiting[0].reason)
    first = len(states(run))
    flow.resume(run, view=False)
    assert run.status == "paused" and len(states(run)) == first + 3


def test_limits_of_actions_and_rates_hold(flow: DagFlow) -> None:
    """`limits={"echo": 2}` runs two at once; `"2/min"` starts two, and two more a minute later."""
    running, most = 0, 0

    @flow.action
    async def busy(i: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return i

    workflow = Workflow("many")
    for i in range(10):
        workflow.add(busy, id=f"n{i}", i=i)
    for config in ({"limits": {"busy": 2}}, {"max_parallel_nodes": 2}):
        most = 0
        flow.run(workflow, view=False, config=config)
        assert most == 2
    most = 0
    flow.run(workflow, view=False, config={"enable_parallel_execution": False})
    assert most == 1
    clock = still_clock(flow)
    run = flow.start(workflow, view=False, config={"limits": {"busy": "2/min"}})
    for done in (2, 4, 6, 8):
        wait_until(lambda done=done: list(states(run).values()).count("completed") == done)
        clock.wait_for_timer()
        clock.advance(60)
    assert run.wait(PATIENCE).status == "completed"


# --- maps -----------------------------------------------------------------------------------------


def test_a_map_runs_an_item_for_each_combination(flow: DagFlow) -> None:
    """Nodes `ID/0`, ...: the lists of the items' outputs in order, and the table of them."""

    @flow.action
    async def square(v: int, k: int = 1) -> dict[str, int]:
        return {"sq": v * v * k}

    workflow = Workflow("map")
    source = workflow.add("echo", id="source", v=[1, 2, 3])
    mapped = workflow.map(square, {"v": source, "k": [1, 10]}, id="all", limit=2)
    workflow.add("echo", id="sum", v=mapped["sq"])
    workflow.add("echo", id="whole", v=mapped)
    run = flow.run(workflow, view=False)
    assert run.outputs["sum"]["result"] == [1, 10, 4, 40, 9, 90]
    assert run.outputs["whole"]["result"][0] == {"sq": 1}
    table = run.table("all")
    assert list(table["v"]) == [1, 1, 2, 2, 3, 3] and list(table["sq"]) == [1, 10, 4, 40, 9, 90]
    assert list(table.columns) == ["v", "k", "sq", "status", "error", "node_id"]


@pytest.mark.parametrize("over", ["abc", 5, None, {"a": 1}, iter([1])], ids=repr)
def test_a_map_over_no_list_fails_with_its_name(flow: DagFlow, over: Any) -> None:
    """What cannot be gone over fails the map with a text that says so; nothing hangs."""

    @flow.action
    def give() -> dict[str, Any]:
        return {"items": over}

    workflow = Workflow("map")
    workflow.map("echo", {"v": workflow.add(give)["items"]}, id="all")
    run = flow.start(workflow, view=False, raise_on_failure=False).wait(PATIENCE)
    assert run.status == "failed" and "'all'" in str(run.error) and "list" in str(run.error)


def test_an_empty_map_completes(flow: DagFlow) -> None:
    """No items: the map has completed, its lists are empty."""
    workflow = Workflow("map")
    workflow.add("echo", id="sum", v=workflow.map("echo", {"v": []}, id="all"))
    assert flow.run(workflow, view=False).result == []


def test_a_failed_item_fails_the_map_once_the_others_have_ended(flow: DagFlow) -> None:
    """The others complete; a dependant with `all_done` finds None in the item's place; retry mends it."""
    bad = [3]

    @flow.action
    def square(v: int) -> int:
        if v in bad:
            raise ValueError("no three")
        return v * v

    workflow = Workflow("map")
    mapped = workflow.map(square, {"v": [1, 2, 3, 4]}, id="all")
    workflow.add("echo", id="sum", v=mapped, when="all_done")
    workflow.add("echo", id="strict", v=mapped)
    run = flow.run(workflow, view=False, raise_on_failure=False)
    assert run.outputs["sum"]["result"] == [1, 4, None, 16]
    assert "no three" in run.table("all")["error"][2]
    assert states(run)["strict"] == "skipped" and states(run)["all/2"] == "failed"
    assert isinstance(run.error, NodeExecutionError) and isinstance(run.error.__cause__, ValueError)
    bad.clear()
    again = flow.retry(run, view=False)
    assert again.outputs["strict"]["result"] == [1, 4, 9, 16]
    assert again.outputs["sum"]["result"] == [1, 4, 9, 16]


def test_a_map_goes_over_the_rows_of_a_frame(flow: DagFlow) -> None:
    """A DataFrame, or a reference to one: an item a row."""
    import pandas as pd

    @flow.action
    def frame() -> Any:
        return pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})

    @flow.action
    def join(a: int, b: str) -> str:
        return f"{a}{b}"

    workflow = Workflow("rows")
    workflow.map(join, workflow.add(frame), id="all")
    assert flow.run(workflow, view=False).result == ["1x", "2y"]


# --- sub-workflows and branches -------------------------------------------------------------------


def test_a_sub_workflow_is_inlined(flow: DagFlow) -> None:
    """Its nodes are `ID/child`, its result is the node's, and its failure the node's failure."""

    @flow.action
    def load(n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        return n * 2

    inner = Workflow("inner", inputs=["n"])
    inner.add("echo", id="end", v=inner.add(load, n=inner.input("n")))
    outer = Workflow("outer", inputs=["n"])
    sub = outer.add(inner, id="sub", n=outer.input("n"))
    outer.add("echo", id="fin", v=sub)
    run = flow.run(outer, n=5, view=False)
    assert run.result == 10 and set(states(run)) == {"sub", "sub/load", "sub/end", "fin"}
    bad = flow.run(outer, n=-1, view=False, raise_on_failure=False)
    assert states(bad) == {"sub": "failed", "sub/load": "failed", "sub/end": "skipped", "fin": "skipped"}
    assert isinstance(bad.error.__cause__, ValueError)


def test_a_branch_node_takes_one_way(flow: DagFlow) -> None:
    """The way not taken is skipped; a join with `one_success` goes on."""
    workflow = Workflow("ways", inputs=["go"])
    yes, no = workflow.add("echo", id="yes"), workflow.add("echo", id="no")
    workflow.branch(workflow.input("go"), then=yes, otherwise=no)
    workflow.add("echo", id="join", v=1, after=[yes, no], when="one_success")
    for go in (True, False):
        run = flow.run(workflow, go=go, view=False)
        assert states(run)["yes" if go else "no"] == "completed"
        assert states(run)["no" if go else "yes"] == "skipped"
        assert states(run)["join"] == "completed" and run.status == "completed"


@pytest.mark.parametrize(
    ("when", "after_good", "after_bad", "after_both"),
    [
        ("all_success", "completed", "skipped", "skipped"),
        ("all_done", "completed", "completed", "completed"),
        ("one_success", "completed", "skipped", "completed"),
        ("any_failed", "skipped", "completed", "completed"),
    ],
)
def test_when_decides(flow: DagFlow, when: str, after_good: str, after_bad: str, after_both: str) -> None:
    """Each `when` judges its dependencies once all of them are final; a skipped node says why."""

    @flow.action
    def bad() -> NodeOutput:
        return NodeOutput.failure("soft")

    workflow = Workflow("when")
    good, failing = workflow.add("echo", id="good"), workflow.add(bad, id="bad")
    for name, after in (("after_good", [good]), ("after_bad", [failing]), ("after_both", [good, failing])):
        workflow.add("echo", id=name, after=after, when=when)
    run = flow.run(workflow, view=False, raise_on_failure=False)
    expected = {"after_good": after_good, "after_bad": after_bad, "after_both": after_both}
    assert {id: states(run)[id] for id in expected} == expected
    for id, state in expected.items():
        assert state != "skipped" or reason_of(run, id)
