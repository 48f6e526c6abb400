"""What `ctx.cache` and hooks read of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.scheduler import Scheduler


class RunCache:
    """What `ctx.cache` and hooks read: inputs, outputs of nodes, human input, and what the run was given."""

    def __init__(self, scheduler: Scheduler, inputs: dict[str, Any], given: Any) -> None:
        self._scheduler, self._inputs, self._given = scheduler, inputs, given
        self._written: dict[str, dict[str, Any]] = {}

    def _keep(self, namespace: str, values: Mapping[str, Any]) -> None:
        """For the engine: what an old-style action has written into this namespace."""
        if namespace == "inputs":
            self._inputs.update(values)
        else:
            self._written.setdefault(namespace, {}).update(values)

    def get(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value under `key` in `namespace`, or `default`."""
        if namespace == "inputs":
            return self._inputs.get(key, default)
        if namespace == "human_input" and key in self._scheduler.human:
            return self._scheduler.human[key]
        node = self._scheduler.nodes.get(namespace)
        if node is not None and node.outcome is not None and key in node.outcome.outputs:
            return node.outcome.outputs[key]
        if key in self._written.get(namespace, ()):
            return self._written[namespace][key]
        return self._given.get(namespace, key, default)

    def __repr__(self) -> str:
        return f"<cache of run {self._scheduler.run_id}, to be read>"


class Stored:
    """Namespaces of a stored run, read like a cache."""

    def __init__(self, namespaces: Mapping[str, Mapping[str, Any]]) -> None:
        self._namespaces = namespaces

    def get(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value under `key` in `namespace`, or `default`."""
        return self._namespaces.get(namespace, {}).get(key, default)
