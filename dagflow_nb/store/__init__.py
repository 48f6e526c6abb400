"""Runs on disk (or in memory): one writer, any number of readers and processes."""

from .blobs import INLINE, Kept
from .copying import Copy
from .database import MEMORY, parse_database
from .inserting import NODE_COLUMNS
from .sqlite import Store
from .unit import RUN_COLUMNS, StoredRun, Unit, join_inputs

__all__ = [
    "INLINE",
    "MEMORY",
    "NODE_COLUMNS",
    "RUN_COLUMNS",
    "Copy",
    "Kept",
    "Store",
    "StoredRun",
    "Unit",
    "join_inputs",
    "parse_database",
]
