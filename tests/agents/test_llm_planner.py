"""A language model as a planner: it asks for tools, the run grows by them, it is told what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow, Workflow

from .endpoint import Endpoint, asks, refuses, says

pytest.importorskip("openai", reason="it is installed with the extra [llm], and with [test]")


def agent(flow: DagFlow, endpoint: Endpoint, **settings: Any) -> Workflow:
    """A workflow of one node, whose model may look cities up and add numbers."""

    @flow.tool
    def look_up(name: str) -> dict[str, Any]:
        """Look a city up."""
        return {"name": name, "people": {"Bern": 134, "Basel": 173}[name]}

    @flow.tool
    def add(x: int, y: int) -> int:
        """Add two numbers."""
        return x + y

    ask = flow.llm("ask", "small", base_url=endpoint.url, system="Be brief.", tools=["look_up", "add"])
    flow.planner(ask, **settings)
    wf = Workflow("agent", inputs=["question"])
    wf.add(ask, prompt=wf.input("question"))
    return flow.add_workflow(wf)


def told(endpoint: Endpoint) -> list[Any]:
    """The conversation of the last request, in short."""
    short = []
    for message in endpoint.asked[-1]["messages"]:
        calls = [(call["id"], call["function"]["name"]) for call in message.get("tool_calls") or ()]
        short.append((message["role"], calls or message["content"]))
    return short


def test_a_model_asks_for_tools_until_it_has_the_answer(
    serve: Callable[..., Endpoint], tmp_path: Path
) -> None:
    """Model, two tools at once, model with their results, a third tool, model, final text; all in one run."""
    endpoint = serve(
        asks(("c1", "look_up", {"name": "Bern"}), ("c2", "look_up", {"name": "Basel"})),
        asks(("c3", "add", {"x": 134, "y": 173})),
        says("307", " thousand."),
    )
    with DagFlow(tmp_path / "a.db") as flow:
        run = flow.run(agent(flow, endpoint), question="How many in both?", view=False)
        nodes = run.nodes().set_index("node_id")
        assert list(nodes.index) == ["ask", "look_up", "look_up_2", "ask_2", "add", "ask_3"]
        assert set(nodes["status"]) == {"completed"}
        assert run.result["text"] == "307 thousand."
        assert told(endpoint) == [
            ("system", "Be brief."),
            ("user", "How many in both?"),
            ("assistant", [("c1", "look_up"), ("c2", "look_up")]),
            ("tool", '{"name": "Bern", "people": 134}'),
            ("tool", '{"name": "Basel", "people": 173}'),
            ("assistant", [("c3", "add")]),
            ("tool", "307"),
        ]
        assert run.result["messages"] == [
            *endpoint.asked[-1]["messages"],
            {"role": "assistant", "content": "307 thousand."},
        ]
        assert nodes["tokens"].sum() == 9 + 9 + 7


def test_a_model_finds_the_conversation_as_it_was(serve: Callable[..., Endpoint]) -> None:
    """What it wrote beside its calls, and all calls of one answer in one message, whether they ran or not."""
    both = (("c1", "look_up", {"name": "Bern"}), ("c2", "look_up", {"name": "Basel"}))
    wrong = (("c3", "add", {"x": 1, "y": 2}), ("c4", "drown", {}))
    endpoint = serve(asks(*both, text="I look up both."), asks(*wrong, text="Now add."), says("307"))
    with DagFlow(":memory:") as flow:
        assert flow.run(agent(flow, endpoint), question="?", view=False).result["text"] == "307"
    first, bern, basel, second, *refused = endpoint.asked[-1]["messages"][2:]
    for message, text, calls in ((first, "I look up both.", both), (second, "Now add.", wrong)):
        made = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]]
        assert (message["role"], message["content"]) == ("assistant", text)
        assert made == [(id, name, json.dumps(arguments)) for id, name, arguments in calls]
    answers = [bern, basel, *refused]
    assert [(m["role"], m["tool_call_id"]) for m in answers] == [("tool", f"c{n}") for n in (1, 2, 3, 4)]


def test_a_model_is_told_of_what_went_wrong(serve: Callable[..., Endpoint]) -> None:
    """A tool that fails, one that there is not, one not offered, and arguments that do not fit."""
    endpoint = serve(
        asks(("c1", "look_up", {"name": "Atlantis"})),
        asks(("c2", "drown", {})),
        asks(("c2b", "hidden", {})),
        asks(("c3", "add", {"x": "many", "y": 1})),
        says("I do not know."),
    )
    with DagFlow(":memory:") as flow:

        @flow.tool
        def hidden() -> None:
            """No tool of this model."""
            raise AssertionError("it was not offered")

        run = flow.run(agent(flow, endpoint), question="?", view=False)
        assert run.success and run.result["text"] == "I do not know."
    errors = [content for role, content in told(endpoint) if role == "tool"]
    assert errors[0] == "error: KeyError: 'Atlantis'"
    assert "no action 'drown'" in errors[1]
    assert "no action 'hidden'" in errors[2] and "'add'" in errors[2]
    assert "'x'" in errors[3] and "'many'" in errors[3]


@pytest.mark.parametrize("tools", [None, []])
@pytest.mark.parametrize("plan", [False, True])
def test_a_model_that_is_offered_nothing_runs_nothing(
    serve: Callable[..., Endpoint], tools: Any, plan: bool
) -> None:
    """Without `tools=` no action runs that it asks for, as a call or as a plan: it is told so."""
    steps = json.dumps({"steps": [{"action": "wipe_disk"}]})
    endpoint = serve(says(steps) if plan else asks(("c1", "wipe_disk", {})), says("Then not."))
    ran = []
    with DagFlow(":memory:") as flow:

        @flow.action
        def wipe_disk() -> None:
            ran.append("all")

        ask = flow.llm("ask", "small", base_url=endpoint.url, tools=tools)
        flow.planner(ask)
        wf = Workflow("agent")
        wf.add(ask, prompt="?")
        run = flow.run(wf, view=False)
        assert run.result["text"] == "Then not." and ran == []
        assert run.nodes()["node_id"].tolist() == ["ask", "ask_2"]
    assert "wipe_disk" in told(endpoint)[-1][1] and "no action" in told(endpoint)[-1][1]


def test_a_person_may_approve_the_tools_first(serve: Callable[..., Endpoint], tmp_path: Path) -> None:
    """With a gate the run waits with what the model asked for, and goes on in another session."""
    endpoint = serve(asks(("c1", "add", {"x": 1, "y": 2})), says("3"))
    with DagFlow(tmp_path / "a.db") as flow:
        run = flow.run(agent(flow, endpoint, gate=True), question="1 + 2?", view=False)
        assert run.status == "paused" and list(run.proposal) == ["add"]
    with DagFlow(tmp_path / "a.db") as flow:
        agent(flow, endpoint, gate=True)
        run = flow.resume(run.run_id, view=False, approved=True)
        assert run.status == "completed" and run.outputs["ask_2"]["text"] == "3"
    assert told(endpoint)[-1] == ("tool", "3")


def test_a_round_is_tried_again_by_itself(serve: Callable[..., Endpoint]) -> None:
    """An endpoint that is busy in the second round is asked again, with the same history."""
    endpoint = serve(asks(("c1", "add", {"x": 1, "y": 2})), refuses(503, "busy"), says("3"))
    with DagFlow(":memory:", config={"max_attempts": 2, "retry_strategy": "immediate"}) as flow:
        run = flow.run(agent(flow, endpoint), question="1 + 2?", view=False)
        assert run.result["text"] == "3"
    assert endpoint.asked[1] == endpoint.asked[2]
    assert json.loads(endpoint.asked[2]["messages"][2]["tool_calls"][0]["function"]["arguments"]) == {
        "x": 1,
        "y": 2,
    }
