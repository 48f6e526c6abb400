"""Planners: what an action returns becomes nodes, and it is asked again with what came of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from dagflow_nb import (
    DagFlow,
    InvalidState,
    NodeCtx,
    NodeOutput,
    NodeSpec,
    OnFailure,
    PauseBranch,
    Plan,
    ResumeBranch,
    ValidationError,
    Workflow,
    ref,
)
from dagflow_nb.agents.rounds import Rounds
from dagflow_nb.testing import Gate, replay

Script = Callable[[tuple[dict[str, Any], ...]], Any]


def tools(flow: DagFlow) -> None:
    """Two tools: one that doubles, and fails of 13, and one that adds up."""

    @flow.tool
    def double(n: int) -> int:
        """Twice as much."""
        if n == 13:
            raise RuntimeError("unlucky")
        return 2 * n

    @flow.tool
    def total(ns: list[int]) -> dict[str, int]:
        """The sum."""
        return {"total": sum(ns)}


def agent(flow: DagFlow, script: Script, told: list[Any] | None = None, **planner: Any) -> Workflow:
    """A workflow with one planner's node, whose action returns what the script says."""

    @flow.action
    def plan(goal: int = 3, history: tuple[dict[str, Any], ...] = ()) -> Any:
        if told is not None:
            told.append(list(history))
        return script(history)

    flow.planner(plan, **planner)
    workflow = Workflow("agent", inputs={"goal": 3})
    workflow.add("plan", goal=workflow.input("goal"))
    return flow.add_workflow(workflow)


def rounds(*answers: Any) -> Script:
    """A script that returns one answer after the other, and then no step."""
    left = list(answers)
    return lambda history: left.pop(0) if left else {"answer": len(history)}


def step(action: str = "double", **given: Any) -> dict[str, Any]:
    named = {key: given.pop(key) for key in ("id", "after", "over") if key in given}
    return {"action": action, **named, "inputs": given}


def with_wrong_input() -> Plan:
    plan = Plan()
    plan.add("double", m=1)
    return plan


@pytest.fixture
def flow() -> Iterator[DagFlow]:
    with DagFlow(":memory:", echo=False) as flow:
        tools(flow)
        yield flow


def ids(run: Any) -> list[str]:
    return [id for id in run.nodes()["node_id"] if "/" not in id]


# --- rounds -------------------------------------------------------------------------------------


def test_rounds_follow_each_other(flow: DagFlow) -> None:
    """Steps follow the planner's node; it runs again as `ID_2`, ..., told of them, until there is none."""
    told: list[Any] = []
    first = {"steps": [step(id="a", n=1), step(id="b", n={"ref": "a.result"})]}
    second = {"steps": [step("total", ns=[{"ref": "a.result"}, 5])]}
    run = flow.run(agent(flow, rounds(first, second), told), view=False)
    assert run.result == {"answer": 3}
    assert ids(run) == ["plan", "a", "b", "plan_2", "total", "plan_3"]
    needs = run.nodes().set_index("node_id")["dependencies"].map(list)
    assert needs["a"] == ["plan"] and needs["plan_2"] == ["a", "b"] and needs["total"] == ["plan_2", "a"]
    done = {"action": "double", "status": "completed"}
    assert told[1] == [
        {**done, "id": "a", "inputs": {"n": 1}, "outputs": {"result": 2}},
        {**done, "id": "b", "inputs": {"n": {"ref": "a.result"}}, "outputs": {"result": 4}},
    ]
    assert told[2][:2] == told[1] and told[2][2]["outputs"] == {"total": 7}


OPENAI = {"id": "c1", "type": "function", "function": {"name": "double", "arguments": '{"n": 4}'}}
ANTHROPIC = {"type": "tool_use", "id": "c1", "name": "double", "input": {"n": 4}}
MCP = {"name": "double", "arguments": {"n": 4}}


class Message(BaseModel):
    """As the libraries of the APIs give it."""

    role: str = "assistant"
    content: str | None = None
    tool_calls: list[Any] = []


def built() -> Plan:
    plan = Plan()
    plan.add("double", n=4)
    return plan


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        (built(), None),
        ({"plan": built(), "thoughts": "one"}, None),
        ('{"steps": [{"action": "double", "inputs": {"n": 4}}]}', None),
        ({"steps": [{"action": "double", "inputs": {"n": 4}}], "thoughts": "one"}, None),
        ([OPENAI], "c1"),
        ({"text": None, "messages": [], "tool_calls": [OPENAI]}, "c1"),
        (Message(tool_calls=[OPENAI]), "c1"),
        ([{"type": "function_call", "call_id": "c1", "name": "double", "arguments": '{"n": 4}'}], "c1"),
        ([{"type": "text", "text": "let me see"}, ANTHROPIC], "c1"),
        ({"role": "assistant", "content": [ANTHROPIC], "stop_reason": "tool_use"}, "c1"),
        ([MCP], None),
        (MCP, None),
        ([{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": MCP}], "7"),
        ([NodeSpec("double", inputs={"n": 4})], None),
        (NodeSpec("double", inputs={"n": 4}), None),
        ({"text": '{"steps": [{"action": "double", "inputs": {"n": 4}}]}', "messages": []}, None),
    ],
)
def test_all_forms_of_a_plan_are_taken(flow: DagFlow, answer: Any, call: str | None) -> None:
    """A plan, its JSON, tool calls in each style, and specs give the same step; a call's id is told."""
    told: list[Any] = []
    flow.run(agent(flow, rounds(answer), told), view=False)
    (entry,) = told[1]
    assert (entry["id"], entry["inputs"], entry["outputs"]) == ("double", {"n": 4}, {"result": 8})
    assert entry.get("tool_call_id") == call


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [],
        Plan(),
        {"steps": []},
        {"answer": 4},
        '{"answer": 4}',
        'That is it: ```json\n{"answer": 4}\n```',
        42,
        {"text": "{4}", "messages": [], "tool_calls": []},
    ],
)
def test_nothing_to_do_ends_the_rounds(flow: DagFlow, answer: Any) -> None:
    """What holds no step is an answer."""
    run = flow.run(agent(flow, lambda history: answer), view=False)
    assert run.success and ids(run) == ["plan"]


def test_until_ends_the_rounds(flow: DagFlow) -> None:
    """`until` is asked of each of the planner's outputs; the steps beside it are not added then."""
    asked: list[Any] = []
    enough = {"steps": [step(n=2)], "enough": True}

    def until(outputs: Any) -> bool:
        asked.append(outputs)
        return "enough" in outputs

    run = flow.run(agent(flow, rounds({"steps": [step(n=1)]}, enough), until=until), view=False)
    assert ids(run) == ["plan", "double", "plan_2"] and len(asked) == 2


def test_until_does_not_hold_the_loop(flow: DagFlow) -> None:
    """A slow one is asked in a thread, an `async def` is awaited."""
    threads: list[str] = []

    def slow(outputs: Any) -> bool:
        threads.append(threading.current_thread().name)
        return True

    async def on_loop(outputs: Any) -> bool:
        return True

    for until in (slow, on_loop):
        run = flow.run(agent(flow, lambda history: {"steps": [step(n=1)]}, until=until), view=False)
        assert ids(run) == ["plan"]
    assert threads[0].startswith("dagflow-hook")


def test_an_error_in_until_fails_the_run(flow: DagFlow) -> None:
    """It is told with its name as a hook's, and again once mended the planner goes on from where it was."""
    script = rounds({"steps": [step(n=1)]})
    workflow = agent(flow, script, until=lambda out: out["nowhere"])
    run = flow.run(workflow, view=False, raise_on_failure=False)
    (event,) = run.events(kind="HookFailed")["data"]
    assert event["hook"] == "planner 'plan'" and "nowhere" in event["error"]
    assert run.status == "failed" and "flow.retry(node='plan')" in str(run.error)
    agent(flow, script)
    flow.retry(run, "plan_2", view=False, raise_on_failure=False)
    assert run.status == "failed"  # the node that told of it has nothing to run
    agent(flow, rounds({"steps": [step(n=1)]}))
    assert flow.retry(run, "plan", view=False).result == {"answer": 1}


def test_many_steps_cost_no_look_at_all_of_them_each(flow: DagFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a plan has, each step is looked at a few times, in whatever order they end."""
    looks = [0]
    of_round = Rounds.planner_of

    def counted(rounds: Rounds, step: Any) -> Any:
        looks[0] += 1
        return of_round(rounds, step)

    monkeypatch.setattr(Rounds, "planner_of", counted)
    grown = Rounds.grown

    def all_counted(rounds: Rounds, node: Any) -> Any:
        found = grown(rounds, node)
        looks[0] += len(found)
        return found

    monkeypatch.setattr(Rounds, "grown", all_counted)
    many = 300
    run = flow.run(agent(flow, rounds({"steps": [step(n=20) for _ in range(many)]})), view=False)
    assert run.result == {"answer": many} and looks[0] < 20 * many


def test_the_next_round_follows_the_step_that_ended_last(flow: DagFlow, tmp_path: Path) -> None:
    """However late hooks answer for the one before, so that a replay has the very same plan."""
    slowly = True
    first_has_ended = threading.Event()

    @flow.tool
    def late() -> bool:
        return first_has_ended.wait(20)

    @flow.on_completed(node="double")
    async def hold(ctx: Any) -> None:
        first_has_ended.set()
        while slowly and ctx.graph.status("late") != "completed":
            await asyncio.sleep(0.001)

    workflow = agent(flow, rounds({"steps": [step(n=1), step("late")]}))
    run = flow.run(workflow, view=False)
    assert run.nodes().set_index("node_id").loc["plan_2", "added_by"] == "late"
    fixture = run.to_fixture(tmp_path / "run.json")
    slowly = False
    assert replay(flow, fixture).success


def test_maps_are_steps_too(flow: DagFlow) -> None:
    """The next round begins once all items have ended, and is told their outputs as lists."""
    told: list[Any] = []
    plan = {"steps": [step(id="m", over={"n": [1, 2, 3]}), step("total", ns={"ref": "m.result"})]}
    flow.run(agent(flow, rounds(plan), told), view=False)
    assert told[1][0]["outputs"] == {"result": [2, 4, 6]} and told[1][0]["over"] == {"n": [1, 2, 3]}
    assert told[1][1]["outputs"] == {"total": 12}


def test_a_later_round_may_use_the_same_ids(flow: DagFlow) -> None:
    """An id that is taken becomes the next free one, also in references; earlier steps may be referred to."""
    again = {"steps": [step(id="a", n=1), step("total", id="t", ns=[{"ref": "a.result"}])]}
    refs = [{"ref": "a.result"}, {"ref": "a_2.result"}, {"ref": "t.total"}]
    last = {"steps": [step("total", id="sum", ns=refs)]}
    run = flow.run(agent(flow, rounds(again, again, last)), view=False)
    assert run.outputs["sum"]["total"] == 6 and {"a_2", "t_2"} <= set(ids(run))
    assert list(run.nodes().set_index("node_id").loc["t_2", "dependencies"]) == ["a_2"]


def test_what_a_hook_adds_first_takes_no_id_away(flow: DagFlow) -> None:
    """A step or a round whose id a hook's node has taken in the same answer gets the next free one."""

    @flow.on_completed(node="plan")
    def note(node: Any) -> Any:
        return NodeSpec("double", inputs={"n": 9})

    @flow.on_completed(node="double_2")
    def early(node: Any) -> Any:
        return NodeSpec("double", id="plan_2", inputs={"n": 8})

    run = flow.run(agent(flow, rounds({"steps": [step(n=1)]}, {"steps": [step(n=2)]})), view=False)
    nodes = run.nodes().set_index("node_id")["action"].to_dict()
    assert nodes == {
        "plan": "plan",
        "double": "double",
        "double_2": "double",
        "plan_2": "double",
        "plan_3": "plan",
        "double_3": "double",
        "plan_4": "plan",
    }
    assert run.outputs["double_2"]["result"] == 2 and run.events(kind="CommandRejected").empty


def test_a_step_may_be_called_as_a_later_round(flow: DagFlow) -> None:
    """The round then has the next free id, and what is told of the step is still the step's."""
    told: list[Any] = []
    run = flow.run(agent(flow, rounds({"steps": [step(id="plan_2", n=4)]}), told), view=False)
    assert ids(run) == ["plan", "plan_2", "plan_3"] and told[1][0]["outputs"] == {"result": 8}


def test_what_a_round_was_told_is_stored_once(tmp_path: Path) -> None:
    """A later round refers to it: each stores as many bytes, and whoever looks sees all of it."""
    plans = [{"steps": [step(id=f"s{n}", n=100 + n)]} for n in range(60)]
    expected = [(f"s{n}", {"result": 200 + 2 * n}) for n in range(60)]
    told: list[Any] = []
    with DagFlow(tmp_path / "a.db", echo=False, config={"max_iterations": None}) as flow:
        tools(flow)
        run = flow.run(agent(flow, rounds(*plans), told), view=False)
        assert [(entry["id"], entry["outputs"]) for entry in told[-1]] == expected
        for table in ("events", "journal"):
            written = flow.sql(f"select length(data) as n from {table} where data like '%history%'").n
            assert len(written) >= 59 and written.max() < 700
        text = run.to_yaml()
        assert text.count("!ref s0.result") == 60 and text.count("!ref s59.result") == 1
    with DagFlow(tmp_path / "a.db", echo=False, config={"max_iterations": None}) as other:
        tools(other)
        agent(other, rounds(), told)
        again = other.get(run.run_id)
        assert again.to_yaml() == text
        assert {id for id, _ in expected} <= set(
            again.lineage("plan_61").query("as_input == 'history'").node_id
        )
        other.fork(again, node="plan_61", view=False)
        assert [(entry["id"], entry["outputs"]) for entry in told[-1]] == expected


def test_what_ended_later_is_told_as_it_is_by_then(flow: DagFlow) -> None:
    """An entry of an earlier round is replaced, and what came before it is still referred to."""
    gate = threading.Event()
    told: list[Any] = []

    @flow.action
    def slow() -> int:
        assert gate.wait(20)
        return 1

    def script(history: Any) -> Any:
        n = len(told)
        if n == 4:
            gate.set()
        if n == 2:
            return {"steps": [step("slow", id="slow"), step(id="bad", n=13)]}
        if n == 5:
            return {"steps": [step(id="waits", after=["slow"], n=5)]}
        return {"steps": [step(id=f"s{n}", n=n)]} if n < 7 else None

    run = flow.run(agent(flow, script, told), view=False, raise_on_failure=False)
    assert (told[2][1]["id"], told[2][1]["status"]) == ("slow", "running")
    assert [(e["id"], e["status"]) for e in told[-1]] == [
        ("s1", "completed"),
        ("slow", "completed"),
        ("bad", "failed"),
        ("s3", "completed"),
        ("s4", "completed"),
        ("waits", "completed"),
        ("s6", "completed"),
    ]
    nodes = run._state()[0].nodes
    before = [nodes[f"plan_{n}"].spec.inputs["history"].before.target for n in range(3, 8)]
    assert before.count("plan_2/inputs") == 2 and before[-1] == "plan_6/inputs"


def test_outputs_in_history_are_references(flow: DagFlow) -> None:
    """They are stored once, by the node that gave them."""
    run = flow.run(agent(flow, rounds({"steps": [step(n=1)]})), view=False)
    (entry,) = run._state()[0].nodes["plan_2"].spec.inputs["history"]
    assert entry["outputs"] == {"result": type(ref("a"))("double", ("result",))}


def test_a_planner_in_an_item_of_a_map_keeps_its_item(flow: DagFlow) -> None:
    """Each item's planner goes on by itself, with the item's own input."""

    @flow.action
    def plan(goal: int, history: Any = ()) -> Any:
        return {"reached": goal} if history else [NodeSpec("double", inputs={"n": goal})]

    flow.planner(plan)
    workflow = Workflow("many")
    workflow.map("plan", over={"goal": [1, 2]})
    run = flow.run(workflow, view=False)
    assert run.outputs["plan/0_2"]["reached"] == 1 and run.outputs["plan/1_2"]["reached"] == 2


def test_two_planners_do_not_meddle(flow: DagFlow) -> None:
    """Each turns what its own action returns into steps; one may be a step of the other."""

    @flow.action
    def boss(history: Any = ()) -> Any:
        return {"told": [e["status"] for e in history]} if history else {"steps": [step("worker", id="w")]}

    @flow.action
    def worker(history: Any = ()) -> Any:
        return {"done": True} if history else {"steps": [step(n=3)]}

    flow.planner(boss)
    flow.planner(worker)
    workflow = Workflow("both")
    workflow.add("boss")
    run = flow.run(workflow, view=False)
    assert set(ids(run)) == {"boss", "w", "boss_2", "double", "w_2"}


# --- failures -------------------------------------------------------------------------------------


def test_a_failed_step_begins_the_next_round(flow: DagFlow) -> None:
    """The planner hears of the error and of what was skipped for it, and the run tells that a node failed."""
    told: list[Any] = []
    bad = {"steps": [step(id="bad", n=13), step(id="late", n={"ref": "bad.result"})]}
    run = flow.run(agent(flow, rounds(bad), told), view=False, raise_on_failure=False)
    first, second = told[1]
    assert first["status"] == "failed" and "unlucky" in first["error"] and "outputs" not in first
    assert second["error"] == "it was skipped: its dependency 'bad' failed"
    assert run.status == "failed" and run.result == {"answer": 2}


def test_the_error_of_a_tool_call_is_its_answer(flow: DagFlow) -> None:
    """The other calls are waited for, the planner is told of all, and the run ends well."""
    told: list[Any] = []
    asked = [
        {"id": f"c{n}", "type": "function", "function": {"name": "double", "arguments": f'{{"n": {n}}}'}}
        for n in (1, 13, 2)
    ]
    anonymous = {"method": "tools/call", "params": {"name": "double", "arguments": {"n": 13}}}
    workflow = agent(flow, rounds(asked, [anonymous]), told)
    run = flow.run(workflow, view=False, config={"on_failure": "stop"})
    assert run.success and run.result == {"answer": 4}
    assert [(e["tool_call_id"], e.get("outputs"), e.get("error")) for e in told[1]] == [
        ("c1", {"result": 2}, None),
        ("c13", None, "RuntimeError: unlucky"),
        ("c2", {"result": 4}, None),
    ]
    assert told[2][3]["error"] == "RuntimeError: unlucky" and "tool_call_id" not in told[2][3]
    failed = run.nodes().query("status == 'recovered'")
    assert list(failed["error"]) == ["RuntimeError: unlucky"] * 2
    assert run.attempts().query("status == 'failed'").shape[0] == 2


def test_the_result_of_a_planner_is_what_it_returned_last(flow: DagFlow) -> None:
    """Also where the workflow's function returned its handle, or a part of what it gives."""
    workflow = agent(
        flow, lambda history: {"steps": [step(n=1)]} if len(history) < 2 else {"answer": len(history)}
    )
    workflow.result = {"all": ref("plan"), "answer": ref("plan.answer")}
    assert flow.run(workflow, view=False).result == {"all": {"answer": 2}, "answer": 2}
    assert flow.get().result == {"all": {"answer": 2}, "answer": 2}


def test_a_step_that_is_not_waited_for_is_no_result(flow: DagFlow) -> None:
    """A planner with its rounds is one leaf: not what failed in them, nor what ended later."""
    gate = threading.Event()

    @flow.action
    def slow() -> int:
        assert gate.wait(20)
        return 1

    def script(history: Any) -> Any:
        if not history:
            return {"steps": [step("slow"), step(id="bad", n=13)]}
        gate.set()
        return {"answer": 42}

    workflow = agent(flow, script)
    run = flow.run(workflow, view=False, raise_on_failure=False)
    assert run.nodes().set_index("node_id")["status"]["slow"] == "completed"
    assert run.result == {"answer": 42}
    workflow.add("double", n=1)
    gate.clear()
    run = flow.run(workflow, view=False, raise_on_failure=False)
    assert run.result == {"double": 2, "plan_2": {"answer": 42}}


def test_who_comes_after_a_planner_waits_for_its_answer(tmp_path: Path) -> None:
    """Nodes, joins, a sub-workflow's result and a map get what the last round gave, there and in the file."""
    with DagFlow(tmp_path / "a.db", echo=False) as flow:
        tools(flow)

        @flow.action
        def use(answer: Any = None) -> dict[str, Any]:
            return {"got": answer}

        def script(history: Any) -> Any:
            return {"answer": len(history)} if len(history) > 1 else {"steps": [step(n=1)]}

        wf = agent(flow, script)
        wf.add(use, answer=ref("plan.answer"))
        wf.add(use, id="late", after=["plan"])
        wf.add(use, id="mistyped", answer=ref("plan.anwser"))
        run = flow.run(wf, view=False)
        assert run.logs("mistyped").message.str.contains("'plan_3' gave no output 'anwser'").any()
        nothing = {"got": None}
        assert run.result == {"use": {"got": 2}, "late": nothing, "mistyped": nothing}
        assert "steps" in run.outputs["plan"] and run.outputs["plan_3"] == {"answer": 2}
        nodes = run.nodes().set_index("node_id")
        assert (nodes.started_at[["use", "late"]] >= nodes.finished_at["plan_3"]).all()
        sources = run.lineage("use").query("depth == 1 and as_input == 'answer'")
        assert list(sources.node_id) == ["plan_3"]
        inner, outer = agent(flow, script), Workflow("outer")
        inner.result = {"a": ref("plan.answer")}
        outer.add(use, id="of group", answer=outer.add(inner, id="in")["a"])
        items = outer.map("plan", over={"goal": [1, 2]}, id="many")
        outer.add(use, id="of map", answer=items["answer"])
        grouped = flow.run(outer, view=False)
        assert grouped.result == {"of group": {"got": 2}, "of map": {"got": [2, 2]}}
        assert list(grouped.table("many").answer) == [2, 2]
    with DagFlow(tmp_path / "a.db", echo=False) as other:
        again = other.get(run.run_id)
        assert again.result == run.result and other.get(grouped.run_id).result == grouped.result
        tools(other)
        other.action(use)
        static = other.load_yaml_string(again.to_yaml())
        assert static.nodes["use"].deps == static.nodes["late"].deps == ("plan_3",)


def test_who_comes_after_a_planner_is_judged_by_its_last_round(flow: DagFlow) -> None:
    """It is skipped where that failed, and runs once a retry mends it."""
    fails = [True]

    def script(history: Any) -> Any:
        if not history:
            return {"steps": [step(n=1)]}
        if fails:
            raise RuntimeError("no idea")
        return {"answer": history[0]["outputs"]["result"]}

    wf = agent(flow, script)
    wf.add("double", id="use", n=ref("plan.answer"))
    wf.add("double", id="other", n=1, after=["plan"], when="any_failed")
    run = flow.run(wf, view=False, raise_on_failure=False)
    nodes = run.nodes().set_index("node_id")
    assert nodes.status["use"] == "skipped" and "'plan_2' failed" in nodes.reason["use"]
    assert nodes.status["other"] == "completed"
    fails.clear()
    again = flow.retry(run, view=False, raise_on_failure=False)
    assert again.outputs["use"]["result"] == 4 and again.status == "completed"
    fork = flow.fork(run, node="plan", view=False)
    assert fork.outputs["use"]["result"] == 4


def test_a_step_that_runs_again_takes_along_who_used_the_answer(flow: DagFlow) -> None:
    """The later rounds are withdrawn, and who came after the planner waits for the new ones."""
    add = [0]

    @flow.action
    def look(n: int) -> int:
        return n + add[0]

    def script(history: Any) -> Any:
        return (
            {"answer": history[0]["outputs"]["result"]} if history else {"steps": [step("look", id="s", n=1)]}
        )

    wf = agent(flow, script)
    wf.add("double", id="use", n=ref("plan.answer"))
    run = flow.run(wf, view=False)
    assert run.outputs["use"]["result"] == 2
    add[0] = 10
    assert flow.retry(run, "s", view=False).outputs["use"]["result"] == 22
    add[0] = 20
    assert flow.retry(run, "plan", view=False).outputs["use"]["result"] == 42
    assert flow.fork(run, node="s", view=False).outputs["use"]["result"] == 42


def test_who_comes_after_a_gated_planner_waits_too(flow: DagFlow) -> None:
    """Until what was approved has ended; rejected, it is cancelled; with an empty plan it goes on."""

    def script(history: Any) -> Any:
        return {"answer": 1} if history else {"steps": [step(n=1)]}

    wf = agent(flow, script, gate=True)
    wf.add("double", id="use", n=ref("plan.answer"))
    run = flow.run(wf, view=False)
    assert run.approve().wait().outputs["use"]["result"] == 2
    run = flow.run(wf, view=False)
    run.reject().wait()
    assert run.nodes().set_index("node_id").status["use"] == "cancelled"
    late = agent(flow, script, gate=True)
    late.add("double", id="use", n=3, after=["plan"])
    run = flow.run(late, view=False)
    assert run.approve(Plan()).wait().outputs["use"]["result"] == 6


def test_a_plan_may_name_who_comes_after_the_planner(flow: DagFlow) -> None:
    """What waits for each other does not wait for ever: the node then goes on with the first plan."""

    def script(history: Any) -> Any:
        return {"answer": 1} if history else {"steps": [{**step(id="s", n=1), "after": ["use"]}], "n": 5}

    wf = agent(flow, script)
    wf.add("double", id="use", n=ref("plan.n"))
    run = flow.run(wf, view=False)
    assert run.success and run.outputs["use"]["result"] == 10
    nodes = run.nodes().set_index("node_id")
    assert nodes.started_at["s"] >= nodes.finished_at["use"]


def test_who_waits_for_an_answer_does_so_in_another_process(tmp_path: Path) -> None:
    """That it waits is in the file."""

    def script(history: Any) -> Any:
        return {"answer": 7} if history else {"steps": [step(n=1)]}

    with DagFlow(tmp_path / "a.db", echo=False) as flow:
        tools(flow)
        wf = agent(flow, script, gate=True)
        wf.add("double", id="use", n=ref("plan.answer"))
        flow.run(wf, view=False)
    with DagFlow(tmp_path / "a.db", echo=False) as other:
        tools(other)
        agent(other, script, gate=True)
        assert other.get().approve().wait().outputs["use"]["result"] == 14


def test_one_failure_is_enough(flow: DagFlow) -> None:
    """The planner does not wait for the steps that still run, and hears of them later."""
    told: list[Any] = []
    gate = threading.Event()

    @flow.action
    def slow() -> dict[str, int]:
        assert gate.wait(20)
        return {"n": 1}

    def script(history: Any) -> Any:
        if not history:
            return {"steps": [step("slow"), step(id="bad", n=13)]}
        if len(history) == 2:
            gate.set()
            return {"steps": [step("total", ns=[{"ref": "slow.n"}])]}
        return None

    run = flow.run(agent(flow, script, told), view=False, raise_on_failure=False)
    assert told[1][0]["status"] == "running" and not {"outputs", "error"} & set(told[1][0])
    assert told[2][0]["outputs"] == {"n": 1} and run.outputs["total"]["total"] == 1


def test_a_mended_failure_is_none(flow: DagFlow) -> None:
    """A failure handler that recovers a step is waited for; a step of a later round may replace it, too."""
    told: list[Any] = []

    @flow.action
    def mend(error: str, node_id: str) -> NodeOutput:
        return NodeOutput.ok({"result": -1}, recovered=True)

    flow.tool(name="careful", failure=mend)(flow.registry.need("double").fn)  # type: ignore[attr-defined]  # a function's
    replacing = [NodeSpec("double", id="other", inputs={"n": 6}, replaces="bad")]
    script = rounds({"steps": [step("careful", id="c", n=13)]}, {"steps": [step(id="bad", n=13)]}, replacing)
    run = flow.run(agent(flow, script, told), view=False)
    assert told[1][0]["status"] == "recovered" and told[1][0]["outputs"] == {"result": -1}
    assert run.success and run.outputs["bad"]["result"] == 12


def test_a_handler_that_does_not_mend_is_waited_for(flow: DagFlow) -> None:
    """Only then the failure is told, once."""
    told: list[Any] = []

    @flow.action
    def note(error: str) -> dict[str, bool]:
        return {"noted": True}

    flow.tool(name="careful", failure=note)(flow.registry.need("double").fn)  # type: ignore[attr-defined]  # a function's
    workflow = agent(flow, rounds({"steps": [step("careful", n=13)]}), told)
    run = flow.run(workflow, view=False, raise_on_failure=False)
    assert [len(history) for history in told] == [0, 1] and "unlucky" in told[1][0]["error"]
    assert "careful.on_failure" in ids(run)


@pytest.mark.parametrize("policy", [OnFailure.STOP, OnFailure.PAUSE])
def test_the_failure_policy_is_kept(flow: DagFlow, policy: OnFailure) -> None:
    """A run that stops or pauses at a failure does so: the planner is not asked again meanwhile."""
    told: list[Any] = []
    workflow = agent(flow, rounds({"steps": [step(n=13)]}), told)
    run = flow.run(workflow, view=False, config={"on_failure": policy}, raise_on_failure=False)
    assert run.status == ("failed" if policy is OnFailure.STOP else "paused") and len(told) == 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"steps": [{"action": "duoble"}]}, "did you mean 'double'"),
        ("not JSON", "no JSON"),
        ([OPENAI | {"function": {"name": "double", "arguments": "{"}}], "are no JSON"),
        ("The answer is 42.", 'to end, give {"steps": []}'),
        ([step(n=1)], 'write {"steps": [...]} around these steps'),
        (json.dumps([step(n=1)]), 'write {"steps": [...]} around this list'),
        (with_wrong_input(), "has no parameter 'm'"),
        ([NodeSpec("double", inputs={"m": 1})], "needs the input 'n'"),
        ([NodeSpec("double", inputs={"n": "many"})], "takes int, not 'many'"),
        ([3, 4], "returns a Plan, its JSON, tool calls or NodeSpecs"),
        ([NodeSpec("nowhere")], "'nowhere', which is not defined"),
        ([NodeSpec("double", inputs={"n": ref("nowhere.n")})], "names no node"),
        ({"steps": [step("plan")]}, "'plan' is of the planner"),
        ({"steps": [step("planner_gave_up", error="no")]}, "'planner_gave_up' is of the planner"),
    ],
)
def test_a_wrong_plan_is_told_and_mended(flow: DagFlow, wrong: Any, text: str) -> None:
    """The action runs again with the error in `history`; what it then gives counts."""
    told: list[Any] = []
    run = flow.run(agent(flow, rounds(wrong, {"steps": [step(n=1)]}), told), view=False)
    assert ids(run) == ["plan", "plan_2", "double", "plan_3"] and run.success
    (entry,) = told[1]
    assert entry["status"] == "refused" and text in entry["error"]
    assert told[2][0] == entry and told[2][1]["outputs"] == {"result": 2}
    assert run.events(kind="CommandRejected").empty


def test_refused_calls_are_told_each_with_its_id(flow: DagFlow) -> None:
    """So that a message can answer each of them."""
    told: list[Any] = []
    calls = [OPENAI, OPENAI | {"id": "c2", "function": {"name": "double", "arguments": '{"m": 1}'}}]
    flow.run(agent(flow, rounds(calls), told), view=False)
    assert [(e["tool_call_id"], e["inputs"], e["status"]) for e in told[1]] == [
        ("c1", {"n": 4}, "refused"),
        ("c2", {"m": 1}, "refused"),
    ]


def test_wrong_plans_do_not_go_on_for_ever(flow: DagFlow) -> None:
    """The fourth in a row fails the run, with what was wrong; good ones in between begin the count anew."""
    wrong = {"steps": [{"action": "duoble"}]}
    good = {"steps": [step(n=1)]}
    run = flow.run(agent(flow, rounds(wrong, wrong, good, wrong, wrong, wrong, good)), view=False)
    assert run.success
    run = flow.run(agent(flow, lambda history: wrong), view=False, raise_on_failure=False)
    assert ids(run) == ["plan", "plan_2", "plan_3", "plan_4", "plan_5"]
    assert "'plan_4' gave a wrong plan, the 4th in a row" in str(run.error) and "duoble" in str(run.error)
    assert str(run.error).endswith("flow.retry(node='plan_4'))")
    agent(flow, lambda history: None if history[-1]["status"] == "completed" else good)
    run = flow.retry(run, "plan_4", view=False)
    assert run.success and ids(run) == ["plan", "plan_2", "plan_3", "plan_4", "double", "plan_5"]


def test_a_planner_that_fails_fails_the_run(flow: DagFlow) -> None:
    """What its action raises is no plan, and nothing is added."""

    def script(history: Any) -> Any:
        raise LookupError("no model")

    run = flow.run(agent(flow, script), view=False, raise_on_failure=False)
    assert run.status == "failed" and ids(run) == ["plan"]


def test_a_cancelled_run_is_not_planned_further(flow: DagFlow) -> None:
    """Neither is a cancelled branch."""
    for branch in (None, "plan"):
        started = threading.Event()

        @flow.action
        def wait(ctx: NodeCtx, started: Any = started) -> None:
            started.set()
            while not ctx.cancelled:
                threading.Event().wait(0.01)

        flow.registry.register(wait)
        run = flow.start(agent(flow, rounds({"steps": [step("wait")]})), view=False, raise_on_failure=False)
        assert started.wait(20)
        run.cancel(branch).wait()
        assert ids(run) == ["plan", "wait"]


def test_budgets_apply(flow: DagFlow) -> None:
    """A planner without an end is paused by `max_iterations` or `max_nodes`, and can be resumed."""
    endless = agent(flow, lambda history: {"steps": [step(id="w", n=1)]})
    run = flow.run(endless, view=False, config={"max_iterations": 6})
    assert run.status == "paused" and ids(run)[-1] == "w_4"
    run = flow.run(endless, view=False, config={"max_nodes": 4})
    assert run.status == "paused" and "max_nodes" in str(run.waiting[0].reason)


def test_history_is_passed_where_it_is_wanted(flow: DagFlow) -> None:
    """An action without such a parameter finds it in its context, or does without it."""
    seen: list[Any] = []

    @flow.action
    def by_context(ctx: NodeCtx) -> Any:
        seen.append(ctx.inputs.get("history"))
        return None if len(seen) == 2 else {"steps": [step(n=1)]}

    @flow.action
    def deaf() -> Any:
        seen.append(None)
        return None if len(seen) == 4 else {"steps": [step(n=2)]}

    for action in (by_context, deaf):
        flow.planner(action)
        workflow = Workflow(action.name)
        workflow.add(action)
        assert len(ids(flow.run(workflow, view=False))) == 3
    assert [entry["outputs"] for entry in seen[1]] == [{"result": 2}]


def test_wrong_use_is_refused(flow: DagFlow) -> None:
    """An unknown action, and an `until` that cannot be called, are named; a planner made anew replaces."""
    with pytest.raises(LookupError, match="nowhere"):
        flow.planner("nowhere")
    with pytest.raises(ValidationError, match="until"):
        flow.planner(flow.action(name="p")(lambda history=(): None), until=3)  # type: ignore[arg-type]  # it is wrong
    with pytest.raises(ValidationError, match="'w' is a workflow"):
        flow.planner(Workflow("w"))
    before = len(flow._session.hooks)
    flow.planner("p")
    assert repr(flow.planner("p", gate=True)) == "<planner of 'p', with a gate>"
    assert len(flow._session.hooks) == before + 1


# --- any planner ------------------------------------------------------------------------------------


one_step = st.fixed_dictionaries(
    {
        "id": st.none() | st.sampled_from("abc"),
        "n": st.sampled_from([1, 2, 13]),
        "on": st.none() | st.integers(0, 3),
    }
)
any_round = st.lists(one_step, min_size=1, max_size=3) | st.just("wrong")


@settings(max_examples=25, deadline=None)
@given(st.lists(any_round, max_size=5))
def test_any_planner_ends_and_hears_of_everything(plans: list[Any]) -> None:
    """Rounds of any plans, with failures and mistakes, end; the last is told of every step, in order."""
    told: list[Any] = []

    def written(given: Any) -> Any:
        if given == "wrong":
            return {"steps": [{"action": "nothing"}]}
        plan = Plan()
        for one in given:
            name = one["id"] if one["id"] is not None and one["id"] not in plan else None
            earlier = list(plan)
            after = None if one["on"] is None or not earlier else earlier[one["on"] % len(earlier)]
            plan.add("double", id=name, n=one["n"] if after is None else ref(f"{after}.result"))
        return plan

    with DagFlow(":memory:", echo=False) as flow:
        tools(flow)
        run = flow.run(agent(flow, rounds(*map(written, plans)), told), view=False, raise_on_failure=False)
        assert run.status in ("completed", "failed")
        grown = [id for id in ids(run) if not id.startswith("plan")]
        last = [entry for entry in told[-1] if entry["status"] != "refused"]
        assert [entry["id"] for entry in last] == grown
        outputs = run.outputs
        for entry in last:
            has_ended = entry["status"] not in ("pending", "running")  # another one has failed before
            assert ("outputs" in entry) + ("error" in entry) == has_ended
            if "outputs" in entry:
                assert entry["outputs"] == dict(outputs[entry["id"]])
        assert run.events(kind=["HookFailed", "CommandRejected"]).empty


# --- other processes --------------------------------------------------------------------------------


def test_rounds_go_on_in_another_flow(tmp_path: Path) -> None:
    """A flow that was closed between rounds is gone on with from the database, as if nothing had been."""
    plans = [{"steps": [step(id="a", n=1)]}, {"steps": [step(id="a", n=2)]}]
    stop = {"after": 1}

    def script(history: Any) -> Any:
        return (
            plans[len(history)] if len(history) < len(plans) else {"outputs": [e["outputs"] for e in history]}
        )

    def open_flow() -> DagFlow:
        flow = DagFlow(tmp_path / "runs.db", echo=False)
        tools(flow)
        workflow = agent(flow, script)

        @flow.on_completed(node="plan*")
        def hold(node: Any, ctx: Any) -> Any:
            if len(ctx.graph.nodes) >= stop["after"]:
                return PauseBranch(node.node_id)
            return None

        flow.add_workflow(workflow)
        return flow

    flow = open_flow()
    run = flow.run("agent", view=False)
    assert run.status == "paused"
    for _ in range(5):
        flow.close()
        flow = open_flow()
        stop["after"] += 2
        run = flow.resume(view=False)
        if run.status == "completed":
            break
    assert run.outputs["plan_3"]["outputs"] == [{"result": 2}, {"result": 4}]
    assert ids(run) == ["plan", "a", "plan_2", "a_2", "plan_3"]
    flow.close()


KILLED = """
import os, sys
from pathlib import Path
from dagflow_nb import DagFlow, Workflow

folder = Path(sys.argv[1])
flow = DagFlow(folder / "runs.db", echo=False, config={"durability": "sync"})

@flow.tool
def work(n: int) -> int:
    with open(folder / "work.log", "a") as log:
        log.write(f"{n} ")
    if n == 2 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), 9)
    return 10 * n

@flow.action
def plan(history=()):
    rounds = [[1], [2, 3], [4]]
    done = len(history)
    if done == 4:
        return {"done": [entry["outputs"]["result"] for entry in history]}
    return {"steps": [{"action": "work", "inputs": {"n": n}} for n in rounds[[0, 1, 1, 2][done]]]}

flow.planner(plan)
agent = Workflow("agent")
agent.add(plan)
flow.add_workflow(agent)
run = flow.resume(view=False) if (folder / "killed").exists() else flow.run("agent", view=False)
print(run.status, run.result["done"], sorted(run.nodes()["node_id"]))
"""


def test_rounds_survive_a_process_that_is_killed(tmp_path: Path) -> None:
    """Another process goes on in the middle of a round: what was done is not done again, all is told."""
    for _ in range(2):
        program = [sys.executable, "-c", KILLED, str(tmp_path)]
        ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    nodes = ["plan", "plan_2", "plan_3", "plan_4", "work", "work_2", "work_3", "work_4"]
    assert ended.stdout.strip() == f"completed [10, 20, 30, 40] {nodes}"
    log = (tmp_path / "work.log").read_text().split()
    assert log.count("1") == log.count("4") == 1 and log.count("2") == 2


def test_a_retried_step_begins_its_round_anew(flow: DagFlow) -> None:
    """What was planned because it had failed is withdrawn, and the planner is told of its outputs."""
    told: list[Any] = []
    luck = {"bad": True}

    @flow.tool
    def risky() -> dict[str, int]:
        if luck["bad"]:
            raise RuntimeError("down")
        return {"n": 1}

    def script(history: Any) -> Any:
        return {"n": len(history)} if history else {"steps": [step("risky")]}

    run = flow.run(agent(flow, script, told), view=False, raise_on_failure=False)
    assert run.status == "failed" and "error" in told[-1][0]
    luck["bad"] = False
    run = flow.retry(run, view=False)
    assert run.success and told[-1][0]["outputs"] == {"n": 1} and ids(run) == ["plan", "risky", "plan_2"]


def test_a_fork_is_planned_further(flow: DagFlow) -> None:
    """A fork at a step has its rounds anew from there; the old run is as it was."""
    told: list[Any] = []

    def script(history: Any) -> Any:
        return {"n": len(history)} if history else {"steps": [step(n=1)]}

    run = flow.run(agent(flow, script, told), view=False)
    fork = flow.fork(run, node="double", view=False)
    assert fork.success and ids(fork) == ["plan", "double", "plan_2"] and len(told) == 3
    assert fork.outputs["plan_2"]["n"] == 1 and fork.parent_run_id == run.run_id


# --- its branch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["the plan", "a round"])
def test_cancelling_the_first_node_ends_the_agent(flow: DagFlow, after: str) -> None:
    """Whether its steps are under way, or those of a later round: nothing of it goes on."""
    started, go_on = threading.Event(), threading.Event()

    @flow.action
    def hold() -> None:
        started.set()
        assert go_on.wait(20)

    wait = {"steps": [step("hold")]}
    earlier = [] if after == "the plan" else [{"steps": [step(n=1), step(n=2)]}]
    run = flow.start(agent(flow, rounds(*earlier, wait)), view=False)
    assert started.wait(20)
    before = ids(run)
    run.cancel("plan", reason="enough")
    go_on.set()
    run.wait()
    states = dict(zip(run.nodes()["node_id"], run.nodes()["status"], strict=True))
    assert ids(run) == before and states["hold"] == "cancelled"
    assert run.status == "completed" and not run.events(kind="CommandRejected").size


def test_cancelling_the_first_node_stops_its_next_round(flow: DagFlow) -> None:
    """Also while it is asked again, and while a plan of a later round waits."""
    started, go_on = threading.Event(), threading.Event()

    def script(history: Any) -> Any:
        if history:
            started.set()
            assert go_on.wait(20)
        return {"steps": [step(n=1)]}

    run = flow.start(agent(flow, script), view=False)
    assert started.wait(20)
    run.cancel("plan")
    go_on.set()
    run.wait()
    assert ids(run) == ["plan", "double", "plan_2"] and run.nodes()["status"].iloc[2] == "cancelled"

    run = flow.run(agent(flow, lambda history: {"steps": [step(n=1)]}, gate=True), view=False)
    run.approve().wait()
    assert [one.branch_id for one in run.waiting] == ["plan_2"]
    run.cancel("plan").wait()
    assert run.status == "completed" and not run.waiting and run.proposal is None
    assert ids(run) == ["plan", "double", "plan_2"]


def test_a_step_that_is_cancelled_is_told_of(flow: DagFlow) -> None:
    """The agent goes on without it, until its first node is cancelled."""
    started, go_on = threading.Event(), threading.Event()

    @flow.action
    def hold() -> None:
        started.set()
        assert go_on.wait(20)

    run = flow.start(agent(flow, rounds({"steps": [step("hold")]}, {"steps": [step(n=1)]})), view=False)
    assert started.wait(20)
    run.cancel("hold")
    go_on.set()
    run.wait()
    assert ids(run) == ["plan", "hold", "plan_2", "double", "plan_3"] and run.result == {"answer": 2}


# --- the gate ---------------------------------------------------------------------------------------


def gated(flow: DagFlow, told: list[Any] | None = None) -> Workflow:
    def script(history: Any) -> Any:
        return (
            {"steps": [step(n=len(history) + 1)]}
            if len(history) < 2
            else {"done": [e["outputs"] for e in history]}
        )

    return agent(flow, script, told, gate=True)


def test_a_gate_waits_for_each_plan(flow: DagFlow) -> None:
    """The run pauses with the proposal and what it may take, and goes on when it is approved."""
    run = flow.run(gated(flow), view=False)
    assert run.status == "paused" and [waiting.branch_id for waiting in run.waiting] == ["plan"]
    assert "Add 1 step? double" in str(run.waiting[0].reason)
    assert run.proposal is not None and list(run.proposal) == ["double"]
    assert run.proposal.estimate is not None and run.proposal.estimate.unknown == ("double",)
    run.approve().wait()
    assert run.status == "paused" and run.proposal is not None
    assert run.proposal.estimate is not None and run.proposal.estimate.seconds is not None
    assert "about" in repr(run.proposal) and "about" in run.proposal._repr_mimebundle_()["text/html"]
    run.approve().wait()
    assert run.status == "completed" and run.proposal is None
    assert run.result == {"done": [{"result": 2}, {"result": 4}]}


def test_a_branch_that_was_paused_by_hand_is_asked_about_too(flow: DagFlow) -> None:
    """What was paused while the planner ran waits for an answer then: nothing is added unasked."""
    started, go_on = threading.Event(), threading.Event()

    def script(history: Any) -> Any:
        if not history:
            started.set()
            assert go_on.wait(20)
        return None if history else {"steps": [step(n=1)]}

    run = flow.start(agent(flow, script, gate=True), view=False)
    assert started.wait(20)
    run.pause("plan", reason="lunch")
    go_on.set()
    run.wait()
    assert run.status == "paused" and run.proposal is not None and ids(run) == ["plan"]
    run.approve().wait()
    assert run.success and ids(run) == ["plan", "double", "plan_2"]


def test_another_plan_takes_the_place_of_the_proposal(flow: DagFlow) -> None:
    """A `Plan`, with functions too, or its JSON; a wrong one is refused, and the run waits on."""
    run = flow.run(gated(flow), view=False)
    with pytest.raises(ValidationError, match="did you mean 'double'") as raised:
        run.approve(plan={"steps": [{"action": "duoble"}]})  # JSON is taken, too
    assert "plan" in raised.value.fields and run.status == "paused"
    with pytest.raises(ValidationError, match="did you mean 'double'"):
        run.approve({"steps": [{"action": "duoble"}]})  # type: ignore[arg-type]
    plan = run.proposal
    assert plan is not None
    plan.add("double", id="more", n=20)

    def half(n: int) -> float:
        return n / 2

    plan.add(half, n=ref("more.result"))
    run.approve(plan).wait()
    assert (
        run.outputs["more"]["result"] == 40
        and run.outputs["half"]["result"] == 20
        and run.outputs["double"]["result"] == 2
    )
    assert dict(run._state()[0].human)["approved"] is True


def test_a_proposal_that_cannot_be_read_any_more_says_so(flow: DagFlow) -> None:
    """Its actions have changed since: approving says what is wrong, and another plan may take its place."""
    run = flow.run(agent(flow, rounds({"steps": [step(n=1)]}), gate=True), view=False)

    @flow.tool
    def double(number: int) -> int:
        return 2 * number

    stale = run.proposal
    assert stale is not None and not stale and "needs the input 'number'" in repr(stale)
    for branch in (None, "plan"):
        with pytest.raises(ValidationError, match="cannot be added any more"):
            run.approve(branch)
    with pytest.raises(ValidationError, match="cannot be read any more"):
        run.approve(stale)
    assert run.status == "paused" and ids(run) == ["plan"]
    run.approve("plan", plan={"steps": [step(number=4)]}).wait()  # its JSON
    assert run.outputs["double"]["result"] == 8


def test_a_proposal_is_added_by_a_planner_made_anew(flow: DagFlow) -> None:
    """Whether it has a gate or not, and whatever its `until` says now: it was approved."""
    for changed in ({}, {"gate": True, "until": lambda outputs: True}):
        workflow = gated(flow)
        run = flow.run(workflow, view=False)
        flow.planner("plan", **changed)  # type: ignore[arg-type]  # settings
        assert run.proposal is not None
        run.approve().wait()
        assert "double" in ids(run) and run.status == "completed"


def test_an_error_in_until_leaves_a_proposal_waiting(flow: DagFlow) -> None:
    """A branch that is resumed without an answer is asked about again, with what went wrong."""
    run = flow.run(gated(flow), view=False)
    flow.planner("plan", until=lambda outputs: outputs["nowhere"], gate=True)
    run.apply(ResumeBranch("plan")).wait()
    assert run.status == "paused" and "nowhere" in str(run.waiting[0].reason) and run.proposal is not None
    flow.planner("plan", gate=True)
    run.approve().wait()
    assert "double" in ids(run)


def test_rounds_need_their_planner(tmp_path: Path) -> None:
    """A run whose proposal, or whose open steps, a planner is to go on with waits until that is defined."""

    def open_flow() -> DagFlow:
        flow = DagFlow(tmp_path / "runs.db", echo=False)
        tools(flow)
        flow.action(lambda goal=3, history=(): {"answer": len(history)}, name="plan")
        return flow

    with DagFlow(tmp_path / "runs.db", echo=False) as flow:
        tools(flow)
        waiting = flow.run(gated(flow), view=False).run_id
        plan = rounds({"steps": [step(n=13)]})
        unlucky = flow.run(agent(flow, plan), view=False, raise_on_failure=False).run_id
    gate = Gate()
    with DagFlow(tmp_path / "runs.db", echo=False) as flow:
        flow.action(lambda n: gate.hold(), name="double")
        broken = flow.start(agent(flow, rounds({"steps": [step(n=1)]})), view=False)
        gate.wait_for(1)
        flow.close()
        gate.open()
    with open_flow() as flow:
        for id in (waiting, broken.run_id):
            run = flow.get(id)
            for go_on in (run.resume, run.approve, lambda run=run: flow.resume(run, view=False)):
                with pytest.raises(InvalidState, match=r"of .plan. is not defined here.*flow\.planner"):
                    go_on()
            assert run.status in ("paused", "interrupted")
        failed = flow.get(unlucky)
        for again in (failed.retry, failed.resume):
            with pytest.raises(InvalidState, match="of 'plan' is not defined here"):
                again()
        assert failed.status == "failed"
        flow.planner("plan")
        assert flow.resume(broken.run_id, view=False).result == {"answer": 1}
        assert flow.get(waiting).approve().wait().result == {"answer": 1}


def test_whatever_runs_rounds_again_needs_their_planner(tmp_path: Path) -> None:
    """A retry of a node, a fork, a command; not what goes on without, nor what ends the rounds."""

    def open_flow() -> DagFlow:
        flow = DagFlow(tmp_path / "runs.db", echo=False)
        tools(flow)
        flow.action(lambda goal=3, history=(): {"answer": len(history)}, name="plan")
        return flow

    with DagFlow(tmp_path / "runs.db", echo=False) as flow:
        tools(flow)
        waiting = flow.run(gated(flow), view=False).run_id
        workflow = agent(flow, rounds({"steps": [step(n=1)]}))
        workflow.add("total", id="other", ns=[])
        good = flow.run(workflow, view=False).run_id
    with open_flow() as flow:
        gate, ended = flow.get(waiting), flow.get(good)
        for again in (
            lambda: flow.retry(ended, "plan", view=False),
            lambda: flow.retry(ended, "double", cascade=False, view=False),
            lambda: ended.retry("plan"),
            lambda: flow.fork(ended, node="plan", view=False),
            lambda: ended.fork(at=int(ended.events(kind="NodeStarted")["seq"][0])),
            lambda: flow.fork(gate, view=False),
            lambda: gate.apply(ResumeBranch("plan")),
        ):
            with pytest.raises(InvalidState, match=r"of 'plan' is not defined here.*flow\.planner"):
                again()
        assert (gate.status, ended.status, len(flow.runs())) == ("paused", "completed", 2)
        assert flow.retry(ended, "other", view=False).success
        assert flow.fork(ended, node="other", view=False).success
        assert gate.reject().wait().success and ids(gate) == ["plan"]
        flow.planner("plan")
        assert flow.fork(ended, node="plan", view=False).outputs["plan"] == {"answer": 0}


def test_a_rejected_plan_cancels_the_branch(flow: DagFlow) -> None:
    """Nothing of it is added, and what comes after the planner's node is cancelled."""
    for how in ("reject", "approved=False"):
        workflow = gated(flow)
        workflow.add("total", ns=[], after="plan")
        run = flow.run(flow.add_workflow(workflow), view=False)
        if how == "reject":
            run.reject(reason="too dear").wait()
        else:
            run.resume(approved=False).wait()
        assert ids(run) == ["plan", "total"] and run._state()[0].nodes["total"].status == "cancelled"
        assert run.proposal is None
        if how == "reject":
            assert run.events(kind="BranchCancelled")["data"][0]["reason"] == "too dear"


def test_a_proposal_survives_its_process(tmp_path: Path) -> None:
    """It is there in another flow, which adds what is approved there."""
    with DagFlow(tmp_path / "runs.db", echo=False) as flow:
        tools(flow)
        flow.run(gated(flow), view=False)
    with DagFlow(tmp_path / "runs.db", echo=False) as flow:
        tools(flow)
        gated(flow)
        run = flow.get()
        assert run.status == "paused" and run.proposal is not None and list(run.proposal) == ["double"]
        plan = Plan()
        plan.add("double", n=100)
        run.approve(plan=plan).wait()
        assert run.outputs["double"]["result"] == 200 and run.proposal is not None


def test_a_plan_that_its_process_built_survives(tmp_path: Path) -> None:
    """A `Plan` that an action returned is stored with its node, not only its JSON."""

    def open_flow() -> DagFlow:
        flow = DagFlow(tmp_path / "runs.db", echo=False)
        tools(flow)
        agent(flow, lambda history: None if history else built(), gate=True)
        return flow

    with open_flow() as flow:
        flow.run("agent", view=False)
    with open_flow() as flow:
        run = flow.resume(view=False, approved=True)
        assert run.success and run.outputs["double"]["result"] == 8


def test_nobody_to_ask_takes_the_proposal(flow: DagFlow) -> None:
    """With AUTOPILOT a proposal that nobody answered in time is approved as it is."""
    late = {"human_wait_minutes": 1e-6, "human_timeout_action": "autopilot"}
    run = flow.run(gated(flow), view=False, config=late)
    while run.status == "paused":
        run = flow.resume(run, view=False)
    assert list(run.result) == ["done"]
    assert all(event["automatic"] for event in run.events(kind="BranchResumed")["data"])


def gates(flow: DagFlow, **planner: Any) -> Workflow:
    """Two planners' nodes, `a` and `b`, each with a plan of its own."""

    @flow.action
    def think(goal: int, history: Any = ()) -> Any:
        return {"said": history[0]["outputs"]} if history else {"steps": [step(n=goal)]}

    flow.planner(think, gate=True, **planner)
    workflow = Workflow("gates")
    workflow.add(think, id="a", goal=1)
    workflow.add(think, id="b", goal=100)
    return workflow


def test_each_gate_opens_for_its_own_plan(flow: DagFlow) -> None:
    """One `approve()` for several proposals adds each as it was proposed; one that is named goes alone."""
    run = flow.run(gates(flow), view=False)
    assert run.approve().wait().result == {
        "a_2": {"said": {"result": 2}},
        "b_2": {"said": {"result": 200}},
    }
    run = flow.run("gates", view=False)
    run.approve("b").wait()
    assert run.status == "paused" and ids(run) == ["a", "b", "double", "b_2"]
    assert run.outputs["double"]["result"] == 200


def test_going_on_with_a_run_opens_no_gate(flow: DagFlow) -> None:
    """A run that is resumed as a whole waits on for its proposal, also with another budget or after a pause;
    naming the branch, or an answer, approves it."""
    for answer in ({"branch": "plan"}, {"approved": True}, {"plan": {"steps": [step(n=1)]}}):
        run = flow.run(gated(flow), view=False)
        for again in (
            lambda run: flow.resume(run, view=False),
            lambda run: flow.resume(run, view=False, config={"max_nodes": 9}),
            lambda run: run.resume().wait(),
            lambda run: run.pause().resume().wait(),
            lambda run: flow.resume(run.pause().wait(), view=False),
        ):
            again(run)
            assert run.status == "paused" and ids(run) == ["plan"]
            assert run.proposal is not None and [one.branch_id for one in run.waiting] == ["plan"]
        flow.resume(run, view=False, **answer)
        assert ids(run) == ["plan", "double", "plan_2"] and run.outputs["double"]["result"] == 2


def test_what_else_waits_goes_on_without_the_gate(flow: DagFlow) -> None:
    """A branch that was paused, and one that asks with a default, go on; the proposal beside them waits."""

    @flow.on_run_started
    def hold() -> Any:
        return PauseBranch("other", "lunch")

    workflow = gated(flow)
    workflow.add("double", id="other", n=4)
    workflow.add("double", id="asked", n=5, ask={"sure": True})
    run = flow.run(workflow, view=False)
    assert {one.branch_id for one in run.waiting} == {"plan", "other", "asked"}
    flow.resume(run, view=False)
    assert run.status == "paused" and [one.branch_id for one in run.waiting] == ["plan"]
    assert run.outputs["other"]["result"] == 8 and run.outputs["asked"]["result"] == 10


def test_a_retry_at_a_gate_asks_anew(flow: DagFlow) -> None:
    """The old proposal is withdrawn, and one answer to the new one is enough."""
    plans = [{"steps": [step(n=1)]}, {"steps": [step(n=2)]}]
    workflow = agent(flow, lambda history: None if history else plans.pop(0), gate=True)
    run = flow.run(workflow, view=False)
    flow.retry(run, node="plan", view=False)
    assert run.status == "paused" and run.attempts()["node_id"].to_list() == ["plan", "plan"]
    assert run.proposal is not None and run.proposal.steps["double"].inputs == {"n": 2}
    run.approve().wait()
    assert run.success and run.outputs["double"]["result"] == 4


def test_a_plan_without_a_proposal_is_refused(flow: DagFlow) -> None:
    """`approve(plan=...)` says so where none waits."""
    run = flow.start(agent(flow, lambda history: None), view=False)
    run.wait()
    assert run.proposal is None
    with pytest.raises(InvalidState):
        run.approve(Plan())


def test_a_wrong_plan_never_reaches_the_gate(flow: DagFlow) -> None:
    """It is told to the planner, as without a gate."""
    workflow = agent(flow, rounds({"steps": [{"action": "duoble"}]}, {"steps": [step(n=1)]}), gate=True)
    run = flow.run(workflow, view=False)
    assert ids(run) == ["plan", "plan_2"] and run.waiting[0].branch_id == "plan_2"
