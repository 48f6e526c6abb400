"""What each frame is read by: the SQL of its columns, its filters, its order.

Rules kept here: runs come by an index, newest first, and their rows by the run's part of the primary key,
so that a `limit` is reached without looking at the rest. A run that nobody drives is shown as interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import frames
from .filters import Where
from .frames import Category, Column

# `{live}` are the owners that are alive: a run that is under way for nobody has been interrupted.
SHOWN = """case
    when r.status in ('running', 'pending') and (r.owner is null or r.owner not in ({live}))
    then 'interrupted' else r.status end"""
# The counts in a run's row are brought up to date now and then; while it runs they are counted.
_COUNTED = (
    "case when r.status in ('running', 'interrupted') "
    "then (select count(*) from {table} x where x.run_id = r.run_id{condition}) else r.{column} end"
)


def _count(column: str, *statuses: str) -> str:
    condition = f" and x.status in ({', '.join(map(repr, statuses))})"
    return _COUNTED.format(table="node_runs", condition=condition, column=column)


@dataclass(frozen=True, slots=True)
class Query:
    """How a frame is read.

    `columns`: its columns; `select`: the SQL of each, in that order. `table`: where its rows are, with its
    short name (None: they are the runs). `texts`: filter -> column; `words`: filter -> (column, what it may
    be). `moment`: when a row happened, for `since`; `follows`: nothing of it happens after its run's end.
    `order`: how the rows of a run come after each other; `alone`: where it is the only run. `where`: a
    condition that all rows fulfil.
    """

    name: str
    columns: Mapping[str, Column]
    select: tuple[str, ...]
    table: str | None
    moment: str
    order: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, tuple[str, Category]] = field(default_factory=dict)
    follows: bool = True
    alone: tuple[str, ...] | None = None
    where: str | None = None

    @property
    def filters(self) -> list[str]:
        """The names of all filters."""
        return ["run_id", "dag_name", "status", "since", "limit", *self.texts, *self.words]

    def source(self) -> str:
        """From where the rows come: the runs first, whatever the planner thinks."""
        return "runs r" if self.table is None else f"runs r cross join {self.table} using (run_id)"

    def sql(self, where: Where, *, single: bool) -> str:
        """The query; the rows of one run come backwards too, so that a limit keeps its last ones."""
        order = self.alone if single and self.alone is not None else self.order
        within = [f"{column} desc" for column in order]
        by = within if single and within else ["r.created_at desc", "r.rowid desc", *within]
        if self.where is not None:
            where.add(self.where)
        return (
            f"select {', '.join(self.select)} from {self.source()} where {where.sql()} "
            f"order by {', '.join(by)} limit ?"
        )


def _of(alias: str, names: str) -> tuple[str, ...]:
    return tuple(f"{alias}.{name}" for name in names.split())


RUNS = Query(
    "runs",
    frames.RUNS,
    (
        *_of("r", "run_id dag_name"),
        SHOWN,
        *_of("r", "started_at finished_at"),
        "r.finished_at - r.started_at",
        "r.nodes",
        _count("completed", "completed", "recovered"),
        _count("failed", "failed"),
        _count("skipped", "skipped"),
        _count("cached", "cached"),
        _COUNTED.format(table="attempts", condition="", column="attempts"),
        *_of("r", "tokens cost inputs error parent_run_id"),
        _count("cancelled", "cancelled"),
        *_of("r", "error_node created_at active_seconds"),
    ),
    None,
    "coalesce(r.started_at, r.created_at)",
)
NODES = Query(
    "nodes",
    frames.NODES,
    (
        *_of("n", "run_id node_id action status attempts started_at finished_at"),
        "n.finished_at - n.started_at",
        "max(0.0, n.started_at - n.ready_at)",
        *_of("n", "error dependencies added_by tokens cost reason kind parent ready_at"),
    ),
    "node_runs n",
    "coalesce(n.started_at, n.finished_at, n.ready_at, r.created_at)",
    ("coalesce(n.started_at, n.finished_at, n.ready_at, 0)", "n.position"),
    {"node_id": "n.node_id", "action": "n.action"},
    {"status": ("n.status", frames.NODE_STATUS), "kind": ("n.kind", frames.NODE_KIND)},
    alone=("n.position", "n.node_id"),
)
ATTEMPTS = Query(
    "attempts",
    frames.ATTEMPTS,
    (
        *_of("a", "run_id node_id action attempt status started_at finished_at"),
        "a.finished_at - a.started_at",
        *_of("a", "error traceback"),
    ),
    "attempts a",
    "coalesce(a.started_at, a.finished_at)",
    ("coalesce(a.started_at, a.finished_at)", "a.node_id", "a.attempt"),
    {"node_id": "a.node_id", "action": "a.action"},
    {"status": ("a.status", frames.ATTEMPT_STATUS)},
)
EVENTS = Query(
    "events",
    frames.EVENTS,
    _of("e", "run_id seq occurred_at kind node_id data"),
    "events e",
    "e.occurred_at",
    ("e.seq",),
    {"node_id": "e.node_id"},
    {"kind": ("e.kind", frames.EVENT_KIND)},
)
CACHE = Query(
    "cache",
    frames.CACHE,
    (
        *_of("a", "run_id namespace key"),
        "null as value",
        *_of("a", "codec size_bytes updated_at reason"),
    ),
    "artifacts a",
    "a.updated_at",
    ("a.updated_at", "a.namespace", "a.key"),
    {"namespace": "a.namespace", "key": "a.key"},
    follows=False,
)
LOGS = Query(
    "logs",
    frames.LOGS,
    _of("l", "run_id node_id attempt occurred_at level stream message"),
    "logs l",
    "l.occurred_at",
    ("l.id",),
    {"node_id": "l.node_id", "level": "upper(l.level)"},
)
# Of nodes that run an action: a map's own node says what its items run, and these have rows of their own.
METRICS = Query(
    "metrics",
    {},
    (
        "n.action",
        "n.node_id",
        "n.status",
        "n.attempts",
        "n.finished_at - n.started_at",
        "max(0.0, n.started_at - n.ready_at)",
        "n.tokens",
        "n.cost",
        "n.run_id",
        "n.error",
    ),
    "node_runs n",
    NODES.moment,
    NODES.order,
    NODES.texts,
    where="coalesce(n.kind, 'action') = 'action' and n.action is not null",
)


def with_values(sql: str) -> str:
    """The rows of `CACHE.sql` with value and hash behind them, read of those that are left by the limit."""
    of_same = "v.run_id = k.run_id and v.namespace = k.namespace and v.key = k.key"
    return (
        f"select k.*, (select v.value from artifacts v where {of_same}), "
        f"(select v.hash from artifacts v where {of_same}) from ({sql}) k"
    )


def words_table(column: str) -> str:
    """The table of a column of few words."""
    return {"n": "node_runs n", "a": "attempts a", "e": "events e"}[column[0]]
