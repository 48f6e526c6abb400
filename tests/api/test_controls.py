"""What buttons and panels do: controls of a run, the details of a node, answers that people give."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, field_validator

from dagflow_nb import DagFlow, Workflow
from dagflow_nb.api.controls import Controls
from dagflow_nb.errors import InvalidState, ValidationError
from dagflow_nb.notebook.asked import answer
from dagflow_nb.testing import Gate
from tests.flows import PATIENCE, single


class Letter(BaseModel):
    """May it be sent?"""

    greeting: str = "Dear all"

    @field_validator("greeting")
    @classmethod
    def _polite(cls, greeting: str) -> str:
        if greeting.startswith("Hey"):
            raise ValueError("be more polite")
        return greeting


def asking(flow: DagFlow, ask: Any) -> Workflow:
    """A node that asks, and one that depends on it."""

    @flow.action
    def write(human_input: dict) -> dict:
        return human_input

    @flow.action
    def send(letter: Any) -> Any:
        return letter

    wf = Workflow("letters")
    wf.add(send, letter=wf.add(write, ask=ask))
    return wf


@pytest.fixture
def flow() -> Any:
    with DagFlow(":memory:", echo=False) as flow:
        yield flow


def test_a_models_own_validators_hold_for_ask(flow: DagFlow) -> None:
    """What `ask=Model` is answered with is checked by the model's validators, live and from the database."""
    run = flow.run(asking(flow, Letter), view=False)
    for answer_it in (run.resume, lambda **given: flow.resume(run, view=False, **given)):
        with pytest.raises(ValidationError, match="be more polite"):
            answer_it(greeting="Hey you")
    told = answer(Controls(run), {"kind": "do", "id": 1, "what": "approve", "answers": {"greeting": "Hey"}})
    assert told is not None and told["fields"] == {"greeting": "be more polite"}
    assert run.approve().wait(PATIENCE).result == {"greeting": "Dear all", "approved": True}


def test_a_name_that_no_form_knows_is_refused(flow: DagFlow) -> None:
    """A misspelt keyword is an error with the right one, and nothing is stored; a bare question takes any."""
    run = flow.run(asking(flow, Letter), view=False)
    with pytest.raises(ValidationError, match="greeting") as bad:
        run.approve(greating="Dear Ada")
    assert bad.value.culprit == "greating" and run.cache(namespace="human_input").empty
    free = flow.run(asking(flow, "May it be sent?"), view=False)
    assert free.approve(whatever=1).wait(PATIENCE).result == {"whatever": 1, "approved": True}


def test_each_form_is_answered_by_itself(flow: DagFlow) -> None:
    """An answer goes to the forms that know its name, and each takes its own defaults, live and stored."""

    @flow.action
    def tell(human_input: dict) -> dict:
        return human_input

    wf = Workflow("forms")
    for name, form in {"one": {"n": 1}, "two": {"n": 2}, "three": {"m": 3}, "bare": True}.items():
        wf.add(tell, id=name, ask=form)
    stored = flow.run(wf, view=False).run_id
    found = flow.resume(stored, approved=True, view=False).result
    yes = {"approved": True}
    assert found == {"one": yes | {"n": 1}, "two": yes | {"n": 2}, "three": yes | {"m": 3}, "bare": yes}
    run = flow.run("forms", view=False)
    with pytest.raises(ValidationError, match="the form has no 'n'"):
        run.resume("three", n=7)
    found = run.resume(n=7).wait(PATIENCE).result
    assert found == {"one": {"n": 7}, "two": {"n": 7}, "three": {"m": 3}, "bare": {"n": 7}}


def test_a_secret_answer_is_none_to_who_takes_anything(flow: DagFlow) -> None:
    """What one form says is a secret is hidden for all that wait with it, whatever their order."""
    wf = asking(flow, {"word": SecretStr})
    wf.add("write", id="first", ask=True)
    wf.add("write", id="last", ask=True)
    run = flow.run(wf, view=False)
    run.resume(word="swordfish").wait(PATIENCE)
    assert "swordfish" not in str(run.outputs["first"]) + str(run.outputs["last"])


def test_nothing_to_reject_is_said(flow: DagFlow) -> None:
    """`reject` of a run that has ended says so, as the other controls do."""
    run = flow.run(asking(flow, True), view=False).approve().wait(PATIENCE)
    with pytest.raises(InvalidState, match=r"has ended \(completed\): there is nothing to reject"):
        run.reject()


def test_no_is_an_answer(flow: DagFlow) -> None:
    """`approved=False` cancels the node that asks with what depends on it, and the run ends."""
    run = flow.run(asking(flow, True), view=False)
    run.resume(approved=False).wait(PATIENCE)
    assert {node.id: node.status for node in run.snapshot().nodes} == {
        "write": "cancelled",
        "send": "cancelled",
    }


def test_rejecting_a_run_that_waits_as_a_whole_cancels_it(flow: DagFlow) -> None:
    """Where a budget or a review holds the run no branch has to be named."""

    @flow.action
    def ask_model(ctx: Any) -> int:
        ctx.report_usage(tokens=10)
        return 1

    @flow.action
    def go_on(n: int) -> int:
        return n

    @flow.workflow
    def w():
        return go_on(ask_model())

    run = flow.run("w", view=False, config={"max_tokens": 5})
    assert [waiting.branch_id for waiting in run.waiting] == [None]
    run.reject()
    run._raise = False
    assert run.wait(PATIENCE).status == "cancelled"


def test_the_details_of_a_node(flow: DagFlow) -> None:
    """Values, attempts with the action's own traceback, and the code; secrets and markup do no harm."""

    @flow.action(retries=1, retry_strategy="immediate")
    def parse(key: SecretStr, text: str) -> int:
        return int(text)

    wf = Workflow("w")
    wf.add(parse, key=SecretStr("hunter2"), text="<script>")

    run = flow.run(wf, view=False, raise_on_failure=False)
    told = answer(Controls(run), {"kind": "look", "node": "parse"})
    assert told is not None and "hunter2" not in repr(told)
    assert told["inputs"]["text"] == {"kind": "text", "text": "'<script>'"}
    assert [row["status"] for row in told["attempts"]] == ["failed", "failed"]
    assert "return int(text)" in told["attempts"][1]["traceback"]
    assert "dagflow_nb" not in told["attempts"][1]["traceback"]
    assert "def parse(key: SecretStr, text: str)" in told["code"]
    gone = answer(Controls(run), {"kind": "look", "node": "nowhere"})
    assert gone == {"kind": "look", "node": "nowhere", "problem": "KeyError: 'nowhere'"}


def test_a_branch_is_paused_resumed_and_cancelled(flow: DagFlow) -> None:
    """Buttons of a node act on it and what comes after it, while the run goes on."""
    gate = Gate()

    @flow.action
    def first() -> int:
        gate.hold()
        return 1

    @flow.action
    def then(n: int) -> int:
        return n

    wf = Workflow("w")
    one = wf.add(first)
    wf.add(then, id="a", n=one)
    wf.add(then, id="b", n=one)
    run = flow.start(wf, view=False)
    gate.wait_for(1)
    controls, heard, live = Controls(run), queue.SimpleQueue[Any](), run._coordinator
    assert live is not None
    live.loop.call_soon_threadsafe(live.watch.listen, heard.put)
    for what, branch, kind in (
        ("pause", "a", "BranchPaused"),
        ("resume", "a", "BranchResumed"),
        ("cancel", "b", "BranchCancelled"),
    ):
        told = answer(controls, {"kind": "do", "id": what, "what": what, "branch": branch})
        assert told == {"kind": "done", "id": what, "error": None}
        while type(event := heard.get(timeout=PATIENCE)).__name__ != kind:
            pass
        assert event.branch_id == branch
    gate.open()
    run.wait(PATIENCE)
    assert {node.id: node.status for node in run.snapshot().nodes} == {
        "first": "completed",
        "a": "completed",
        "b": "cancelled",
    }
    assert list(run.events(kind="BranchPaused")["node_id"]) == ["a"]


def test_a_view_that_breaks_is_logged_and_dropped(flow: DagFlow, caplog: pytest.LogCaptureFixture) -> None:
    """A view that raises is told nothing more, the log says why, and the run goes on."""
    gate = Gate()

    class Broken:
        calls = 0

        def update(self, *told: Any) -> None:
            self.calls += 1
            raise RuntimeError("the page is gone")

        log = finish = update

    def work() -> int:
        gate.hold()
        print("one")
        print("two")
        return 1

    broken = Broken()
    run = flow.start(single(work), view=False)
    gate.wait_for(1)
    assert run._coordinator is not None
    run._coordinator.loop.call_soon_threadsafe(run._coordinator.watch.add_view, broken)
    with caplog.at_level(logging.WARNING, "dagflow_nb"):
        gate.open()
        assert run.wait(PATIENCE).success
    assert broken.calls == 1 and "a view of run" in caplog.text and "the page is gone" in caplog.text


IMPORTS = """
import sys, threading
from dagflow_nb import DagFlow, PauseBranch
threads = {}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("jsonschema", "referencing"):
            threads[name] = threading.current_thread().name
sys.meta_path.insert(0, Finder())
with DagFlow(":memory:") as flow:
    @flow.action
    def work(): return 1
    @flow.action
    def more(n: int): return n
    @flow.on_completed(action="work")
    def ask(node): return PauseBranch(node.node_id, "?", {"limit": int})
    @flow.workflow
    def w(): more(work())
    run = flow.run("w", view=False)
    assert run.resume(limit=3).wait(60).success
assert threads and not any("engine" in name for name in threads.values()), threads
"""


def test_what_checks_answers_is_not_imported_on_the_runs_loop() -> None:
    """The first question and the first answer of a process hold up no run while a library is imported."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=120)
