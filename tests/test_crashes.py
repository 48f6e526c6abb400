"""A growing run whose process is killed again and again, at any moment, until it is done.

A few kills in the suite; as many as you like with `DAGFLOW_CRASHES=100 pytest tests/test_crashes.py`.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import pytest

from dagflow_nb.store.schema import migrations

CRASHES = int(os.environ.get("DAGFLOW_CRASHES", "8"))  # of each durability level
DEPTH = 4
EXPECTED = {"n"} | {f"n{i:0{bits}b}" for bits in range(1, DEPTH + 1) for i in range(2**bits)}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start processes fast enough")

# Imports once; then each line it reads makes a process that begins the run or goes on with it. The run is a
# tree that its hook grows; each attempt writes a line into a file when it begins.
NURSERY = """
import os, sys, time, traceback
from dagflow_nb import DagFlow, DagNotFound, NodeSpec, Workflow, ref

def drive(path, log, durability):
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    config = {"durability": durability, "max_parallel_nodes": 4, "cache_snapshot_interval": 0.01}
    with DagFlow(path, echo=False, config=config) as flow:

        @flow.action
        def step(v, ctx):
            os.write(file, (ctx.node_id + "\\n").encode())
            time.sleep(0.001)
            return {"v": v + 1, "big": "x" * (5000 * (v % 3))}

        @flow.on_completed(action="step")
        def grow(node, outputs):
            if outputs["v"] <= DEPTH:
                for side in "01":
                    yield NodeSpec("step", id=node.node_id + side, inputs={"v": ref(node.node_id + ".v")})

        wf = Workflow("tree")
        wf.add("step", id="n", v=0)
        try:
            flow.resume("mine", view=False)
        except DagNotFound:
            flow.run(wf, run_id="mine", view=False)

print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            drive(*line.split())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def read(log: Path) -> list[str]:
    """The nodes whose attempts have begun, in order."""
    return log.read_text().split() if log.exists() else []


def ready(pipe: IO[str] | None) -> bool:
    """Whether there is something to read."""
    return bool(select.select([pipe], [], [], 0)[0])


class Nursery:
    """Makes processes that drive the run."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"DEPTH = {DEPTH}\n{NURSERY}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def drive(self, path: Path, log: Path, durability: str, more: int | None, moment: float = 0) -> bool:
        """Begin the run or go on with it; whether it was done before it was killed: a moment after `more`
        attempts have begun (None: never)."""
        assert self.process.stdin is not None
        print(path, log, durability, file=self.process.stdin, flush=True)
        pid = int(self._line())
        if more is not None:
            begun = len(read(log)) + more
            while len(read(log)) < begun and not ready(self.process.stdout):
                time.sleep(0.001)
            time.sleep(moment)
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        status = int(self._line())
        assert status in (0, signal.SIGKILL), "the process failed: see what it wrote"
        return status == 0


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """A process from which others are made."""
    made = Nursery()
    yield made
    assert made.process.stdin is not None and made.process.stdout is not None
    made.process.stdin.close()
    made.process.wait(20)
    made.process.stdout.close()


def left_behind(path: Path, folder: Path) -> set[str]:
    """The nodes that had ended when the process was killed, found in a copy of the file, which is whole."""
    folder.mkdir(exist_ok=True)
    for end in ("", "-wal"):
        (folder / f"copy.db{end}").unlink(missing_ok=True)
        if Path(f"{path}{end}").exists():
            shutil.copy(f"{path}{end}", folder / f"copy.db{end}")
    if not (folder / "copy.db").exists() or not (folder / "copy.db").stat().st_size:
        return set()
    with closing(sqlite3.connect(folder / "copy.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        if connection.execute("pragma user_version").fetchone()[0] < len(migrations()):
            return set()  # killed while it made the database
        ended = "select node_id from node_runs where status = 'completed'"
        done = {row[0] for row in connection.execute(ended)}
        # each has its event, its value and its parent: the file is one moment of the run
        for sql in (
            "select node_id from events where kind = 'NodeCompleted'",
            "select namespace from artifacts where key = 'v'",
        ):
            assert {row[0] for row in connection.execute(sql)} == done
        assert all(node == "n" or node[:-1] in done for node in done)
        hashes = (
            "select count(*) from artifacts where hash is not null and hash not in (select hash from blobs)"
        )
        assert connection.execute(hashes).fetchone() == (0,)
    return done


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_run_that_is_killed_at_any_moment_gets_done(
    tmp_path: Path, nursery: Nursery, durability: str
) -> None:
    """After each kill the file is whole and what had ended in it does not run again; with `"sync"` what a
    node that had begun follows from is in it; in the end all nodes are there, grown ones too, and ended."""
    chance = random.Random(os.environ.get("DAGFLOW_SEED", durability))
    crashes, runs, seen_ended = 0, 0, 0
    while crashes < CRASHES:
        runs += 1
        folder = tmp_path / str(runs)
        folder.mkdir()
        path, log = folder / "run.db", folder / "log.txt"
        kept: list[tuple[int, set[str]]] = []
        # every third while it starts or takes the run up, the others while nodes run
        while not nursery.drive(
            path,
            log,
            durability,
            chance.choice([0, 2, chance.randrange(2, 20)]),
            chance.choice([0, chance.uniform(0, 0.01), chance.uniform(0, 0.1)]),
        ):
            crashes += 1
            begun = read(log)
            ended = left_behind(path, folder / "copy")
            kept.append((len(begun), ended))
            if durability == "sync":
                assert {node[:-1] for node in begun if node != "n"} <= ended
            if crashes >= CRASHES:
                nursery.drive(path, log, durability, None)
                break
        begun = read(log)
        for position, ended in kept:
            assert not ended & set(begun[position:]), "a node that had ended ran again"
            seen_ended += len(ended)
        with closing(sqlite3.connect(path)) as connection:
            nodes = dict(connection.execute("select node_id, status from node_runs"))
            assert nodes == dict.fromkeys(EXPECTED, "completed")
            values = dict(connection.execute("select namespace, value from artifacts where key = 'v'"))
            assert values == {node: str(len(node)).encode() for node in EXPECTED}
            assert connection.execute("select status from runs").fetchall() == [("completed",)]
    # the kills hit runs that had got somewhere, not only processes that were about to start
    assert seen_ended > 0 or CRASHES < 50
    print(f"{durability}: {crashes} kills in {runs} runs, {seen_ended} ended nodes met by them")
