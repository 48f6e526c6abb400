"""The one place that nests event loops, and only when it is asked to."""

from __future__ import annotations


def enable_nested_asyncio() -> None:
    """Let `asyncio.run(...)` of the core API (`DagExecutor`, `Coordinator`) work inside a notebook's cell.

    Uses nest_asyncio, which is no longer maintained. What it costs: from then on the kernel's loop is
    patched for the whole process, and with ipykernel 7.2 and later widget messages that arrive during
    a nested run are lost. `DagFlow` needs none of it; in a cell, `await` works without it too.
    """
    import nest_asyncio

    nest_asyncio.apply()
