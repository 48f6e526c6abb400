"""The columns that Graphviz put the boxes of a drawing into: their order, and what runs between them.

Graphviz minds crossings, not who was defined first, and bends a line that has nothing to go round. From
one column to the next nothing is in the way, so that a line can be as calm as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from .drawing import Drawing
from .plain import Box, Route, curve

SAME = 2.0
"""Pixels between the middles of two boxes that stand in one column, at most."""
ROOM = 12.0
"""Pixels that a line needs between two columns, at least."""


class Columns:
    """The columns of a drawing whose boxes have places, from left to right."""

    def __init__(self, drawing: Drawing, boxes: Mapping[str, Box]) -> None:
        middles = {
            id: boxes[id].x + boxes[id].width / 2
            for id, item in drawing.items.items()
            if item.shape != "group"
        }
        self._boxes: list[list[str]] = []
        at = float("-inf")
        for id in sorted(middles, key=middles.__getitem__):
            if middles[id] - at > SAME:
                self._boxes.append([])
            self._boxes[-1].append(id)
            at = middles[id]
        self._left = [min(boxes[id].x for id in column) for column in self._boxes]
        self._right = [max(boxes[id].x + boxes[id].width for id in column) for column in self._boxes]
        self._first = {id: number for number, column in enumerate(self._boxes) for id in column}
        self._last = dict(self._first)
        self._order = {id: number for number, id in enumerate(drawing.items)}
        for id in reversed(drawing.items):  # members come after their group
            parent = drawing.items[id].parent
            if parent is not None and id in self._first:
                self._first[parent] = min(self._first.get(parent, self._first[id]), self._first[id])
                self._last[parent] = max(self._last.get(parent, self._last[id]), self._last[id])

    def are_upside_down(self, boxes: Mapping[str, Box]) -> bool:
        """Whether most boxes would stand in the order of their definition if the drawing were mirrored."""
        upright = 0
        for column in self._boxes:
            order = [self._order[id] for id in sorted(column, key=lambda id: boxes[id].y)]
            upright += sum(1 if upper < lower else -1 for upper, lower in pairwise(order))
        return upright < 0

    def route(self, boxes: Mapping[str, Box], tail: str, head: str) -> Route | None:
        """How a line runs from a column to the next one; None if it goes further."""
        number = self._last.get(tail, -1)
        if self._first.get(head, -1) != number + 1 or number < 0:
            return None
        start = max(self._right[number], boxes[tail].x + boxes[tail].width)
        end = min(self._left[number + 1], boxes[head].x)
        return curve(boxes[tail], boxes[head], start, end) if end - start >= ROOM else None
