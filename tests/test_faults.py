"""Write errors of the file system, met by a real process: what was committed is there, and goes on later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagflow_nb import DagFlow, Workflow
from tests.store.helpers import query

NODES = 40
ACTIONS = """
from dagflow_nb import DagFlow, DatabaseError, Workflow

def define(flow, log):
    @flow.action
    def step(v):
        with open(log, "a") as file:
            file.write(f"{v}\\n")
        if v == 3:
            flow.sql("select 1")  # who reads sees all that has ended: it is on disk from here on
        return {"v": v + 1, "text": f"{v} " * 20_000}

def chain(nodes):
    wf = Workflow("chain")
    last = wf.add("step", id="n0", v=0)
    for i in range(1, nodes):
        last = wf.add("step", id=f"n{i}", v=last["v"])
    return wf
"""
RUN = """
import sys
LIMIT
flow = DagFlow(PATH, echo=False, config={"durability": DURABILITY})
define(flow, LOG)
try:
    flow.run(chain(NODES), run_id="mine", view=False)
except DatabaseError as error:
    print("DatabaseError", error.path, "|", error)
try:
    flow.close()
except DatabaseError as error:
    print("again", error)
"""
# a file that may not grow any more: SQLite gets an error where it writes, and no signal ends the process
SMALL_FILES = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))
"""


def run_limited(path: Path, log: Path, durability: str, limit: str) -> str:
    """What a process says that meets the limit while it drives the run."""
    names = f"PATH, LOG, DURABILITY, NODES = {str(path)!r}, {str(log)!r}, {durability!r}, {NODES}\n"
    code = names + ACTIONS + RUN.replace("LIMIT", limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def goes_on(path: Path, log: Path) -> None:
    """The file is whole, holds the beginning of the run, and the rest of it runs once there is room."""
    assert query(path, "pragma integrity_check") == [("ok",)]
    ended = {row[0] for row in query(path, "select node_id from node_runs where status = 'completed'")}
    assert ended == {f"n{i}" for i in range(len(ended))} and 0 < len(ended) < NODES
    before = len(log.read_text().split())
    names: dict[str, object] = {}
    exec(ACTIONS, names)
    with DagFlow(path, echo=False) as flow:
        names["define"](flow, str(log))  # type: ignore[operator]  # the function above
        assert flow.get("mine").status == "interrupted"
        assert len(flow.cache(key="text")["value"][0]) > 20_000
        run = flow.resume("mine", view=False)
        assert run.status == "completed" and run.outputs[f"n{NODES - 1}"]["v"] == NODES
    again = log.read_text().split()[before:]
    assert again == [str(i) for i in range(len(ended), NODES)]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of this kind")
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_file_that_cannot_grow_ends_the_run_with_what_it_has(tmp_path: Path, durability: str) -> None:
    """A write error is a `DatabaseError` that names the file, told once; the run goes on later."""
    path, log = tmp_path / "run.db", tmp_path / "log.txt"
    said = run_limited(path, log, durability, SMALL_FILES)
    assert said.startswith(f"DatabaseError {path} |") and "again" not in said, said
    goes_on(path, log)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    mount = shutil.which("mount")
    folder = tmp_path / "tiny"
    folder.mkdir()
    if sys.platform != "linux" or mount is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_the_run_with_what_it_has(tiny_disk: Path, tmp_path: Path) -> None:
    """On a disk that is full the error says so; with more room the run goes on where it was."""
    path, log = tiny_disk / "run.db", tmp_path / "log.txt"
    said = run_limited(path, log, "async", "")
    assert said.startswith(f"DatabaseError {path} |") and "the disk is full" in said and "again" not in said
    subprocess.run(["mount", "-o", "remount,size=50m", tiny_disk], check=True)
    goes_on(path, log)


def test_a_disk_that_is_full_from_the_start_is_named(tiny_disk: Path) -> None:
    """A database that cannot even be made is a `DatabaseError`, at once."""
    (tiny_disk / "ballast").write_bytes(b"x" * 1_020_000)
    from dagflow_nb import DatabaseError

    flow = DagFlow(tiny_disk / "run.db", echo=False)

    @flow.action
    def step() -> int:
        return 1

    wf = Workflow("w")
    wf.add("step", id="n")
    with pytest.raises(DatabaseError, match=r"run\.db.*disk is full"):
        flow.run(wf, view=False)
    flow.close()
