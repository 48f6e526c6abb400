"""The core API after a kill: what `DagExecutor` makes of a run whose process is gone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb import ActionRegistry, Cache, Coordinator, DagExecutor, InvalidState
from tests.store.helpers import query

YAML = """
name: chain
nodes:
  - {id: a, action: step, inputs: [{name: v, reference: inputs.v}]}
  - {id: b, action: step, inputs: [{name: v, reference: a.v}]}
  - {id: c, action: hold, inputs: [{name: v, reference: b.v}]}
  - {id: d, action: step, inputs: [{name: v, reference: c.v}]}
"""
# `hold` never ends where HOLD is set; each action notes that it has run
DEFINE = """
import asyncio, time
from dagflow_nb import *

def ended(event):
    return event.node.node_id if isinstance(event, NodeCompleted) else None

def registry_for(log, hold):
    registry = ActionRegistry()

    def note(text):
        with open(log, "a") as file:
            file.write(text + "\\n")

    @registry.action
    async def step(ctx, v):
        note(ctx.node_id)
        return {"v": v + 1}

    async def stay(ctx, v):
        note(ctx.node_id)
        if hold:
            print("holding", flush=True)
            await asyncio.sleep(600)
        return {"v": v + 1}

    registry.register(stay, name="hold")
    return registry
"""
MAIN = """
async def main():
    config = {"durability": DURABILITY, "cache_snapshot_interval": 0.05}
    async with DagExecutor(config, registry_for(LOG, True), PATH) as executor:
        executor.load_yaml_string(YAML)
        cache = Cache({"inputs": {"v": 0}, "mine": {"x": 7}})
        running = asyncio.create_task(Coordinator(HOOKS).run_parallel(executor, cache, "chain", "r1"))
        if SAVE:
            await asyncio.sleep(0.3)
            await executor.save_execution_snapshot("chain")
            cache.insert("mine", "y", 8)
            await executor.save_cache_snapshot("chain", cache)
            print("saved", flush=True)
        await running
        print("paused", flush=True)
        time.sleep(600)
asyncio.run(main())
"""


def killed(
    tmp_path: Path, until: str, *, durability: str = "sync", save: bool = False, hooks: str = "()"
) -> tuple[Path, Path]:
    """The database and the log that a process leaves that is killed once it has said `until`."""
    path, log = tmp_path / "x.db", tmp_path / "log.txt"
    names = {"PATH": str(path), "LOG": str(log), "YAML": YAML, "DURABILITY": durability, "SAVE": save}
    code = "\n".join([DEFINE, *(f"{k} = {v!r}" for k, v in names.items()), f"HOOKS = {hooks}", MAIN])
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    while said != until:
        said = process.stdout.readline().strip()
        assert said, "the process has ended"
    if durability == "exit":  # then only a snapshot brings anything to disk
        while not query(path, "select 1 from snapshots where data like '%running%'"):
            pass
    process.kill()
    process.wait(20)
    process.stdout.close()
    return path, log


def registry(log: Path) -> ActionRegistry:
    """The same actions, which do not hold."""
    names: dict[str, Any] = {}
    exec(DEFINE, names)
    made: ActionRegistry = names["registry_for"](str(log), False)
    return made


def in_executor(path: Path, log: Path, test: Callable[[DagExecutor], Awaitable[None]]) -> None:
    """Run a test with what `recover_from_snapshot` gives."""

    async def main() -> None:
        executor = await DagExecutor.recover_from_snapshot("chain", registry(log), f"sqlite:{path}")
        try:
            await test(executor)
        finally:
            await executor.close()

    asyncio.run(main())


@pytest.mark.parametrize("save", [False, True], ids=["no snapshot", "saved snapshots"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_recover_and_resume(tmp_path: Path, durability: str, save: bool) -> None:
    """With snapshots of its own or saved ones, what had ended does not run again, the rest does."""
    path, log = killed(tmp_path, "saved" if save else "holding", durability=durability, save=save)
    ended = query(path, "select count(*) from node_runs where status = 'completed'")[0][0]
    if durability == "sync":
        assert ended == 2
    before = log.read_text().split()

    async def test(executor: DagExecutor) -> None:
        assert executor.has_dag("chain")
        cache = await executor.load_cache_snapshot("chain")
        assert cache.get("inputs", "v") == 0 and cache.get("mine", "x") == 7
        assert cache.get("mine", "y") == (8 if save else None)
        report = await executor.resume_execution(cache)
        assert report.success and report.completed_nodes == 4
        assert report.node_outcomes["d"].outputs == {"v": 4}

    in_executor(path, log, test)
    assert log.read_text().split()[len(before) :] == ["a", "b", "c", "d"][ended:]


def test_resume_from_pause(tmp_path: Path) -> None:
    """A run that waited for a person when its process was killed goes on with the answer."""
    hook = "[lambda event: PauseBranch('c') if ended(event) == 'b' else None]"
    path, log = killed(tmp_path, "paused", hooks=hook)

    async def test(executor: DagExecutor) -> None:
        assert executor.is_paused()
        cache = await executor.load_cache_snapshot("chain")
        cache.insert("human_input", "approved", True)
        report = await executor.resume_from_pause(cache)
        assert report.success and report.node_outcomes["d"].outputs == {"v": 4}
        with pytest.raises(InvalidState, match="not paused"):
            await executor.resume_from_pause(cache)

    in_executor(path, log, test)
    assert log.read_text().split() == ["a", "b", "c", "d"]


def test_a_static_run_goes_on_too(tmp_path: Path) -> None:
    """`execute_static_dag` with the cache of the run that was left goes on with it."""
    path, log = killed(tmp_path, "holding")

    async def test(executor: DagExecutor) -> None:
        cache = await executor.load_cache_snapshot("chain")
        report = await executor.execute_static_dag("chain", cache)
        assert report.run_id == "r1" and report.success
        again = await Coordinator().run_parallel(executor, Cache({"inputs": {"v": 10}}), "chain", "r2")
        assert again.node_outcomes["d"].outputs == {"v": 14}

    in_executor(path, log, test)
    assert log.read_text().split() == ["a", "b", "c", "c", "d", "a", "b", "c", "d"]
