"""`flow.sql`: a query of the user's own, which can only read."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any

from ..errors import ValidationError, did_you_mean, shorten

if TYPE_CHECKING:
    from pandas import DataFrame

_PRAGMAS = frozenset(
    {
        "application_id",
        "compile_options",
        "freelist_count",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "journal_mode",
        "page_count",
        "page_size",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    }
)
_TAKES_A_NAME = frozenset(p for p in _PRAGMAS if p.startswith(("index_", "table_")))


def _authorize(
    action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
) -> int:
    """What a query may do: read, call functions, and ask for facts about the database."""
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if (second or "").lower() == "load_extension" else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA:
        name = (first or "").lower()
        if name in _PRAGMAS and (second is None or name in _TAKES_A_NAME):
            return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _names(connection: sqlite3.Connection, table: str | None) -> list[str]:
    connection.set_authorizer(None)
    if table is None:
        rows = connection.execute("select name from sqlite_master where type in ('table', 'view')")
    else:
        rows = connection.execute("select name from pragma_table_info(?)", (table,))
    return [str(row[0]) for row in rows.fetchall()]


def _explained(connection: sqlite3.Connection, query: str, error: Exception) -> str:
    text = str(error)
    if re.search("not authorized|authorization denied|prohibited|readonly", text):
        return "flow.sql only reads: write a SELECT (flow.delete_runs deletes runs)"
    if "one statement at a time" in text:
        return "flow.sql takes one statement: call it once for each"
    if missing := re.search(r"no such table: (?:main\.)?(\S+)", text):
        return f"no such table {missing[1]!r}: {did_you_mean(missing[1], _names(connection, None))}"
    if missing := re.search(r"no such column: (?:\S+\.)?(\S+)", text):
        tables = [t for t in _names(connection, None) if re.search(rf"\b{re.escape(t)}\b", query)]
        columns = [column for table in tables for column in _names(connection, table)]
        return f"no such column {missing[1]!r}: {did_you_mean(missing[1], columns)}"
    if "parameter" in text or "binding" in text or "bindings" in text:
        return f"{text}: give a value for each ? in params=(...), or a dict for :names"
    return text


def run_query(connection: sqlite3.Connection, query: str, params: Any) -> DataFrame:
    """The rows of one reading statement; what is wrong with it is a `ValidationError`."""
    import pandas as pd

    if not isinstance(query, str) or not query.strip():
        raise ValidationError(f"flow.sql takes a query as text, not {shorten(query)}", culprit="query")
    given = params if isinstance(params, (tuple, list, dict)) else (params,)
    connection.set_authorizer(_authorize)
    try:
        cursor = connection.execute(query, given)
        rows, description = cursor.fetchall(), cursor.description
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise ValidationError(
            f"{_explained(connection, query, error)} (in {shorten(query)})", culprit="query", value=query
        ) from error
    finally:
        connection.set_authorizer(None)
    if description is None:
        raise ValidationError(
            f"flow.sql only reads: {shorten(query)} gives no rows", culprit="query", value=query
        )
    names = [column[0] for column in description]
    return pd.DataFrame.from_records(rows, columns=names)
