"""The cache: values by namespace and key, what it shows, its JSON, and inputs read through it."""

from __future__ import annotations

import copy
import pickle
import threading
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr

from dagflow_nb.actions import InputError
from dagflow_nb.cache import (
    Cache,
    ReadOnlyCache,
    get_value_from_cache,
    insert_value,
    parse_input_from_name,
    serialize_cache_to_prettyjson,
)
from dagflow_nb.core.model import Ref, ref
from dagflow_nb.errors import ValidationError


def test_values_by_namespace_and_key():
    """What is inserted is found; what is not there is the default."""
    cache = Cache({"inputs": {"a": 1}})
    cache.insert("node", "b", None)
    assert cache.get("inputs", "a") == 1 and cache.get("node", "b", 3) is None
    assert cache.get("node", "c") is None and cache.get("none", "c", 3) == 3
    assert (
        cache.namespaces() == ["inputs", "node"] and cache.keys("node") == ["b"] and cache.keys("none") == []
    )
    assert "node" in cache and "none" not in cache and len(cache) == 2
    assert bool(Cache()) and len(Cache()) == 0


def test_a_namespace_is_read_as_a_mapping():
    """It is as the cache is now, to be read only; what is absent is named with what there is."""
    cache = Cache({"fetch": {"rows": 3}})
    fetch = cache["fetch"]
    cache.insert("fetch", "more", None)
    assert dict(fetch) == {"rows": 3, "more": None} and "more" in fetch and fetch.get("none", 7) == 7
    assert list(cache) == ["fetch"] and repr(fetch) == "{'rows': 3, 'more': None}"
    with pytest.raises(KeyError, match="no 'fetsh': did you mean 'fetch'"):
        cache["fetsh"]
    with pytest.raises(KeyError, match="no 'fetch' / 'row': did you mean 'rows'"):
        fetch["row"]
    with pytest.raises(TypeError):
        fetch["rows"] = 4


def test_delete():
    """A value or a namespace is removed, and it is said whether it was there."""
    cache = Cache({"a": {"x": 1, "y": 2}, "b": {"x": 1}})
    assert cache.delete("a", "x") and not cache.delete("a", "x") and not cache.delete("none", "x")
    assert cache.delete("b") and not cache.delete("b")
    assert cache.as_dict() == {"a": {"y": 2}}
    assert cache.delete("a", "y") and cache.namespaces() == []


@pytest.mark.parametrize("wrong", [{"a": 1}, {1: {}}, {"a": {1: 2}}, 3, [("a", {})]])
def test_a_cache_is_made_of_mappings(wrong):
    """Anything but a mapping of texts to mappings of texts is refused."""
    with pytest.raises(ValidationError):
        Cache(wrong)


def test_names_are_texts():
    """A namespace or key that is no text is named in the error."""
    for wrong in ((1, "a"), ("a", 1), (None, "a")):
        with pytest.raises(ValidationError, match="is a text, not"):
            Cache().insert(*wrong, 3)


def test_copies_are_apart():
    """as_dict, a cache made of another, and copies do not follow later changes."""
    cache = Cache({"a": {"x": 1}})
    others = [Cache(cache), copy.copy(cache), pickle.loads(pickle.dumps(cache))]
    plain = cache.as_dict()
    cache.insert("a", "y", 2)
    assert plain == {"a": {"x": 1}} and all(other.as_dict() == plain for other in others)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1, True),
        (1, 1.0, True),
        (1, "1", False),
        ([1], [1], True),
        (np.array([1, 2]), np.array([1, 2]), True),
        (np.array([1, 2]), np.array([1, 3]), False),
        (np.array([1, 2]), np.array([1, 2, 3]), False),
        (pd.DataFrame({"a": [1, None]}), pd.DataFrame({"a": [1, None]}), True),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]}), False),
        ({"a": np.array([1, 2])}, {"a": np.array([1, 2])}, False),
    ],
)
def test_equality(left, right, same):
    """Caches are equal by content, frames and arrays too; what cannot be compared is not equal."""
    assert (Cache({"a": {"x": left}}) == Cache({"a": {"x": right}})) is same


def test_equality_of_names():
    """Other namespaces or keys make another cache, and a cache is no dict; it has no hash."""
    assert Cache({"a": {"x": 1}}) != Cache({"a": {"y": 1}}) and Cache() != Cache({"a": {"x": 1}})
    assert Cache() != {} and Cache() == Cache()
    with pytest.raises(TypeError):
        hash(Cache())


def test_threads():
    """Several threads may insert and read at a time."""
    cache = Cache()

    def work(number: int) -> None:
        for key in range(200):
            cache.insert(f"n{key % 7}", f"{number}-{key}", key)
            cache.as_dict()
            cache.namespaces()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 800


def test_json_keeps_types():
    """What to_json writes, from_json reads with its types; the text is indented."""
    cache = Cache(
        {"a": {"day": date(2026, 1, 2), "pair": (1, 2), "set": {3}, "text": "é", "frame": pd.DataFrame()}}
    )
    again = Cache.from_json(cache.to_json())
    assert again == cache and again.get("a", "pair") == (1, 2)
    assert '\n  "a"' in cache.to_json() and "é" in cache.to_json()
    assert "\n" not in cache.to_json(indent=None)
    assert serialize_cache_to_prettyjson(cache) == cache.to_json(indent=2)
    for wrong in ("no json", "[1]", '{"a": 1}'):
        with pytest.raises(ValidationError):
            Cache.from_json(wrong)


def test_secrets_are_neither_written_nor_shown():
    """A secret's content is in no JSON, repr, HTML or printed frame."""
    cache = Cache({"inputs": {"key": SecretStr("hunter2"), "nested": {"deep": [SecretStr("hunter2")]}}})
    shown = [
        cache.to_json(),
        repr(cache),
        cache._repr_html_(),
        str(cache.to_frame()),
        cache.to_frame().to_html(),
    ]
    assert all("hunter2" not in text for text in shown)
    assert "**********" in cache._repr_html_() and "**********" in str(cache.to_frame())


def test_the_frame():
    """A row a value, with values as they are, and the same columns when empty."""
    frame = Cache({"a": {"x": [1, 2], "f": pd.DataFrame({"c": [1]})}, "b": {"y": 1}}).to_frame()
    assert list(frame.columns) == ["namespace", "key", "value"] and list(frame["key"]) == ["x", "f", "y"]
    assert frame["value"][0] == [1, 2] and isinstance(frame["value"][1], pd.DataFrame)
    empty = Cache().to_frame()
    assert list(empty.columns) == list(frame.columns) and list(empty.dtypes) == list(frame.dtypes)


def test_what_is_shown_is_escaped_and_bounded():
    """HTML is escaped, long values and many rows are cut."""
    cache = Cache({f"<b>{n}": {"<i>": "<script>" * 1000} for n in range(200)})
    html = cache._repr_html_()
    assert "<b>" not in html and "<script>" not in html and "and 150 more" in html and len(html) < 20000
    assert repr(Cache()) == "<Cache, empty>" and repr(Cache({"a": {"x": 1}})) == "<Cache a: 1>"
    assert "190 namespaces more" in repr(cache) and repr(ReadOnlyCache()) == "<ReadOnlyCache>"


def test_a_value_whose_repr_fails_is_still_shown():
    """A cache shows itself whatever is in it."""

    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Bad" in Cache({"a": {"x": Bad(), "y": [Bad()]}})._repr_html_()


def test_reading_only():
    """A read-only view has get, and nothing that changes anything."""
    cache = Cache({"a": {"x": 1}})
    view = ReadOnlyCache(cache)
    assert view.get("a", "x") == 1 and view.get("a", "y", 2) == 2
    assert not hasattr(view, "insert") and not hasattr(view, "delete")


def test_get_value_from_cache():
    """A value that is absent is a KeyError that names the nearest."""
    cache = Cache()
    insert_value(cache, "node", "rows", None)
    assert get_value_from_cache(cache, "node", "rows") is None
    with pytest.raises(KeyError, match="did you mean 'rows'"):
        get_value_from_cache(cache, "node", "row")
    with pytest.raises(KeyError, match="did you mean 'node'"):
        get_value_from_cache(cache, "nodes", "rows")
    with pytest.raises(KeyError):
        get_value_from_cache(ReadOnlyCache(cache), "node", "x")


CACHE = Cache(
    {
        "inputs": {"user": "me", "age": "30"},
        "fetch": {"rows": [{"name": "a"}]},
        "a.b": {"c": 1},
        "count": {"result": 7},
    }
)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (None, "me"),
        ({"user": "you"}, "you"),
        ({"user": ref("inputs.user")}, "me"),
        ({"user": ["x", {"y": ref("fetch.rows.0.name")}]}, ["x", {"y": "a"}]),
        ({"user": Ref("fetch", ("rows", 0))}, {"name": "a"}),
        ({"user": ref("a.b.c")}, 1),
        ({"user": ref("count")}, 7),
        ({"user": ref("fetch")}, {"rows": [{"name": "a"}]}),
        ([{"name": "user", "reference": "inputs.user"}], "me"),
        ([{"name": "user", "value": 3}], 3),
        ([{"name": "user", "default": 4}], 4),
        ([{"name": "user", "reference": "fetch.none", "default": 5}], 5),
        ([{"name": "other"}, SimpleNamespace(name="user", reference="inputs.user")], "me"),
        ([SimpleNamespace(name="user", reference=ref("inputs.user"))], "me"),
    ],
)
def test_parse_input_from_name(inputs, expected):
    """Values and references are read from a mapping or a list, nested too."""
    assert parse_input_from_name(CACHE, "user", inputs) == expected


def test_parse_input_with_a_type():
    """The value is converted, and a value that does not fit is named."""
    assert parse_input_from_name(CACHE, "age", None, int) == 30
    with pytest.raises(InputError, match="'user'"):
        parse_input_from_name(CACHE, "user", {"user": "me"}, int)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "did you mean 'user'"),
        ({}, "no input 'usr'"),
        ({"user": 1}, "did you mean 'user'"),
        ({"usr": ref("fetch.none")}, "fetch.none is not in the cache"),
        ({"usr": ref("nobody.x")}, "nobody.x is not in the cache"),
        ({"usr": ref("nobody")}, "nobody is not in the cache"),
        ({"usr": ref("fetch.rows.3")}, "fetch.rows.3 has no 3"),
    ],
)
def test_a_missing_input_is_a_key_error(inputs: Any, message: str):
    """What is missing is named, with what there is."""
    with pytest.raises(KeyError, match=message) as found:
        parse_input_from_name(CACHE, "usr", inputs)
    assert isinstance(found.value, InputError)


@pytest.mark.parametrize("wrong", [3, "user", [3], [{"reference": "a"}]])
def test_wrong_inputs_are_refused(wrong):
    """Inputs are a mapping or a list of mappings with names."""
    with pytest.raises(ValidationError):
        parse_input_from_name(CACHE, "user", wrong)


def test_a_read_only_cache_will_do():
    """References are followed through a view too, where the names alone tell node and key apart."""
    view = ReadOnlyCache(CACHE)
    assert parse_input_from_name(view, "x", {"x": ref("fetch.rows")}) == [{"name": "a"}]
    assert parse_input_from_name(view, "user") == "me"
    for inputs in (None, {"x": ref("fetch")}):
        with pytest.raises(KeyError):
            parse_input_from_name(view, "x", inputs)
