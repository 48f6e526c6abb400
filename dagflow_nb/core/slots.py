"""Which ready node starts next.

Rules kept here: oldest first; a node that a limit holds back does not hold back others; choosing one
costs the number of different sets of limits, not the number of nodes that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from .budget import Limit


class Slots:
    """Queues of ready node ids, one for each set of limits, and the limits by key."""

    def __init__(self) -> None:
        self.limits: dict[str, Limit] = {}
        self._queues: dict[tuple[str, ...], deque[tuple[int, str]]] = {}
        self._order = 0

    def push(self, id: str, keys: tuple[str, ...]) -> None:
        """A node is ready, under the limits with these keys."""
        self._order += 1
        queue = self._queues.get(keys)
        if queue is None:
            queue = self._queues[keys] = deque()
        queue.append((self._order, id))

    def pop(self, at: float, wanted: Callable[[str], bool]) -> str | None:
        """Take the oldest node that may start at time `at`; entries that are not `wanted` are dropped."""
        best: deque[tuple[int, str]] | None = None
        for keys, queue in self._queues.items():
            while queue and not wanted(queue[0][1]):
                queue.popleft()
            if queue and (best is None or queue[0] < best[0]) and self.free(keys, at):
                best = queue
        return best.popleft()[1] if best else None

    def waiting(self, wanted: Callable[[str], bool]) -> bool:
        """Whether a node waits to start."""
        for queue in self._queues.values():
            while queue and not wanted(queue[0][1]):
                queue.popleft()
            if queue:
                return True
        return False

    def free(self, keys: Iterable[str], at: float) -> bool:
        """Whether all these limits let one more start."""
        return all(self.limits[key].free(at) for key in keys)

    def take(self, keys: Iterable[str], at: float) -> None:
        """One started under these limits."""
        for key in keys:
            self.limits[key].take(at)

    def give(self, keys: Iterable[str]) -> None:
        """One ended under these limits."""
        for key in keys:
            self.limits[key].running -= 1

    def next_free(self, at: float) -> float | None:
        """When a rate lets a waiting node start, if only rates hold it back; None otherwise."""
        times = []
        for keys, queue in self._queues.items():
            if not queue:
                continue
            waits = [self.limits[k] for k in keys if not self.limits[k].free(at)]
            if waits and all(limit.period is not None for limit in waits):
                times.append(max(limit.next_free() or at for limit in waits))
        return min(times, default=None)

    def clear(self) -> None:
        """Forget what is ready and what runs; rates keep their starts."""
        self._queues.clear()
        for limit in self.limits.values():
            limit.running = 0
