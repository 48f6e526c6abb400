"""Rows to DataFrames: each column has its dtype, also where there is no row.

Times come as epoch seconds and become `datetime64[us, UTC]`; durations are float seconds; states and kinds
are categories in their natural order; NULL is NaN, NaT or, in counts, 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

from ..core.messages import ExecutionEvent
from ..core.model import NodeStatus, RunStatus

if TYPE_CHECKING:
    from pandas import DataFrame

TEXT, TIME, SECONDS, COUNT, OBJECT = "text", "time", "seconds", "count", "object"


@dataclass(frozen=True, slots=True)
class Category:
    """A column of few different words: those that are known, in order."""

    known: tuple[str, ...]


Column = str | Category

RUN_STATUS = Category(tuple(str(s) for s in RunStatus))
NODE_STATUS = Category(tuple(str(s) for s in NodeStatus))
ATTEMPT_STATUS = Category(("running", "completed", "failed", "cancelled", "interrupted"))
EVENT_KIND = Category(tuple(kind.__name__ for kind in get_args(ExecutionEvent)))
NODE_KIND = Category(("action", "map", "workflow", "branch"))

RUNS: dict[str, Column] = {
    "run_id": TEXT,
    "dag_name": TEXT,
    "status": RUN_STATUS,
    "started_at": TIME,
    "finished_at": TIME,
    "duration": SECONDS,
    "nodes": COUNT,
    "completed": COUNT,
    "failed": COUNT,
    "skipped": COUNT,
    "cached": COUNT,
    "attempts": COUNT,
    "tokens": SECONDS,
    "cost": SECONDS,
    "inputs": OBJECT,
    "error": TEXT,
    "parent_run_id": TEXT,
    "cancelled": COUNT,
    "error_node": TEXT,
    "created_at": TIME,
    "unpaused_seconds": SECONDS,
}
NODES: dict[str, Column] = {
    "run_id": TEXT,
    "node_id": TEXT,
    "action": TEXT,
    "status": NODE_STATUS,
    "attempts": COUNT,
    "started_at": TIME,
    "finished_at": TIME,
    "duration": SECONDS,
    "waited": SECONDS,
    "error": TEXT,
    "dependencies": OBJECT,
    "added_by": TEXT,
    "tokens": SECONDS,
    "cost": SECONDS,
    "reason": TEXT,
    "kind": NODE_KIND,
    "parent": TEXT,
    "ready_at": TIME,
}
ATTEMPTS: dict[str, Column] = {
    "run_id": TEXT,
    "node_id": TEXT,
    "action": TEXT,
    "attempt": COUNT,
    "status": ATTEMPT_STATUS,
    "started_at": TIME,
    "finished_at": TIME,
    "duration": SECONDS,
    "error": TEXT,
    "traceback": TEXT,
}
EVENTS: dict[str, Column] = {
    "run_id": TEXT,
    "seq": COUNT,
    "occurred_at": TIME,
    "kind": EVENT_KIND,
    "node_id": TEXT,
    "data": OBJECT,
}
CACHE: dict[str, Column] = {
    "run_id": TEXT,
    "namespace": TEXT,
    "key": TEXT,
    "value": OBJECT,
    "codec": TEXT,
    "size_bytes": COUNT,
    "updated_at": TIME,
    "reason": TEXT,
}
LOGS: dict[str, Column] = {
    "run_id": TEXT,
    "node_id": TEXT,
    "attempt": COUNT,
    "occurred_at": TIME,
    "level": TEXT,
    "stream": TEXT,
    "message": TEXT,
}
METRICS: dict[str, Column] = {
    "action": TEXT,
    "runs": COUNT,
    "median_duration": SECONDS,
    "p95_duration": SECONDS,
    "failures": COUNT,
    "retries": COUNT,
    "cache_hits": COUNT,
    "tokens": SECONDS,
    "cost": SECONDS,
    "total_duration": SECONDS,
    "median_waited": SECONDS,
    "cache_hit_rate": SECONDS,
    "failures_by_type": OBJECT,
}
RUN_METRICS: dict[str, Column] = {
    "run_id": TEXT,
    "dag_name": TEXT,
    "status": RUN_STATUS,
    "duration": SECONDS,
    "active_seconds": SECONDS,
    "idle_seconds": SECONDS,
    "busy_seconds": SECONDS,
    "parallelism": SECONDS,
    "most_at_once": COUNT,
    "parallel_efficiency": SECONDS,
    "critical_path": OBJECT,
    "critical_seconds": SECONDS,
    "waited": SECONDS,
    "median_duration": SECONDS,
    "p95_duration": SECONDS,
    "slowest_node": TEXT,
    "nodes": COUNT,
    "runs": COUNT,
    "failures": COUNT,
    "failures_by_type": OBJECT,
    "retries": COUNT,
    "cache_hits": COUNT,
    "cache_hit_rate": SECONDS,
    "tokens": SECONDS,
    "cost": SECONDS,
}
STORAGE: dict[str, Column] = {"what": TEXT, "rows": COUNT, "size_bytes": COUNT}


def frame(
    columns: Mapping[str, Column],
    rows: Sequence[Sequence[Any]],
    instead: Mapping[str, Sequence[Any]] | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    index: str | None = None,
) -> DataFrame:
    """A DataFrame of these columns, each with its dtype, from rows in their order.

    `instead`: for columns by name, what they hold in place of what the rows have; `more`: arrays of further
    columns; `index`: the column that becomes the index.
    """
    import pandas as pd

    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    told = {**dict(zip(columns, values, strict=True)), **(instead or {})}
    data = {name: column(kind, told[name]) for name, kind in columns.items()}
    labels = pd.Index(data.pop(index), name=index) if index is not None else None
    table = pd.DataFrame({**data, **(more or {})}, copy=False)
    if labels is not None:
        table.index = labels
    return table


def column(kind: Column, values: Sequence[Any]) -> Any:
    """Values as an array of a column's dtype."""
    import numpy as np
    import pandas as pd

    if isinstance(kind, Category):
        other = tuple(sorted({v for v in values if v is not None} - set(kind.known)))
        dtype = _category(kind.known + other)
        code = {None: -1, **{word: i for i, word in enumerate(dtype.categories)}}
        codes = np.array([code[v] for v in values], dtype="int16")
        return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
    if kind == TEXT:
        # Before version 3 pandas held text as objects; "str" would have made None a text.
        return pd.array(list(values), dtype="str") if _text_dtype() else objects(values)
    if kind == TIME:
        seconds = np.array([math.nan if v is None else v for v in values], dtype="float64")
        micro = np.full(len(seconds), np.datetime64("NaT", "us"))
        there = np.isfinite(seconds)
        micro[there] = np.round(seconds[there] * 1e6).astype("int64").astype("datetime64[us]")
        return pd.DatetimeIndex(micro).tz_localize("UTC")
    if kind == SECONDS:
        return np.array([math.nan if v is None else v for v in values], dtype="float64")
    if kind == COUNT:
        return np.array([0 if v is None else v for v in values], dtype="int64")
    return objects(values)


@lru_cache(maxsize=64)
def _category(words: tuple[str, ...]) -> Any:
    """The dtype of a column of these words; making one takes longer than filling it."""
    import pandas as pd

    return pd.CategoricalDtype(list(words))


def _text_dtype() -> bool:
    import pandas as pd

    return int(pd.__version__.split(".")[0]) >= 3


def objects(values: Iterable[Any]) -> Any:
    """Values as they are, as objects: lists stay lists, arrays arrays, and text is not made a text column."""
    import numpy as np
    import pandas as pd

    given = list(values)
    array = np.empty(len(given), dtype=object)
    for i, value in enumerate(given):
        array[i] = value
    return pd.Series(array, dtype=object)


def inferred(values: Sequence[Any]) -> Any:
    """Values with the dtype that pandas finds for numbers, flags and text; others as objects."""
    import pandas as pd

    if all(type(value) in (bool, int, float, str, type(None)) for value in values):
        return pd.Series(list(values)).array
    return objects(values)
