"""A run's past as the page is told it: once, compact; the page seeks in it without asking again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..runtime.past import Change, Moment
from .style import one_line

TEXT = 300
"""Characters that are kept of an error or a reason."""


def past_record(moments: Iterable[Moment]) -> dict[str, Any]:
    """The moments of a run with ids, states and texts as numbers.

    `zero`: epoch seconds of the first moment, from which all times count; `ids`, `states`, `texts`: what the
    numbers stand for; `steps`: `[at, seq, run's status, changes]`, a change being
    `[id, state, attempt, started, finished, text]`, cut after the last one that is there. The state of a
    node that is gone is -1.
    """
    tables: tuple[dict[str, int], ...] = ({}, {}, {})
    ids, states, texts = tables
    zero: float | None = None
    steps = []
    for moment in moments:
        if zero is None:
            zero = moment.at
        changes = [_told(change, zero, ids, states, texts) for change in moment.changes]
        status = states.setdefault(moment.status, len(states))
        steps.append([_since(zero, moment.at), moment.seq, status, changes])
    return {"zero": zero, "ids": list(ids), "states": list(states), "texts": list(texts), "steps": steps}


def _told(
    change: Change, zero: float, ids: dict[str, int], states: dict[str, int], texts: dict[str, int]
) -> list[Any]:
    text = one_line(change.text[:TEXT]) if change.text else None
    told: list[Any] = [
        ids.setdefault(change.node_id, len(ids)),
        -1 if change.status is None else states.setdefault(change.status, len(states)),
        change.attempt or None,
        _since(zero, change.started_at),
        _since(zero, change.finished_at),
        None if text is None else texts.setdefault(text, len(texts)),
    ]
    while told[-1] is None:
        told.pop()
    return told


def _since(zero: float, at: float | None) -> float | None:
    return None if at is None else round(at - zero, 3)
