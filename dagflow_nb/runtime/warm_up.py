"""What the first run of a process would otherwise pay for."""

from __future__ import annotations

import contextlib
import functools
import gc
import sqlite3

from ..fingerprint.packages import package_of_file
from ..store import owners
from ..store.schema import copy_schema

MANY = 1_000_000  # objects that are too many to go through unasked


@functools.cache
def warm_up() -> None:
    """Once a process, when the first session is made: make the schema, read what tells this process and one's
    own code from others, and collect what imports have left.

    Imports make so many objects that the collector would go through all there are in the middle of the
    first run, some 20 ms; where there are very many it would not, and neither does this.
    """
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        copy_schema(connection)
    owners.retire(owners.new_owner(0.0))
    package_of_file(__file__)
    if len(gc.get_objects()) < MANY:
        gc.collect()
