"""What a process does once, before its first run."""

from __future__ import annotations

import gc

import pytest

from dagflow_nb.runtime import warm_up
from dagflow_nb.runtime.session import Session


@pytest.mark.parametrize("many", [False, True])
def test_the_first_session_collects_what_imports_have_left(
    many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a process, not with each session, and not where there are so many that it would be felt."""
    collected: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(1))
    monkeypatch.setattr(gc, "get_objects", lambda: range(warm_up.MANY if many else 10))
    warm_up.warm_up.cache_clear()
    Session(":memory:")
    Session(":memory:")
    assert len(collected) == (0 if many else 1)
