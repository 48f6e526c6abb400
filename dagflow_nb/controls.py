"""What a view's buttons and panels do to a run, and what they ask about it."""

from __future__ import annotations

import inspect
from contextlib import closing, suppress
from typing import Any

from .actions import ClassAction, FunctionAction
from .errors import DagError
from .run import Run
from .store import read


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
        return {
            "inputs": inputs,
            "outputs": outputs,
            "attempts": self._attempts(node),
            "code": self._code(found.spec.action),
        }

    def _attempts(self, node: str | None = None) -> list[dict[str, Any]]:
        store = self._run._flow._store
        store.sync()
        with closing(store.connect()) as connection:
            return read.attempt_rows(connection, self._run.run_id, node)

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
