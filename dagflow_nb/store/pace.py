"""Whether a loop may commit by itself, instead of handing that to a thread and waiting for it.

Rules kept here:
- It takes but a moment. To go to a thread and to come back costs more than a small commit, as long as the
  disk keeps up; after a commit that was slow, wherever it was made, the next one is the thread's.
- It waits for nobody. Locks of other processes are waited for in the thread, and so is the disk: with a
  write-ahead log a commit waits for it only when the log is brought into the file.
- Never on the main thread, where an interrupt could hit it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from . import database

T = TypeVar("T")
QUICK = 0.002  # seconds that a commit may take
IN_A_ROW = 100  # commits by a loop, before one by the thread that brings the log into the file if that is due


class Pace:
    """How quick the commits of one writing connection are, and what they wait for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.has_log = False  # whether the file has a write-ahead log
        self.hurried = False  # whether commits wait for nobody now
        self.clock: Callable[[], float] = time.perf_counter
        self._took = 0.0  # seconds, by the latest commit
        self._in_a_row = 0

    def allows(self) -> bool:
        """Whether a loop may commit by itself now, on this thread."""
        return (
            self.has_log
            and self._took <= QUICK
            and self._in_a_row < IN_A_ROW
            and threading.current_thread() is not threading.main_thread()
        )

    def hurry(self, hurried: bool) -> None:
        """Say who commits next: a loop, for which nothing is waited for, or a thread; holding the lock."""
        self._in_a_row = self._in_a_row + 1 if hurried else 0
        if hurried is not self.hurried:
            self.hurried = hurried
            timeout, pages = (0, 0) if hurried else (int(database.BUSY_TIMEOUT * 1000), database.LOG_PAGES)
            self.connection.execute(f"pragma busy_timeout = {timeout}")
            self.connection.execute(f"pragma wal_autocheckpoint = {pages}")

    def timed(self, commit: Callable[[], T]) -> T:
        """Commit, and remember how long that took; holding the lock."""
        begin = self.clock()
        try:
            return commit()
        finally:
            self._took = self.clock() - begin
