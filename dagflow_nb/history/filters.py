"""Filters of the frames: checked, explained, and made into SQL."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from typing import Any

from ..errors import ValidationError, did_you_mean, shorten

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SINCE = "a datetime, ISO text such as '2024-05-31 08:00', a time span such as '7d' or '12h', or a timedelta"
# How the objects that users hold name themselves.
_NAMED_BY = {"run_id": "run_id", "node_id": "id", "action": "name", "dag_name": "name", "kind": "__name__"}


def moment(value: Any, now: float, field: str = "since") -> float:
    """A point in time as epoch seconds: a moment, or a time span before `now`.

    Moments without a time zone are local ones. Anything else raises `ValidationError`.

    >>> moment("7d", now=700000.0)
    95200.0
    """
    try:
        if isinstance(value, timedelta):
            return now - value.total_seconds()
        if isinstance(value, datetime):
            # pandas takes a moment without a zone for UTC, everybody else for local time
            as_python = getattr(value, "to_pydatetime", None)
            return float((as_python() if as_python is not None else value).timestamp())
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day).timestamp()
        if isinstance(value, str):
            if span := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", value):
                return now - float(span[1]) * _UNITS[span[2]]
            return datetime.fromisoformat(value.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    raise ValidationError(f"{field}={shorten(value)}: give {_SINCE}", culprit=field, value=value)


def texts(field: str, value: Any) -> list[str]:
    """The texts that a filter asks for: one, or several in a list, tuple or set."""
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, type))
    found = []
    for item in value if several else [value]:
        name = item if isinstance(item, str) else getattr(item, _NAMED_BY.get(field, field), None)
        if not isinstance(name, str):
            raise ValidationError(
                f"{field}={shorten(value)}: give a text, or a list of texts", culprit=field, value=value
            )
        found.append(str(name))
    return found


def known(field: str, wanted: Iterable[str], allowed: Collection[str]) -> None:
    """Raise `ValidationError` for a word that is none of the allowed ones."""
    for word in wanted:
        if word not in allowed:
            raise ValidationError(
                f"{field}={word!r}: {did_you_mean(word, allowed)}", culprit=field, value=word
            )


class Where:
    """Conditions of a query and their parameters."""

    def __init__(self, now: float | None = None) -> None:
        self.parts: list[str] = []
        self.params: list[Any] = []
        self.now = time.time() if now is None else now

    def add(self, condition: str, *params: Any) -> None:
        """A condition as SQL."""
        self.parts.append(condition)
        self.params += params

    def matches(self, field: str, column: str, value: Any, words: Collection[str] | None = None) -> None:
        """The column is one of these texts; `*` and `?` stand for any characters; None: no condition.

        `words`: all that there can be; any other is refused.
        """
        if value is None:
            return
        wanted = texts(field, value)
        if words is not None:
            known(field, wanted, words)
        each = []
        for text in wanted:
            each.append(f"{column} = ?")
            self.params.append(text)
            if words is None and re.search(r"[*?]", text):
                each.append(f"{column} glob ?")
                self.params.append(text.replace("[", "[[]"))
        self.parts.append(f"({' or '.join(each) or '0'})")

    def since(self, column: str, value: Any) -> None:
        """The column is no earlier than a moment; None: no condition."""
        if value is not None:
            self.add(f"{column} >= ?", moment(value, self.now))

    def sql(self) -> str:
        """All conditions, joined."""
        return " and ".join(self.parts) or "1"


def limit_of(value: Any) -> int:
    """How many rows at most, -1 for all of them."""
    if value is None:
        return -1
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValidationError(
            f"limit={shorten(value)}: give a number of rows, or None for all of them",
            culprit="limit",
            value=value,
        )
    return value
