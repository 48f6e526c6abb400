"""Key functions of `cache=`: called with the arguments that they name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import ValidationError, did_you_mean

_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def call_key(key: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What the key function makes of these arguments, which it gets by name.

    A parameter `inputs`, or the only one of a name that no argument has, gets all of them.

    >>> call_key(lambda source: source.lower(), {"source": "A", "limit": 3})
    'a'
    >>> call_key(lambda given: sorted(given), {"source": "A", "limit": 3})
    ['limit', 'source']
    """
    parameters = _parameters(key)
    if parameters is None:
        return key(dict(arguments))
    named = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
    alone = _takes_all(named, arguments)
    if alone is not None:
        return key(dict(arguments)) if alone.kind is alone.POSITIONAL_ONLY else key(**{alone.name: arguments})
    given, first = {}, []
    for parameter in named:
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update({k: v for k, v in arguments.items() if k not in {p.name for p in named}})
        elif parameter.name in arguments or parameter.name == "inputs":
            value = arguments.get(parameter.name, arguments)
            if parameter.kind is parameter.POSITIONAL_ONLY:
                first.append(value)
            else:
                given[parameter.name] = value
    return key(*first, **given)


def check_key(key: Callable[..., Any], names: Collection[str], where: str) -> None:
    """Raise `ValidationError` where a key function asks for what is no parameter of its action."""
    parameters = _parameters(key) or []
    needed = [
        p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if _takes_all(parameters, names) is not None:
        return
    for parameter in needed:
        if parameter.name not in names and parameter.name != "inputs":
            raise ValidationError(
                f"{where}the key function of cache= asks for {parameter.name!r}: "
                f"{did_you_mean(parameter.name, names)}",
                culprit="cache",
                value=parameter.name,
            )


def _parameters(key: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(key).parameters.values())
    except ValueError:  # some builtins do not say
        return None


def _takes_all(parameters: list[inspect.Parameter], names: Collection[str]) -> inspect.Parameter | None:
    if len(parameters) != 1:
        return None
    (only,) = parameters
    return None if only.kind in _VARIADIC or only.name in names else only
