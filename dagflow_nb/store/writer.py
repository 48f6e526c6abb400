"""Brings queued units into the database, whatever thread calls `drain`.

Rules kept here:
- One lock guards the one writing connection; whoever holds it writes. Never the main thread: an
  interrupt (Ctrl-C) could hit it between taking a unit and writing it. A loop only if that takes a moment.
- What is queued is written in order; a unit is written whole or not at all, many in one transaction.
- A transaction writes only runs that its owner still owns.
- What cannot be written is never dropped in silence: its run is *broken* from then on (`on_broken` is
  told, later units of it are left out, so that the database stays an earlier moment of the run).
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ..errors import DagError, InvalidState
from .database import explain, is_locked, retried, transaction
from .owners import Owner
from .pace import Pace
from .unit import Unit, apply_units, clean_unit

T = TypeVar("T")
MAX_UNITS = 500
_UNFIT = (UnicodeError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError)


def uninterrupted(work: Callable[[], T]) -> T:
    """`work()`, where no interrupt can hit it in the middle: on another thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name="dagflow-write")
    try:
        thread.start()
    except RuntimeError:  # the interpreter is exiting, and starts no threads any more
        return work()
    thread.join()
    return done.result()


class Mark:
    """A place in the queue: `reached` is called once everything before it has been dealt with."""

    __slots__ = ("reached",)

    def __init__(self, reached: Callable[[], None]) -> None:
        self.reached = reached


class Job:
    """Something else to do in the queue's order, in a transaction of its own; then `done(result, error)`."""

    __slots__ = ("done", "in_transaction", "work")

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], Any],
        done: Callable[[Any, Exception | None], None],
        in_transaction: bool = True,
    ) -> None:
        self.work, self.done, self.in_transaction = work, done, in_transaction


class Writer:
    """The queue and what empties it.

    `on_broken(run_id, error)`: told (on the thread that writes) that a run's units can no longer be
    written, with `InvalidState` where it has another owner, else with `DatabaseError`.
    """

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        owner: Owner,
        on_broken: Callable[[str, Exception], None] = lambda run_id, error: None,
    ) -> None:
        self.path, self.connection, self.owner = path, connection, owner
        self.queue: deque[Unit | Mark | Job] = deque()
        self.lock = threading.RLock()
        # held for moments: by who adds to a unit that is queued already, and by who takes units out
        self.taking = threading.RLock()
        self.broken: dict[str, Exception] = {}
        self.unreported: Exception | None = None
        self.closed = False
        self.patience: float | None = None  # None: what `database.PATIENCE` says
        self.on_broken = on_broken
        self.pace = Pace(connection)

    def drain(self, timeout: float = -1) -> bool:
        """Deal with all that is queued now; False if another thread kept writing for `timeout` seconds."""
        if self.queue:
            return uninterrupted(lambda: self._drain(timeout))
        free = self.lock.acquire(timeout=timeout)
        if free:
            self.lock.release()
        return free

    def drain_at_once(self) -> bool:
        """Write what is queued on this thread, a loop's; False if that might take more than a moment.

        Then nothing has been done: neither is anybody waited for, nor is told here what goes wrong. Both
        is left to `drain`.
        """
        if not self.pace.allows() or not self.lock.acquire(blocking=False):
            return False
        try:
            units = [item for item in self.queue if isinstance(item, Unit)]
            with self.taking:
                for unit in units:
                    unit.close()
            if self.closed or len(units) < len(self.queue) or not all(unit.is_light() for unit in units):
                return False
            for unit in units:
                unit.encode()
            if kept := [unit for unit in units if unit.run_id not in self.broken]:
                self.pace.hurry(True)
                self._commit(kept)
        except Exception:
            return False
        else:
            for _ in units:
                self.queue.popleft()
            return True
        finally:
            self.lock.release()

    def run(self, job: Job) -> None:
        """Do a job at once, ahead of what is queued."""

        def work() -> None:
            with self.lock:
                tell = self._do(job)
            tell()

        uninterrupted(work)

    def mended(self, run_id: str) -> None:
        """A run that has been taken up again is written again."""
        self.broken.pop(run_id, None)

    def _drain(self, timeout: float) -> bool:
        if not self.lock.acquire(timeout=timeout):
            return False
        tell: deque[Callable[[], None]] = deque()
        try:
            left = 0 if self.closed else len(self.queue)
            if left:
                self.pace.hurry(False)
            while left > 0:
                left -= self._step(left, tell)
                while tell and left > 0:
                    tell.popleft()()
        finally:
            self.lock.release()
        # who is told now may want to write at once, and finds the lock free
        while tell:
            tell.popleft()()
        return True

    def _step(self, most: int, tell: deque[Callable[[], None]]) -> int:
        """One transaction's worth of units, and a job if one comes next; `tell` gets what is to be told."""
        batch: list[Unit] = []
        job: Job | None = None
        taken = 0
        while taken < most and len(batch) < MAX_UNITS and job is None:
            with self.taking:
                item = self.queue.popleft()
                if isinstance(item, Unit):
                    item.close()
            taken += 1
            if isinstance(item, Unit):
                batch.append(item)
            elif type(item) is Mark:
                tell.append(item.reached)
            elif type(item) is Job:
                job = item
        for unit in batch:
            unit.encode()
        self._write(batch)
        if job is not None:
            tell.append(self._do(job))
        return taken

    def _write(self, batch: list[Unit]) -> None:
        units = [u for u in batch if u.run_id not in self.broken] if self.broken else batch
        if not units:
            return
        try:
            self._commit(units)
        except Exception as error:
            if not is_locked(error):
                self._write_singly(units)
                return
            for run_id in {u.run_id for u in units}:
                self.fail(run_id, explain(error, self.path))

    def _write_singly(self, units: list[Unit]) -> None:
        """One by one, so that what is whole gets in and only the runs that are at fault break."""
        for unit in units:
            if unit.run_id in self.broken:
                continue
            try:
                try:
                    self._commit([unit])
                except _UNFIT:
                    self._commit([clean_unit(unit)])
            except Exception as error:
                self.fail(unit.run_id, explain(error, self.path))

    def _commit(self, units: list[Unit]) -> None:
        def work() -> dict[str, str | None]:
            with transaction(self.connection):
                lost = self._lost({u.run_id for u in units})
                kept = [u for u in units if u.run_id not in lost] if lost else units
                apply_units(self.connection, kept)
                return lost

        patience = 0.0 if self.pace.hurried else self.patience
        for run_id, owner in self.pace.timed(lambda: retried(work, patience)).items():
            self.fail(run_id, _lost_to(run_id, owner))

    def _lost(self, run_ids: set[str]) -> dict[str, str | None]:
        """Which of these runs are no longer ours, and whose they are ("" for a run that is gone)."""
        marks = ", ".join("?" * len(run_ids))
        rows = self.connection.execute(
            f"select run_id, owner from runs where run_id in ({marks})", tuple(run_ids)
        ).fetchall()
        owners = dict.fromkeys(run_ids, "") | dict(rows)
        return {run_id: owner for run_id, owner in owners.items() if owner != self.owner.owner}

    def fail(self, run_id: str, error: Exception) -> None:
        """Nothing more of this run is written."""
        self.broken[run_id] = error
        self.unreported = error
        self.on_broken(run_id, error)

    def _do(self, job: Job) -> Callable[[], None]:
        """Do it; returns what tells of it."""
        result: Any = None
        failed: Exception | None = None
        try:
            if self.closed:
                raise InvalidState("the database is closed", culprit=self.path)
            self.pace.hurry(False)
            result = retried(lambda: self._work(job), self.patience)
        except (DagError, sqlite3.Error) as error:
            failed = error if isinstance(error, DagError) else explain(error, self.path)
        except Exception as error:
            failed = error
        return partial(job.done, result, failed)

    def _work(self, job: Job) -> Any:
        if not job.in_transaction:
            return job.work(self.connection)
        with transaction(self.connection):
            return job.work(self.connection)


def _lost_to(run_id: str, owner: str | None) -> InvalidState:
    if owner == "":
        text = f"run {run_id!r} has been deleted from the database while it ran; nothing more of it is stored"
    else:
        now = f"now {owner!r} does" if owner else "it was given up"
        text = (
            f"run {run_id!r} is no longer driven by this process ({now}): it was taken over, "
            "and nothing more of what happens here is stored"
        )
    return InvalidState(text, culprit=run_id)


class CommittingConnection(sqlite3.Connection):
    """A connection whose `commit` writes what is queued, and nothing else.

    It lets aiosqlite's thread, which runs the methods of a connection, do a whole transaction in one go:
    statement by statement the event loop would have to come round between them, with the database locked
    for as long as the loop is busy with something else. There is never anything left over to commit.
    """

    write_queued: Callable[[], object] | None = None

    def commit(self) -> None:
        """Write what is queued."""
        if self.write_queued is not None:
            self.write_queued()
