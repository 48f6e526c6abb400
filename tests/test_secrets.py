"""Secrets: in no file, in nothing that is shown, whatever holds them; and how a run goes on without them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, SecretBytes, SecretStr

from dagflow_nb import (
    AddNode,
    Cache,
    DagExecutor,
    DagFlow,
    EmitEvent,
    NodeCtx,
    NodeSpec,
    PauseBranch,
    Plan,
    SetNodeInputs,
    Workflow,
    ref,
)
from dagflow_nb.api.controls import Controls
from tests.flows import states

WORD, BINARY = "hunter2-is-no-password", b"\x01binary-is-none-either"
USED = f"used {len(WORD)}"
HIDDEN = SecretStr(WORD)  # what an action's code uses is read to tell changes


class Login(BaseModel):
    """A model with a secret in it."""

    user: str
    password: SecretStr


@dataclass
class Key:
    """A dataclass with one."""

    data: SecretBytes


def define(flow: DagFlow, seen: list[str]) -> None:
    """Actions that get secrets, give them on, and fail over them."""

    @flow.action
    def use(token: SecretStr, login: Login, key: Key) -> dict[str, Any]:
        seen.append(f"used {len(token.get_secret_value())}")
        print("got", token, login, key)
        return {"token": token, "login": login, "nested": [{"deep": (key,)}], "user": login.user}

    @flow.action
    def fail(token: SecretStr) -> None:
        raise ValueError(f"cannot use {token!r} or {token}")

    @flow.action
    def count(token: int) -> int:
        return token

    @flow.action
    def later(token: SecretStr, user: str) -> str:
        seen.append("later")
        assert token == HIDDEN
        return f"{user}:{len(token.get_secret_value())}"


def test_secrets_are_written_nowhere_and_asked_for_again(tmp_path: Path) -> None:
    """Inputs, outputs, literals, events, hooks' nodes, errors and logs: the bytes are in no file and in no
    frame; another process goes on once it is given the secret, and what had run does not run again."""
    path, seen = tmp_path / "x.db", []

    def check() -> None:
        files = list(tmp_path.glob("x.db*"))
        assert files
        for file in files:
            data = file.read_bytes()
            assert WORD.encode() not in data and BINARY not in data, file.name

    wf = Workflow("secretive", inputs=["token", "login", "key"])
    token = ref("inputs.token")
    used = wf.add("use", id="used", token=token, login=ref("inputs.login"), key=ref("inputs.key"))
    wf.add("later", id="later", token=token, user=used["user"])
    wf.add("count", id="counted", token=token)
    wf.add("fail", id="literal", token=SecretStr(WORD))
    inputs = {"token": SecretStr(WORD), "login": Login(user="me", password=SecretStr(WORD))}
    with DagFlow(path, echo=False) as flow:
        define(flow, seen)

        @flow.on_completed(node="used")
        def grow(outputs: Any) -> Any:
            yield NodeSpec("fail", id="grown", inputs={"token": outputs["token"], "more": [outputs["token"]]})
            yield EmitEvent("said", {"token": outputs["token"]})
            yield PauseBranch("later", reason="look")

        @flow.action(name="fail")
        def fail(token: SecretStr, more: Any = ()) -> None:
            raise ValueError(f"cannot use {token!r} or {token} or {more}")

        run = flow.run(wf, {**inputs, "key": Key(SecretBytes(BINARY))}, run_id="r", view=False)
        assert run.status == "paused" and seen == [USED]
        assert states(run) == {
            "used": "completed",
            "later": "paused",
            "counted": "failed",
            "literal": "failed",
            "grown": "failed",
        }
        check()
        frames = [run.nodes(), run.attempts(), run.events(), run.logs(), run.cache(), flow.runs()]
        shown = [frame.to_csv() for frame in frames] + [repr(run), run.graph().svg]
        shown.append(str(run._repr_mimebundle_()))
        assert not any(WORD in text or BINARY.decode("latin-1") in text for text in shown)
        cache = run.cache().set_index(["namespace", "key"])
        assert cache.loc[("inputs", "login"), "codec"] == "memory"
        assert "password is a secret" in cache.loc[("inputs", "login"), "reason"]
    check()
    with DagFlow(path, echo=False) as flow:
        define(flow, seen)
        run = flow.resume("r", inputs={"token": SecretStr(WORD)}, view=False, raise_on_failure=False)
        # what `later` needs of `used` was stored, what is secret of it is not needed
        assert run.outputs["later"]["result"] == f"me:{len(WORD)}" and seen == [USED, "later"]
        check()
    check()


@pytest.mark.parametrize("value", [SecretStr("x"), [SecretStr("x")], {"a": [1, {"b": SecretStr("x")}]}])
def test_a_literal_that_was_not_stored_is_said_to_be_missing(tmp_path: Path, value: Any) -> None:
    """After a reload no action gets a placeholder, however deep the missing part of its input lies."""
    path = tmp_path / "x.db"
    wf = Workflow("w")
    wf.add("second", id="b", after=[wf.add("first", id="a")], v=value)

    def define(flow: DagFlow) -> list[Any]:
        got: list[Any] = []

        @flow.action
        def first() -> None:
            pass

        @flow.action
        def second(v: Any) -> None:
            got.append(v)

        return got

    with DagFlow(path, echo=False) as flow:
        define(flow)
        flow.on_completed(node="a")(lambda: PauseBranch("b"))
        assert flow.run(wf, run_id="r", view=False).status == "paused"
    with DagFlow(path, echo=False) as flow:
        got = define(flow)
        run = flow.resume("r", view=False, raise_on_failure=False)
        assert run.status == "failed" and got == []
        assert "input 'v' of node 'b' could not be stored" in str(run.error)


def test_a_plain_text_for_a_secret_parameter_is_a_secret(tmp_path: Path) -> None:
    """Inputs, defaults, literals, maps, sub-workflows and growth, given in clear: actions get them as ever,
    and the bytes are in no file, frame or view; another process goes on once it is given them."""
    path, plain = tmp_path / "x.db", {"user": "me", "password": WORD}

    got: dict[str, Any] = {}  # not in the actions' code, which is stored

    def define(flow: DagFlow) -> None:
        @flow.action
        def enter(ctx: NodeCtx, token: SecretStr, n: int = 0) -> str:
            ctx.app_data[ctx.node_id] = token.get_secret_value()
            return f"entered {n}"

        @flow.action(cache=True)
        def sign(ctx: NodeCtx, login: Login, key: Key, tokens: list[SecretStr]) -> str:
            ctx.app_data["sign"] = {login.password, *tokens, key.data}
            return login.user

        @flow.action
        def count(ctx: NodeCtx, token: str, conf: dict[str, Any]) -> int:
            ctx.app_data["count"] = (token, conf["token"], ctx.inputs["token"])
            return len(token)

        @flow.action
        def many(ctx: NodeCtx, **tokens: SecretStr) -> None:
            ctx.app_data["many"] = tokens["any"].get_secret_value()

        @flow.action(failure="mend")
        def fail(token: SecretStr) -> None:
            raise ValueError(f"cannot use {token}")

        @flow.action
        def mend(ctx: NodeCtx, inputs: dict[str, Any]) -> dict[str, Any]:
            ctx.app_data[ctx.node_id] = inputs["token"]
            return {"seen": sorted(inputs)}

        @flow.action
        def later(ctx: NodeCtx, token: SecretStr, n: int) -> int:
            ctx.app_data["later"] = token.get_secret_value()
            return n

    inner = Workflow("inner", inputs={"secret": WORD + "-default"})
    inner.add("enter", id="in", token=ref("inputs.secret"))
    wf = Workflow("open", inputs={"token": WORD, "login": plain, "n": 3})
    token = ref("inputs.token")
    wf.add("enter", id="literal", token=WORD)
    first = wf.add("enter", id="input", token=token, n=ref("inputs.n"))
    key = {"data": BINARY}
    wf.add("sign", id="sign", login=ref("inputs.login"), key=key, tokens=[token, WORD])
    wf.add("count", id="count", token=token, conf=ref("inputs.conf"))
    wf.add("enter", id="deep", token=ref("inputs.conf.token"))
    wf.add("many", id="many", any=WORD)
    wf.add("fail", id="fail", token=WORD)
    wf.map("enter", {"token": [WORD + "-1", WORD + "-2"]}, id="each")
    wf.map("enter", {"token": ref("inputs.tokens")}, id="given")
    wf.map("enter", [{"token": WORD, "n": 1}, {"token": WORD, "n": 2}], id="rows")
    wf.map("enter", pd.DataFrame({"token": [WORD], "n": [9]}), id="frame")
    wf.map("enter", ref("inputs.rows"), id="row")
    wf.add(inner, id="sub")
    wf.add(inner, id="sub2", secret=token)
    wf.map(inner, {"secret": [WORD]}, id="subs")
    wf.add("later", id="later", token=token, n=5, after=[first])
    inputs = {"conf": {"token": WORD + "-3"}, "tokens": [WORD, WORD + "-4"], "rows": [{"token": WORD}]}

    def check(*shown: str) -> None:
        for file in tmp_path.glob("x.db*"):
            data = file.read_bytes()
            at = max(data.find(WORD.encode()), data.find(BINARY))
            assert at < 0, (file.name, data[max(at - 300, 0) : at + 50])
        assert not any(WORD in text for text in shown)

    with DagFlow(path, echo=False, app_data=got) as flow:
        define(flow)

        @flow.on_completed(node="input")
        def grow() -> Any:
            yield NodeSpec("enter", id="grown", inputs={"token": WORD})
            yield NodeSpec(inner, id="grown_sub", inputs={"secret": WORD})
            yield AddNode(NodeSpec("enter", id="set", inputs={"token": "no"}, deps=["grown"]))
            yield SetNodeInputs("set", {"token": WORD})
            yield PauseBranch("later", reason="look")

        assert not set(flow.preview(wf, inputs)["reason"]) & {"cached", "action not found"}
        run = flow.run(wf, inputs, run_id="r", view=False, raise_on_failure=False)
        found = states(run)
        assert found.pop("later") == "paused" and found.pop("fail") == "failed"
        assert set(found.values()) == {"completed"}, found
        assert run.outputs["sign"]["result"] == "me" and run.outputs["count"]["result"] == len(WORD)
        assert got.pop("sign") == {HIDDEN, SecretBytes(BINARY)}
        assert got.pop("count") == (WORD, f"{WORD}-3", WORD)
        ends = {"deep": "-3", "each/0": "-1", "each/1": "-2", "given/1": "-4", "sub/in": "-default"}
        assert got == {id: WORD + ends.get(id, "") for id in got}
        assert {
            *ends,
            "many",
            "fail.on_failure",
            "grown",
            "set",
            "grown_sub/in",
            "row/0",
            "rows/1",
            "frame/0",
            "subs/0/in",
        } <= {*got}
        look = Controls(run).look
        frames = [run.nodes(), run.attempts(), run.events(), run.logs(), run.cache(), flow.runs()]
        frames += [run.table("each"), run.table("given"), run.table("row"), run.lineage("inputs.token")]
        check(*(frame.to_csv() for frame in frames), repr(run), run.graph().svg, repr(dict(run.inputs)))
        check(str(run._repr_mimebundle_()), *(repr(look(id)) for id in found))
        fork = flow.fork(run, inputs={"token": WORD + "-5"}, view=False, raise_on_failure=False)
        check(fork.cache().to_csv(), run.diff(fork).to_csv(), flow.preview(wf, inputs).to_csv())
    check()
    got.clear()
    with DagFlow(path, echo=False, app_data=got) as flow:
        define(flow)
        run = flow.resume("r", view=False, raise_on_failure=False)
        assert "flow.resume(inputs={'token': ...})" in run.nodes(node_id="later")["error"].iloc[0]
        run = flow.resume("r", inputs={"token": WORD}, view=False, raise_on_failure=False)
        assert got["later"] == WORD and run.outputs["later"]["result"] == 5
        check(run.cache().to_csv(), repr(dict(run.inputs)))
    check()


def test_a_secret_literal_is_there_when_its_run_goes_on_in_the_same_process(tmp_path: Path) -> None:
    """A retry finds what was written down for a node in clear, though it is in no file; growth's, too."""
    with DagFlow(tmp_path / "x.db", echo=False, app_data=(fails := {"now": True})) as flow:

        @flow.action
        def enter(ctx: NodeCtx, token: SecretStr, keys: list[SecretStr]) -> int:
            if ctx.app_data["now"]:
                raise ValueError("not yet")
            return len(token.get_secret_value()) + len(keys)

        flow.on_run_started(lambda: NodeSpec("enter", id="grown", inputs={"token": WORD, "keys": ()}))
        wf = Workflow("w", inputs={"key": WORD})
        wf.add(enter, id="n", token=WORD, keys=[ref("inputs.key"), WORD])
        run = flow.run(wf, view=False, raise_on_failure=False)
        assert states(run) == {"n": "failed", "grown": "failed"}
        fails["now"] = False
        run = flow.retry(view=False)
        assert run.outputs["n"]["result"] == len(WORD) + 2 and run.outputs["grown"]["result"] == len(WORD)
        for file in tmp_path.glob("x.db*"):
            assert WORD.encode() not in file.read_bytes()
        flow.delete_runs(run)
        assert not flow._session.memory


def test_a_cache_that_is_saved_has_no_secret_that_an_action_takes(tmp_path: Path) -> None:
    """The core API's snapshots and deltas hide the inputs that a workflow's actions take as secrets."""

    def enter(token: SecretStr) -> str:
        return f"{len(token.get_secret_value())}"

    async def go() -> None:
        wf = Workflow("open", inputs=["token"])
        wf.add(enter, id="n", token=ref("inputs.token"))
        async with DagExecutor(database=tmp_path / "x.db") as executor:
            executor.add_workflow(wf)
            cache = Cache({"inputs": {"token": WORD, "other": 1}})
            await executor.store.save_cache_delta("open", cache.as_dict())
            await executor.save_cache_snapshot("open", cache)
            assert (await executor.execute_static_dag("open", cache)).success
            assert cache.get("inputs", "token") == WORD and cache.get("n", "result") == str(len(WORD))
            await executor.save_cache_snapshot("open", cache)
            await executor.store.save_cache_delta("open", cache.as_dict())
            assert (await executor.load_cache_snapshot("open")).get("inputs", "other") == 1

    asyncio.run(go())
    for file in tmp_path.glob("x.db*"):
        assert WORD.encode() not in file.read_bytes()


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("form", ["plan", "specs", "map", "output"])
def test_a_plan_that_an_action_returns_has_no_secret_that_its_steps_take(
    tmp_path: Path, form: str, gate: bool
) -> None:
    """A plain text for a parameter that takes a secret is one in a returned `Plan` or `NodeSpec`, too."""
    seen: list[str] = []

    def own(token: SecretStr, n: int = 0) -> None:
        seen.append(token.get_secret_value())

    def plan() -> Any:
        word = HIDDEN.get_secret_value()
        made = Plan()
        made.add(own, id="a", token=word)
        if form == "specs":
            return [NodeSpec("use", id="a", inputs={"token": word}), NodeSpec(own, inputs={"token": word})]
        if form == "map":
            return [NodeSpec("use", id="a", over=[{"token": word}, {"token": word}])]
        return {"plan": made, "n": [1]} if form == "output" else made

    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        flow.action(name="use")(own)

        @flow.action
        def think(history: Any = None) -> Any:
            return plan() if history is None else None

        flow.planner(think, gate=gate)
        wf = Workflow("w")
        wf.add(think)
        run = flow.run(wf, view=False)
        if gate:
            assert WORD not in repr(run.proposal) and run.status == "paused"
            run.approve().wait(20)
        assert run.success and set(seen) == {WORD}
        shown = [run.cache().to_string(), repr(run.outputs["think"]), run.events().to_string()]
        assert not [text for text in shown if WORD in text]
        for file in tmp_path.iterdir():
            assert WORD.encode() not in file.read_bytes()


def test_a_spec_that_could_be_no_node_is_an_output_all_the_same() -> None:
    """A lambda has no name to run under, which only matters where somebody runs it."""
    with DagFlow(":memory:", echo=False) as flow:
        wf = Workflow("w")
        wf.add(flow.action(name="give")(lambda: [NodeSpec(lambda v: v, inputs={"v": 1})]))
        assert flow.run(wf, view=False).success
