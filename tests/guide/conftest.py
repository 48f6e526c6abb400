"""What every snippet needs: a folder of its own, and a look into its database."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: the guide writes `sqlite:workflows.db` and means this one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def query(folder: Path) -> Callable[..., list[Any]]:
    """`query("workflows.db", sql, ...)`: rows as another program sees them."""

    def ask(file: str, sql: str, *params: Any) -> list[Any]:
        with contextlib.closing(sqlite3.connect(folder / file)) as connection:
            return connection.execute(sql, params).fetchall()

    return ask
