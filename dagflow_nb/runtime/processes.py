"""Worker processes for `executor="process"`.

Each runs one attempt at a time and is used again. An attempt that is cancelled or times out ends with its
process, which a pool of `concurrent.futures` cannot do; and what it prints and reports arrives while it runs.
The processes do not import the main script: it needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..threads import Threads
from .remote import Pipe

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from dagflow_nb.runtime.remote import serve; serve()"
)


class Worker:
    """One process."""

    def __init__(self) -> None:
        settings: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}
            if sys.platform == "win32"
            # a group of its own: an interrupt is for us to handle, and what it starts ends with it
            else {"start_new_session": True}
        )
        self._program = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps([str(entry) for entry in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **settings,
        )
        assert self._program.stdin is not None and self._program.stdout is not None
        self.pipe = Pipe(self._program.stdout, self._program.stdin)  # type: ignore[arg-type] # BinaryIO it is

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._program.pid

    def kill(self) -> None:
        """End it, and on POSIX what it has started, without asking."""
        if self._program.poll() is not None:
            return
        if sys.platform == "win32":
            self._program.kill()
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._program.kill()

    def wait(self) -> None:
        """Wait until a process that was killed is gone; its files are for who talks to it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._program.wait(5.0)

    def end(self) -> int:
        """End it and close its files; returns its exit code."""
        self.kill()
        for file in (self._program.stdin, self._program.stdout):
            # what is left in a buffer has nobody to go to
            with contextlib.suppress(OSError):
                file.close()  # type: ignore[union-attr] # both are pipes
        return self._program.wait()


class Attempt:
    """What a worker process is asked to do. `hear(kind, arguments)` is called with what it says."""

    def __init__(
        self,
        packed: bytes,
        hear: Callable[[str, tuple[Any, ...]], None],
        find: Callable[[str, str], Any],
        done: Callable[[bytes | None, str], None],
    ) -> None:
        self.packed, self.hear, self.find, self.done = packed, hear, find, done
        self.worker: Worker | None = None
        self.stopped = False


class Processes:
    """Worker processes, started when they are first needed; the caller bounds how many run at once."""

    def __init__(self) -> None:
        self._threads = Threads("dagflow-process")
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that there are now."""
        with self._lock:
            return sorted(worker.pid for worker in (*self._idle, *self._busy))

    def submit(self, attempt: Attempt) -> Callable[[], None]:
        """Run an attempt; returns what ends it.

        `attempt.done(result, "")` is called in a thread, with `(None, why)` where the process died.
        """

        def stop() -> None:
            with self._lock:
                attempt.stopped, worker = True, attempt.worker
            if worker is not None:
                worker.kill()

        self._threads.submit(lambda: self._run(attempt))
        return stop

    def _run(self, attempt: Attempt) -> None:
        try:
            worker = self._take(attempt)
        except OSError as bad:
            attempt.done(None, f"no worker process can be started: {bad}")
            return
        if worker is None:
            return
        try:
            result = self._talk(worker, attempt)
        except Exception as bad:
            gone = isinstance(bad, EOFError | OSError)
            if not gone:
                worker.kill()
            code = worker.end()
            self._give_back(attempt, worker, alive=False)
            hint = " (killed: out of memory?)" if code == -9 else ""
            why = f"ended with exit code {code}{hint}" if gone else f"and this one lost touch: {bad}"
            attempt.done(None, f"its worker process {why}")
            return
        if not self._give_back(attempt, worker, alive=not attempt.stopped):
            worker.kill()
            worker.end()
        attempt.done(result, "")

    def _talk(self, worker: Worker, attempt: Attempt) -> bytes:
        worker.pipe.send(("attempt", attempt.packed))
        while True:
            kind, data = worker.pipe.receive()
            if kind == "result":
                result: bytes = data[0]
                return result
            if kind == "get":
                worker.pipe.send(("value", attempt.find(*data)))
            else:
                attempt.hear(kind, data)

    def _take(self, attempt: Attempt) -> Worker | None:
        """A process for this attempt, None if that has been stopped meanwhile."""
        with self._lock:
            if attempt.stopped or self._closed:
                return None
            worker = self._idle.pop() if self._idle else None
            if worker is not None:
                self._busy.add(worker)
                attempt.worker = worker
                return worker
        worker = Worker()
        with self._lock:
            self._busy.add(worker)
            attempt.worker = worker
            if attempt.stopped or self._closed:
                worker.kill()
        return worker

    def _give_back(self, attempt: Attempt, worker: Worker, *, alive: bool) -> bool:
        """Whether the process is kept for another attempt."""
        with self._lock:
            self._busy.discard(worker)
            attempt.worker = None
            keep = alive and not attempt.stopped and not self._closed
            if keep:
                self._idle.append(worker)
            return keep

    def close(self) -> None:
        """End all processes, with what they do."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for worker in (*idle, *busy):
            worker.kill()
        for worker in (*idle, *busy):
            worker.wait()
        for worker in idle:
            worker.end()
        self._threads.close()
