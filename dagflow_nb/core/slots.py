"""Which ready node starts next.

Rules kept here: oldest first; a node that a limit holds back does not hold back others; choosing one
costs the number of different sets of limits, not the number of nodes that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from .budget import Limit
from .graph import Node

Keys = tuple[str, ...]


class Slots:
    """Queues of ready nodes, one for each set of limits. A node that is no longer `ready` is dropped."""

    def __init__(self) -> None:
        self._limits: Mapping[str, Limit] = {}
        self._queues: dict[Keys, deque[tuple[int, Node]]] = {}
        self._by_keys: dict[Keys, tuple[Limit, ...]] = {}
        self._order = 0

    def use(self, limits: Mapping[str, Limit]) -> None:
        """Forget what is ready, and go by these limits from now on."""
        self._limits = limits
        self._queues.clear()
        self._by_keys.clear()

    def limits_of(self, keys: Keys) -> tuple[Limit, ...]:
        """The limits with these keys."""
        found = self._by_keys.get(keys)
        if found is None:
            found = self._by_keys[keys] = tuple(self._limits[key] for key in keys)
        return found

    def push(self, node: Node, keys: Keys) -> None:
        """A node is ready, under the limits with these keys."""
        self._order += 1
        queue = self._queues.get(keys)
        if queue is None:
            queue = self._queues[keys] = deque()
        queue.append((self._order, node))

    def pop(self, at: float) -> Node | None:
        """Take the oldest node that may start at time `at`; its limits are taken."""
        best: deque[tuple[int, Node]] | None = None
        best_keys: Keys = ()
        empty = None
        for keys, queue in self._queues.items():
            while queue and not queue[0][1].ready:
                queue.popleft()
            if not queue:
                empty = keys
            elif best is None or queue[0][0] < best[0][0]:
                for limit in self.limits_of(keys):
                    if not limit.free(at):
                        break
                else:
                    best, best_keys = queue, keys
        if empty is not None and len(self._queues) > 1:
            del self._queues[empty]
        if best is None:
            return None
        for limit in self.limits_of(best_keys):
            limit.take(at)
        return best.popleft()[1]

    def waiting(self) -> bool:
        """Whether a node waits to start."""
        for queue in self._queues.values():
            while queue and not queue[0][1].ready:
                queue.popleft()
            if queue:
                return True
        return False

    def give(self, keys: Keys) -> None:
        """One ended under these limits."""
        for limit in self.limits_of(keys):
            limit.running -= 1

    def next_free(self, at: float) -> float | None:
        """When a rate lets a waiting node start, if only rates hold it back; None otherwise."""
        times = []
        for keys, queue in self._queues.items():
            while queue and not queue[0][1].ready:
                queue.popleft()
            if not queue:
                continue
            waits = [limit for limit in self.limits_of(keys) if not limit.free(at)]
            if waits and all(limit.period is not None for limit in waits):
                times.append(max(limit.next_free() or at for limit in waits))
        return min(times, default=None)

    def clear(self) -> None:
        """Forget what is ready and what runs; rates keep their starts."""
        self._queues.clear()
        for limit in self._limits.values():
            limit.running = 0
