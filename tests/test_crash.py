"""Real processes: killed, interrupted, left alone; and what another one makes of what they leave."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow, InvalidState, NodeSpec, PauseBranch, ValidationError, Workflow
from tests.flows import kinds, rows, single, states

LIMIT = 20  # seconds that one of these processes may take

# Each action writes a line into a file when it runs; `hold` tells us that it has begun, and never ends.
ACTIONS = """
import asyncio, os, sys, time
from dagflow_nb import *

HOLD = __name__ == "__main__"

def note(text):
    with open(LOG, "a") as file:
        file.write(text + "\\n")

def hang():
    if HOLD:
        print("holding", flush=True)
        time.sleep(600)

def define(flow):
    @flow.action
    def step(i=0):
        note(f"step {i}")
        return {"i": i, "text": "x" * 100}

    @flow.action
    def hold(i=0):
        note("hold")
        hang()
        return {"i": i}

    @flow.action(idempotent=False)
    def pay(i=0):
        note("pay")
        hang()
        return {"i": i}

    @flow.action
    def lock(i=0):
        note("lock")
        import threading
        return {"lock": threading.Lock(), "i": i}

    @flow.action
    def use(lock, i=0):
        note("use")
        hang()
        with lock:
            return i

    @flow.action
    async def block_loop():
        print("holding", flush=True)
        time.sleep(600)

    @flow.action(executor="process")
    def far():
        time.sleep(600)
    return flow
"""


class Script:
    """A Python process with the actions above; `path` is its database, `log` what ran in which order."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "run.db", folder / "log.txt"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, body: str) -> subprocess.Popen[str]:
        """Start a process with `flow` defined; it goes on with `body`."""
        code = f"LOG, PATH = {str(self.log)!r}, {str(self.path)!r}\n{ACTIONS}\n"
        code += f"flow = define(DagFlow(PATH, config={{'durability': 'sync'}}))\n{body}\n"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def until_holding(self, body: str) -> subprocess.Popen[str]:
        """Start a process and wait until one of its actions (or hooks) holds."""
        process = self.start(body)
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline().strip()
        timer.cancel()
        assert line == "holding", (line, process.stderr.read() if process.poll() is not None else "")
        return process

    def killed(self, body: str) -> None:
        """A process that is killed, without any warning, while it holds."""
        process = self.until_holding(body)
        process.kill()
        process.wait(LIMIT)

    def ran(self) -> list[str]:
        """What has run, in order."""
        return self.log.read_text().split("\n")[:-1] if self.log.exists() else []

    def flow(self) -> DagFlow:
        """A flow of this process on the same file, whose actions do not hold."""
        flow = DagFlow(self.path, echo=False)
        names: dict[str, Any] = {"__name__": "again", "LOG": str(self.log)}
        exec(ACTIONS, names)
        names["define"](flow)
        return flow

    def close(self) -> None:
        """No process stays behind."""
        for process in self.processes:
            process.kill()
            process.wait(LIMIT)
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Processes on a database in a folder of their own."""
    made = Script(tmp_path)
    yield made
    made.close()


CHAIN = """
wf = Workflow("chain")
last = wf.add("step", id="a", i=1)
last = wf.add("step", id="b", i=last["i"])
last = wf.add("hold", id="c", i=last["i"])
wf.add("step", id="d", i=last["i"])
"""


def test_a_killed_run_goes_on_where_it_was(script: Script) -> None:
    """Finished nodes do not run again, the one under way does, what comes after it runs."""
    script.killed(f"{CHAIN}flow.run(wf, run_id='mine', view=False)")
    last = time.time()
    with closing(sqlite3.connect(script.path)) as connection, connection:
        connection.execute("update owners set beat_at = ?", (last,))
    with script.flow() as flow:
        run = flow.get("mine")
        assert run.status == run.snapshot().status == "interrupted"
        assert states(run)["b"] == "completed" and states(run)["c"] == "running"
        assert flow.resume(view=False).status == "completed"
        assert script.ran() == ["step 1", "step 1", "hold", "hold", "step 1"]
        assert run.outputs["a"]["text"] == "x" * 100
        attempts = rows(flow, "select node_id, attempt, status from attempts order by node_id, attempt")
        assert attempts[2:4] == [("c", 1, "interrupted"), ("c", 2, "completed")]
        # the attempt that died ended with its process, as far as that is known; nobody worked until the next
        times = rows(
            flow, "select started_at, finished_at from attempts where node_id = 'c' order by attempt"
        )
        assert times[0][1] == last < times[1][0]
        assert rows(flow, "select started_at, finished_at from node_runs where node_id = 'c'") == [times[1]]


def test_what_is_on_disk_is_an_earlier_moment_of_the_run(script: Script) -> None:
    """With `"async"` a crash may lose the last milliseconds: what is there fits together, and goes on."""
    process = script.until_holding(
        f"{CHAIN}flow.run(wf, run_id='mine', view=False, config={{'durability': 'async'}})"
    )
    process.kill()
    process.wait(LIMIT)
    with script.flow() as flow:
        found = states(flow.get("mine"))
        order = ["a", "b", "c", "d"]
        ended = [id for id in order if found[id] == "completed"]
        assert ended == order[: len(ended)] and len(ended) < 3
        assert flow.resume(view=False).status == "completed"
        assert script.ran().count("step 1") == 2 + 3 - len(ended)


def test_a_run_killed_with_durability_exit_begins_anew(script: Script) -> None:
    """`"exit"` writes at pauses and at the end: before that a crash loses the progress, not the run."""
    script.killed(f"{CHAIN}flow.run(wf, run_id='mine', view=False, config={{'durability': 'exit'}})")
    with script.flow() as flow:
        assert flow.get("mine").status == "interrupted"
        assert flow.resume("mine", view=False).status == "completed"
        assert script.ran().count("step 1") == 2 + 3


GROWTH = """
@flow.on_completed(node="a")
def grow():
    note("asked")
    return [NodeSpec("step", id=f"g{i}", inputs={"i": 10 + i}) for i in range(3)] + [NodeSpec("hold", id="c")]
wf = Workflow("growing")
wf.add("step", id="a", i=1)
flow.run(wf, run_id="mine", view=False, config={"durability": "sync"})
"""


def test_growth_is_kept_and_its_hook_not_asked_again(script: Script) -> None:
    """Nodes that a hook added are there after a crash; a handled event is never offered again."""
    script.killed(GROWTH)
    with script.flow() as flow:

        @flow.on_completed(node="a")
        def grow() -> NodeSpec:
            raise AssertionError("it has been asked")

        run = flow.resume("mine", view=False)
        assert run.status == "completed" and set(states(run)) == {"a", "g0", "g1", "g2", "c"}
        assert script.ran().count("asked") == 1 and "HookFailed" not in kinds(run)


def test_a_question_that_was_open_is_asked_again(script: Script) -> None:
    """A hook that was killed while it thought is offered its event again; the node has not run again."""
    script.killed(
        """
@flow.on_completed(node="a")
def think():
    hang()
wf = Workflow("asking")
wf.add("step", id="b", after=[wf.add("step", id="a", i=1)])
flow.run(wf, run_id="mine", view=False)
"""
    )
    with script.flow() as flow:

        @flow.on_completed(node="a")
        def think() -> NodeSpec:
            return NodeSpec("step", id="grown", inputs={"i": 5})

        run = flow.resume("mine", view=False)
        assert states(run) == {"a": "completed", "b": "completed", "grown": "completed"}
        assert script.ran().count("step 1") == 1


def test_what_must_not_run_twice_pauses_for_a_decision(script: Script) -> None:
    """A node with `idempotent=False` that was running is not started again until somebody decides."""
    script.killed(
        "wf = Workflow('w'); wf.add('pay', id='p'); "
        "flow.run(wf, run_id='mine', view=False, config={'durability': 'exit'})"
    )
    with script.flow() as flow:
        run = flow.resume("mine", view=False)
        assert run.status == "paused" and script.ran() == ["pay"]
        (waiting,) = run.waiting
        assert waiting.branch_id == "p" and "may have done its work" in str(waiting.reason)
        assert run.approve("p").wait(LIMIT).status == "completed"
        assert script.ran() == ["pay", "pay"]


def test_a_lost_value_is_made_again_in_another_process(script: Script) -> None:
    """What could not be stored is gone with its process: its node runs again, hooks are not asked again."""
    script.killed(
        """
wf = Workflow("lost")
made = wf.add("lock", id="made", i=wf.add("step", id="first", i=4)["i"])
wf.add("use", id="used", lock=made["lock"], i=made["i"])
flow.run(wf, run_id="mine", view=False)
"""
    )
    with script.flow() as flow:
        assert flow.resume("mine", view=False).result == 4
        assert script.ran() == ["step 4", "lock", "use", "lock", "use"]


# `deploy` asks for a secret, `announce` is told of it, `later` hears of it and does not care
ASKING = """
import pydantic
class Login(pydantic.BaseModel):
    ok: bool
    more: list[pydantic.SecretStr] = []
    pw: pydantic.SecretStr

def word(human_input):
    return human_input["pw"].get_secret_value()

def define_asking(flow):
    @flow.action(ask=Login)
    def deploy(human_input):
        hang()
        note(f"deploy {word(human_input)}")
        return 1

    @flow.action
    def gated(n, human_input):
        hang()
        note(f"gated {word(human_input)}")

    @flow.action
    def later(n, ctx):
        note(f"later {sorted(ctx.inputs.get('human_input', {}))}")

    @flow.on_completed(node="first")
    def gate():
        return PauseBranch("gated", "who are you?", Login)
define_asking(flow)
"""


def asking(script: Script) -> DagFlow:
    """A flow on the script's file with the actions of `ASKING`."""
    flow = script.flow()
    names: dict[str, Any] = {"__name__": "again", "LOG": str(script.log), "flow": flow}
    exec(compile(ACTIONS + ASKING, "again", "exec", dont_inherit=True), names)
    return flow


def test_a_secret_answer_is_asked_for_again(script: Script) -> None:
    """After a crash the node waits with the same form; after a retry too: it never gets a placeholder."""
    script.killed(
        f"""{ASKING}
wf = Workflow("w")
wf.add("later", id="later", n=wf.add("deploy", id="deploy"))
flow.run(wf, run_id="mine", view=False)
flow.resume("mine", view=False, ok=True, pw="zq", more=["a"])
"""
    )
    with asking(script) as flow:
        run = flow.resume("mine", view=False)
        assert run.status == "paused" and script.ran() == []
        (waiting,) = run.waiting
        assert waiting.branch_id == "deploy" and set(waiting.form.schema["properties"]) == {
            "ok",
            "pw",
            "more",
        }
        assert flow.resume(run, view=False, ok=True, pw="again").status == "completed"
        assert script.ran() == ["deploy again", "later ['more', 'ok', 'pw']"]
    with asking(script) as flow:
        assert flow.retry("mine", "later", view=False).status == "completed"
        assert script.ran()[2:] == ["later ['more', 'ok']"]
        run = flow.retry("mine", "deploy", view=False)
        assert run.status == "paused" and flow.resume(run, view=False, ok=True, pw="third").success
        assert script.ran()[3:] == ["deploy third", "later ['more', 'ok', 'pw']"]


def test_a_secret_answer_to_a_hook_is_asked_for_again(script: Script) -> None:
    """What held the branch asked by a form of its own: that is asked when the node's turn comes."""
    script.killed(
        f"""{ASKING}
wf = Workflow("w")
wf.add("later", id="later", n=wf.add("gated", id="gated", n=wf.add("step", id="first")["i"]))
flow.run(wf, run_id="mine", view=False)
flow.resume("mine", view=False, ok=True, pw="zq")
"""
    )
    for n, word in enumerate(["again", "third"]):
        with asking(script) as flow:
            run = flow.retry("mine", "gated", view=False) if n else flow.resume("mine", view=False)
            assert run.status == "paused"
            (waiting,) = run.waiting
            assert waiting.branch_id == "gated" and "pw" in waiting.form.schema["properties"]
            assert flow.resume(run, view=False, ok=True, pw=word).status == "completed"
            assert script.ran()[1 + 2 * n :] == [f"gated {word}", "later ['more', 'ok', 'pw']"]
    assert b"third" not in script.path.read_bytes()


def test_a_run_has_one_driver(script: Script) -> None:
    """While a process drives a run, every other one that wants to gets `InvalidState`, which names the one
    that does and the way out; looking is allowed."""
    process = script.until_holding(f"{CHAIN}flow.run(wf, run_id='mine', view=False)")
    with script.flow() as flow:
        run = flow.get("mine")
        assert run.status == "running"
        attempts: list[Callable[[], Any]] = [
            lambda: flow.resume(view=False),
            lambda: flow.resume("mine", view=False),
            lambda: flow.retry("mine", "a", view=False),
            run.cancel,
            run.pause,
            run.resume,
            run.approve,
            run.retry,
            lambda: run.pause("c"),
            lambda: run.cancel("c"),
            lambda: run.apply(NodeSpec("step", id="x")),
            lambda: flow.delete_runs("mine"),
        ]
        told = rf"'mine' .* process {process.pid} on .*only that process can pause it, cancel it or change it"
        for attempt in attempts:
            with pytest.raises(InvalidState, match=rf"{told}.*flow.resume\('mine'\)"):
                attempt()
        with pytest.raises(InvalidState, match="mine"):
            flow.run(single("step"), run_id="mine", view=False)
        assert process.poll() is None and states(run)["c"] == "running"
        process.kill()
        process.wait(LIMIT)
        assert run.status == "interrupted"
        assert flow.resume(run, view=False).status == "completed"


def test_an_interrupt_leaves_the_run_resumable_and_is_raised_again(script: Script) -> None:
    """SIGINT in `flow.run`: `KeyboardInterrupt` arrives and says how to go on with the run, which is
    `interrupted` then; a cell shows that text alone."""
    process = script.until_holding(
        f"""{CHAIN}
try:
    flow.run(wf, run_id="mine", view=False)
except KeyboardInterrupt as error:
    print(flow.get().status, error, *error._render_traceback_(), sep="\\n", flush=True)
"""
    )
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=LIMIT)
    text = "run mine is interrupted: go on with flow.resume()"
    assert out.splitlines() == ["interrupted", text, f"KeyboardInterrupt: {text}"], error
    assert process.returncode == 0
    with script.flow() as flow:
        assert flow.get("mine").status == "interrupted"
        run = flow.resume("mine", view=False)
        assert run.status == "completed" and script.ran().count("step 1") == 3
        assert rows(flow, "select status from attempts where node_id = 'c' order by attempt") == [
            ("interrupted",),
            ("completed",),
        ]


def test_an_interrupt_that_nobody_catches_ends_the_script(script: Script) -> None:
    """A script without `try` ends by the interrupt, soon, although a thread still hangs."""
    process = script.until_holding(f"{CHAIN}flow.run(wf, run_id='mine', view=False)")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=LIMIT)
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    with script.flow() as flow:
        assert flow.get("mine").status == "interrupted"


NEVER_CLOSED = {
    "nothing under way": "flow.run(single('step'), view=False)",
    "a thread that hangs": "flow.start(single('hold'), view=False); wait()",
    "a coroutine that hangs": """
@flow.action
async def forever():
    print("holding", flush=True)
    await asyncio.Event().wait()
flow.start(single("forever"), view=False); wait()
""",
    "a coroutine that will not be cancelled": """
@flow.action
async def stubborn():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass
flow.start(single("stubborn"), view=False); wait()
""",
    "a hook that hangs": """
@flow.on_completed
def think():
    hang()
flow.start(single("step"), view=False); wait()
""",
    "an action that blocks the loop": "flow.start(single('block_loop'), view=False); wait()",
}


@pytest.mark.parametrize("what", list(NEVER_CLOSED))
def test_a_flow_that_is_never_closed_does_not_keep_the_interpreter(script: Script, what: str) -> None:
    """The script's end is the process's end, whatever is under way; the run can be resumed."""
    body = f"""
import dagflow_nb.api.flow, dagflow_nb.runtime.workers
dagflow_nb.api.flow.STOP_WITHIN = 3.0
dagflow_nb.runtime.workers.GRACE = 1.0
def single(action):
    wf = Workflow("single")
    wf.add(action, id="node")
    return wf
def wait():
    time.sleep(0.5)
{NEVER_CLOSED[what]}
print("end", flush=True)
"""
    process = script.start(body)
    out, error = process.communicate(timeout=LIMIT)
    assert "end" in out, error
    assert process.returncode == 0, error
    with script.flow() as flow:
        status = flow.get().status
        assert status == ("completed" if what == "nothing under way" else "interrupted")


def test_a_worker_process_does_not_keep_the_interpreter_either(script: Script) -> None:
    """A worker process that works for ever ends with the flow that started it."""
    body = """
wf = Workflow("far")
wf.add("far", id="node")
flow.start(wf, view=False)
while not flow._session.executors.own_processes().pids:
    time.sleep(0.02)
time.sleep(1)
print(*flow._session.executors.own_processes().pids, flush=True)
"""
    process = script.start(body)
    out, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, error
    for pid in map(int, out.split()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_sync_means_on_disk_before_what_follows_starts(tmp_path: Path) -> None:
    """With `durability="sync"` an action finds in the file what the nodes before it gave."""
    import sqlite3

    path = tmp_path / "x.db"
    found: list[Any] = []
    with DagFlow(path, echo=False, config={"durability": "sync"}) as flow:

        @flow.action
        def first() -> int:
            return 41

        @flow.action
        def second(v: int) -> int:
            with closing(sqlite3.connect(path)) as connection:
                sql = "select kind from events where node_id = 'first' order by seq"
                found.extend(kind for (kind,) in connection.execute(sql))
                found.append(
                    connection.execute("select value from artifacts where namespace = 'first'").fetchone()
                )
            return v

        @flow.workflow
        def w() -> Any:
            return second(first())

        flow.run(w, view=False)
    assert found[:2] == ["NodeStarted", "NodeCompleted"] and b"41" in found[2][0]


def test_values_in_memory_live_as_long_as_the_process(tmp_path: Path) -> None:
    """A paused run is resumed in the same process with the very object; `lost` makes it again elsewhere."""
    made: list[Any] = []

    def define(flow: DagFlow) -> None:
        @flow.action
        def make() -> dict[str, Any]:
            made.append(threading.Lock())
            return {"lock": made[-1]}

        @flow.action
        def use(lock: Any) -> int:
            return made.index(lock)

        @flow.on_completed(action="make")
        def gate(node: Any) -> PauseBranch:
            return PauseBranch(node.node_id)

    def locked(flow: DagFlow) -> Any:
        workflow = Workflow("locked")
        workflow.add("use", lock=workflow.add("make")["lock"])
        return flow.run(workflow, view=False)

    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        define(flow)
        run = locked(flow)
        assert flow.resume(run, view=False).result == 0 and len(made) == 1
        left = locked(flow)
        assert left.status == "paused"
    with DagFlow(tmp_path / "x.db", echo=False) as again:
        define(again)
        assert again.resume(left.run_id, view=False).result == 2 and len(made) == 3


def test_a_literal_that_was_lost_is_told_not_handed_on(tmp_path: Path) -> None:
    """An input that could not be stored fails its node with the way out; given as run input it goes on."""

    def use(thing: Any) -> bool:
        return isinstance(thing, Exception)

    thing = KeyError(lambda: None)
    literal, given = Workflow("literal"), Workflow("given", inputs=["thing"])
    literal.add(use, id="node", thing=threading.Lock(), ask=True)
    given.add(use, id="node", thing=given.input("thing"), ask=True)
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        ids = [flow.run(literal, view=False).run_id, flow.run(given, thing=thing, view=False).run_id]
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        flow.action(use)
        run = flow.resume(ids[0], view=False, raise_on_failure=False)
        assert run.status == "failed" and "flow.resume(inputs=" in str(run.error)
        assert flow.resume(ids[1], inputs={"thing": thing}, view=False).result is True


def test_a_run_that_goes_on_keeps_its_inputs(tmp_path: Path) -> None:
    """Only what could not be stored is given again; another value is for a fork, a wrong name is told."""

    def show(day: str, thing: Any) -> str:
        return day if isinstance(thing, Exception) else "nothing"

    wf = Workflow("w", inputs=["day", "thing"])
    wf.add(show, id="node", day=wf.input("day"), thing=wf.input("thing"), ask=True)
    thing = KeyError(lambda: None)
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        run = flow.run(wf, day="monday", thing=thing, view=False)
        id = run.run_id
        with pytest.raises(ValidationError, match=r"the input 'day' already.*flow.fork\(.*inputs=") as caught:
            flow.resume(run, inputs={"day": "tuesday"}, view=False)
        assert caught.value.culprit == "day" and flow.get(id).status == "paused"
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        flow.action(show)
        wrong: list[tuple[Any, str]] = [
            ({"dya": "monday"}, "no input 'dya': did you mean 'day'"),
            ({"thing": thing, "day": "tuesday"}, "flow.fork"),
            (["day"], "mapping of names"),
        ]
        for inputs, text in wrong:
            with pytest.raises(ValidationError, match=text):
                flow.resume(id, inputs=inputs, view=False)
        assert flow.resume(id, inputs={"thing": thing, "day": "monday"}, view=False).result == "monday"


def test_a_secret_is_never_in_the_file(tmp_path: Path) -> None:
    """A `SecretStr` input is not stored; whoever resumes elsewhere gives it again with `inputs=`."""
    from pydantic import SecretStr

    secret = "correct horse battery staple"

    def define(flow: DagFlow) -> None:
        @flow.action
        def login(token: SecretStr) -> dict[str, int]:
            return {"length": len(token.get_secret_value())}

        @flow.action
        def publish(token: SecretStr, human_input: Any = None) -> int:
            return len(token.get_secret_value())

    workflow = Workflow("secret", inputs=["token"])
    after = workflow.add("login", token=workflow.input("token"))
    workflow.add("publish", token=workflow.input("token"), after=[after], ask=True)
    with DagFlow(tmp_path / "x.db", echo=False) as flow:
        define(flow)
        run = flow.run(workflow, token=SecretStr(secret), view=False)
        assert run.status == "paused" and run.outputs["login"]["length"] == len(secret)
        assert secret not in repr(run.inputs) + repr(run)
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()
    with DagFlow(tmp_path / "x.db", echo=False) as again:
        define(again)
        found = again.resume(run.run_id, inputs={"token": SecretStr(secret)}, view=False)
        assert found.result == len(secret)
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: this needs another user")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A read-only folder is a `DatabaseError` that names the file."""
    from dagflow_nb import DatabaseError

    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DatabaseError, match=r"x\.db"):
            DagFlow(tmp_path / "x.db", echo=False).runs()
    finally:
        tmp_path.chmod(0o700)


def test_code_that_has_changed_is_said_and_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Going on with a run tells which actions are not what they were, in the run's log too, and uses them."""
    path = tmp_path / "x.db"
    wf = Workflow("w")
    wf.add("second", id="b", v=wf.add("first", id="a")["result"])
    with DagFlow(path, echo=False) as flow:

        @flow.action
        def first() -> int:
            return 1

        @flow.action
        def second(v: int) -> int:
            return v + 1

        flow.on_completed(node="a")(lambda: PauseBranch("b"))
        assert flow.run(wf, run_id="r", view=False).status == "paused"
    with DagFlow(path, echo=False) as flow:
        flow.action(name="first")(first.__wrapped__)

        @flow.action(name="second")
        def changed(v: int) -> int:
            return v + 10

        run = flow.resume("r", view=False)
        assert run.result == 11
        said = list(run.logs(level="WARNING")["message"])
        assert len(said) == 1 and "'second'" in said[0] and "'first'" not in said[0]
        assert said[0] in caplog.text
