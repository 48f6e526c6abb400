"""Values and messages to bytes and text, and back.

`Codec` keeps the types of values (JSON, the standard library's, numpy, pandas, polars, pydantic, dataclasses,
enums), writes no pickle unless told to, and says what it cannot store. The functions beside it write the
messages of a run with it.
"""

from .base import SCALARS, MissingValue, json_of_ids
from .classes import Unknown
from .messages import (
    are_settled,
    dump_defs,
    dump_event,
    dump_input,
    load_defs,
    load_event,
    load_input,
    may_wait,
)
from .values import Codec, Encoded, Parts, short_json

__all__ = [
    "SCALARS",
    "Codec",
    "Encoded",
    "MissingValue",
    "Parts",
    "Unknown",
    "are_settled",
    "dump_defs",
    "dump_event",
    "dump_input",
    "json_of_ids",
    "load_defs",
    "load_event",
    "load_input",
    "may_wait",
    "short_json",
]
