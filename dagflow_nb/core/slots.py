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


class _Queue:
    """Nodes that are ready under the same limits, oldest first."""

    __slots__ = ("limits", "nodes")

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self.limits = limits
        self.nodes: deque[tuple[int, Node]] = deque()

    def free(self, at: float) -> bool:
        """Whether the limits let one more start."""
        for limit in self.limits:
            if limit.period is None:
                if limit.running >= limit.most:
                    return False
            elif not limit.free(at):
                return False
        return True


class Slots:
    """Queues of ready nodes, one for each set of limits. A node that is no longer `ready` is dropped.

    `length`: how many stand in all of them, with those that are yet to be dropped.
    """

    def __init__(self) -> None:
        self.length = 0
        self.queues: dict[Keys, _Queue] = {}
        self._limits: Mapping[str, Limit] = {}
        self._order = 0

    def use(self, limits: Mapping[str, Limit]) -> None:
        """Forget what is ready, and go by these limits from now on."""
        self._limits = limits
        self.queues.clear()
        self.length = 0

    def push(self, node: Node, keys: Keys) -> None:
        """A node is ready, under the limits with these keys."""
        self._order += 1
        queue = self.queues.get(keys)
        if queue is None:
            queue = self.queues[keys] = _Queue(tuple([self._limits[key] for key in keys]))
        queue.nodes.append((self._order, node))
        self.length += 1

    def _head(self, queue: _Queue) -> tuple[int, Node] | None:
        """The oldest node that is still ready, and its number; others are dropped."""
        nodes = queue.nodes
        while nodes:
            if nodes[0][1].ready:
                return nodes[0]
            nodes.popleft()
            self.length -= 1
        return None

    def pop(self, at: float) -> Node | None:
        """Take the oldest node that may start at time `at`; its `slot` is taken."""
        best: _Queue | None = None
        first = 0
        empty: Keys | None = None
        queues = self.queues
        for keys, queue in queues.items():
            nodes = queue.nodes
            if not (nodes and nodes[0][1].ready) and self._head(queue) is None:
                empty = keys
            elif (best is None or nodes[0][0] < first) and queue.free(at):
                best, first = queue, nodes[0][0]
        if empty is not None and len(queues) > 1:
            del queues[empty]
        if best is None:
            return None
        node = best.nodes.popleft()[1]
        self.length -= 1
        node.slot = best.limits
        for limit in best.limits:
            limit.running += 1
            if limit.period is not None:
                limit.starts.append(at)
        return node

    def waiting(self) -> bool:
        """Whether a node waits to start."""
        return any(self._head(queue) is not None for queue in self.queues.values())

    def next_free(self, at: float) -> float | None:
        """When a rate lets a waiting node start, if only rates hold it back; None otherwise."""
        times = []
        for queue in self.queues.values():
            if self._head(queue) is None:
                continue
            waits = [limit for limit in queue.limits if not limit.free(at)]
            if waits and all(limit.period is not None for limit in waits):
                times.append(max(limit.next_free() or at for limit in waits))
        return min(times, default=None)

    def clear(self) -> None:
        """Forget what is ready and what runs; rates keep their starts."""
        self.queues.clear()
        self.length = 0
        for limit in self._limits.values():
            limit.running = 0
