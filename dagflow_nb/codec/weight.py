"""How heavy values are, at a glance: whether their encoding would keep an event loop waiting.

Rules kept here: a glance takes microseconds; what it cannot see through counts as heavy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

HEAVY = 100_000  # bytes, about a tenth of a millisecond
_MANY = 1000  # objects that are looked at


def are_heavy(values: Iterable[Any]) -> bool:
    """Whether it takes long to encode these values."""
    left, total, seen = list(values), 0, 0
    while left:
        value = left.pop()
        seen += 1
        kind = type(value)
        if kind in (str, bytes, bytearray):
            total += len(value)
        elif kind in (dict, list, tuple, set, frozenset):
            seen += len(value)
            if seen <= _MANY:
                left += value.values() if kind is dict else value
        elif kind not in (int, float, bool, type(None)):
            total += _size(value)
        if total > HEAVY or seen > _MANY:
            return True
    return False


def _size(value: Any) -> int:
    if (type(value).__module__ or "").partition(".")[0] in ("pandas", "polars"):
        return HEAVY + 1
    try:
        size = value.nbytes
    except Exception:
        return 0
    return size if isinstance(size, int) else 0
