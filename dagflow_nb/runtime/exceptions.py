"""Exceptions that come from another process: with their class, attributes, causes and traceback.

Pickling keeps neither the traceback nor the causes, and fails for the many classes whose `__init__` takes
other arguments than the message. So an exception is sent in parts: how it is made again, the frames it
passed, its causes, and its text for the case that it cannot be made where it arrives.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from types import FunctionType, TracebackType
from typing import Any

from .tracebacks import PACKAGE, describe

MOST_FRAMES, MOST_CAUSES = 50, 10
# an exception's text, pickled parts, frames (file, name, line), cause, context, and whether that is hidden
Sent = tuple[str, bytes, list[tuple[str, str, int]], Any, Any, bool]


def send(error: BaseException | None, sent: set[int] | None = None) -> Sent | None:
    """An exception in parts that can be pickled, whatever it holds; each of its causes is in them once."""
    sent = set() if sent is None else sent
    if error is None or id(error) in sent or len(sent) == MOST_CAUSES:
        return None
    sent.add(id(error))
    passed = traceback.walk_tb(error.__traceback__)
    frames = [(frame.f_code.co_filename, frame.f_code.co_name, line) for frame, line in passed]
    while frames and frames[0][0].startswith(PACKAGE):
        del frames[0]
    cause, context = send(error.__cause__, sent), send(error.__context__, sent)
    hidden = error.__suppress_context__
    return describe(error), _packed(error), frames[-MOST_FRAMES:], cause, context, hidden


def receive(sent: Sent | None) -> BaseException | None:
    """The exception that was sent."""
    if sent is None:
        return None
    text, packed, frames, cause, context, hidden = sent
    try:
        error = _unpacked(packed)
    except Exception as bad:  # its class is not to be had here
        error = RuntimeError(f"{text} (it cannot be read here: {describe(bad)})")
    error.__cause__, error.__context__ = receive(cause), receive(context)
    error.__suppress_context__ = hidden
    return error.with_traceback(_traceback(frames))


def _packed(error: BaseException) -> bytes:
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps((None, error))
        again = _unpacked(packed)
        if type(again) is type(error) and str(again) == str(error):
            return packed
    except Exception:
        pass  # then in parts
    kind, text = type(error), describe(error)
    for parts in ((kind, error.args, vars(error)), (kind, (text.removeprefix(f"{kind.__name__}: "),), {})):
        try:
            packed = cloudpickle.dumps(parts)
            _unpacked(packed)
        except Exception:
            continue
        return packed
    return pickle.dumps((None, RuntimeError(text)))


def _unpacked(packed: bytes) -> BaseException:
    kind, *parts = pickle.loads(packed)
    if kind is None:
        found: BaseException = parts[0]
        return found
    args, state = parts
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _traceback(frames: list[tuple[str, str, int]]) -> TracebackType | None:
    """A traceback that shows these frames; they hold no variables."""
    last = None
    for filename, name, line in reversed(frames):
        code = compile("frame()", filename, "eval").replace(co_name=name)
        frame = FunctionType(code, {"frame": lambda: sys._getframe(1)})()
        last = TracebackType(last, frame, -1, line)  # no place in the code: there are no columns to point at
    return last
