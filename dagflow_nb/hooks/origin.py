"""Where a hook was made: which cell, and which execution of it.

Cells are run again, and their hooks must not pile up; factories and loops make several under one name.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NUMBERED = re.compile(r"<ipython-input-\d+-(\w+)>")
PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Origin:
    """`cell`: an id that stays the same when the cell is run again; `execution`: which time it was (None
    outside of IPython, where a process is one execution)."""

    cell: str
    execution: int | None = None


def here() -> Origin:
    """The cell (or file) whose code is calling into this package, and its execution."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == PACKAGE:
        frame = frame.f_back
    # a terminal's IPython puts the number of the execution into the name, and the text's hash
    file = _NUMBERED.sub(r"\1", frame.f_code.co_filename) if frame is not None else "<unknown>"
    now = cell_now()
    return Origin(file) if now is None else Origin(now.cell or file, now.execution)


def cell_now() -> Origin | None:
    """The cell that is being executed (its id is empty where none is sent along); None outside of IPython."""
    shell = _shell()
    if shell is None:
        return None
    count = getattr(shell, "execution_count", None)
    return Origin(_cell_id(shell) or "", count if isinstance(count, int) else 0)


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    get_ipython = getattr(ipython, "get_ipython", None)
    return get_ipython() if callable(get_ipython) else None


def _cell_id(shell: Any) -> str | None:
    """The id that JupyterLab and others send along with a cell's code; None where they do not."""
    get_parent = getattr(shell, "get_parent", None)
    try:
        parent = get_parent() if callable(get_parent) else getattr(shell, "parent_header", None)
    except LookupError:  # no cell is being executed in this context
        return None
    metadata = parent.get("metadata") if isinstance(parent, Mapping) else None
    cell = metadata.get("cellId") if isinstance(metadata, Mapping) else None
    return cell if isinstance(cell, str) and cell else None


def code_of(target: Any) -> Any:
    """What stays the same for all that one piece of code makes: a function's code, an object's class."""
    while True:
        if isinstance(target, functools.partial):
            target = target.func
        elif isinstance(target, types.MethodType):
            target = target.__func__
        elif hasattr(target, "__wrapped__"):
            target = target.__wrapped__
        else:
            break
    code = getattr(target, "__code__", None)
    if code is not None:
        return code
    return target if isinstance(target, type) else type(target)


def key_of(target: Any) -> str:
    """The name under which a definition replaces an earlier one."""
    if isinstance(target, functools.partial):
        return key_of(target.func)
    name = getattr(target, "__qualname__", None)
    return name if isinstance(name, str) else type(target).__qualname__
