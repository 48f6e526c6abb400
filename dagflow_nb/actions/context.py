"""What an action is given: `NodeCtx`, and the `Channel` over which it answers while it runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from math import isfinite
from types import MappingProxyType
from typing import Any, NoReturn, Protocol

from ..cache import ReadOnlyCache
from ..core.model import EMPTY
from ..errors import ValidationError, shorten
from .conversion import convert, missing_input


class Channel(Protocol):
    """Where a `NodeCtx` sends what an action says while it runs; none of it may block."""

    def log(self, message: str, level: str) -> None:
        """A line for the log."""

    def progress(self, fraction: float, message: str | None) -> None:
        """How far the action is, from 0 to 1."""

    def emit(self, name: str, data: Any) -> None:
        """An event of the user's own."""

    def stream(self, token: str) -> None:
        """A piece of text."""

    def usage(self, tokens: float, cost: float) -> None:
        """What was used since the last report."""

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is to stop."""


_NO_CACHE = ReadOnlyCache()


class NodeCtx:
    """What an action knows about the attempt it is: frozen, one for each attempt.

    `dag_name`, `node_id`, `action`, `run_id`: names; `attempt`: 1 for the first; `inputs`: a
    read-only mapping; `cache`: read-only, `cache.get(namespace, key, default=None)`; `app_data`: what the
    flow was given. Without a channel nothing is sent anywhere: an action can be tested by itself.

    >>> NodeCtx(node_id="add", inputs={"left": "3"}).get_input("left", int)
    3
    """

    dag_name: str
    node_id: str
    action: str
    run_id: str
    attempt: int
    inputs: Mapping[str, Any]
    cache: Any
    app_data: Any
    _channel: Channel | None

    def __init__(
        self,
        dag_name: str = "",
        node_id: str = "",
        action: str = "",
        run_id: str = "",
        attempt: int = 1,
        inputs: Mapping[str, Any] = EMPTY,
        cache: Any = None,
        app_data: Any = None,
        channel: Channel | None = None,
    ) -> None:
        # one is made for each attempt: writing the dict is three times as fast as a frozen dataclass
        fields = self.__dict__
        fields["dag_name"] = dag_name
        fields["node_id"] = node_id
        fields["action"] = action
        fields["run_id"] = run_id
        fields["attempt"] = attempt
        fields["inputs"] = MappingProxyType(inputs) if type(inputs) is dict else inputs
        fields["cache"] = _NO_CACHE if cache is None else cache
        fields["app_data"] = app_data
        fields["_channel"] = channel

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise FrozenInstanceError(f"cannot set {name!r}: the context is frozen, results are returned")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete {name!r}: the context is frozen")

    def get_input(self, key: str, type: Any = None) -> Any:
        """The input `key`, as `type` where one is given (pydantic's rules).

        Raises `InputError` (a missing input is also a `KeyError`) that names the inputs there are.
        """
        if key not in self.inputs:
            what = f"there is no input {key!r}"
            raise missing_input(key, self.inputs.keys(), node_id=self.node_id, what=what)
        return convert(self.inputs[key], type, name=key, node_id=self.node_id)

    def get_input_opt(self, key: str, type: Any = None) -> Any:
        """The input `key`, as `type` where one is given; None where it is missing or None."""
        value = self.inputs.get(key)
        return None if value is None else convert(value, type, name=key, node_id=self.node_id)

    def log(self, message: object, level: str | int = "INFO") -> None:
        """Writes a line to the run's log; `level` is a name such as "WARNING", or logging's number."""
        name = logging.getLevelName(level) if isinstance(level, int) else str(level).upper()
        if self._channel is not None:
            self._channel.log(str(message), name)

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Says how far the action is: `fraction` from 0 to 1, what lies outside counts as the nearer end."""
        try:
            share = float(fraction)
        except (TypeError, ValueError):
            share = float("nan")
        if share != share:
            raise ValidationError(
                f"progress() takes a number from 0 to 1, not {shorten(fraction)}", culprit="fraction"
            )
        if self._channel is not None:
            self._channel.progress(min(1.0, max(0.0, share)), None if message is None else str(message))

    def emit(self, name: str, data: Any = None) -> None:
        """Emits a `CustomEvent`, which hooks are asked about."""
        if not isinstance(name, str) or not name:
            raise ValidationError(f"emit() takes the event's name, not {shorten(name)}", culprit="name")
        if self._channel is not None:
            self._channel.emit(name, data)

    def stream(self, token: object) -> None:
        """Sends a piece of text to whoever watches, such as a token of a model's answer."""
        if self._channel is not None:
            self._channel.stream(str(token))

    def report_usage(self, tokens: float = 0, cost: float = 0.0) -> None:
        """Adds to what the run has used up: tokens, and money in the unit of `max_cost`."""
        for what, amount in (("tokens", tokens), ("cost", cost)):
            number = isinstance(amount, int | float) or hasattr(amount, "__float__")
            if not number or isinstance(amount, bool) or not isfinite(amount) or amount < 0:
                raise ValidationError(
                    f"report_usage({what}=...) takes a number of at least 0, not {shorten(amount)}",
                    culprit=what,
                    value=amount,
                )
        if self._channel is not None:
            self._channel.usage(tokens, cost)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is to stop; a `def` action that takes long asks now and then."""
        return self._channel is not None and self._channel.cancelled

    def __repr__(self) -> str:
        names = shorten(list(self.inputs))
        who = f"node_id={self.node_id!r}, action={self.action!r}"
        return f"NodeCtx({who}, attempt={self.attempt}, inputs={names})"
