"""What the nodes of a run give, on its way to the store and to the cache of who called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..codec import Parts, short_json
from ..errors import shorten
from .rows import STEP, is_settled

if TYPE_CHECKING:
    from .coordinator import RunCoordinator


def settled_rows(node_id: str, outputs: Mapping[str, Any], at: float) -> list[Any]:
    """A node's outputs, of which `is_settled` has been asked, as they are handed to a unit."""
    return [(node_id, dict(outputs), at)] if outputs else []


class Outputs:
    """Values of one run as rows of the table `artifacts`.

    `record(namespace, key, value)` is told each value as it arrives, `remember(...)` each one that could not
    be stored. `told`: whether anybody is told. `waiting`: rows for the next unit that no node brings.
    """

    def __init__(
        self,
        coordinator: RunCoordinator,
        record: Callable[[str, str, Any], None] | None,
        remember: Callable[[str, str, Any], None],
    ) -> None:
        self._run, self._record, self._remember = coordinator, record, remember
        self.told = record is not None
        self.waiting: list[Any] = []

    def rows_of(self, node_id: str, outputs: Mapping[str, Any]) -> list[Any]:
        """A node's outputs as they are handed to a unit; what nobody can change any more is encoded later.

        Raises `TypeError` where the outputs have other names than texts.
        """
        if is_settled(outputs):
            return settled_rows(node_id, outputs, self._run.clock.now())
        for key in outputs:
            if not isinstance(key, str):
                raise TypeError(f"the names of outputs are texts, unlike {shorten(key)}")
        return self.encode(node_id, outputs)

    def encode(
        self, namespace: str, values: Mapping[str, Any], at: float | None = None, *, lend: bool = True
    ) -> list[Any]:
        """Values as rows of the table `artifacts`; what cannot be stored is remembered in the process.

        Their times keep their order: each is a `STEP` after the one before. `lend`: a big value is stored
        at once, without a copy; else its row brings a copy along.
        """
        run = self._run
        rows: list[Any] = []
        at = run.clock.now() if at is None else at
        for key, value in values.items():
            if (text := short_json(value)) is not None:  # as the codec would have it, by the short way
                rows.append((namespace, key, "json", bytearray(text), len(text), None, at))
                at += STEP
                continue
            encoded = run.codec.encode(value, lend=lend)
            data: Any = encoded.data
            if encoded.codec == "memory":
                self._remember(namespace, key, value)
            elif type(data) is Parts:
                data = run.store.keep(run.run_id, data)
            rows.append((namespace, key, encoded.codec, data, encoded.size, encoded.reason, at))
            at += STEP
        return rows

    def write(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Store values that an action put into a namespace of its own choice."""
        self.waiting += self.encode(namespace, values)
        self._run.cache._keep(namespace, values)
        self.tell(namespace, values)

    def take(self) -> list[Any]:
        """What waits."""
        taken, self.waiting = self.waiting, []
        return taken

    def tell(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Tell the caller's own cache."""
        if self._record is not None:
            for key, value in values.items():
                self._record(namespace, key, value)
