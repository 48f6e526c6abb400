"""Worker processes: what attempts say there arrives, and they end when they are told to."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import DagFlow
from tests.flows import PATIENCE, rows, single, states


def until(path: Path) -> str:
    """What a worker process wrote into a file to say that it has begun."""
    for _ in range(int(PATIENCE * 50)):
        if path.exists() and (text := path.read_text()):
            return text
        threading.Event().wait(0.02)
    raise AssertionError(f"{path} was not written")


def gone(pid: int) -> bool:
    """Whether a process ends."""
    for _ in range(int(PATIENCE * 50)):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        threading.Event().wait(0.02)
    return False


def test_what_an_action_says_in_a_worker_process_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints, logs, usage and events arrive as from anywhere else, prints are echoed, the cache is there."""
    seen: list[Any] = []
    with DagFlow(":memory:") as flow:

        @flow.action(executor="process")
        def talk(ctx: Any) -> dict[str, Any]:
            import logging
            import sys

            print("printed")
            print("to stderr", file=sys.stderr)
            logging.getLogger("far").warning("logged")
            ctx.log("told", "DEBUG")
            ctx.progress(0.5, "half")
            ctx.report_usage(tokens=7)
            ctx.emit("custom", {"a": 1})
            return {"source": ctx.cache.get("inputs", "source"), "none": ctx.cache.get("no", "thing", 3)}

        @flow.hook
        def hear(event: Any) -> None:
            if type(event).__name__ == "CustomEvent":
                seen.append(event.data)

        run = flow.run(single("talk"), {"source": "given"}, view=False)
        assert run.outputs["node"] == {"source": "given", "none": 3}
        said = set(rows(flow, "select level, stream, message from logs"))
        assert said == {
            ("INFO", "stdout", "printed"),
            ("ERROR", "stderr", "to stderr"),
            ("WARNING", "logging", "logged"),
            ("DEBUG", "log", "told"),
        }
        assert rows(flow, "select tokens from node_runs") == [(7,)]
        assert seen == [{"a": 1}]
    captured = capsys.readouterr()
    assert "printed\n" in captured.out and "to stderr\n" in captured.err


def test_a_cancelled_attempt_ends_with_its_process(tmp_path: Path) -> None:
    """Cancelling a run kills the worker process, and what that has started."""
    begun = tmp_path / "begun"

    def work(path: str) -> None:
        import os
        import subprocess
        import sys
        import time

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(path + ".new", "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        os.rename(path + ".new", path)
        time.sleep(600)

    with DagFlow(":memory:", echo=False) as flow:
        run = flow.start(
            single(work, executor="process", path=str(begun)), view=False, raise_on_failure=False
        )
        pids = [int(pid) for pid in until(begun).split()]
        run.cancel().wait(PATIENCE)
        assert states(run) == {"node": "cancelled"}
        assert all(map(gone, pids))


def test_an_attempt_that_times_out_ends_and_the_next_one_runs(tmp_path: Path) -> None:
    """A timeout ends the process; the second attempt gets a new one."""

    def work(ctx: Any) -> int:
        import os
        import time

        if ctx.attempt == 1:
            time.sleep(600)
        return os.getpid()

    with DagFlow(":memory:", echo=False, config={"retry_strategy": "immediate"}) as flow:
        run = flow.run(single(work, executor="process", timeout=2, try_count=2), view=False)
        assert run.result != os.getpid()
        assert flow._session.executors.own_processes().pids == [run.result]


@pytest.mark.parametrize(
    ("body", "text"),
    [("os._exit(3)", "exit code 3"), ("return threading.Lock()", "cannot be sent back")],
)
def test_a_process_that_dies_or_gives_what_cannot_be_sent_fails_the_node(body: str, text: str) -> None:
    """The error says so, and the next node has a process all the same."""
    namespace: dict[str, Any] = {}
    exec(f"def act():\n    import os, threading\n    {body}\n", namespace)

    def after() -> int:
        return 1

    with DagFlow(":memory:", echo=False) as flow:
        run = flow.run(single(namespace["act"], executor="process"), view=False, raise_on_failure=False)
        assert run.status == "failed" and text in str(run.error)
        assert flow.run(single(after, executor="process"), view=False).result == 1


def test_inputs_that_cannot_be_sent_are_named() -> None:
    """A lock as an input of a node in a worker process is that node's error."""

    def use(lock: Any) -> None:
        pass

    with DagFlow(":memory:", echo=False) as flow:
        wf = single(use, executor="process", lock=threading.Lock())
        run = flow.run(wf, view=False, raise_on_failure=False)
        assert "'lock' cannot be sent to another process" in str(run.error)


def test_processes_are_used_again_and_run_at_the_same_time() -> None:
    """Two nodes at once have two processes; later ones run in these."""

    def pid(n: int) -> int:
        import os
        import time

        time.sleep(0.3)
        return os.getpid()

    with DagFlow(":memory:", echo=False, config={"limits": {"pid": 2}}) as flow:

        @flow.workflow
        def many(wf: Any) -> Any:
            return wf.map(pid, over={"n": [1, 2, 3, 4]}, executor="process")

        run = flow.run("many", view=False)
        processes = flow._session.executors.own_processes()
        assert len(run.result) == 4 and set(run.result) <= set(processes.pids)
        pids = processes.pids
    assert all(map(gone, pids))


def test_a_stopped_attempt_that_waits_for_its_process_does_not_run(tmp_path: Path) -> None:
    """Cancelled in the moment in which it starts, an attempt leaves nothing behind."""

    def act() -> int:
        return 1

    with DagFlow(":memory:", echo=False) as flow:
        for _ in range(3):
            run = flow.start(single(act, executor="process"), view=False, raise_on_failure=False)
            run.cancel().wait(PATIENCE)
            assert run.status in ("cancelled", "completed")
        assert flow.run(single(act, executor="process"), view=False).result == 1
