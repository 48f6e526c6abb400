"""Endpoints of language models for these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .endpoint import Endpoint


@pytest.fixture
def serve() -> Iterator[Callable[..., Endpoint]]:
    """Starts an endpoint that gives these answers."""
    running: list[Endpoint] = []

    def start(*answers: Any) -> Endpoint:
        running.append(Endpoint(*answers).__enter__())
        return running[-1]

    yield start
    for endpoint in running:
        endpoint.__exit__()
