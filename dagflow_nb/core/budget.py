"""Limits and budgets as pure functions of numbers.

Rules kept here: a budget of None is never used up; a rate counts starts in a sliding window.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

SECOND, MINUTE, HOUR = 1.0, 60.0, 3600.0
PERIODS = {
    "s": SECOND,
    "sec": SECOND,
    "second": SECOND,
    "min": MINUTE,
    "m": MINUTE,
    "minute": MINUTE,
    "h": HOUR,
    "hour": HOUR,
}


def parse_rate(text: str) -> tuple[int, float]:
    """`"60/min"` as (60, 60.0): so many starts in so many seconds; raises ValueError otherwise.

    >>> parse_rate("5/s")
    (5, 1.0)
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*([a-z]+)\s*", text)
    if found is None or found[2] not in PERIODS or int(found[1]) < 1:
        raise ValueError(f"a rate is written like '60/min', '5/s' or '100/h', not {text!r}")
    return int(found[1]), PERIODS[found[2]]


@dataclass(slots=True)
class Limit:
    """A bound on attempts at once, or with `period` on starts within so many seconds."""

    most: int
    period: float | None = None
    running: int = 0
    starts: deque[float] = field(default_factory=deque)

    @classmethod
    def of(cls, setting: int | str) -> Limit:
        """A limit from its setting: a number, or a rate such as `"60/min"`."""
        if isinstance(setting, str):
            most, period = parse_rate(setting)
            return cls(most, period)
        return cls(setting)

    def free(self, at: float) -> bool:
        """Whether one more may start at time `at`."""
        if self.period is None:
            return self.running < self.most
        # the same sum as in `next_free`: rounding must not make the two disagree
        while self.starts and self.starts[0] + self.period <= at:
            self.starts.popleft()
        return len(self.starts) < self.most

    def next_free(self) -> float | None:
        """When a rate lets the next one start; None where that depends on one ending."""
        return None if self.period is None or not self.starts else self.starts[0] + self.period


BUDGETS = ("max_tokens", "max_cost", "max_nodes", "max_iterations")


@dataclass(slots=True)
class Usage:
    """What a run, or one branch of it, has used up of the four budgets.

    `base` is the growth depth at which the branch begins.
    """

    max_tokens: float = 0
    max_cost: float = 0.0
    max_nodes: float = 0
    max_iterations: float = 0
    base: int = 0

    def exceeded(self, budgets: Mapping[str, float | None]) -> tuple[str, float, float] | None:
        """The first of these budgets that is used up, as (name, limit, used); None while all hold.

        Counts of nodes and iterations may reach their limit; tokens and cost are used up when they do.
        """
        for name, limit in budgets.items():
            if limit is None:
                continue
            used = getattr(self, name)
            if used > limit or (used == limit and used > 0 and name in ("max_tokens", "max_cost")):
                return name, limit, used
        return None
