"""Stores to test with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dagflow_nb.store import Store


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A place for a database file."""
    return str(tmp_path / "flows.db")


@pytest.fixture(params=["file", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store: what holds for one holds for the other."""
    return ":memory:" if request.param == "memory" else str(tmp_path / "flows.db")


@pytest.fixture
def with_store() -> Callable[..., Any]:
    """`with_store(database, test)`: runs `await test(store)` with an open store, then closes it."""

    def run(database: str, test: Callable[[Store], Awaitable[Any]], **settings: Any) -> Any:
        async def main() -> Any:
            store = await Store.open(database, **settings)
            try:
                return await test(store)
            finally:
                await store.close()

        return asyncio.run(main())

    return run
