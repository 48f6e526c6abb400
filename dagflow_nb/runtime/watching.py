"""Who watches a run: views ten times a second, streams at once. Nobody who watches can slow it down."""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from ..core import messages as m
from ..core.graph import Node
from ..core.model import Form, NodeRef
from ..core.state import OVER
from ..store import Store, read
from .snapshot import NodeView, Snapshot, Waiting

if TYPE_CHECKING:
    from .coordinator import RunCoordinator

log = logging.getLogger("dagflow_nb")
PAINT_EVERY = 0.1  # seconds between two updates of a view, at least
FIRST_PAINT = 0.3  # seconds before the first one of a run of more nodes than MANY: few of those last as long
MANY = 300
SHARE = 8  # so many times as long as they took, updates leave the loop to the run
MOST_PAST = 10_000  # events that a stream which is begun later still gives
MOST_SAID = 1_000  # the same of logs, progress and tokens
ROW_EVERY = 1.0  # seconds between two updates of the run's own row


class View(Protocol):
    """What draws a run while it goes on; called on the coordinator's thread."""

    def update(self, snapshot: Snapshot) -> None:
        """Draw this state."""

    def log(self, node_id: str, text: str, stream: str) -> None:
        """Show what a node printed or logged."""

    def finish(self, last: Callable[[], Snapshot]) -> None:
        """Draw the last state, to stay; `last` gives it, in any thread, also later."""


class Watch:
    """Keeps the run's picture up to date for those who look at it."""

    def __init__(self, coordinator: RunCoordinator) -> None:
        self._run = coordinator
        self.views: list[View] = []
        self.listeners: list[Callable[[Any], None]] = []
        self.past: deque[Any] = deque(maxlen=MOST_PAST)  # for who begins to listen later
        self._said: deque[Any] = deque(maxlen=MOST_SAID)
        self._nodes: dict[str, NodeView] = {}
        self._stale: set[str] = set()
        # of nodes that need more than one attempt: those that failed, and when the present one began
        self._failed: dict[str, tuple[tuple[float, float], ...]] = {}
        self._began: dict[str, float] = {}
        self._progress: dict[str, tuple[float, str | None]] = {}
        self._paint: asyncio.TimerHandle | None = None
        self._painting = 0.0  # seconds that the last update took
        self._taking = threading.Lock()  # the last snapshot may be taken by a view's own thread
        self._row_at = 0.0

    def add_view(self, view: View) -> None:
        """Draw into this view from now on."""
        if self._run.done.done():
            view.finish(self.snapshot)
        elif view not in self.views:
            self.views.append(view)
            self._dirty()

    def listen(self, listener: Callable[[Any], None]) -> Callable[[], None]:
        """Tell this listener each event as it happens; returns what ends that."""
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener) if listener in self.listeners else None

    def so_far(self) -> list[Any]:
        """What has happened, and what nodes said meanwhile: as much as is kept."""
        said = map(self._saying, list(self._said))
        return list(heapq.merge(list(self.past), said, key=attrgetter("seq")))

    def tell(self, event: Any) -> None:
        """Something happened."""
        for listener in list(self.listeners):
            listener(event)

    def _say(self, kind: Callable[..., Any], id: str, *data: Any) -> None:
        said = (kind, id, data, self._run.scheduler.seq, self._run.clock.now())
        self._said.append(said)  # mostly nobody asks for it: then no event is made
        if self.listeners:
            self.tell(self._saying(said))

    def _saying(self, said: Any) -> Any:
        kind, id, data, seq, at = said
        return kind(self._ref(id), *data, run_id=self._run.run_id, seq=seq, at=at)

    def changed(self, ids: Iterable[str]) -> None:
        """The records of these nodes changed, or they are gone."""
        self._stale.update(ids)

    def began(self, id: str, at: float) -> None:
        """A further attempt of a node began."""
        self._began[id] = at

    def failed(self, id: str, began: float, ended: float) -> None:
        """An attempt of a node failed."""
        self._failed[id] = (*self._failed.get(id, ()), (began, ended))

    def recall(self, store: Store) -> None:
        """Look up which attempts had failed when the run was taken up."""
        with closing(store.connect()) as connection:
            rows = read.retried_rows(connection, self._run.run_id)
        for id, status, began, ended in rows:
            self._began[id] = began
            if status == "failed" and ended is not None:
                self.failed(id, began, ended)

    def look(self) -> None:
        """Inputs were taken: views are due where that changed a node."""
        if self._run.scheduler.changed:
            self._dirty()

    def log(self, id: str, level: str, stream: str, message: str) -> None:
        """A node printed or logged."""
        self._write(id, message, stream)
        self._say(m.NodeLog, id, message, level, stream)

    def progress(self, id: str, fraction: float, message: str | None) -> None:
        """A node says how far it is."""
        self._progress[id] = (fraction, message)
        self._stale.add(id)
        if self.views:
            self._dirty()
        self._say(m.NodeProgress, id, fraction, message)

    def token(self, id: str, token: str) -> None:
        """A node streams text."""
        self._write(id, token, "token")
        self._say(m.TokenStreamed, id, token)

    def _write(self, id: str, text: str, stream: str) -> None:
        for view in list(self.views):
            try:
                view.log(id, text, stream)
            except Exception:
                self._drop(view)

    def _drop(self, view: View) -> None:
        # a view that fails must not take the run with it
        log.warning("a view of run %s failed and is closed", self._run.run_id, exc_info=True)
        self.views.remove(view)

    def _ref(self, id: str) -> NodeRef:
        node = self._run.scheduler.nodes.get(id)
        return node.ref if node is not None else NodeRef(self._run.dag_name, id, "")

    def row_is_due(self) -> bool:
        """Whether the run's own row should be written again."""
        now = self._run.scheduler.now
        if now - self._row_at < ROW_EVERY:
            return False
        self._row_at = now
        return True

    def _dirty(self) -> None:
        if self._paint is None:
            first = not self._nodes and len(self._run.scheduler.nodes) > MANY
            pause = FIRST_PAINT if first else max(PAINT_EVERY, SHARE * self._painting)
            context = self._run.context.copy()
            self._paint = self._run.loop.call_later(pause, self._paint_now, context=context)

    def _paint_now(self) -> None:
        self._paint, begun = None, time.thread_time()
        snapshot = self.snapshot()
        self._each(lambda view: view.update(snapshot))
        self._painting = time.thread_time() - begun

    def _each(self, call: Callable[[View], None]) -> None:
        for view in list(self.views):
            try:
                call(view)
            except Exception:
                self._drop(view)

    def close(self) -> None:
        """The run is over for this process: the last picture stays."""
        if self._paint is not None:
            self._paint.cancel()
            self._paint = None
        self._run.context.copy().run(self._each, lambda view: view.finish(self.snapshot))
        self.views.clear()

    def snapshot(self) -> Snapshot:
        """The run as it stands. Only what changed is looked at; safe to read in any thread.

        Taken on the loop's thread, and once the run is over for this process in any.
        """
        s = self._run.scheduler
        with self._taking:
            stale, self._stale = self._stale | s.changed, set()
            for id in stale if self._nodes else s.nodes:
                node = s.nodes.get(id)
                if node is not None:
                    attempts = self._failed.get(id, ()), self._began.get(id)
                    self._nodes[id] = view_of(node, s, self._progress.get(id), *attempts)
                else:
                    self._nodes.pop(id, None)
            found = snapshot_of(s, tuple(self._nodes.values()))
        crash = self._run.crash
        return found if crash is None else replace(found, status="interrupted", error=str(crash))


def snapshot_of(s: Any, nodes: tuple[NodeView, ...] | None = None) -> Snapshot:
    """A scheduler's state as a snapshot."""
    if nodes is None:
        nodes = tuple(view_of(node, s, None) for node in s.nodes.values())
    return Snapshot(
        run_id=s.run_id,
        dag_name=s.dag_name,
        status=str(s.status),
        at=s.now,
        started_at=s.started_at,
        finished_at=s.finished_at,
        nodes=nodes,
        topology=s.graph.version,
        waiting=waiting_of(s),
        error=s.error,
    )


def waiting_of(s: Any) -> tuple[Waiting, ...]:
    """What a run waits for; one that has ended waits for nothing, though its branches stay paused."""
    if s.status in OVER:
        return ()
    return tuple(
        Waiting(root or None, pause.reason, pause.form, pause.since, pause.is_human and not pause.by_hand)
        for root, pause in list(s.pauses.items())
    )


def view_of(
    node: Node,
    s: Any,
    progress: tuple[float, str | None] | None,
    earlier: tuple[tuple[float, float], ...] = (),
    began_at: float | None = None,
) -> NodeView:
    """One node's state as views see it."""
    spec = node.spec
    fraction, message = progress or (None, None)
    if spec.kind == "map" and node.children:
        done = sum(1 for id in node.children if s.nodes[id].final)
        fraction, message = done / len(node.children), f"{done} of {len(node.children)}"
    form: Form | None = spec.ask
    settings = s.settings.get(spec.action)
    return NodeView(
        id=spec.id,
        action=spec.action,
        status=str(node.status),
        deps=spec.deps,
        parent=spec.parent,
        kind=spec.kind,
        added_by=node.added_by,
        attempt=node.attempt,
        max_attempts=s.tries(node) if hasattr(s, "config") else 1,
        ready_at=node.ready_at,
        started_at=node.started_at,
        finished_at=node.finished_at,
        earlier=earlier,
        began_at=began_at,
        executor=spec.executor or (settings.executor if settings is not None else None),
        error=node.error,
        reason=node.reason or (form.question if form is not None and node.status == "paused" else None),
        progress=fraction,
        message=message,
        tokens=node.used_tokens,
        disabled=node.disabled,
        replaces=spec.replaces,
        tags=spec.tags,
        description=spec.description,
    )
