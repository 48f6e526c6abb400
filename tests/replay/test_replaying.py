"""Fixtures of runs, and their replay: deterministic, offline, and strict about the plan."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import SecretStr

from dagflow_nb import DagFlow, NodeSpec, RetryStrategy, Workflow, ref
from dagflow_nb.errors import DagNotFound, InvalidState, ValidationError
from dagflow_nb.testing import PlanChanged, replay
from tests.flows import kinds, states

HEAD = '{{"format": {}, "workflow": "{}", "plan": {{}}, "steps": [], "inputs": {{}}}}'


class Setting:
    """A flow with a hook that grows the graph; `live` tells whether actions may run."""

    def __init__(self) -> None:
        self.flow, self.live, self.grows = DagFlow(":memory:", echo=False), True, True
        flow = self.flow

        @flow.action
        def fetch(n: int) -> dict[str, Any]:
            assert self.live
            return {"rows": list(range(n)), "frame": pd.DataFrame({"x": range(n)})}

        @flow.action(retries=2, retry_strategy=RetryStrategy.immediate())
        def flaky(ctx: Any, rows: list[int]) -> int:
            assert self.live
            if ctx.attempt < 2:
                raise ConnectionError("no route")
            ctx.report_usage(tokens=7)
            ctx.emit("seen", len(rows))
            return sum(rows)

        @flow.action
        def extra(text: str, rows: list[int]) -> str:
            assert self.live
            return text

        @flow.on_completed(action="fetch")
        def grow(node: Any, outputs: Any) -> Any:
            if self.grows and len(outputs["frame"]) > 2:
                yield NodeSpec("extra", id="grown", inputs={"text": "many", "rows": ref("fetch.rows")})

        self.wf = Workflow("recorded", inputs={"n": 3})
        rows = self.wf.add("fetch", n=ref("inputs.n"))
        self.wf.add("flaky", rows=rows["rows"])

    def record(self, path: Path, workflow: Any = None, **more: Any) -> Any:
        run = self.flow.run(workflow or self.wf, view=False, raise_on_failure=False, **more)
        run.to_fixture(path)
        return run

    def replay(self, path: Path) -> Any:
        self.live = False
        return replay(self.flow, path)


@pytest.fixture
def setting() -> Iterator[Setting]:
    made = Setting()
    with made.flow:
        yield made


def test_a_replay(setting: Setting, tmp_path: Path) -> None:
    """Hooks are asked, no action is executed; outputs keep their types; events are the same."""
    path = tmp_path / "run.json"
    run = setting.record(path)
    again = setting.replay(path)
    assert states(again) == states(run) and again.success and again.outputs["flaky"]["result"] == 3
    assert again.outputs["fetch"]["frame"].equals(run.outputs["fetch"]["frame"])
    assert sorted(kinds(again)) == sorted(kinds(run))  # an emitted event comes at its attempt's end
    assert [str(row) for row in again.attempts()["error"]] == [str(row) for row in run.attempts()["error"]]
    assert again.nodes()["tokens"].tolist() == run.nodes()["tokens"].tolist()
    assert setting.flow.runs().index.tolist() == [run.run_id], "the flow's own database has nothing of it"
    assert kinds(setting.replay(path)) == kinds(again)


def test_the_file(setting: Setting, tmp_path: Path) -> None:
    """It can be read and compared: plan and steps in order, failures as text, references by name."""
    path = tmp_path / "run.json"
    setting.record(path)
    found = json.loads(path.read_text())
    assert (found["workflow"], found["status"], found["inputs"]) == ("recorded", "completed", {"n": 3})
    assert found["plan"]["flaky"]["inputs"] == {"rows": {"ref": "fetch.rows"}}
    assert found["plan"]["grown"]["added_by"] == "fetch"
    steps = [step for step in found["steps"] if step.get("node") == "flaky"]
    assert (steps[0]["error"], steps[0]["retryable"]) == ("ConnectionError: no route", True)
    assert steps[1]["outputs"] == {"result": 3} and steps[1]["usage"] == {"tokens": 7, "cost": 0.0}
    assert steps[1]["emits"] == [["seen", 3]]
    assert max(map(len, path.read_text().splitlines())) < 2000


def test_a_big_value_costs_what_its_size_does(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a frame of texts are neither written line by line nor turned into text several times."""
    written: list[int] = []
    dumps = json.dumps
    monkeypatch.setattr(json, "dumps", lambda value, **how: written.append(0) or dumps(value, **how))

    def record(rows: int) -> tuple[int, int, int]:
        @setting.flow.action
        def texts() -> pd.DataFrame:
            return pd.DataFrame({"text": [f"row {n}" for n in range(rows)]})

        wf = Workflow("texts")
        wf.add("texts")
        run = setting.flow.run(wf, view=False)
        written.clear()
        run.to_fixture(path := tmp_path / f"{rows}.json")
        calls, lines = len(written), path.read_text().count("\n")
        assert setting.replay(path).outputs["texts"]["result"].equals(run.outputs["texts"]["result"])
        return calls, lines, path.stat().st_size

    small, big = record(200), record(20_000)
    assert big[:2] == small[:2] and 20_000 < big[2] < 400_000


@pytest.mark.parametrize("change", ["hook", "inputs", "edge", "node"])
def test_a_changed_plan(change: str, setting: Setting, tmp_path: Path) -> None:
    """What differs in nodes, edges or inputs is told line by line, and that it can be recorded anew."""
    path = tmp_path / "run.json"
    setting.record(path)
    if change == "hook":
        setting.grows = False
        expected = ["-grown:", '-  action: "extra"']
    else:
        wf = Workflow("recorded", inputs={"n": 3})
        rows = wf.add("fetch", n=ref("inputs.n") if change != "inputs" else 3)
        node = wf.add("flaky", rows=rows["rows"])
        if change == "edge":
            wf.add("extra", id="grown", text="many", rows=[], after=[node])
        if change == "node":
            wf.add("extra", id="new", text="x", rows=[])
        setting.flow.add_workflow(wf)
        expected = {
            "inputs": ['-  input n: {"ref": "inputs.n"}', "+  input n: 3"],
            "edge": ['+  after: ["flaky"]'],
            "node": ["+new:", '+  action: "extra"'],
        }[change]
    with pytest.raises(PlanChanged, match=r"'recorded' has changed.*record it anew") as caught:
        setting.replay(path)
    lines = caught.value.diff.splitlines()
    assert [line for line in expected if line not in lines] == []
    assert isinstance(caught.value, AssertionError) and caught.value.run.dag_name == "recorded"
    if change == "node":
        assert "'new' was started, and no result of it is recorded" in str(caught.value)


def test_answers_and_decisions(setting: Setting, tmp_path: Path) -> None:
    """What people answered and did comes again at its place, over pauses of the whole run."""
    flow = setting.flow

    @flow.action
    def decide(human_input: Any) -> str:
        assert setting.live
        return str(human_input["choice"])

    wf = Workflow("asks")
    first = wf.add("decide", id="first", ask="which?")
    wf.add("decide", id="second", ask="and now?", after=[first])
    run = flow.run(wf, view=False)
    run.resume(choice="a").wait()
    run.resume(choice="b").wait()
    path = run.to_fixture(tmp_path / "run.json")
    again = setting.replay(path)
    assert (again.outputs["first"]["result"], again.outputs["second"]["result"]) == ("a", "b")
    assert kinds(again) == kinds(run)


def test_retries_by_hand_cancels_and_timeouts(setting: Setting, tmp_path: Path) -> None:
    """A failed run that was retried, a cancelled branch, and an attempt that took too long."""
    flow, broken = setting.flow, [True]

    @flow.action
    def mended() -> int:
        assert setting.live
        if broken[0]:
            raise ValueError("not yet")
        return 1

    @flow.action(timeout=0.05)
    async def slow() -> None:
        import asyncio

        assert setting.live
        await asyncio.sleep(10)

    wf = Workflow("troubled")
    wf.add("mended")
    wf.add("slow")
    run = flow.run(wf, view=False, raise_on_failure=False)
    broken[0] = False
    flow.retry(run, "mended", view=False, raise_on_failure=False)
    assert states(run) == {"mended": "completed", "slow": "failed"}
    path = run.to_fixture(tmp_path / "run.json")
    again = setting.replay(path)
    assert states(again) == states(run)
    assert again.nodes()["error"].dropna().tolist() == ["timed out after 0.05 s"]


def test_maps_and_sub_workflows(setting: Setting, tmp_path: Path) -> None:
    """Their items and children are recorded one by one; executors are not needed for a replay."""
    flow = setting.flow

    @flow.action
    def square(x: int) -> int:
        assert setting.live
        return x * x

    inner = Workflow("inner", inputs=["x"])
    inner.add("square", x=ref("inputs.x"))
    wf = Workflow("groups")
    mapped = wf.map("square", over={"x": [1, 2, 3]}, id="m")
    wf.add(inner, id="sub", x=mapped["result"][2])
    run = setting.record(tmp_path / "run.json", wf)
    again = setting.replay(tmp_path / "run.json")
    assert states(again) == states(run) and list(again.outputs["m"]["result"]) == [1, 4, 9]


def test_known_results(setting: Setting, tmp_path: Path) -> None:
    """What was found again when it was recorded is `cached` in the replay; nothing is looked up."""
    flow = setting.flow

    @flow.action(cache=True)
    def slow(n: int) -> int:
        return n + 1

    wf = Workflow("cached", inputs={"n": 1})
    wf.add("slow", n=ref("inputs.n"))
    setting.record(tmp_path / "first.json", wf)
    setting.record(tmp_path / "second.json", wf)
    assert states(setting.replay(tmp_path / "second.json")) == {"slow": "cached"}
    assert states(setting.replay(tmp_path / "first.json")) == {"slow": "completed"}


def test_secrets_are_left_out(setting: Setting, tmp_path: Path) -> None:
    """Neither inputs nor outputs that are secret stand in the file."""
    flow = setting.flow

    @flow.action
    def login(key: SecretStr) -> dict[str, Any]:
        assert setting.live
        return {"token": SecretStr("t0ken"), "user": "ada"}

    wf = Workflow("secret", inputs={"key": SecretStr("pa55")})
    wf.add("login", key=ref("inputs.key"))
    run = setting.record(tmp_path / "run.json", wf)
    assert run.success
    text = (tmp_path / "run.json").read_text()
    assert "t0ken" not in text and "pa55" not in text and "ada" in text
    assert setting.replay(tmp_path / "run.json").success


def test_a_fork(setting: Setting, tmp_path: Path) -> None:
    """What the fork kept and what ran in it is one recording; given outputs cannot be replayed."""
    run = setting.record(tmp_path / "run.json")
    other = setting.flow.fork(run, node="flaky", view=False)
    other.to_fixture(tmp_path / "fork.json")
    given = setting.flow.fork(run, outputs={"fetch": {"rows": [1]}}, view=False)
    with pytest.raises(InvalidState, match="'fetch' got outputs from outside"):
        given.to_fixture(tmp_path / "given.json")
    assert states(setting.replay(tmp_path / "fork.json")) == states(other)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (None, ValidationError, r"no file .*run\.to_fixture"),
        ("{", ValidationError, "is no fixture"),
        ('{"a": 1}', ValidationError, "is no fixture"),
        (HEAD.format(99, "w"), ValidationError, "format 99"),
        (HEAD.format(1, "recrded"), DagNotFound, "did you mean 'recorded'.*add the workflow"),
    ],
)
def test_what_is_no_fixture(text: Any, error: type, words: str, setting: Setting, tmp_path: Path) -> None:
    """A file that is not there, is none, or is of another workflow: said by name."""
    path = tmp_path / "run.json"
    setting.flow.add_workflow(setting.wf)
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=words):
        replay(setting.flow, path)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_run_replays(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Generated graphs with failures, retries and growth: the replay has the recorded plan."""
    live = True
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action(retries=1, retry_strategy=RetryStrategy.immediate())
        def work(ctx: Any, fails: int, grows: bool) -> dict[str, Any]:
            assert live
            if ctx.attempt <= fails:
                raise ValueError("boom")
            return {"grows": grows}

        @flow.on_completed(action="work")
        def grow(node: Any, outputs: Any) -> Any:
            if outputs["grows"]:
                yield NodeSpec("work", id=f"{node.node_id}+", inputs={"fails": 0, "grows": False})

        wf = Workflow("generated")
        for i in range(data.draw(st.integers(1, 6))):
            before = data.draw(st.lists(st.sampled_from(range(i)), unique=True, max_size=2)) if i else []
            rule = data.draw(st.sampled_from(["all_success", "all_done", "one_success"]))
            fails, grows = data.draw(st.sampled_from([0, 0, 1, 2])), data.draw(st.booleans())
            wf.add("work", id=f"n{i}", fails=fails, grows=grows, when=rule, after=[f"n{j}" for j in before])
        policy = data.draw(st.sampled_from(["continue", "stop", "pause"]))
        run = flow.run(wf, view=False, raise_on_failure=False, config={"on_failure": policy})
        path = run.to_fixture(tmp_path_factory.mktemp("replay") / "run.json")
        live = False
        again = replay(flow, path)
        assert states(again) == states(run) and again.status == run.status


def test_what_a_replay_needs_goes_with_its_run(setting: Setting, tmp_path: Path) -> None:
    """The thread of a replay is there as long as somebody has the run; values of it can be read on."""
    path = tmp_path / "run.json"
    setting.record(path)
    before = set(threading.enumerate())
    run = setting.replay(path)
    (engine,) = (t for t in set(threading.enumerate()) - before if t.name == "dagflow-engine")
    outputs = run.outputs["fetch"]
    del run
    deadline = time.monotonic() + 10
    while engine.is_alive() and time.monotonic() < deadline:  # its loop still has a timer of 50 ms
        gc.collect()
        engine.join(0.01)
    assert not engine.is_alive()
    assert len(outputs["frame"])
