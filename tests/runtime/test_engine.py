"""The background loop: started when it is needed, closed for good, never waited for from itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dagflow_nb.errors import InvalidState
from dagflow_nb.runtime.engine import Engine, wait_async


async def here() -> str:
    return threading.current_thread().name


def test_it_starts_with_the_first_call_and_ends_with_close() -> None:
    """No thread before it is needed, none after `close`; then it says that the flow is closed."""
    engine = Engine()
    assert engine._thread is None
    assert engine.call(here()) == "dagflow-engine"
    thread = engine._thread
    assert thread is not None and thread.daemon
    engine.close()
    engine.close()
    assert not thread.is_alive()
    with pytest.raises(InvalidState, match="closed"):
        engine.call(here())


def test_waiting_on_its_own_thread_is_refused() -> None:
    """A call from the loop's own thread would never end: it is `InvalidState` with the way out."""
    engine = Engine()

    async def inside() -> str:
        with pytest.raises(InvalidState, match="run_async"):
            engine.call(here())
        return "refused"

    assert engine.call(inside()) == "refused"
    engine.close()


def test_what_still_runs_is_cancelled_when_it_closes() -> None:
    """Tasks that are left on the loop are cancelled, so that they can clean up."""
    engine, cleaned = Engine(), threading.Event()
    started = threading.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    engine.submit(forever())
    assert started.wait(10)
    engine.close()
    assert cleaned.is_set()


def test_a_future_of_the_engine_is_awaited_on_another_loop() -> None:
    """`wait_async` gives results and errors to the caller's loop."""
    engine = Engine()

    async def bad() -> None:
        raise ValueError("there")

    async def main() -> None:
        assert await wait_async(engine.submit(here())) == "dagflow-engine"
        with pytest.raises(ValueError, match="there"):
            await wait_async(engine.submit(bad()))

    asyncio.run(main())
    engine.close()


def test_what_is_to_close_at_exit_does_even_if_nothing_was_finalized_before() -> None:
    """`at_exit` calls its function when the interpreter exits, and not once its owner is gone."""
    code = """
from dagflow_nb.runtime.engine import at_exit
class Owner: pass
kept, gone = Owner(), Owner()
at_exit(kept, lambda owner: print("closed"))
at_exit(gone, lambda owner: print("never"))
del gone
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("closed\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork processes")
def test_nobody_waits_for_the_loop_of_another_process(tmp_path: Path) -> None:
    """After a fork the flow says so, and is no hindrance to a new one, nor at exit."""
    code = """
import os, sys
from dagflow_nb import DagFlow, InvalidState, Workflow
def make():
    flow, workflow = DagFlow("x.db", echo=False), Workflow("w")
    workflow.add(flow.action(int))
    flow.add_workflow(workflow)
    return flow
flow = make()
flow.run("w", view=False)
child = os.fork()
if child == 0:
    try:
        flow.run("w", view=False)
    except InvalidState as error:
        print(error)
    print(make().run("w", view=False).status, flush=True)
    sys.exit()
os.waitpid(child, 0)
print(flow.run("w", view=False).status, len(flow.runs()))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    said = "this DagFlow belongs to the process that forked this one: make a new one"
    assert (done.stdout.splitlines(), done.stderr) == ([said, "completed", "completed 3"], "")
