"""Results that are known: kept by their keys, found again, in this process and by others.

Rules kept here: one key is computed once at a time in a process; what was found is the snapshot that was
stored, never an object that somebody may have changed since; big values are read when they are looked at;
a result whose values cannot be read here, or whose files have changed, is none.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ..codec import Codec
from ..codec.base import TAG
from ..core.model import NodeOutput
from ..errors import DagError, SerializationError
from ..fingerprint import Code, file_facts
from ..store import Kept, read

if TYPE_CHECKING:
    from .session import Session

log = logging.getLogger("dagflow_nb")
MOST = 10_000  # results in memory that are found without asking the database
MUCH = 10_000  # bytes of such a result
EVER = -1e300  # before every time


# Of one output: the digest of its content where that is known, or the files its paths lead to.
Digest = str | dict[str, list[int]] | None


class Known(NamedTuple):
    """A result: whose it is, when it was computed, and its values: key -> (codec, data, size).

    A `Kept` stands for the data of a value that lies in the database. `scalars` need no decoding. `texts`:
    the outcome and the digests as they are stored.
    """

    run_id: str
    node_id: str
    made_at: float
    outcome: NodeOutput
    digests: Mapping[str, Digest]
    rows: Mapping[str, tuple[str, Any, int]]
    scalars: Mapping[str, Any]
    texts: tuple[str, str]

    def fault(self) -> str | None:
        """What is wrong with the files that its values name; None while they are as they were."""
        for files in self.digests.values():
            for path, facts in files.items() if isinstance(files, dict) else ():
                now = file_facts(path)
                if now != facts:
                    return f"a file it returned {'is gone' if now is None else 'has changed'}: {path}"
        return None


class Found(Mapping[str, Any]):
    """The outputs of a node whose result was known: decoded when they are looked at, and kept then."""

    def __init__(self, known: Known, codec: Codec, fetch: Callable[[Kept], bytearray]) -> None:
        self._known, self._codec, self._fetch = known, codec, fetch
        self._values: dict[str, Any] = dict(known.scalars)
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            kind, data, _ = self._known.rows[key]
            with self._lock:
                if key not in self._values:
                    found = self._fetch(data) if type(data) is Kept else data
                    self._values[key] = self._codec.decode(kind, found)
        return self._values[key]

    def digest(self, key: object) -> str | None:
        """The digest of a value that nobody has looked at yet; None where it has to be made."""
        if not isinstance(key, str) or key in self._values:
            return None
        found = self._known.digests.get(key)
        return found if isinstance(found, str) else None

    def load(self) -> None:
        """Decode everything; not for the event loop."""
        for key in self:
            self[key]

    @property
    def big(self) -> bool:
        """Whether something is not in memory yet."""
        rows = self._known.rows
        return any(type(rows[key][1]) is Kept for key in rows.keys() - self._values.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self._known.digests)

    def __len__(self) -> int:
        return len(self._known.digests)

    def __repr__(self) -> str:
        return f"<known outputs: {', '.join(self)}>"


_flights: dict[tuple[Any, str], concurrent.futures.Future[Known | None]] = {}
_flights_lock = threading.Lock()


class Results:
    """The known results of one session's database.

    `pending`: results whose rows may not be committed yet. `unstorable`: code whose outputs could not be
    stored, so that nobody needs to wait for them. `said`: what the user has been told already.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.pending: dict[str, Known] = {}
        self.unstorable: set[str] = set()
        self.quick: set[str] = set()  # actions whose code is read in no time
        self.written: set[str] = set()  # code whose parts are in the database
        self._said: set[tuple[str, str]] = set()
        self._reader: sqlite3.Connection | None = None

    @property
    def _place(self) -> Any:
        path = self._session.database
        return path if path != ":memory:" else id(self._session)

    # --- finding ------------------------------------------------------------------------------

    def find(self, key: str, ttl: float | None) -> Known | None:
        """The latest result under this key that is not older than `ttl` seconds; on the store's loop."""
        not_before = EVER if ttl is None else self._session.clock.now() - ttl
        known = self.pending.get(key)
        if known is not None and known.made_at > not_before:
            return known if known.fault() is None else None
        try:
            if self._reader is None:
                assert self._session.store is not None
                self._reader = self._session.store.connect()
            row = read.find_memo(self._reader, key, not_before)
        except (sqlite3.Error, DagError) as error:
            log.debug("a known result cannot be looked up: %s", error)
            return None
        known = None if row is None else self.known(*row)
        return None if known is None or known.fault() is not None else known

    def known(self, row: tuple[Any, ...], values: list[tuple[Any, ...]]) -> Known | None:
        """What `read.find_memo` has found, unless its values cannot all be read here."""
        run_id, node_id, made_at, outcome, outputs = row
        digests = json.loads(outputs)
        rows = {key: (kind, data, size) for key, kind, data, size in values}
        if rows.keys() != digests.keys() or not all(map(self._is_readable, rows.values())):
            return None
        kept = self._session.codec.loads(outcome)
        return Known(run_id, node_id, made_at, kept, digests, rows, {}, (outcome, outputs))

    def _is_readable(self, row: tuple[str, Any, int]) -> bool:
        """Whether a value can be read in this process; one that is big is not read for that."""
        kind, data, _ = row
        codec = self._session.codec
        if kind == "pickle":
            return codec.allow_pickle
        if type(data) is Kept or (kind == "json" and TAG.encode() not in data):
            return True
        try:
            codec.decode(kind, data)
        except SerializationError:  # it was not stored, or its library is not there
            return False
        return True

    # --- one at a time ------------------------------------------------------------------------

    def take_off(self, key: str) -> concurrent.futures.Future[Known | None] | None:
        """None: who asks computes this key, and has to `land`. Else what to wait for."""
        with _flights_lock:
            flight = _flights.get((self._place, key))
            if flight is None:
                _flights[self._place, key] = concurrent.futures.Future()
            return flight

    def land(self, key: str, known: Known | None) -> None:
        """A key has been computed, or not."""
        with _flights_lock:
            flight = _flights.pop((self._place, key), None)
        if flight is not None:
            flight.set_result(known)

    def keep(self, key: str, known: Known) -> None:
        """A result that is about to be stored."""
        self.pending[key] = known

    def new_codes(self, codes: Iterable[Code]) -> list[tuple[str, str]]:
        """Rows of the table `codes` for those that have not been written yet."""
        new = {code.digest: code for code in codes if code.digest not in self.written}
        self.written |= new.keys()
        return [(digest, json.dumps(code.parts)) for digest, code in new.items()]

    def settle(self, run_id: str) -> None:
        """All that a run has made is in the database; if that is in memory, small results stay here, too."""
        if self._session.database != ":memory:":
            self.forget(run_id)
            return
        big = [k for k, known in self.pending.items() if sum(row[2] for row in known.rows.values()) > MUCH]
        for key in [*big, *list(self.pending)[:-MOST]]:
            self.pending.pop(key, None)

    def forget(self, run_id: str) -> None:
        """What this run has made is looked up in the database from now on."""
        for key in [key for key, known in self.pending.items() if known.run_id == run_id]:
            del self.pending[key]

    def say(self, action: str, reason: str) -> bool:
        """Warn, once, that results of an action are not kept; whether it is the first time."""
        if (action, reason) in self._said:
            return False
        self._said.add((action, reason))
        log.warning("action %r is not cacheable: %s", action, reason)
        return True

    def close(self) -> None:
        """No more questions."""
        if self._reader is not None:
            with suppress(sqlite3.Error):
                self._reader.close()
            self._reader = None


async def landing(flight: concurrent.futures.Future[Known | None]) -> Known | None:
    """Wait for a key that somebody else computes; to be cancelled without harm to others."""
    return await asyncio.shield(asyncio.wrap_future(flight))
