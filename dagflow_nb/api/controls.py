"""What a view's buttons and panels do to a run, and what they ask about it."""

from __future__ import annotations

import inspect
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from ..actions import ClassAction, FunctionAction
from ..core.model import RunStatus
from ..errors import DagError
from ..hooks.origin import cell_now
from ..runtime.past import Moment, moments
from ..runtime.snapshot import NodeView, Snapshot
from ..runtime.watching import MANY, snapshot_of
from ..store import read
from .run import Run

LINES = 1000
"""Lines of log that a view of an older run begins with."""


def check_view(view: object) -> None:
    """Raises `ValidationError` for what is no `view`."""
    if view is not False:
        from ..notebook import bar

        bar.check_view(view)


def show_in_view(run: Run, view: bool | str) -> Any:
    """Display a run as `view` says and return what draws it; None for no view.

    A run that lies in the database is shown with its attempts and its last lines of log.
    """
    from ..notebook.bar import choose_view

    controls = Controls(run)
    chosen = choose_view(view, controls, logs=controls.logs)
    if chosen is not None:
        run._shown_in, run._view = cell_now(), chosen
        chosen.show(controls.first_snapshot())
    return chosen


class Controls:
    """What a view's buttons do to a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def pause(self, branch: str | None = None) -> object:
        return self._run.pause(branch, reason="paused by hand")

    def resume(self, branch: str | None = None) -> object:
        return self._run._resume(branch, {})

    def cancel(self, branch: str | None = None) -> object:
        return self._run.cancel(branch, reason="cancelled by hand")

    def retry(self, node: str) -> object:
        return self._run.retry(node)

    def approve(self, branch: str | None, answers: dict[str, Any]) -> object:
        return self._run._resume(branch, {"approved": True, **answers})

    def reject(self, branch: str | None) -> object:
        return self._run.reject(branch)

    def look(self, node: str) -> dict[str, Any]:
        """What the details of a node show: `inputs`, `outputs`, `attempts` (rows), `code`.

        An input that is not there yet stands as it is written.
        """
        scheduler, values, _ = self._run._state()
        found = scheduler.nodes[node]
        inputs = dict(found.spec.inputs)
        with suppress(DagError):  # a map that is not open yet, a value that is gone
            inputs |= values.resolve(found, lambda name: None)
        outputs = found.outcome.outputs if found.outcome is not None else {}
        with self._reading() as connection:
            attempts = read.attempt_rows(connection, self._run.run_id, node)
        return {
            "inputs": inputs,
            "outputs": outputs,
            "attempts": attempts,
            "code": self._code(found.spec.action),
        }

    def past(self) -> list[Moment]:
        """The states that the run has gone through, out of the database."""
        flow = self._run._flow
        with self._reading() as connection:
            now = flow._session.clock.now()
            stored = read.load(connection, self._run.run_id, now, None)
        return moments(stored, flow._session.codec) if stored is not None else []

    def logs(self) -> list[tuple[str, str, str]]:
        """The last lines of log so far: (node, text, stream)."""
        if self._run.status == RunStatus.PENDING:
            return []
        with self._reading() as connection:
            return read.last_logs(connection, self._run.run_id, LINES)

    def first_snapshot(self) -> Snapshot:
        """What a view begins with: of many nodes that are about to run here it is told with their graph."""
        coordinator = self._run._coordinator
        if coordinator is not None and coordinator.is_held and len(coordinator.scheduler.nodes) > MANY:
            return replace(snapshot_of(coordinator.scheduler, ()), topology=-1)
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """The run as it stands; of one that does not go on here attempts come from the database."""
        snapshot = self._run.snapshot()
        if self._run._live:
            return snapshot
        rows: dict[str, list[tuple[str, float, float | None]]] = {}
        with self._reading() as connection:
            for id, status, began, ended in read.retried_rows(connection, self._run.run_id):
                rows.setdefault(id, []).append((status, began, ended))
        nodes = [_with_attempts(node, rows[node.id]) if node.id in rows else node for node in snapshot.nodes]
        return replace(snapshot, nodes=tuple(nodes))

    def _reading(self) -> closing[Any]:
        """A connection that sees all that has happened."""
        store = self._run._flow._store
        store.sync()
        return closing(store.connect())

    def _code(self, name: str) -> str | None:
        """The source of an action as the run has it, else as it is defined now; None where there is none."""
        coordinator, registry = self._run._coordinator, self._run._flow._session.registry
        action: Any = coordinator.actions.get(name) if coordinator is not None else None
        if action is None:
            action = registry.get(name)
        if isinstance(action, ClassAction):
            action = action.action
        target = action.fn if isinstance(action, FunctionAction) else type(action)
        try:
            return inspect.getsource(inspect.unwrap(target)) if action is not None else None
        except (OSError, TypeError):  # built in, or typed where no source is kept
            return None


def _with_attempts(node: NodeView, rows: list[tuple[str, float, float | None]]) -> NodeView:
    earlier = tuple(
        (began, ended) for status, began, ended in rows if status == "failed" and ended is not None
    )
    return replace(node, earlier=earlier, began_at=rows[-1][1])
