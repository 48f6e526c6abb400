"""Big values: stored once by their content, in pieces, and found by their hash.

Rules kept here: a value is there with all its pieces or not at all; one that a run refers to, or that a
run under way is about to refer to, is never swept away; no more than a piece of it is copied at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from sqlite3 import Connection
from typing import Any, NamedTuple

from ..errors import DatabaseError

INLINE = 4096  # bytes: what is smaller stands in the row that refers to it
PIECE = 1 << 20


class Kept(NamedTuple):
    """Stands for a value's bytes in a row of `artifacts`: they are in `blobs`."""

    hash: bytes
    size: int


def hash_of(parts: Iterable[Any]) -> bytes:
    """The hash of a value whose bytes are those of all `parts`, one after the other."""
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _pieces(parts: Iterable[Any]) -> Iterator[bytes]:
    piece = bytearray()
    for part in parts:
        view = memoryview(part)
        at = 0
        while at < len(view):
            taken = view[at : at + PIECE - len(piece)]
            piece += taken
            at += len(taken)
            if len(piece) == PIECE:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


def keep(connection: Connection, hash: bytes, parts: Iterable[Any]) -> None:
    """Store a value that is not empty, unless it is there; inside of a transaction."""
    if connection.execute("select 1 from blobs where hash = ? and n = 0", (hash,)).fetchone() is None:
        insert = "insert into blobs (hash, n, data) values (?, ?, ?)"
        for n, piece in enumerate(_pieces(parts)):
            connection.execute(insert, (hash, n, piece))


def hold(connection: Connection, hash: bytes, run_id: str) -> None:
    """Keep a value from being swept away while somebody drives this run."""
    connection.execute("insert or ignore into blob_holds (hash, run_id) values (?, ?)", (hash, run_id))


def fetch(connection: Connection, kept: Kept) -> bytearray:
    """The bytes of a value; raises `DatabaseError` if they are not all there."""
    data, at = bytearray(kept.size), 0
    for (piece,) in connection.execute("select data from blobs where hash = ? order by n", (kept.hash,)):
        data[at : at + len(piece)] = piece
        at += len(piece)
    if at != kept.size or len(data) != kept.size:
        raise DatabaseError(
            f"a stored value of {kept.size:,} bytes is damaged: {at:,} of them are there; "
            "run the node that makes it again"
        )
    return data


def sweep(connection: Connection, live: Collection[str]) -> None:
    """Delete values that nothing refers to; `live`: the owners that are alive. Inside of a transaction."""
    marks = ", ".join("?" * len(live))
    connection.execute(
        f"delete from blob_holds where run_id not in (select run_id from runs where owner in ({marks}))",
        tuple(live),
    )
    connection.execute(
        "delete from blobs where hash not in (select hash from artifacts where hash is not null) "
        "and hash not in (select hash from blob_holds)"
    )
