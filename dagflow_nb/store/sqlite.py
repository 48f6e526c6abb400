"""`Store`: the SQLite database as the engine sees it. One writer, group commit, many readers.

Rules kept here: `await`ed methods and `write` belong to the loop that opened the store; `connect`, `sync`,
`close_now` and the questions (`run_row`, ...) work from any thread; only an owner writes a run.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

from ..errors import InvalidState, ValidationError, did_you_mean
from . import maintain, owners, read
from .base import BaseStore
from .blobs import Kept, fetch, hash_of, hold, keep
from .copying import Copy, copy_run
from .database import explain, reader
from .inserting import Row
from .memory import MemoryReader
from .unit import RUN_COLUMNS, StoredRun, insert_artifacts
from .writer import Job

T = TypeVar("T")


class Store(BaseStore):
    """A database that is open; made by `Store.open`.

    `path`: the file's absolute path or `":memory:"`. `note`: what the user should know about the file
    system, or None. `read_only`: runs can be looked at, not written. `on_error(run_id, error)`: called on
    the loop when a run's units can no longer be written: `InvalidState` if it has another owner by now,
    else `DatabaseError`; nothing more of that run is written until it is claimed again. Where it returns
    True somebody knows, and `flush` and `close` need not say it again.

        store = await Store.open("sqlite:workflows.db")
        await store.create_run({"run_id": "r1", "dag_name": "pipeline"})
        store.write(Unit("r1", run={"status": "running"}))
        await store.close()
    """

    # --- runs and who drives them -------------------------------------------------------------

    async def create_run(
        self, row: Mapping[str, Any], artifacts: Iterable[Row] = (), *, wait: bool = True
    ) -> None:
        """Insert a run's row, driven by this store. A `run_id` that is taken raises `InvalidState`.

        Without `wait` it is queued, as a unit is: ahead of the run's own, which are not written where it
        cannot be.

        `row`: columns of `runs` (`run_id` and `dag_name` at least; `created_at` is now by default), and
        `tree`: JSON text of the nodes at the start, or what makes it when it is written. `artifacts`: values
        it begins with, as in a `Unit`. An unknown column raises `ValidationError`, a file that is gone
        `DatabaseError`.
        """
        self.check_file()
        values = dict(row)
        tree = values.pop("tree", None)
        for column in values:
            if column not in RUN_COLUMNS:
                raise ValidationError(
                    f"a run has no column {column!r}: {did_you_mean(column, RUN_COLUMNS)}", culprit=column
                )
        run_id, now = values["run_id"], self._now()
        begins_with = list(artifacts)
        if values.get("created_at") is None:
            values["created_at"] = now
        values["owner"] = self._writer.owner.owner
        insert = f"insert into runs ({', '.join(values)}) values ({', '.join('?' * len(values))})"

        def write_tree(connection: sqlite3.Connection) -> None:
            text = tree() if callable(tree) else tree
            connection.execute(
                "insert into execution_trees (run_id, dag_name, created_at, tree) values (?, ?, ?, ?)",
                (run_id, values["dag_name"], values["created_at"], text),
            )

        tree_waits = wait and self._memory and callable(tree)

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("select 1 from runs where run_id = ?", (run_id,)).fetchone():
                raise InvalidState(
                    f"there is already a run {run_id!r} in this database: choose another run_id, or go on "
                    f"with it by flow.resume({run_id!r})",
                    culprit=run_id,
                )
            owners.announce(connection, self._writer.owner, now)
            connection.execute(insert, tuple(values.values()))
            if tree is not None and not tree_waits:
                write_tree(connection)
            insert_artifacts(connection, run_id, begins_with)

        if not wait:
            self._writer.mended(run_id)
            self._owned.add(run_id)
            self._later(run_id, work)
            return
        await self._call(work, at_once=True)
        if tree_waits:
            await self._call(write_tree, lazy=True)
        self._own(run_id)

    async def copy_run(self, copy: Copy) -> bool:
        """Write a run that begins with rows of another one; False if that one has run nodes again since."""
        self.check_file()
        return await self._call(lambda c: copy_run(c, copy))

    async def claim(self, run_id: str) -> float | None:
        """Drive a run from now on; `InvalidState` if there is no such run, or a live owner has it.

        Returns the last sign of life of who drove it and died; None where nobody did.
        """
        self.check_file()
        now = self._now()
        beat_at = await self._call(lambda c: owners.take(c, run_id, self._writer.owner, now))
        self._own(run_id)
        return beat_at

    async def release(self, run_id: str, *, whole: bool = False) -> None:
        """Nobody drives the run any more (what is queued of it is written first).

        `whole`: where something of it could not be written it stays owned, and that is raised, as by `flush`.
        """
        self._unhold(run_id)
        if whole and self._memory:
            await self.flush(run_id)

        def work(connection: sqlite3.Connection) -> None:
            if whole and (error := self._writer.broken.get(run_id)) is not None:
                raise error
            owners.give_up(connection, self._writer.owner, [run_id])

        await self._call(work, lazy=True)
        self._owned.discard(run_id)

    def _later(self, run_id: str, work: Callable[[sqlite3.Connection], None]) -> None:
        """Queue the beginning of a run; if it cannot be written, the run is broken."""

        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                self._writer.fail(run_id, error)
            elif not self._memory:
                self._heart.start()

        self._queue_job(Job(work, done))

    def _own(self, run_id: str) -> None:
        self._writer.mended(run_id)
        self._owned.add(run_id)
        if not self._memory:
            self._heart.start()

    async def load(self, run_id: str) -> StoredRun | None:
        """All that is needed to take a run up again, with what is queued; None if there is no such run."""
        return await asyncio.to_thread(self._ask, lambda c: read.load(c, run_id, self._now(), self.blob))

    # --- snapshots and values by hand ---------------------------------------------------------

    async def save_snapshot(self, run_id: str | None, dag_name: str, kind: str, data: str) -> None:
        """Store a snapshot (`kind`: `"cache"` or `"execution"`) of a workflow's run, `data` as JSON text."""
        row = (run_id, dag_name, kind, self._now(), data)
        sql = "insert into snapshots (run_id, dag_name, kind, taken_at, data) values (?, ?, ?, ?, ?)"
        await self._call(lambda c: c.execute(sql, row).rowcount)

    def load_snapshot(self, dag_name: str, kind: str) -> tuple[str | None, float, str] | None:
        """The latest snapshot of a workflow: (run id, when it was taken, data); None if there is none."""
        return self._ask(lambda c: read.load_snapshot(c, dag_name, kind))

    async def save_artifacts(self, run_id: str, rows: Iterable[Row]) -> None:
        """Store values of a run by hand: (namespace, key, codec, data, size_bytes, reason, updated_at).

        A run that another live owner drives raises `InvalidState`.
        """
        saved = list(rows)

        def work(connection: sqlite3.Connection) -> None:
            other = owners.holder(connection, run_id, self._writer.owner, self._now())
            if other is not None:
                raise owners.held_by(run_id, other, "written to")
            insert_artifacts(connection, run_id, saved)
            replaced = {(run_id, row[0]) for row in saved}
            connection.executemany("delete from memo where run_id = ? and node_id = ?", replaced)

        await self._call(work)

    # --- keeping it small ---------------------------------------------------------------------

    async def delete_runs(self, run_ids: Collection[str], *, values_only: bool = False) -> int:
        """Delete these runs, or only their values; returns how many of them there were.

        One that is being driven raises `InvalidState`, and nothing is deleted. The file gets smaller by
        `vacuum`.
        """
        ids = list(run_ids)
        return await self._call(
            lambda c: maintain.delete_runs(c, ids, values_only, self._writer.owner, self._now())
        )

    async def vacuum(self) -> None:
        """Give the space of what was deleted back to the file system."""
        await self._call(lambda c: maintain.vacuum(c, self._now()), in_transaction=False)

    def size_bytes(self) -> int:
        """What the database takes, in bytes; in memory: without what nobody has asked for yet."""
        with self._writer.lock:
            connection = self._writer.connection if self._memory and not self._writer.closed else None
            return maintain.size_bytes(self.path, connection)

    # --- reading ------------------------------------------------------------------------------

    def connect(self) -> sqlite3.Connection:
        """A new connection that only reads, for any thread; close it.

        It sees what is committed: call `sync` first to see what is queued too. In memory it is a
        `MemoryReader`, which sees everything.
        """
        if self._memory:
            return MemoryReader(self._writer)
        self.check_file()
        return reader(self.path)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        self.sync()
        with closing(self.connect()) as connection:
            try:
                return question(connection)
            except sqlite3.Error as error:
                raise explain(error, self.path) from error

    def run_row(self, run_id: str) -> dict[str, Any] | None:
        """A run's row by column, with `owner_alive` (whether somebody drives it); None if there is none."""
        return self._ask(lambda c: read.run_row(c, run_id, self._now()))

    def node_rows(self, run_id: str) -> list[dict[str, Any]]:
        """The rows of a run's nodes by column, in the order in which they were added."""
        return self._ask(lambda c: read.node_rows(c, run_id))

    def latest_run_id(
        self,
        dag_names: Collection[str] | None = None,
        unfinished: bool = False,
        *,
        statuses: Collection[str] | None = None,
    ) -> str | None:
        """The run made last, None if there is none.

        `dag_names`: of these workflows. `unfinished`: pending, running, paused or interrupted;
        `statuses`: in one of these states instead.
        """
        wanted = statuses if statuses is not None else read.UNFINISHED if unfinished else None
        return self._ask(lambda c: read.latest_run_id(c, dag_names, wanted))

    def match_run_ids(self, prefix: str) -> list[str]:
        """The ids of runs that begin with `prefix`, newest first; an exact match alone."""
        return self._ask(lambda c: read.match_run_ids(c, prefix))

    def keep(self, run_id: str, parts: Sequence[Any]) -> Kept:
        """Store a big value of a run at once, ahead of the row that will refer to it; not from the loop.

        `parts`: buffers of its bytes, which are read here and no later. If it cannot be stored, the run is
        broken, as by a unit that cannot be written.
        """
        kept = Kept(hash_of(parts), sum(map(len, parts)))

        def work(connection: sqlite3.Connection) -> None:
            keep(connection, kept.hash, parts)
            hold(connection, kept.hash, run_id)

        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                self._writer.fail(run_id, error)

        self._writer.run(Job(work, done))
        return kept

    def blob(self, kept: Kept) -> bytearray:
        """The bytes of a big value."""
        return self._ask(lambda c: fetch(c, kept))

    def artifact(
        self, run_id: str, namespace: str, key: str
    ) -> tuple[str, bytes | bytearray | None, str | None] | None:
        """One stored value, not decoded: (codec, data, reason); None if there is none."""
        return self._ask(lambda c: read.artifact(c, run_id, namespace, key))

    def artifact_keys(self, run_id: str, namespace: str | None = None) -> list[tuple[str, str]]:
        """The (namespace, key) pairs of a run's stored values, those of a namespace as they were stored."""
        return self._ask(lambda c: read.artifact_keys(c, run_id, namespace))

    def memo_rows(self, run_id: str) -> dict[str, dict[str, Any]]:
        """What the results of a run's nodes depended on, by node id, as rows by column."""
        return self._ask(lambda c: read.memo_rows(c, run_id))

    def memo_maker(self, key: str, made_at: float) -> str | None:
        """The run in which a result that was known was computed; None if it is not there any more."""
        return self._ask(lambda c: read.memo_maker(c, key, made_at))

    def code_parts(self, code: str) -> str | None:
        """The parts of an action's code (JSON text) by its digest; None if they are not known."""
        return self._ask(lambda c: read.code_parts(c, code))

    def execution_tree(self, dag_name: str) -> tuple[str, str] | None:
        """The nodes of a workflow's latest run at its start: (run id, JSON text)."""
        return self._ask(lambda c: read.execution_tree(c, dag_name))

    def execution_state(self, dag_name: str, state: str) -> dict[str, Any] | None:
        """The latest run of a workflow that is `"active"` or `"pending"`, as a row by column."""
        return self._ask(lambda c: read.execution_state(c, dag_name, state))
