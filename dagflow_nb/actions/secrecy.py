"""What a parameter takes as a secret is one from the start, also where a plain text is given for it.

Rules kept here: `hide` wraps what is to be written and shown nowhere, in a class that the rest of the
package treats as it treats every secret; `bare` takes that off again, for the action and nobody else.
"""

from __future__ import annotations

from typing import Any

import pydantic

from ..core.model import Ref, iter_refs

_PLAIN = (str, bytes, bytearray, int, float, complex)
_CONTAINERS = (dict, list, tuple, set, frozenset)


class GivenSecret(pydantic.Secret[Any]):
    """A value that was given as it is for a parameter that takes a secret."""


def hide(value: Any) -> Any:
    """`value` as a secret; references in it stay, what is a secret or holds it in a class of its own, too.

    >>> hide("hunter2"), hide(None), hide({"a": [Ref("node"), "hunter2"]})["a"][1]
    (GivenSecret('**********'), None, GivenSecret('**********'))
    """
    if next(iter_refs(value), None) is not None:
        if isinstance(value, Ref):
            return value
        if type(value) is list or type(value) is tuple:
            return type(value)(map(hide, value))
        return {key: hide(item) for key, item in value.items()}
    return GivenSecret(value) if _is_plain(value) else value


def hide_items(value: Any) -> Any:
    """Each item of a list as a secret; what is no list as a whole.

    >>> hide_items(["a", "b"])
    [GivenSecret('**********'), GivenSecret('**********')]
    """
    return [hide(item) for item in value] if isinstance(value, list | tuple) else hide(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, _CONTAINERS):
        return any(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return isinstance(value, _PLAIN) and not isinstance(value, bool)


def holds_secret(value: Any) -> bool:
    """Whether something was hidden in `value`, also in lists, tuples and dicts."""
    if type(value) is dict:
        return any(map(holds_secret, value.values()))
    if type(value) is list or type(value) is tuple:
        return any(map(holds_secret, value))
    return type(value) is GivenSecret


def bare(value: Any) -> Any:
    """`value` as it was given, also in lists, tuples and dicts.

    >>> bare({"a": [hide("hunter2"), 1]})
    {'a': ['hunter2', 1]}
    """
    if type(value) is GivenSecret:
        return value.get_secret_value()
    if type(value) is list or type(value) is tuple:
        return type(value)(map(bare, value))
    if type(value) is dict:
        return {key: bare(item) for key, item in value.items()}
    return value
