"""What an action's exception says: in one short text, and where in the user's code it was raised."""

from __future__ import annotations

import traceback
from pathlib import Path

from ..errors import ValidationError

PACKAGE = str(Path(__file__).parent.parent)


def describe(error: BaseException) -> str:
    """An exception in one short text."""
    try:
        text = str(error).strip()
    except Exception:
        text = "(its text cannot be made)"
    name = type(error).__name__
    if isinstance(error, ValidationError):
        return text
    text = text if len(text) <= 2000 else text[:2000] + "..."
    return f"{name}: {text}" if text else name


def user_traceback(error: BaseException) -> str:
    """The traceback of an action's exception without the frames of this package."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(PACKAGE):
        frames = frames.tb_next
    try:
        lines = traceback.TracebackException(type(error), error, frames, limit=-50, compact=True).format()
        return "".join(lines)
    except Exception as bad:
        return f"{describe(error)} (its traceback cannot be made: {bad})"
