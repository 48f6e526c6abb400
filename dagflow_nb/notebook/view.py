"""The live view of a run in a notebook: what the engine calls, from one thread.

    view = LiveView(controls)
    view.show(snapshot)       # in the thread that runs the cell
    view.update(snapshot)     # at most ten times a second; cheap
    view.log("fetch", "3 rows\\n")
    view.finish(last)         # a moment later the picture that stays in the saved notebook is written

Two outputs are displayed: the widget, and an image that is empty until the run ends (a notebook that is
reopened without a kernel, or converted, shows the image; the live widget hides it). Where nobody looks while
cells run (nbclient, papermill) there is no widget and nothing is laid out before the end.

Threads: patches are sent by whoever calls `update`; laying out, what the end of a run brings, and lines of
log that nobody else sends, by one worker, which exists only while there is something to do. One lock orders
what is sent. Buttons are handled on whatever thread the kernel uses for that; they only call the controls.
"""

from __future__ import annotations

import contextvars
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .asked import answer
from .drawing import draw, summary
from .folding import BY, VISIBLE, Folding, revealed
from .layout import layout
from .page import LOG_TEXT, TOKEN, PageState, append_lines, node_defs, run_record
from .paint import paint
from .picture import snapshot_picture
from .style import without_ansi

if TYPE_CHECKING:
    from ..runtime.snapshot import Snapshot
    from .drawing import Drawing
    from .plain import Geometry
    from .widget import DagflowWidget

LOG_LINES = 1000
LOG_EVERY, REST, FIRST_REST = 0.1, 0.15, 0.3
AFTER = 0.05
"""Seconds from the end of a run to its last state and its picture: the cell has returned by then."""
SHARE = 6
"""So many times as long as it computed the worker rests, so that it takes little from the run."""
WITHOUT_VIEW = (
    ".jp-OutputArea-child:not(:has([data-mime-type], .dagflow-view)):has(+ .jp-OutputArea-child .%s) "
    "{ display: none; }"
)
"""Without a kernel JupyterLab writes "Loading widget..." above the picture; this style leaves it out."""


class Controls(Protocol):
    """What buttons may do to a run, from any thread."""

    def pause(self, branch: str | None = None) -> object: ...
    def resume(self, branch: str | None = None) -> object: ...
    def cancel(self, branch: str | None = None) -> object: ...
    def retry(self, node: str) -> object: ...
    def approve(self, branch: str | None, answers: dict[str, Any]) -> object: ...
    def reject(self, branch: str | None) -> object: ...

    # Optional: `look(node)`, what the details of a node show (see `asked`).


class LiveView:
    """A run's live view. `controls` is what its buttons call; `logs` what nodes said before now.

    After `finish` a run may go on (it was paused, or a node is retried): `update` and `finish` work again.
    """

    def __init__(self, controls: Controls, *, logs: Iterable[tuple[str, str, str]] | None = None) -> None:
        self._controls = controls
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._page = PageState()
        self._widget: DagflowWidget | None = None
        self._context = contextvars.copy_context()
        self._live: Any = None
        self._still: Any = None
        self._class = f"dagflow-static-{uuid.uuid4().hex[:12]}"
        self._lines: list[list[str]] = [_line(*one) for one in logs or ()]
        self._logged = 0.0
        self._wanted: Snapshot | None = None
        self._placed: tuple[int, Folding, Geometry] | None = None
        self._folding = Folding()
        self._latest: Snapshot | None = None
        self._asked = False  # somebody has clicked, and waits for the graph
        self._worker: threading.Thread | None = None
        self._ended: Callable[[], Snapshot] | None = None
        self._end_due = 0.0
        self._batch = False
        self._complained = False
        self.viewed = False
        """Whether a page has said that it shows the view."""

    # --- what the engine calls ----------------------------------------------------------------

    def show(self, snapshot: Snapshot) -> None:
        """Displays the view in the cell that is running; called again, the same view once more."""
        from IPython import display as shown

        display: Any = shown.display  # it has no type hints
        self._context = contextvars.copy_context()
        self._batch = not can_be_asked()
        with self._lock:
            if not only_executed():
                if self._widget is None:
                    self._widget = self._new_widget(snapshot)
                else:
                    self.update(snapshot)
                self._live = display(self._widget, display_id=True)
            empty = {"text/html": f'<div class="dagflow-static {self._class}"></div>', "text/plain": ""}
            self._still = display(empty, raw=True, display_id=True)
            if self._widget is not None and snapshot.nodes:
                self._want(snapshot)

    def update(self, snapshot: Snapshot) -> None:
        """Tells the page what changed; lays the graph out again, in the background, if nodes or edges did."""
        with self._news:
            if self._ended is not None:  # it goes on
                self._ended = None
                self._news.notify_all()
            if self._widget is None:
                return
            states = self._page.delta(snapshot)
            run = run_record(snapshot)
            if states or {**self._widget.run, "at": 0} != {**run, "at": 0}:
                self._widget.patch(states, run)
            if self._lines:
                self._send_logs()
            changed = self._latest is None or snapshot.topology != self._latest.topology
            self._latest = snapshot
            if changed:
                self._want(snapshot)

    def log(self, node_id: str, text: str, stream: str = "stdout") -> None:
        """Adds what a node printed or logged; the last 1000 lines are kept.

        With the stream `"token"` the text is a piece, and goes on where the last one ended.
        """
        with self._lock:
            pieces = [text] if stream == TOKEN else text.splitlines() or [""]
            append_lines(self._lines, [_line(node_id, piece, stream) for piece in pieces])
            del self._lines[:-LOG_LINES]
            if self._widget is None:
                return
            if time.monotonic() - self._logged >= LOG_EVERY:
                self._send_logs()
            else:
                self._start_worker()

    def finish(self, last: Callable[[], Snapshot]) -> None:
        """The run has ended, or is paused: its `last` state is told, and the picture that stays is written.

        In the background, where somebody looks: neither the run nor its cell waits. Where nobody does, or
        the cell was sent by a program, the cell waits: what executes notebooks (nbclient, papermill) takes a
        cell's outputs as they are at its end.
        """
        with self._news:
            if self._still is None:
                return
            if self._is_seen() and not self._batch:
                self._ended, self._end_due = last, time.monotonic() + AFTER
                self._start_worker()
                self._news.notify_all()
                return
        snapshot = last()
        self._end(snapshot)
        # Converters prefer a widget to the image, and can show one only with the help of a CDN.
        if self._live is not None and not self._is_seen():
            self._live.update({"text/plain": summary(snapshot)}, raw=True)

    def _end(self, snapshot: Snapshot) -> None:
        with self._lock:
            if self._latest is not None and self._latest.at > snapshot.at:
                return  # it has gone on meanwhile
            placed = self._is_placed(snapshot)
        if placed:  # so that whoever sees the end, and saves, saves the picture
            self._write_picture(snapshot)
        self.update(snapshot)
        if not placed:
            drawing = None
            if self._is_due():
                self._wanted = None
                drawing = self._lay_out(snapshot)
            self._write_picture(snapshot, drawing)

    def _write_picture(self, snapshot: Snapshot, drawing: Drawing | None = None) -> None:
        with self._lock:
            placed, folding = self._placed, self._folding
        geometry = placed[2] if placed is not None and placed[:2] == (snapshot.topology, folding) else None
        picture = snapshot_picture(snapshot, geometry, folding, drawing)
        shown = picture.to_html(f"dagflow-static {self._class}")
        if self._live is not None:
            shown = shown.replace(">", f"><style>{WITHOUT_VIEW % self._class}</style>", 1)
        bundle = {"text/html": shown, "text/plain": picture.alt}
        self._still.update(bundle, raw=True)

    # --- the page -----------------------------------------------------------------------------

    def _new_widget(self, snapshot: Snapshot) -> DagflowWidget:
        from .widget import DagflowWidget

        lines, self._lines = self._lines, []
        self._page.delta(snapshot)
        return DagflowWidget(
            self._on_message,
            # Those of many nodes come with the graph: a run does not wait for them.
            defs=node_defs(snapshot) if len(snapshot.nodes) <= VISIBLE else [],
            states=dict(self._page.records),
            run=run_record(snapshot),
            logs=lines,
            still=self._class,
        )

    def _on_message(self, message: dict[str, Any]) -> None:
        """A message from the page, on any thread. What a control raises is shown there, not raised here."""
        if message.get("kind") == "hello":
            with self._lock:
                self.viewed = True
                if self._wanted is not None:
                    self._start_worker()
            return
        told = self._fold(message) if message.get("kind") == "fold" else answer(self._controls, message)
        with self._lock:
            if told is not None and self._widget is not None:
                self._widget.send(told)

    def _fold(self, message: dict[str, Any]) -> dict[str, Any]:
        """Folds the graph otherwise: by another rule, one item opened or closed, or a node made visible."""
        with self._news:
            snapshot = self._latest
            if message.get("by") in BY:
                self._folding = Folding(message["by"])
            elif snapshot is not None and "reveal" in message:
                self._folding = revealed(snapshot.nodes, self._folding, str(message["reveal"]))
            elif "node" in message:
                self._folding = self._folding.turned(str(message["node"]), closed=bool(message.get("open")))
            if snapshot is not None:
                self._asked = True
                self._want(snapshot)
                self._news.notify_all()
        return {"kind": "done", "id": message.get("id"), "error": None}

    def _send_logs(self) -> None:
        lines, self._lines = self._lines, []
        self._logged = time.monotonic()
        if self._widget is not None and lines:
            self._widget.append_logs(lines, LOG_LINES)

    # --- the worker ---------------------------------------------------------------------------

    def _want(self, snapshot: Snapshot) -> None:
        """Asks for a layout; of several that are asked for meanwhile only the latest is made."""
        self._latest = snapshot
        if self._is_placed(snapshot):
            return
        self._wanted = snapshot
        if self._is_seen():
            self._start_worker()

    def _is_seen(self) -> bool:
        return self.viewed or front_end_known()

    def _is_placed(self, snapshot: Snapshot) -> bool:
        return self._placed is not None and self._placed[:2] == (snapshot.topology, self._folding)

    def _start_worker(self) -> None:
        if not self._busy() and not _kernel_ends():
            # The cell's context goes along, else messages would belong to whichever cell runs then.
            run = self._context.copy().run
            # No daemon: a kernel that is shut down as soon as its cell has returned waits for the picture.
            self._worker = threading.Thread(target=run, args=(self._work,), name="dagflow-view", daemon=False)
            self._worker.start()

    def _busy(self) -> bool:
        return self._worker is not None and self._worker.is_alive()

    def _work(self) -> None:
        with self._news:
            first = self._wanted if self._placed is None else None
            if first is not None and len(first.nodes) > VISIBLE:
                self._rest(FIRST_REST)  # many nodes may be over before anyone looks at their graph
        while (job := self._next_job()) is not None:
            begun = time.thread_time()
            try:
                job()
            except Exception:  # a run goes on without its picture, and one word of it is enough
                if not self._complained:
                    logging.getLogger(__name__).exception("the graph could not be drawn")
                self._complained = True
            self._rest(max(REST, SHARE * (time.thread_time() - begun)))

    def _rest(self, seconds: float) -> None:
        """Leaves the processor to the run, unless somebody waits; lines of log are sent all the same."""
        until = time.monotonic() + seconds
        with self._news:
            while not (self._asked or self._ended is not None or _kernel_ends()):
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._news.wait(min(left, LOG_EVERY))
                if self._lines:
                    self._send_logs()

    def _next_job(self) -> Callable[[], object] | None:
        """What to do next; sends lines of log meanwhile. None ends the worker: nothing is left to do."""
        with self._news:
            while True:
                left = 0.0 if _kernel_ends() else self._end_due - time.monotonic()
                if self._ended is not None and left > 0:
                    self._news.wait(left)
                elif self._lines and not (self._ended is not None or self._is_due() or _kernel_ends()):
                    self._news.wait(LOG_EVERY)
                    self._send_logs()
                else:
                    break
            self._asked = False
            if self._ended is not None:
                ended, self._ended = self._ended, None
                return lambda: self._end(ended())
            if self._wanted is not None and self._is_due():
                wanted, self._wanted = self._wanted, None
                return partial(self._lay_out, wanted)
            self._worker = None
            self._news.notify_all()
            return None

    def _is_due(self) -> bool:
        return self._wanted is not None and self._is_seen()

    def _lay_out(self, snapshot: Snapshot) -> Drawing:
        """Lays out, paints and sends."""
        folding = self._folding
        drawing = draw(snapshot, folding)
        geometry = layout(drawing)
        graph = {"svg": paint(drawing, geometry), "hidden": drawing.hidden(), "by": folding.by}
        with self._news:
            self._placed = (snapshot.topology, folding, geometry)
            if self._widget is not None:
                self._widget.set_graph(graph, node_defs(snapshot))
            self._news.notify_all()
        return drawing


def front_end_known() -> bool:
    """Whether something shows this kernel's outputs while they are made, as far as the kernel can tell.

    Jupyter servers, VS Code and Colab leave traces; what only executes notebooks (nbclient, papermill)
    leaves none.
    """
    traces = ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD")
    return any(name in os.environ for name in traces) or "google.colab" in sys.modules


def only_executed() -> bool:
    """Whether the cell was sent by something that executes notebooks and shows nothing meanwhile."""
    return not front_end_known() and not can_be_asked()


def can_be_asked() -> bool:
    """Whether whoever sent the cell can be asked for input, as far as is known: a person in any front end.

    What only executes notebooks says that nobody can.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    parent: dict[str, Any] = getattr(getattr(shell, "kernel", None), "get_parent", dict)()
    return (parent.get("content") or {}).get("allow_stdin") is not False


def _kernel_ends() -> bool:
    """Whether the process only waits for its threads."""
    return not threading.main_thread().is_alive()


def _line(node_id: str, text: str, stream: str) -> list[str]:
    text = without_ansi(text if stream == TOKEN else text.rstrip("\n"))
    return [node_id, text if len(text) <= LOG_TEXT else text[:LOG_TEXT] + " …", stream]
