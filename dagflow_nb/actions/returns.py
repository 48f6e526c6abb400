"""What an action returned, as the `NodeOutput` it stands for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from ..core.model import NodeOutput, success_of
from ..errors import ValidationError

_NOTHING: Final = NodeOutput(returned="none")


class OutputError(ValidationError):
    """An action returned what cannot be its outputs; never retried."""


def to_output(returned: Any, action: str, declared: tuple[str, ...] | None = None) -> NodeOutput:
    """The outcome that `returned` stands for; `declared` are the action's `outputs=(...)`.

    A mapping with text keys is the outputs, None no outputs, a tuple of as many values as there are declared
    names goes to these by position, anything else is the output `"result"`. Raises `OutputError` for a
    coroutine, which nobody would await.

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
    if declared is not None and isinstance(returned, tuple) and len(returned) == len(declared):
        return NodeOutput(dict(zip(declared, returned, strict=True)), returned="tuple")
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # or Python warns that it was never awaited
        raise OutputError(
            f"action {action!r} returned a coroutine: define the action with `async def` and await it inside",
            culprit=action,
        )
    return success_of({"result": returned}, "value")
