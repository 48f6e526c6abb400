"""What a cell shows of an error of the package: the user's own frames, then what it says."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import types
from pathlib import Path

PACKAGE = str(Path(__file__).parent.parent)
WAITING = (*asyncio.__path__, *concurrent.futures.__path__)


def render(error: BaseException) -> list[str]:
    """The lines of a traceback without the package's frames; IPython's own look where IPython runs.

    The error that an error came from is shown only where frames of the user's are in it: what a library
    did inside is no news.
    """
    import traceback

    own = _outside(error.__traceback__)
    cause = error.__cause__
    if cause is not None and _deepest_is_outside(cause):
        return [*render(cause), "", f"{type(error).__name__}: {error}"]
    shown = _bare(error)
    if "IPython" in sys.modules:
        from IPython import get_ipython

        shell = get_ipython()
        if shell is not None and own is not None:
            # the first frame is the shell's own, which runs the cell
            lines: list[str] = shell.InteractiveTB.structured_traceback(type(error), shown, own, tb_offset=1)
            return lines
    return traceback.format_exception(type(error), shown, own)


def _outside(tb: types.TracebackType | None) -> types.TracebackType | None:
    """A traceback without the frames of this package, and of how it waits for its loop and threads."""
    kept = []
    while tb is not None:
        if not tb.tb_frame.f_code.co_filename.startswith((PACKAGE, *WAITING)):
            kept.append(tb)
        tb = tb.tb_next
    chain = None
    for tb in reversed(kept):
        chain = types.TracebackType(chain, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return chain


def _deepest_is_outside(error: BaseException) -> bool:
    """Whether an error was raised by code that is neither the package's nor that of what is installed."""
    tb = error.__traceback__
    if tb is None:
        return False
    while tb.tb_next is not None:
        tb = tb.tb_next
    file = tb.tb_frame.f_code.co_filename
    return not file.startswith((PACKAGE, sys.prefix, sys.base_prefix)) and "site-packages" not in file


def _bare(error: BaseException) -> BaseException:
    """The same error without what it came from; one that cannot be made again stays as it is."""
    made = type(error).__new__(type(error), *error.args)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    return made
