"""Secrets: in no file, in nothing that is shown, whatever holds them; and how a run goes on without them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretBytes, SecretStr

from dagflow_nb import DagFlow, EmitEvent, NodeSpec, PauseBranch, Workflow, ref
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
