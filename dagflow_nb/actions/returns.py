"""What an action returned, as the `NodeOutput` it stands for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from ..core.model import NodeOutput, success_of
from ..errors import ValidationError, shorten

_NOTHING: Final = NodeOutput(returned="none")


class OutputError(ValidationError):
    """An action returned what cannot be its outputs; never retried."""


def to_output(returned: Any, action: str, declared: tuple[str, ...] | None = None) -> NodeOutput:
    """The outcome that `returned` stands for; `declared` are the action's `outputs=(...)`.

    A mapping with text keys is the outputs, None no outputs, a tuple goes to the declared names by
    position, anything else is the output `"result"`. Raises `OutputError` for a tuple that does not
    fit the declared names, and for a generator or coroutine that nobody would read.

    >>> to_output(3, "count").outputs
    {'result': 3}
    """
    if type(returned) is dict or isinstance(returned, Mapping):
        for key in returned:
            if type(key) is not str and not isinstance(key, str):
                return success_of({"result": returned}, "value")
        return success_of(returned) if type(returned) is dict else NodeOutput(returned)
    if returned is None:
        return _NOTHING
    if isinstance(returned, NodeOutput):
        return returned
    if declared is not None and declared != ("result",):
        if isinstance(returned, tuple) and len(returned) == len(declared):
            return NodeOutput(dict(zip(declared, returned, strict=True)), returned="tuple")
        raise _mismatch(returned, action, declared)
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        raise OutputError(
            f"action {action!r} returned a generator, which can be read only once: return a list of what it "
            "yields, or a mapping",
            culprit=action,
        )
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # or Python warns that it was never awaited
        raise OutputError(
            f"action {action!r} returned a coroutine: define the action with `async def` and await it inside",
            culprit=action,
        )
    return success_of({"result": returned}, "value")


def _mismatch(returned: Any, action: str, declared: tuple[str, ...]) -> OutputError:
    if inspect.iscoroutine(returned):
        returned.close()
    got = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else shorten(returned)
    names = ", ".join(map(repr, declared))
    return OutputError(
        f"action {action!r} declares the outputs {names}: it returns a tuple of {len(declared)} "
        f"or a mapping, not {got}",
        culprit=action,
    )
