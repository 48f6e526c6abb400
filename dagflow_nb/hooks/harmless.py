"""What a proved function may call: with what, so that nobody's code runs, and what that gives."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from ..actions import Action
from ..core.model import NodeSpec, Ref, ref
from .answers import COMMANDS
from .looks import ATOMS, DICTS, EVENTS, NUMBERS, SEQUENCES

Value = frozenset[Any]
BOOL, INT, TEXT = frozenset({bool}), frozenset({int}), frozenset({str})
MAPPING = DICTS | {type(None)}
SIZED = SEQUENCES | DICTS | TEXT
TESTABLE = SIZED | ATOMS  # what may stand after `if`
MADE: dict[int, Any] = {id(kind): kind for kind in (NodeSpec, *COMMANDS)}
ANSWERS = frozenset({*ATOMS, list, tuple, dict, Ref, NodeSpec, *COMMANDS})
# what the fields of these may be given; `None`: anything, as it is only kept. Others take `ATOMS`.
FIELDS: dict[str, Value | None] = {
    **dict.fromkeys(("deps", "tags", "specs", "node_ids"), ATOMS | SEQUENCES | {dict}),
    **dict.fromkeys(("inputs", "outputs"), MAPPING),
    **dict.fromkeys(("ask", "cache", "data", "failure", "form", "spec"), None),
    "action": frozenset({str, FunctionType, Action}),
}
CALLS: dict[int, tuple[Value, Value]] = {  # what it takes, what it gives
    id(len): (SIZED, INT),
    id(bool): (TESTABLE, BOOL),
    id(str): (ATOMS, TEXT),
    id(int): (ATOMS, INT),
    id(float): (ATOMS, frozenset({float})),
    id(abs): (NUMBERS, NUMBERS),
    id(min): (ATOMS, ATOMS),
    id(max): (ATOMS, ATOMS),
    id(ref): (TEXT, frozenset({Ref})),
}
KINDS = {id(kind) for kind in (*TESTABLE, *EVENTS)}  # that `isinstance` may be asked for
METHODS: dict[str, Value] = {  # of texts
    **dict.fromkeys(("startswith", "endswith", "isdigit", "isdecimal"), BOOL),
    **dict.fromkeys(("lower", "upper", "strip", "lstrip", "rstrip", "removeprefix", "removesuffix"), TEXT),
}
CHANGES = {  # of a `NodeSpec`
    "with_id": ATOMS,
    "with_deps": ATOMS | SEQUENCES,
    "with_inputs": MAPPING,
    "with_timeout": ATOMS,
    "with_retries": ATOMS,
}
