"""Who drives a run: one live owner at most, in any number of processes on any number of hosts.

Rules kept here:
- An owner is one open store: host, process (id and start time) and a random token.
- On this host an owner lives as long as its process does and its store is open; elsewhere as long as
  it gives a sign of life (`beat_at`) every 30 seconds.
- Taking a run over is one transaction; functions here that take a connection run inside of one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..errors import InvalidState

BEAT_EVERY = 5.0
DEAD_AFTER = 30.0
UNKNOWN = "?"

# Owners that are open stores of this process: after a fork the child's process id differs.
_open_here: set[str] = set()


class Owner(NamedTuple):
    """A row of the table `owners`; times in epoch seconds, `process_started` in the system's own words."""

    owner: str
    host: str
    pid: int
    process_started: str
    opened_at: float
    beat_at: float


@cache
def this_host() -> str:
    """Names the place in which process ids mean something: host, boot and, in containers, namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def process_started(pid: int) -> str | None:
    """When a process of this host was started; None if there is none, `UNKNOWN` if that cannot be told."""
    if sys.platform == "win32":
        return _started_windows(pid)
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        except OSError:
            return UNKNOWN
        # A zombie has ended, although its parent has not looked yet.
        return None if fields[0] in "ZX" else fields[19]
    try:
        found = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=5,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return found.stdout.strip() or (None if found.returncode == 1 else UNKNOWN)


def _started_windows(pid: int) -> str | None:
    if sys.platform != "win32":  # for the type checker, which knows ctypes.windll there only
        return UNKNOWN
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.windll.kernel32
    kernel.OpenProcess.restype = wintypes.HANDLE
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return None if kernel.GetLastError() == 87 else UNKNOWN  # ERROR_INVALID_PARAMETER: no such process
    try:
        made, ended, in_kernel, in_user = (wintypes.FILETIME() for _ in range(4))
        times = [ctypes.byref(t) for t in (made, ended, in_kernel, in_user)]
        if not kernel.GetProcessTimes(wintypes.HANDLE(handle), *times):
            return UNKNOWN
        if ended.dwLowDateTime or ended.dwHighDateTime:
            return None
        return str((made.dwHighDateTime << 32) + made.dwLowDateTime)
    finally:
        kernel.CloseHandle(wintypes.HANDLE(handle))


@cache
def _started_here(pid: int) -> str:
    return process_started(pid) or UNKNOWN


def new_owner(now: float) -> Owner:
    """A new owner for a store that this process opens, alive until `retire`."""
    pid = os.getpid()
    name = f"{socket.gethostname()}:{pid}:{uuid.uuid4().hex[:12]}"
    owner = Owner(name, this_host(), pid, _started_here(pid), now, now)
    _open_here.add(owner.owner)
    return owner


def retire(owner: Owner) -> None:
    """The store is closed: what it drove may be taken over."""
    _open_here.discard(owner.owner)


def is_alive(owner: Owner, now: float) -> bool:
    """Whether an owner still drives its runs; where that cannot be told, its signs of life decide."""
    beating = now - owner.beat_at < DEAD_AFTER
    if owner.host != this_host():
        return beating
    if owner.pid == os.getpid() and owner.process_started == _started_here(owner.pid):
        return owner.owner in _open_here
    started = process_started(owner.pid)
    if started is None:
        return False
    if UNKNOWN in (started, owner.process_started):
        return beating
    return started == owner.process_started


def split_owners(connection: sqlite3.Connection, now: float) -> tuple[list[str], list[str]]:
    """The owners that are alive, and those that are dead, by name."""
    rows = connection.execute("select owner, host, pid, process_started, opened_at, beat_at from owners")
    live: list[str] = []
    dead: list[str] = []
    for row in rows.fetchall():
        (live if is_alive(Owner(*row), now) else dead).append(row[0])
    return live, dead


def announce(connection: sqlite3.Connection, owner: Owner, now: float) -> None:
    """Write the owner's row, as new or as a sign of life."""
    connection.execute(
        "insert or replace into owners (owner, host, pid, process_started, opened_at, beat_at) "
        "values (?, ?, ?, ?, ?, ?)",
        (*owner[:5], now),
    )


def holder(connection: sqlite3.Connection, run_id: str, me: Owner | None, now: float) -> Owner | None:
    """The live owner of a run, if it has one other than `me`."""
    row = connection.execute(
        "select o.owner, o.host, o.pid, o.process_started, o.opened_at, o.beat_at "
        "from runs r join owners o on o.owner = r.owner where r.run_id = ?",
        (run_id,),
    ).fetchone()
    if row is None or (me is not None and row[0] == me.owner):
        return None
    found = Owner(*row)
    return found if is_alive(found, now) else None


def held_by(run_id: str, owner: Owner, doing: str, me: Owner | None = None) -> InvalidState:
    """The error that says who drives a run, since when, and what to do; `me`: who asks."""
    if me is not None and owner.owner == me.owner:
        return InvalidState(
            f"run {run_id!r} cannot be {doing} while it is under way: wait for its end (run.wait()), or "
            f"cancel it first (run.cancel())",
            culprit=run_id,
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.opened_at))
    if owner.pid == os.getpid() and owner.host == this_host():
        who = "another open flow of this very process"
        way = "pause or cancel it by that flow, wait for its end, or close that flow (flow.close())"
    else:
        host = owner.host.split(" ")[0]
        who = f"process {owner.pid} on {host!r}"
        way = (
            f"only that process can pause it, cancel it or change it: do so there, wait for its end, or stop "
            f"that process (kernel) {owner.pid} and go on here with flow.resume({run_id!r})"
        )
    return InvalidState(
        f"run {run_id!r} cannot be {doing}: it is being driven by {who}, open since {since}; {way}",
        culprit=run_id,
    )


def take(connection: sqlite3.Connection, run_id: str, me: Owner, now: float) -> float | None:
    """Make `me` the owner of a run; `InvalidState` if it does not exist or has another live owner.

    Returns the last sign of life of an owner that died; None where nobody had it.
    """
    row = connection.execute(
        "select r.owner, o.beat_at from runs r left join owners o on o.owner = r.owner where r.run_id = ?",
        (run_id,),
    ).fetchone()
    if row is None:
        raise InvalidState(f"there is no run {run_id!r} in this database", culprit=run_id)
    if (other := holder(connection, run_id, me, now)) is not None:
        raise held_by(run_id, other, "taken up")
    announce(connection, me, now)
    connection.execute("update runs set owner = ? where run_id = ?", (me.owner, run_id))
    if row[0] in (None, me.owner):
        return None
    connection.execute(
        "delete from owners where owner = :o and not exists (select 1 from runs where owner = :o)",
        {"o": row[0]},
    )
    return None if row[1] is None else min(row[1], now)


def give_up(connection: sqlite3.Connection, me: Owner, run_ids: Collection[str] | None) -> None:
    """Nobody owns these runs of `me` any more; None: the store closes, so all of them."""
    if run_ids is None:
        connection.execute("update runs set owner = null where owner = ?", (me.owner,))
        # ... and owners that own nothing: who is still there announces itself again.
        connection.execute("delete from owners where owner not in (select owner from runs where owner > '')")
    for run_id in run_ids or ():
        connection.execute("update runs set owner = null where run_id = ? and owner = ?", (run_id, me.owner))


class Heartbeat:
    """A daemon thread that gives a sign of life every `BEAT_EVERY` seconds, while runs are owned.

    It has a connection of its own and needs no event loop: a loop that is kept busy is not a dead owner.
    """

    def __init__(self, path: str, owner: Owner, owned: Collection[str], now: Callable[[], float]) -> None:
        self._path, self._owner, self._owned, self._now = path, owner, owned, now
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._run, name="dagflow-heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it; idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)  # a beat under way may be waiting for a lock
            self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(BEAT_EVERY):
            if self._owned:
                # A beat that could not be written (a full disk, a long lock) is tried again at the next.
                with contextlib.suppress(sqlite3.Error):
                    self.beat()

    def beat(self) -> None:
        """Give one sign of life now."""
        connection = sqlite3.connect(self._path, timeout=2.0, isolation_level=None)
        try:
            announce(connection, self._owner, self._now())
        finally:
            connection.close()
