"""What a node's settings may be: one check for each, used by the builder and by YAML.

Each function takes what the user wrote and gives what a `NodeDef` holds, or raises `ValidationError`
with the setting's name as culprit and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from math import isfinite
from numbers import Integral, Real
from typing import Any

from ..core.model import Form, OnFailure, When
from ..errors import ValidationError, shorten

_WHEN = {str(rule): rule for rule in When}


def _refuse(setting: str, allowed: str, value: object) -> ValidationError:
    return ValidationError(f"{setting} is {allowed}, not {shorten(value)}", culprit=setting, value=value)


def timeout_seconds(value: Any) -> float | None:
    """Seconds for each attempt, above 0 and finite; None: no limit.

    >>> timeout_seconds(30)
    30.0
    """
    if value is None:
        return None
    if not isinstance(value, Real) or isinstance(value, bool) or not isfinite(value) or float(value) <= 0:
        raise _refuse("timeout", "a number of seconds above 0", value)
    return float(value)


def count(setting: str, value: Any) -> int | None:
    """A whole number of at least 1 (`try_count`: all attempts, `limit`: items at once); None: not set."""
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise _refuse(setting, "a whole number of at least 1", value)
    return int(value)


def when(value: Any) -> When:
    """What a node asks of its dependencies: one of `When`, also by its text."""
    known = _WHEN.get(value) if isinstance(value, str) else None
    if known is not None:
        return known
    raise ValidationError(
        f"when is one of {', '.join(repr(str(w)) for w in When)}, not {shorten(value)}",
        culprit="when",
        value=value,
    )


def on_failure(value: Any, setting: str = "on_failure") -> OnFailure | None:
    """The policy of a failed node: `continue`, `pause`, `stop` (or `halt`); True is continue, False stop."""
    if value is None:
        return None
    if isinstance(value, bool):
        return OnFailure.CONTINUE if value else OnFailure.STOP
    try:
        return OnFailure(value)
    except ValueError:
        allowed = "'continue', 'pause' or 'stop' (or true: continue, false: stop)"
        raise _refuse(setting, allowed, value) from None


def cache(value: Any) -> bool | timedelta | Callable[..., Any] | None:
    """Whether results are kept for equal inputs: True, False, for how long, or by a key of one's own.

    Takes a bool, `"always"`, `"never"`, `"24h"`, a `timedelta`, `{"ttl": seconds}` or a function; gives
    None (not set), True, False, a `timedelta` or the function.

    >>> cache("1h 30m"), cache({"ttl": 300}), cache("never")
    (datetime.timedelta(seconds=5400), datetime.timedelta(seconds=300), False)
    """
    if value is None or isinstance(value, bool):
        return value
    from ..actions import CachePolicy  # it brings pydantic along

    policy = CachePolicy.of(value)
    return policy.key or (policy.on if policy.ttl is None else timedelta(seconds=policy.ttl))


def executor(value: Any) -> str | None:
    """The name of the executor to run on, such as `"process"`; None: the action's own."""
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    raise _refuse("executor", "a name: 'thread', 'process', or one of DagFlow(executors={...})", value)


def tags(value: Any) -> tuple[str, ...]:
    """Texts, or one text."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        texts = tuple(value)
        if all(isinstance(text, str) and text for text in texts):
            return texts
    raise _refuse("tags", "texts, such as ['production', 'etl']", value)


def ask(value: Any) -> Form | None:
    """What a person is asked before the node runs: True, a question, a model, a schema or a `Form`."""
    if value is None or value is False:
        return None
    from ..people.forms import as_form  # pydantic and jsonschema come in only where somebody is asked

    return as_form(value)


def name(what: str, value: Any) -> str:
    """A name of an action or a workflow: printable text of at most 200 characters."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 200:
        raise ValidationError(
            f"{what} is a text of 1 to 200 printable characters, not {shorten(value)}",
            culprit=value,
            value=value,
        )
    return value


def text(setting: str, value: Any) -> str:
    """Free text; None is empty, a number (a version) is written out."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        return str(value)
    raise _refuse(setting, "a text", value)


def is_text_mapping(value: Any) -> bool:
    """Whether it is a mapping whose keys are texts."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def of_node(
    when_: Any, timeout: Any, try_count: Any, policy: Any, cache_: Any, executor_: Any, ask_: Any, tags_: Any
) -> dict[str, Any]:
    """All settings of a node, as fields of a `NodeDef`."""
    return {
        "when": when(when_),
        "timeout": timeout_seconds(timeout),
        "try_count": count("try_count", try_count),
        "on_failure": on_failure(policy),
        "cache": cache(cache_),
        "executor": executor(executor_),
        "ask": ask(ask_),
        "tags": tags(tags_),
    }
