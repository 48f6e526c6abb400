"""Where attempts can run besides the loop and the flow's own threads: worker processes, pools, Dask."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

from ..errors import ValidationError, did_you_mean, shorten
from .processes import Processes

COROUTINES = 100  # attempts on the loop at once where nothing else is said
BUILT_IN = ("async", "thread", "process", "dask")


class Executors:
    """The executors of one session, by name.

    `given`: name -> a `concurrent.futures.Executor`, a Dask client, or a Dask scheduler's address. Without
    an entry `"dask"` is the Dask client that is in use in this process, else a cluster on this machine.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._given: dict[str, Any] = {}
        self._opened: dict[str, Executor] = {}
        self._clients: list[Any] = []  # Dask clients that were made here
        self._sizes: dict[str, int] = {}
        self.processes: Processes | None = None
        if given is not None and not isinstance(given, Mapping):
            raise ValidationError(
                f"executors is a mapping of names to executors, not {shorten(given)}", culprit="executors"
            )
        for name, executor in (given or {}).items():
            self._given[name] = _checked(name, executor)

    def add(self, executor: Any) -> str:
        """Take an executor that has no name; returns the name it gets."""
        name = f"given:{id(executor):x}"
        self._given[name] = _checked("executor", executor)
        return name

    def update(self, other: Executors) -> None:
        """Take the executors of another session, under their names."""
        for name, executor in other._given.items():
            if self._given.get(name) is not executor:
                self._given[name] = executor
                self._opened.pop(name, None)

    def check(self, name: str, node_id: str) -> None:
        """Raise `ValidationError` where a node wants an executor that is not there."""
        known = [*BUILT_IN, *(name for name in self._given if not name.startswith("given:"))]
        if name not in known and name not in self._given:
            raise ValidationError(
                f"node {node_id!r} wants executor {name!r}, which this flow does not have: "
                f"{did_you_mean(name, known)} (give it with DagFlow(executors={{{name!r}: ...}}))",
                culprit=name,
            )

    def in_processes(self, name: str) -> bool:
        """Whether this name means our own worker processes."""
        return name == "process" and name not in self._given

    def own_processes(self) -> Processes:
        """Our worker processes, which are started when they are first needed."""
        if self.processes is None:
            self.processes = Processes()
        return self.processes

    def sizes(self) -> dict[str, int]:
        """How many attempts each of them holds at once."""
        cores = os.cpu_count() or 1
        sizes = {"async": COROUTINES, "thread": min(32, cores + 4), "process": cores}
        for name, executor in self._given.items():
            workers = getattr(executor, "_max_workers", None)
            sizes[name] = workers if isinstance(workers, int) and workers > 0 else COROUTINES
        return sizes | self._sizes

    def is_slow_to_open(self, name: str) -> bool:
        """Whether `open` has to connect to something first."""
        given = self._given.get(name)
        dask = name == "dask" if given is None else isinstance(given, str) or hasattr(given, "get_executor")
        return dask and name not in self._opened

    def open_all(self, names: Iterable[str]) -> None:
        """Open those of these that take time; not on a loop."""
        for name in names:
            if self.is_slow_to_open(name):
                self.open(name)

    def open(self, name: str) -> Executor:
        """The executor of this name. Raises `ValidationError` where Dask is wanted and not installed."""
        if name in self._opened:
            return self._opened[name]
        found = self._given.get(name)
        if found is None or isinstance(found, str):
            found = self._dask(found)
        if hasattr(found, "get_executor"):
            threads = found.nthreads()
            self._sizes[name] = max(1, sum(threads.values()))
            # with pure tasks two attempts with the same bytes would be one
            found = found.get_executor(pure=False)
        executor: Executor = found
        self._opened[name] = executor
        return executor

    def _dask(self, address: str | None) -> Any:
        try:
            distributed: Any = importlib.import_module("distributed")  # it has no types
        except ImportError as missing:
            raise ValidationError(
                "Dask is not installed: pip install 'dagflow-nb[dask]', or use executor='process'",
                culprit="dask",
            ) from missing
        if address is None:
            try:
                return distributed.default_client()
            except ValueError:
                pass
        client = distributed.Client(address, set_as_default=False)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """End worker processes and the Dask clients that were made here; what was given stays open."""
        processes, self.processes = self.processes, None
        if processes is not None:
            processes.close()
        clients, self._clients = self._clients, []
        for client in clients:
            await asyncio.to_thread(client.close)
        self._opened.clear()


def _checked(name: str, executor: Any) -> Any:
    if hasattr(executor, "submit") or (isinstance(executor, str) and "://" in executor):
        return executor
    raise ValidationError(
        f"{name}: an executor is a concurrent.futures.Executor, a Dask client or an address such as "
        f"'tcp://localhost:8786', not {shorten(executor)}",
        culprit=name,
    )
