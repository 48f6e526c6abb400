"""`flow.llm`: an action over an OpenAI-compatible endpoint, spoken to by a real client over HTTP."""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from dagflow_nb import (
    Cache,
    DagConfig,
    DagExecutor,
    DagFlow,
    NodeExecutionError,
    RunCancelled,
    TokenStreamed,
    Workflow,
)
from dagflow_nb.errors import (
    ActionNotFound,
    ModelError,
    ModelUnavailable,
    ValidationError,
    WrongModelAnswer,
)

from .endpoint import Endpoint, asks, breaks_off, hangs, in_one, refuses, says, sends

pytest.importorskip("openai", reason="it is installed with the extra [llm], and with [test]")

KEY = "sk-very-secret-0123456789"
AT_ONCE = {"max_attempts": 3, "retry_strategy": "immediate"}


class City(pydantic.BaseModel):
    name: str
    people: int


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def flow() -> Iterator[DagFlow]:
    with DagFlow(":memory:", config=DagConfig.of(AT_ONCE)) as flow:
        yield flow


def single(flow: DagFlow, action: Any = "ask", **inputs: Any) -> Workflow:
    wf = Workflow("w")
    wf.add(action, inputs=inputs or {"prompt": "Hello?"})
    return flow.add_workflow(wf)


def failed(flow: DagFlow, **inputs: Any) -> Any:
    """The error of a run of `ask` that fails."""
    with pytest.raises(NodeExecutionError) as caught:
        flow.run(single(flow, **inputs), view=False)
    return caught.value


# --- what is asked and answered --------------------------------------------------------------------


def test_a_prompt_is_answered(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """Text, the whole conversation, no tool calls; pieces are streamed, tokens counted, cost is not known."""
    endpoint = serve(says("Hel", "lo", "!", tokens=12))
    flow.llm("ask", "small", base_url=endpoint.url, system="Be brief.")
    run = flow.run(single(flow), view=False)
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert endpoint.asked == [
        {"model": "small", "messages": said, "stream": True, "stream_options": {"include_usage": True}}
    ]
    assert dict(run.outputs["ask"]) == {
        "text": "Hello!",
        "messages": [*said, {"role": "assistant", "content": "Hello!"}],
        "tool_calls": [],
        "result": None,
    }
    node = run.nodes().iloc[0]
    assert (node["tokens"], node["cost"]) == (12, 0)
    assert run.report.node_outcomes["ask"].metadata["model"] == "served"


def test_the_text_is_streamed_as_it_comes(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """Whoever watches gets each piece while the rest is still to come."""
    watched = threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        assert watched.wait(10)
        return says("Hel", "lo", "!")

    flow.llm("ask", "small", base_url=serve(answer).url)
    run = flow.start(single(flow), view=False)

    async def streamed() -> str:
        text = ""
        async for event in run.stream():
            watched.set()
            text += event.token if isinstance(event, TokenStreamed) else ""
        return text

    assert asyncio.run(streamed()) == "Hello!"


def test_a_conversation_goes_on(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """The messages of one node are those of the next, with a new prompt; the system's are said once."""
    endpoint = serve(says("One."), says("Two."))
    ask = flow.llm("ask", "small", base_url=f"{endpoint.url}/", system="Be brief.")
    wf = Workflow("w", inputs=["question"])
    first = wf.add(ask, prompt=wf.input("question"))
    wf.add(ask, id="then", messages=first["messages"], prompt="And then?")
    run = flow.run(wf, question="First?", view=False)
    assert [m["role"] for m in run.outputs["then"]["messages"]] == ["system", *["user", "assistant"] * 2]
    assert run.outputs["then"]["text"] == "Two."
    assert endpoint.asked[1]["messages"] == run.outputs["then"]["messages"][:4]


def test_an_answer_is_an_instance_of_the_model(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """Asked for by its strict schema, also between code fences; it comes back from the database as such."""
    endpoint = serve(
        says('{"name": "Bern", ', '"people": 134000}'), says('```json\n{"name": "B", "people": 1}\n```')
    )
    flow.llm("ask", "small", base_url=endpoint.url, output=City)
    run = flow.run(single(flow), view=False)
    assert run.outputs["ask"]["result"] == City(name="Bern", people=134000)
    form = endpoint.asked[0]["response_format"]
    assert form["type"] == "json_schema"
    assert (form["json_schema"]["name"], form["json_schema"]["strict"]) == ("City", True)
    assert form["json_schema"]["schema"]["required"] == ["name", "people"]
    assert form["json_schema"]["schema"]["additionalProperties"] is False
    assert flow.run("w", view=False).outputs["ask"]["result"] == City(name="B", people=1)


def test_a_wrong_answer_is_tried_again(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """What is no instance fails the attempt, and says what is wrong; its tokens count all the same."""
    wrong = [says("Bern, I think"), says('{"name": "Bern"}'), says('{"name": "Bern", "people": 1}')]
    endpoint = serve(*wrong)
    flow.llm("ask", "small", base_url=endpoint.url, output=City)
    run = flow.run(single(flow), view=False)
    assert run.outputs["ask"]["result"].people == 1
    first, second, _ = run.attempts()["error"]
    assert "'small' did not answer as City" in first and "Bern, I think" in first
    assert "people: Field required" in second
    assert run.nodes().iloc[0]["tokens"] == 21
    endpoint.answers = [says('{"na', finish="length")]
    assert "cut off at the most tokens" in str(failed(flow))
    endpoint.answers = [says(refusal="That I do not say.")]
    error = failed(flow)
    assert "it refused: That I do not say." in str(error) and isinstance(error.__cause__, WrongModelAnswer)


def test_a_text_that_was_cut_off_is_kept_and_told(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """A plain answer may end at the most tokens: the log says so."""
    flow.llm("ask", "small", base_url=serve(says("Once upon", finish="length")).url)
    run = flow.run(single(flow), view=False)
    assert run.outputs["ask"]["text"] == "Once upon"
    assert "cut off" in run.logs()["message"].str.cat()


def test_tools_are_offered_and_never_run(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """By name and as functions; what the model asks for is an output, in order, the answer has no result."""
    endpoint = serve(
        asks(("c1", "look_up", {"name": "Bern"}), ("c2", "add", {"x": 1, "y": 2}), text="Let me see.")
    )
    ran = []

    @flow.tool
    def look_up(name: str) -> str:
        """Look a city up."""
        ran.append(name)
        return name

    def add(x: int, y: int = 1) -> int:
        """Add two numbers."""
        ran.append(x)
        return x + y

    flow.llm("ask", "small", base_url=endpoint.url, tools=["look_up", add], output=City)
    run = flow.run(single(flow), view=False)
    assert [tool["function"]["name"] for tool in endpoint.asked[0]["tools"]] == ["look_up", "add"]
    assert endpoint.asked[0]["tools"] == flow.tools.schemas("openai")
    calls = run.outputs["ask"]["tool_calls"]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("c1", "look_up", '{"name": "Bern"}'),
        ("c2", "add", '{"x": 1, "y": 2}'),
    ]
    last = run.outputs["ask"]["messages"][-1]
    assert last == {"role": "assistant", "content": "Let me see.", "tool_calls": calls}
    assert run.outputs["ask"]["result"] is None and ran == []
    assert "add" in flow.actions
    flow.llm("all", "small", base_url=endpoint.url, tools=flow.tools)
    flow.run(single(flow, "all"), view=False)
    assert endpoint.asked[1]["tools"] == endpoint.asked[0]["tools"]
    for style in ("openai", "anthropic"):
        flow.llm("as schemas", "small", base_url=endpoint.url, tools=flow.tools.schemas(style))
        flow.run(single(flow, "as schemas"), view=False)
        assert endpoint.asked[-1]["tools"] == endpoint.asked[0]["tools"]
    for tools in (5, [{"function": "look_up"}]):
        with pytest.raises(ValidationError, match="tool"):
            flow.llm("ask", "small", base_url=endpoint.url, tools=tools)


def test_a_tool_that_is_defined_again_is_the_new_one(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """A cell that is run again replaces a plain function; what a decorator made keeps its settings."""
    endpoint = serve(says("Yes."))

    def make(text: str) -> Callable[..., str]:
        def look_up(name: str) -> str:
            return text

        look_up.__doc__ = text
        return look_up

    decorated = flow.tool(retries=2)(make("decorated"))
    for tool, about in ((decorated, "decorated"), (make("one"), "one"), (make("two"), "two")):
        flow.llm("ask", "small", base_url=endpoint.url, tools=[tool])
        flow.run(single(flow), view=False)
        assert endpoint.asked[-1]["tools"][0]["function"]["description"] == about
        kept = flow._session.registry.need("look_up")
        assert kept.settings.try_count == (3 if tool is decorated else None)


def test_history_is_what_was_done_since(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """Steps of tool calls are calls and answers, other steps words, errors told; `messages` has all of it."""
    endpoint = serve(says("Done."))
    flow.llm("ask", "small", base_url=endpoint.url)
    found = {"result": City(name="Bern", people=2)}
    steps = [
        {"id": "a", "action": "look_up", "tool_call_id": "c1", "inputs": {"name": "Bern"}, "outputs": found},
        {"id": "add", "action": "add", "tool_call_id": "c2", "inputs": {}, "error": "ValueError: no"},
        {"id": "fetch", "action": "fetch", "inputs": {"n": 1}, "outputs": {"a": 1, "b": [2]}},
        {"id": "many", "action": "drop", "inputs": {}, "over": {"x": [1]}, "status": "running"},
    ]  # fmt: skip
    flow.run(single(flow, prompt="Go.", history=steps), view=False)

    def call(id: str, name: str, arguments: str) -> dict[str, Any]:
        made = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        return {"role": "assistant", "content": None, "tool_calls": [made]}

    lines = ['- fetch (fetch) with {"n": 1}: {"a": 1, "b": [2]}', '- many (drop) over {"x": [1]}: (running)']
    expected = [
        {"role": "user", "content": "Go."},
        call("c1", "look_up", '{"name": "Bern"}'),
        {"role": "tool", "tool_call_id": "c1", "content": '{"name": "Bern", "people": 2}'},
        call("c2", "add", "{}"),
        {"role": "tool", "tool_call_id": "c2", "content": "error: ValueError: no"},
        {"role": "user", "content": "\n".join(["What has been done since:", *lines])},
    ]
    assert endpoint.asked[0]["messages"] == expected
    asked = [{"role": "user", "content": "Go."}, call("c1", "look_up", '{"name": "Bern"}')]
    flow.run(single(flow, messages=asked, history=steps[:1]), view=False)
    assert endpoint.asked[1]["messages"] == expected[:3]


def test_many_prompts_share_one_client(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """A map asks at once over the connections of one client, which is closed with the flow."""
    from dagflow_nb.agents import client

    endpoint = serve(lambda body: says(body["messages"][0]["content"].upper()))
    ask = flow.llm("ask", "small", base_url=endpoint.url)
    wf = Workflow("w")
    wf.map(ask, over={"prompt": [f"p{n}" for n in range(20)]}, limit=5, id="many")
    run = flow.run(wf, view=False)
    assert run.table("many")["text"].tolist() == [f"P{n}" for n in range(20)]
    assert len(endpoint.connections) <= 5
    made = client._clients[flow._engine.loop][0]
    assert not made.is_closed()
    flow.close()
    assert made.is_closed()


def test_a_result_can_be_kept(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """A node's `cache=` finds the answer again, whatever the key; another model or prompt is asked anew."""
    endpoint = serve(says("One."))

    def build(prompt: str) -> Workflow:
        wf = Workflow("w")
        wf.add("ask", id="ask", cache=True, prompt=prompt)
        return wf

    for key, model, prompt, count in (
        ("a", "m", "p", 1),
        ("b", "m", "p", 1),
        ("b", "m", "q", 2),
        ("b", "n", "q", 3),
    ):
        flow.llm("ask", model, base_url=endpoint.url, api_key=key)
        assert flow.run(build(prompt), view=False).outputs["ask"]["text"] == "One."
        assert len(endpoint.asked) == count, (key, model, prompt)


def test_it_runs_on_the_loop_of_an_executor(serve: Callable[..., Endpoint], tmp_path: Path) -> None:
    """`DagExecutor` asks on the caller's loop, each of several loops with a client of its own."""
    endpoint = serve(says("Yes."))
    with DagFlow(":memory:") as flow:
        ask = flow.llm("ask", "small", base_url=endpoint.url)

    async def main() -> Any:
        async with await DagExecutor.open(database=tmp_path / "b.db") as executor:
            executor.registry.register(ask)
            wf = Workflow("w")
            wf.add("ask", prompt="Really?")
            executor.add_workflow(wf)
            return await executor.execute_static_dag("w", Cache())

    for _ in range(2):
        assert asyncio.run(main()).node_outcomes["ask"].outputs["text"] == "Yes."


def test_an_endpoint_need_not_stream(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """An answer in one piece is taken as such, with its usage and tool calls."""
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    endpoint = serve(
        in_one({"content": "Yes."}, usage=usage), in_one({"content": None, "tool_calls": [call]})
    )
    flow.llm("ask", "small", base_url=endpoint.url)
    run = flow.run(single(flow), view=False)
    assert run.outputs["ask"]["text"] == "Yes." and run.nodes().iloc[0]["tokens"] == 5
    outputs = flow.run("w", view=False).outputs["ask"]
    assert (outputs["text"], outputs["tool_calls"]) == ("", [call])


@pytest.mark.parametrize(
    "end", [[b"data: [DONE]\n\n"], [b"data:[DO", b"NE]\n\n"], [b": still here\r\ndata: [DONE]\r\n\r\n"]]
)
def test_an_answer_without_a_reason_for_its_end_is_taken_and_told(
    flow: DagFlow, serve: Callable[..., Endpoint], end: list[bytes]
) -> None:
    """Some endpoints send no `finish_reason` before `[DONE]`: the log says that something may be missing."""
    _, _, parts = says("Yes.")
    flow.llm("ask", "small", base_url=serve(sends(*parts[:2], *end)).url)
    run = flow.run(single(flow), view=False)
    assert run.outputs["ask"]["text"] == "Yes."
    assert "may have been cut off: no finish_reason was sent" in run.logs()["message"].str.cat()


def test_a_stream_that_just_ends_is_no_answer(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """Neither `finish_reason` nor `[DONE]` came, only in its words: it is tried again, and never kept."""
    _, _, parts = says("Hel", "lo [DONE]\ndata: [DONE]")
    endpoint = serve(sends(*parts[:3]))
    flow.llm("ask", "small", base_url=endpoint.url)
    wf = Workflow("w")
    wf.add("ask", prompt="Hello?", cache=True)
    run = flow.run(wf, view=False, raise_on_failure=False)
    assert run.status == "failed" and len(endpoint.asked) == 3
    assert "broke off its answer" in str(run.error) and "it wrote 'Hello [DONE]" in str(run.error)
    endpoint.answers = [says("Hello.")]
    assert flow.run(wf, view=False).outputs["ask"]["text"] == "Hello."


@pytest.mark.parametrize("words", ["", "It is done by"])
def test_an_answer_that_is_held_back_is_an_error(
    flow: DagFlow, serve: Callable[..., Endpoint], words: str
) -> None:
    """A content filter ended it: that is said, and not tried again."""
    endpoint = serve(says(words, finish="content_filter"))
    flow.llm("ask", "small", base_url=endpoint.url)
    error = failed(flow)
    assert "its content filter held the answer back" in str(error) and words in str(error)
    assert type(error.__cause__) is ModelError and len(endpoint.asked) == 1


def test_it_is_a_function_too(serve: Callable[..., Endpoint]) -> None:
    """In a workflow function inputs may be given by position; outside of workflows it is awaited."""
    endpoint = serve(lambda body: says(body["messages"][-1]["content"].upper()))
    with DagFlow(":memory:") as flow:
        ask = flow.llm("ask", "small", base_url=endpoint.url)

        @flow.workflow
        def twice(question: str = "a") -> Any:
            return ask(ask(question)["text"])["text"]

        assert flow.run(twice, view=False).result == "A"
        assert asyncio.run(ask("hi"))["text"] == "HI"
        with pytest.raises(ValidationError, match=r"ask\(\): it needs a prompt"):
            asyncio.run(ask())


# --- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        (
            refuses(401, f"Incorrect API key provided: {KEY}."),
            ["401", "api_key=", "OPENAI_API_KEY", "Incorrect"],
        ),
        (refuses(403, "not for you"), ["403", "not for you", "another"]),
        (refuses(404, "The model does not exist"), ["404", "does not exist", "base_url"]),
        (refuses(400, "max_tokens is too large"), ["400", "max_tokens is too large"]),
        (refuses(422, "what?"), ["422", "what?"]),
        (refuses(429, "You exceeded your quota", code="insufficient_quota"), ["quota"]),
        ((403, "text/html", [b"<h1>no</h1>"]), ["403", "<h1>no</h1>"]),
    ],
)
def test_what_is_refused_is_not_tried_again(
    flow: DagFlow, serve: Callable[..., Endpoint], answer: Any, texts: list[str]
) -> None:
    """The error names endpoint, model and what to do; the key is not in it."""
    endpoint = serve(answer)
    flow.llm("ask", "small", base_url=endpoint.url, api_key=KEY)
    error = failed(flow)
    assert len(endpoint.asked) == 1
    for text in (*texts, endpoint.url, "'small'"):
        assert text in str(error), text
    cause = error.__cause__
    assert type(cause) is ModelError and cause.endpoint == endpoint.url and cause.model == "small"
    assert KEY not in str(error) + repr(cause)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (refuses(429, "Slow down"), "(429): Slow down"),
        (refuses(500, "oh"), "(500): oh"),
        (refuses(503, "overloaded"), "(503): overloaded"),
        (breaks_off("Once"), "broke off"),
        (sends(b"data: {not json\n\n"), "no JSON"),
        (sends(b"data: [1, 2]\n\n"), "broke off"),
        (sends(b'data: {"error": {"message": "out of memory"}}\n\n'), "out of memory"),
        ((200, "application/json", [b'{"error": {"message": "no GPU"}}']), "no GPU"),
        ((200, "application/json", [b"[1]"]), "no answer but [1]"),
        (sends(b": nothing\n\n"), "broke off its answer"),
    ],
)
def test_what_may_pass_is_tried_again(
    flow: DagFlow, serve: Callable[..., Endpoint], answer: Any, text: str
) -> None:
    """By the engine alone, as often as it may: a second answer is taken, three bad ones fail the node."""
    endpoint = serve(answer, says("Yes."))
    flow.llm("ask", "small", base_url=endpoint.url)
    run = flow.run(single(flow), view=False)
    assert run.outputs["ask"]["text"] == "Yes." and len(endpoint.asked) == 2
    assert text in run.attempts()["error"].iloc[0]
    endpoint.asked.clear()
    endpoint.answers = [answer]
    error = failed(flow)
    assert len(endpoint.asked) == 3
    assert isinstance(error.__cause__, ModelUnavailable) and endpoint.url in str(error)


def test_nobody_listens(flow: DagFlow) -> None:
    """An endpoint that cannot be reached is tried again; the error says which one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        flow.llm("ask", "small", base_url=url)
        error = failed(flow)
    assert f"{url} cannot be reached" in str(error) and "is it running" in str(error)
    assert list(flow.get().nodes()["attempts"]) == [3]


def test_a_timeout_ends_the_request(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """The endpoint sees the client leave, and the next attempt gets its answer."""
    endpoint = serve(hangs("Hm"), says("Yes."))
    flow.llm("ask", "small", base_url=endpoint.url)
    wf = Workflow("w")
    wf.add("ask", prompt="Hello?", timeout=0.5)
    run = flow.run(wf, view=False)
    assert run.outputs["ask"]["text"] == "Yes."
    assert "0.5 s" in run.attempts()["error"].iloc[0]
    assert endpoint.gone.wait(5)


def test_a_cancelled_run_ends_the_request(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """The endpoint sees the client leave; nothing is tried again."""
    endpoint = serve(hangs("Hm"))
    flow.llm("ask", "small", base_url=endpoint.url)
    run = flow.start(single(flow), view=False)
    assert endpoint.begun.wait(5)
    run.cancel()
    with pytest.raises(RunCancelled):
        run.wait(10)
    assert endpoint.gone.wait(5) and len(endpoint.asked) == 1


def test_without_the_extra_the_error_says_what_to_install(
    flow: DagFlow, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Endpoint]
) -> None:
    """`flow.llm` itself needs nothing; the action does, and is not tried again."""
    monkeypatch.setitem(sys.modules, "openai", None)
    flow.llm("ask", "small", base_url=serve(says("Yes.")).url)
    assert "pip install 'dagflow-nb[llm]'" in str(failed(flow))
    assert list(flow.get().nodes()["attempts"]) == [1]


# --- the key ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [KEY, pydantic.SecretStr(KEY), None])
def test_the_key_is_sent_and_nowhere_else(
    given: Any,
    tmp_path: Path,
    serve: Callable[..., Endpoint],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in a database, log, repr, pickle, fingerprint or error, even if the endpoint repeats it."""
    caplog.set_level(logging.DEBUG)
    if given is None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    echo = refuses(500, f"Bearer {KEY} crashed me", detail=KEY)
    endpoint = serve(says("Yes."), echo, echo, refuses(401, f"not {KEY}"))
    shown = []
    with DagFlow(tmp_path / "a.db", config=DagConfig.of(AT_ONCE)) as flow:
        ask = flow.llm("ask", "small", base_url=endpoint.url, api_key=given)
        wf = Workflow("w")
        wf.add("ask", prompt="Hello?", cache=True)
        wf.add("ask", id="again", prompt="Again?")
        with pytest.raises(NodeExecutionError) as caught:
            flow.run(flow.add_workflow(wf), view=False)
        run = flow.get()
        shown += [caught.value, caught.value.__cause__, ask, ask.action, vars(ask.__wrapped__), flow, wf, run]
        shown += [frame().to_dict() for frame in (run.nodes, run.attempts, run.events, run.logs, run.cache)]
        shown += [
            flow._repr_html_(),
            ask._repr_html_(),
            run.to_yaml(),
            flow.to_yaml("w"),
            flow.preview("w").to_dict(),
        ]
        assert KEY.encode() not in pickle.dumps(ask.__wrapped__)
    assert [headers["authorization"] for headers in endpoint.headers] == [f"Bearer {KEY}"] * 4
    assert KEY not in "\n".join(map(repr, shown)) + caplog.text
    files = list(tmp_path.rglob("*"))
    assert files and all(KEY.encode() not in file.read_bytes() for file in files if file.is_file())


def test_a_key_with_what_surrounds_it(
    flow: DagFlow, serve: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newline after it is left out; one within it is told before anything is sent, without the key."""
    endpoint = serve(says("Yes."))
    flow.llm("ask", "small", base_url=endpoint.url, api_key=f"{KEY}\n")
    flow.run(single(flow), view=False)
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"
    flow.llm("ask", "small", base_url=endpoint.url)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    error = failed(flow)
    assert "OPENAI_API_KEY is no key" in str(error) and KEY not in str(error)
    assert len(endpoint.asked) == 1


def test_what_has_no_json_form_cannot_be_asked(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """The error says so, and nothing is tried again."""
    endpoint = serve(says("Yes."))
    flow.llm("ask", "small", base_url=endpoint.url)
    error = failed(flow, messages=[{"role": "user", "content": float("nan")}])
    assert "cannot be asked this" in str(error) and endpoint.asked == []
    assert list(flow.get().nodes()["attempts"]) == [1]


def test_an_endpoint_of_ones_own_needs_no_key(flow: DagFlow, serve: Callable[..., Endpoint]) -> None:
    """Without one no key is sent; OpenAI's endpoint says that it needs one, before anything is sent."""
    endpoint = serve(says("Yes."))
    flow.llm("ask", "small", base_url=endpoint.url)
    flow.run(single(flow), view=False)
    assert "authorization" not in endpoint.headers[0]
    flow.llm("ask", "gpt")
    assert "https://api.openai.com/v1 needs a key: set OPENAI_API_KEY" in str(failed(flow))


def test_the_environment_names_the_endpoint(
    flow: DagFlow, serve: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`OPENAI_BASE_URL` counts where no `base_url` is given, at the time when the model is asked."""
    flow.llm("ask", "small")
    monkeypatch.setenv("OPENAI_BASE_URL", serve(says("Yes.")).url)
    assert flow.run(single(flow), view=False).outputs["ask"]["text"] == "Yes."


# --- wrong use -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"base_url": "localhost:11434"}, "base_url"),
        ({"base_url": f"http://user:{KEY}@localhost/v1"}, "base_url"),
        ({"api_key": 7}, "api_key"),
        ({"api_key": f"{KEY}\n{KEY}"}, "api_key"),
        ({"system": ["Be brief."]}, "system"),
        ({"output": City(name="a", people=1)}, "output"),
        ({"output": dict}, "output"),
    ],
)
def test_a_wrong_argument_is_named(flow: DagFlow, arguments: dict[str, Any], culprit: str) -> None:
    """At the definition; a password in an address is not repeated."""
    with pytest.raises(ValidationError, match=culprit) as caught:
        flow.llm("ask", **{"model": "small", **arguments})
    assert caught.value.culprit == culprit and KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"history": []}, "it needs a prompt, or messages"),
        ({"prompt": 3}, "prompt is a text, not 3"),
        ({"messages": "Hello"}, "messages is a list of dicts"),
        ({"messages": [{"content": "Hello"}]}, "a message has a role"),
        ({"prompt": "a", "history": {}}, "history is a list of steps"),
    ],
)
def test_wrong_inputs_are_told_before_anything_is_sent(
    flow: DagFlow, serve: Callable[..., Endpoint], inputs: dict[str, Any], text: str
) -> None:
    """They fail the node at once, without another attempt."""
    endpoint = serve(says("Yes."))
    flow.llm("ask", "small", base_url=endpoint.url)
    assert text in str(failed(flow, **inputs))
    assert endpoint.asked == [] and list(flow.get().nodes()["attempts"]) == [1]


def test_inputs_and_tools_that_there_are_not(flow: DagFlow) -> None:
    """They are told before the run begins, by a preview too; a tool may be defined after the model."""
    flow.llm("ask", "small", base_url="http://localhost:1/v1", tools=["look_up"])
    flow.tool(name="look_upp")(lambda name: name)
    workflow = single(flow)
    with pytest.raises(ActionNotFound, match=r"'ask' needs action 'look_up'.* did you mean 'look_upp'"):
        flow.run(workflow, view=False)
    row = flow.preview(workflow).iloc[0]
    assert row["reason"] == "action not found" and "'look_up'" in row["detail"] and flow.runs().empty
    flow.tool(name="look_up")(lambda name: name)
    assert flow.preview(workflow).iloc[0]["will_run"]
    with pytest.raises(ValidationError, match="no input 'promt'"):
        flow.run(single(flow, promt="Hello?"), view=False)


def test_the_tools_of_the_flow_are_those_that_there_are_when_it_is_asked(
    flow: DagFlow, serve: Callable[..., Endpoint]
) -> None:
    """One that is defined later is offered, and a planner runs it; a known answer was given without it."""
    endpoint = serve(says("No tools."), asks(("c1", "later", {})), says("Now."))
    agent = flow.llm("ask", "small", base_url=endpoint.url, tools=flow.tools)
    flow.planner(agent)
    wf = Workflow("w")
    wf.add(agent, prompt="?", cache=True)
    for _ in range(2):
        assert flow.run(wf, view=False).result["text"] == "No tools." and len(endpoint.asked) == 1

    @flow.tool
    def later() -> int:
        """A tool."""
        return 1

    run = flow.run(wf, view=False)
    assert run.result["text"] == "Now." and list(run.nodes()["node_id"]) == ["ask", "later", "ask_2"]
    assert [tool["function"]["name"] for tool in endpoint.asked[1]["tools"]] == ["later"]


def test_the_documentation_is_so(
    tmp_path: Path, serve: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples of its page run as they stand, with a key and an endpoint from the environment."""
    page = (Path(__file__).parents[2] / "notebooks" / "language_models.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)

    def facts(body: dict[str, Any]) -> Any:
        name = body["messages"][-1]["content"]
        return says(f'{{"name": "{name}", "people": {len(name)}}}')

    calls = [(f"c{n}", "people_in", {"city": city}) for n, city in enumerate(["Bern", "Basel"])]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    names: dict[str, Any] = {}
    monkeypatch.setenv("OPENAI_BASE_URL", serve(facts).url)
    exec(examples[0], names)
    with names["flow"]:
        results = names["run"].outputs["facts"]["result"]
        assert [(city.name, city.people) for city in results] == [("Bern", 4), ("Basel", 5)]
        monkeypatch.setenv("OPENAI_BASE_URL", serve(asks(*calls), says("Basel.")).url)
        exec(examples[1], names)
        assert names["run"].result["text"] == "Basel."
        assert list(names["run"].nodes()["node_id"]) == ["agent", "people_in", "people_in_2", "agent_2"]
