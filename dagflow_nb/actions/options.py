"""What an action's definition sets, checked there: a bad setting is named at once, not in a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from math import isfinite
from numbers import Integral, Real
from typing import Any

from ..core.messages import ActionSettings
from ..core.model import OnFailure
from ..core.retry import RetryStrategy
from ..errors import ValidationError, did_you_mean, shorten

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*")


def parse_duration(text: str) -> float:
    """A duration such as `"24h"`, `"90s"` or `"1h 30m"` in seconds; ValueError for another text.

    >>> parse_duration("1h 30m")
    5400.0
    """
    rest, total = text.strip().lower(), 0.0
    while rest:
        found = _DURATION.match(rest)
        if found is None:
            raise ValueError(f"a duration is written like '24h', '90s', '7d' or '1h 30m', not {text!r}")
        total += float(found[1]) * _UNITS[found[2]]
        rest = rest[found.end() :]
    if not total:
        raise ValueError(f"a duration is longer than nothing, unlike {text!r}")
    return total


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Whether results are kept and found again: for `ttl` seconds (None: always), under `key`.

    `key` is a function of the inputs that stands in for the key made of them; `said` is False where
    nothing was said, so that another setting may decide.
    """

    on: bool = False
    ttl: float | None = None
    key: Callable[..., Any] | None = None
    said: bool = False

    @classmethod
    def of(cls, setting: Any, where: str = "") -> CachePolicy:
        """From what `cache=` takes: True, False, None, `"24h"`, a timedelta, a function of the inputs;
        or from YAML `"always"`, `"never"`, `{"ttl": seconds}`.

        >>> CachePolicy.of("24h").ttl
        86400.0
        """
        if setting is None or isinstance(setting, CachePolicy):
            return setting or cls()
        if isinstance(setting, bool):
            return cls(setting, said=True)
        if isinstance(setting, str) and setting in ("always", "never"):
            return cls(setting == "always", said=True)
        if callable(setting):
            return cls(True, key=setting, said=True)
        return cls(True, _lifetime(setting, where), said=True)

    def of_node(self, setting: Any) -> CachePolicy:
        """With what a node says put over it; the action's key function stays unless the node has its own.

        >>> CachePolicy.of("24h").of_node({"ttl": 60}).ttl, CachePolicy.of(True).of_node(False).on
        (60.0, False)
        """
        own = CachePolicy.of(setting)
        if not own.said:
            return self
        return replace(own, key=own.key or self.key) if own.on else own


def _lifetime(setting: Any, where: str) -> float:
    inside = isinstance(setting, Mapping) and set(setting) == {"ttl"}
    value = setting["ttl"] if inside else setting
    why = ""
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as bad:
            why = f" ({bad})"
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif not inside:  # a bare number would not say what it counts
        value = None
    if not _number(value) or value <= 0:
        allowed = (
            "True or 'always', False or 'never', a duration such as '24h' or {'ttl': 300}, a timedelta, or a "
            "function that makes the key"
        )
        raise _bad(where, "cache", setting, allowed + why)
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """An action's checked settings: those for the scheduler in `settings`, the others by name.

    `executor` is the executor's name where one was given, `failure` what was given as failure handler
    (a name, a function, an action), `ask_model` the pydantic model of the form where one was given.
    """

    name: str
    settings: ActionSettings
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    cache: CachePolicy = CachePolicy()
    outputs: tuple[str, ...] | None = None
    executor: str | None = None
    failure: Any = None
    ask_model: type | None = None
    description: str = ""


def make_options(
    default_name: str,
    default_executor: str,
    default_description: str = "",
    *,
    name: str | None = None,
    retries: int | None = None,
    retry_strategy: RetryStrategy | str | None = None,
    retry_on: type[BaseException] | Iterable[type[BaseException]] = Exception,
    timeout: float | None = None,
    cache: Any = None,
    executor: str | None = None,
    outputs: Iterable[str] | str | None = None,
    on_failure: OnFailure | str | None = None,
    failure: Any = None,
    tags: Iterable[str] | str = (),
    idempotent: bool = True,
    ask: Any = None,
    description: str | None = None,
) -> Options:
    """The options of an action from the settings of its decorator; `ValidationError` names a bad one."""
    own = _name(default_name if name is None else name)
    where = f"action {own!r}: "
    if retries is not None and (
        not isinstance(retries, Integral) or isinstance(retries, bool) or retries < 0
    ):
        raise _bad(where, "retries", retries, "a whole number of at least 0")
    if timeout is not None and (not _number(timeout) or timeout <= 0):
        raise _bad(where, "timeout", timeout, "a number of seconds greater than 0")
    if executor is not None and (not isinstance(executor, str) or not executor):
        raise _bad(where, "executor", executor, "an executor's name, such as 'process'")
    if not isinstance(idempotent, bool):
        raise _bad(where, "idempotent", idempotent, "True or False")
    if description is not None and not isinstance(description, str):
        raise _bad(where, "description", description, "a text")
    policy, errors = CachePolicy.of(cache, where), _errors(retry_on, where)
    form, model = _form(ask, where)
    settings = ActionSettings(
        try_count=None if retries is None else int(retries) + 1,
        retry=_strategy(retry_strategy, where),
        timeout=None if timeout is None else float(timeout),
        on_failure=_on_failure(on_failure, where),
        failure=_failure_name(failure, where),
        ask=form,
        executor=executor or default_executor,
        idempotent=idempotent,
        retry_timeouts=issubclass(TimeoutError, errors),
        tags=_texts(tags, "tags", where),
        cached=policy.on,
    )
    return Options(
        name=own,
        settings=settings,
        retry_on=errors,
        cache=policy,
        outputs=None if outputs is None else _outputs(outputs, where),
        executor=executor,
        failure=failure,
        ask_model=model,
        description=default_description if description is None else description,
    )


def _bad(where: str, setting: str, value: Any, allowed: str) -> ValidationError:
    return ValidationError(
        f"{where}{setting} takes {allowed}, not {shorten(value)}", culprit=setting, value=value
    )


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _name(name: Any) -> str:
    if name == "<lambda>":
        raise ValidationError(
            "a lambda has no name: give the action one, with name='...'", culprit="name", value=name
        )
    good = isinstance(name, str) and name and name == name.strip() and name.isprintable()
    if not good:
        raise _bad("", "an action's name", name, "a text that is not empty, without spaces at its ends")
    return str(name)


def _strategy(given: Any, where: str) -> RetryStrategy | None:
    if given is None or isinstance(given, RetryStrategy):
        return given
    if isinstance(given, str) and given in ("exponential", "linear", "immediate"):
        make: Callable[[], RetryStrategy] = getattr(RetryStrategy, given)
        return make()
    raise _bad(where, "retry_strategy", given, "a RetryStrategy, 'exponential', 'linear' or 'immediate'")


def _errors(given: Any, where: str) -> tuple[type[BaseException], ...]:
    kinds = tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise _bad(where, "retry_on", kind, "an exception class or a tuple of them")
    return kinds


def _on_failure(given: Any, where: str) -> OnFailure | None:
    if given is None:
        return None
    try:
        return OnFailure(given)
    except ValueError:
        near = did_you_mean(given, list(OnFailure)) if isinstance(given, str) else ""
        hint = f"; {near}" if near.endswith("?") else ""
        raise _bad(where, "on_failure", given, "'continue', 'pause' or 'stop'" + hint) from None


def _failure_name(given: Any, where: str) -> str | None:
    if given is None:
        return None
    if isinstance(given, str) and given:
        return given
    for attribute in ("name", "__name__"):
        name = getattr(given, attribute, None)
        if isinstance(name, str) and name and name != "<lambda>":
            return name
    raise _bad(where, "failure", given, "the name of an action, or a function that has a name")


def _texts(given: Any, setting: str, where: str) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(isinstance(text, str) and text for text in texts):
        raise _bad(where, setting, given, "texts that are not empty")
    return texts


def _outputs(given: Any, where: str) -> tuple[str, ...]:
    names = _texts(given, "outputs", where)
    if not names or len(set(names)) < len(names) or isinstance(given, set | frozenset):
        raise _bad(where, "outputs", given, "a tuple of different names, in order")
    return names


def _form(ask: Any, where: str) -> tuple[Any, type | None]:
    if ask is None or ask is False:
        return None, None
    from ..people.forms import as_form

    try:
        return as_form(ask), ask if isinstance(ask, type) else None
    except ValidationError as bad:
        raise ValidationError(f"{where}{bad.message}", culprit="ask", value=ask) from None
