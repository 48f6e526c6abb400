"""Values of plain Python come back with their types, and what cannot is said."""

from __future__ import annotations

import collections
import contextlib
import fractions
import ipaddress
import math
import subprocess
import sys
import threading
import types
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb.codec import Codec, MissingValue
from dagflow_nb.errors import SerializationError

CODEC = Codec()
quick = settings(max_examples=60, deadline=None)


def again(value: Any, codec: Codec = CODEC) -> Any:
    """What `value` is after it was stored; fails where it is not stored."""
    stored = codec.encode(value)
    assert stored.data is not None, stored.reason
    assert stored.size == len(stored.data)
    return codec.decode(stored.codec, stored.data)


def same(one: Any, other: Any) -> bool:
    """Equal in value, type and order, NaN being NaN, through plain containers."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (one != one and other != other) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, datetime | time):
        return (one.replace(tzinfo=None), one.tzinfo, one.fold) == (
            other.replace(tzinfo=None),
            other.tzinfo,
            other.fold,
        )
    return bool(one == other)


texts = st.text(st.characters(exclude_categories=()), max_size=8)
json_scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
keys = (
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.tuples(st.integers(), texts)
    | st.dates()
    | st.just("$dagflow")
)
zones = (
    st.none()
    | st.timezones()
    | st.builds(
        timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.sampled_from(["X", "a b"])
    )
)
scalars = st.one_of(
    json_scalars,
    st.binary(max_size=8),
    st.binary(max_size=8).map(bytearray),
    st.binary(min_size=600, max_size=700),
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.timedeltas(),
    st.datetimes(timezones=zones, allow_imaginary=False),
    st.times(timezones=st.none() | st.just(UTC)),
    st.complex_numbers(),
    st.fractions(),
    st.ip_addresses(),
    texts.map(PurePosixPath),
    texts.map(PureWindowsPath),
    st.builds(Path, st.text("abc/. ", max_size=6)),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.builds(slice, st.none() | st.integers(), st.none() | st.integers()),
    st.just(...),
)
hashables = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | st.dates() | st.decimals(allow_nan=False),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashables, max_size=3),
        st.lists(inner, max_size=3).map(lambda items: collections.deque(items, maxlen=5)),
        st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict),
        st.dictionaries(texts, inner, max_size=3).map(lambda found: collections.defaultdict(list, found)),
    ),
    max_leaves=8,
)


@quick
@given(st.recursive(json_scalars, lambda i: st.lists(i, max_size=4) | st.dictionaries(texts, i, max_size=4)))
def test_json_comes_back(value: Any) -> None:
    """What JSON can say comes back exactly: NaN, big integers, lone surrogates, the tag's own key."""
    assert same(again(value), value)
    assert same(CODEC.loads(CODEC.dumps(value)), value)


@settings(max_examples=250, deadline=None)
@given(values)
def test_types_come_back(value: Any) -> None:
    """Values of the standard library keep their types, nested in each other, in bytes and in text."""
    assert same(again(value), value)
    text = CODEC.dumps(value)
    assert same(CODEC.loads(text), value)
    text.encode()


@pytest.mark.parametrize(
    "value",
    [
        {"$dagflow": "set", "v": [1]},
        {"$dagflow": "memory", "reason": "", "repr": ""},
        [{"a": {"$dagflow": {"$dagflow": "pickle", "v": "gASVBAAAAAAAAABLAS4="}}}],
        {1: "a", "1": "b", (1,): "c", None: "d", False: {2: 3}},
        10**5000,
        [-(7**9000), {"a": 3**8000}, {10**6000: 1}],
        "\ud83d\ude00",
        {"\ud83d\ude00": "😀", "$": ["\udfff", "ÿ"]},
        float("-inf"),
        -0.0,
        types.MappingProxyType({"a": (1,)}),
        types.SimpleNamespace(a=1, b={2}),
        collections.Counter("abca"),
        collections.defaultdict(None, {1: 2}),
        ipaddress.ip_network("10.0.0.0/8"),
        fractions.Fraction(-1, 3),
        zoneinfo.ZoneInfo("Europe/Berlin"),
        timezone(timedelta(hours=1, microseconds=5)),
        timezone(timedelta(0), "GMT"),
        UTC,
        datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2024, 10, 27, 2, 30, fold=1),
        time(1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-3), "here")),
        Decimal("sNaN12"),
        UUID(int=5),
        date.min,
        b"",
        b"x" * 1000,
        {"a": bytearray(b"x" * 1000), "b": [b"y" * 1000, b"z"]},
        "",
        [],
        {},
        (),
    ],
    ids=lambda value: type(value).__name__,
)
def test_awkward_values(value: Any) -> None:
    """Values with a trap in them come back as they were, in bytes and in text."""
    for found in (again(value), CODEC.loads(CODEC.dumps(value))):
        assert type(found) is type(value)
        assert same(found, value) or repr(found) == repr(value)


def test_zones_of_dateutil() -> None:
    """Times in zones of dateutil keep their zone and offset."""
    tz = pytest.importorskip("dateutil.tz", reason="dateutil is not installed")
    for zone in (tz.tzutc(), tz.tzoffset("X", 3600), tz.tzoffset(None, -60)):
        moment = datetime(2024, 5, 1, tzinfo=zone)
        assert same(again(moment), moment)


def test_zones_of_pytz() -> None:
    """Times in zones of pytz keep their zone and offset."""
    pytz = pytest.importorskip("pytz", reason="pytz is not installed")
    moment = pytz.timezone("Europe/Berlin").localize(datetime(2024, 7, 1, 12))
    assert again(moment).isoformat() == "2024-07-01T12:00:00+02:00"
    assert again(moment).tzinfo is moment.tzinfo


def test_codec_names() -> None:
    """Plain and tagged values are `json`, bytes `bytes`, values with big binary parts `bundle`."""
    assert CODEC.encode({"a": 1}).codec == "json"
    assert CODEC.encode({"a": {1}}).codec == "json"
    assert CODEC.encode(b"abc") == ("bytes", b"abc", 3, None)
    assert CODEC.encode([b"x" * 1000]).codec == "bundle"
    assert CODEC.encode({"a": "ü"}).data == '{"a":"ü"}'.encode()


def test_snapshot() -> None:
    """What is stored is the value of that moment: changing it later changes nothing."""
    value = {"rows": [1, 2], "raw": bytearray(b"x" * 1000)}
    stored = CODEC.encode(value)
    value["rows"].append(3)
    value["raw"][0] = 0
    assert CODEC.decode(stored.codec, stored.data) == {"rows": [1, 2], "raw": bytearray(b"x" * 1000)}


def test_shared_parts() -> None:
    """A part that is met several times is stored each time, without being taken for a circle."""
    part = {"a": (1, 2)}
    value = [part, part, {"x": part, "y": [part["a"], part["a"]]}]
    assert again(value) == value
    row = {"a": 0}
    wide = [[row] * 1000] * 500
    assert CODEC.encode(wide).size == 1000 * 500 * 8 + 500 * 2 + 1


class Awkward:
    """Everything about it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("leave me alone")

    def __repr__(self) -> str:
        raise RuntimeError("leave me alone")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("leave me alone")

    def __hash__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        raise RuntimeError("leave me alone")


class AwkwardMeta(type):
    """A metaclass that hides its classes."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError("leave me alone")


class Hidden(metaclass=AwkwardMeta):
    """A class that cannot be looked at."""


class OwnZone(tzinfo):
    """A time zone of the user's own."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


class Label(str):
    """A text of the user's own type."""


def _circle() -> Any:
    circle: dict[str, Any] = {}
    circle["a"] = [circle, (circle,)]
    return circle


def _deep(levels: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


UNSTORABLE = {
    "generator": (lambda: (i for i in ()), "generator", "make a list"),
    "lock": (threading.Lock, "lock", "inside the action"),
    "function": (lambda: test_snapshot, "function", "a name"),
    "lambda": (lambda: lambda: 1, "function", "a name"),
    "class": (lambda: Label, "type", "its name"),
    "class with a metaclass": (lambda: collections.abc.Mapping, "ABCMeta", "its name"),
    "module": (lambda: sys, "module", "a name"),
    "object": (Awkward, "Awkward", "a dataclass"),
    "hidden class": (Hidden, "cannot be looked at", "RuntimeError"),
    "key": (lambda: {Awkward(): 1}, "Awkward", "key"),
    "exception": (lambda: ValueError("x"), "ValueError", "a dict"),
    "subclass": (lambda: Label("x"), "Label", "return str(...)"),
    "own zone": (lambda: datetime(2024, 1, 1, tzinfo=OwnZone()), "OwnZone", "tzinfo"),
    "own zone alone": (OwnZone, "OwnZone", "no stored form"),
    "defaultdict": (lambda: collections.defaultdict(lambda: 1), "defaultdict", "make a dict"),
    "view": (lambda: {}.keys(), "dict_keys", "make a list"),
    "circle": (_circle, "contains itself", "['a'][0]"),
    "deep lists": (lambda: _deep(100_000, lambda v: [v]), "nested more than 100 levels", ""),
    "deep dicts": (lambda: _deep(5_000, lambda v: {"a": v}), "nested more than 100 levels", ""),
    "deep tuples": (lambda: _deep(150, lambda v: (v,)), "nested more than 100 levels", ""),
    "exploding lists": (lambda: _deep(80, lambda v: [v, v]), "over and over", ""),
    "exploding tuples": (lambda: _deep(80, lambda v: (v, v)), "over and over", ""),
}


@pytest.mark.parametrize("name", UNSTORABLE)
def test_what_cannot_be_stored(name: str) -> None:
    """What has no stored form stays in memory, with what it is, where it is and the way out."""
    make, *words = UNSTORABLE[name]
    stored = CODEC.encode({"outer": [make()]})
    assert (stored.codec, stored.data, stored.size) == ("memory", None, 0)
    assert stored.reason is not None
    assert stored.reason.startswith("['outer'][0]")
    assert all(word in stored.reason for word in words), stored.reason
    assert len(stored.reason) < 400


@pytest.mark.parametrize("name", UNSTORABLE)
def test_gaps_in_messages(name: str) -> None:
    """In a message, what cannot be written leaves a `MissingValue` and all else is there."""
    found = CODEC.loads(CODEC.dumps({"x": [1, {"y": UNSTORABLE[name][0]()}], "z": (2,)}))
    if isinstance(found, MissingValue):  # too deep or circular: the value as a whole
        assert found.reason
        return
    assert found["z"] == (2,)
    gaps = [found["x"][1]["y"]] if isinstance(found["x"][1], dict) else [found["x"][1]]
    assert all(isinstance(gap, MissingValue) and gap.reason for gap in gaps)


def test_a_gap_is_written_again() -> None:
    """A `MissingValue` in a message stays one; as a value it is not stored, with its first reason."""
    gap = CODEC.loads(CODEC.dumps({"a": print}))["a"]
    assert gap == CODEC.loads(CODEC.dumps([gap]))[0]
    assert "print" in gap.repr and "builtin_function" in str(gap)
    reason = CODEC.encode({"a": gap}).reason
    assert reason is not None and "builtin_function" in reason


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        ("json", b""),
        ("json", b'{"a":'),
        ("json", b'{"a":1} x'),
        ("json", b"\xff\xfe"),
        ("json", b'{"$dagflow":"datetime"}'),
        ("json", b'{"$dagflow":"datetime","v":"yesterday"}'),
        ("json", b'{"$dagflow":"datetime","v":[1]}'),
        ("json", b'{"$dagflow":"nothing","v":1}'),
        ("json", b'{"$dagflow":["a"],"v":1}'),
        ("json", b'{"$dagflow":"blob","v":7}'),
        ("json", b'{"$dagflow":"bytes","v":"!"}'),
        ("json", b'{"$dagflow":"named","v":["os","system","ls"]}'),
        ("json", b'{"$dagflow":"dict","v":[[[],1]]}'),
        ("json", b'{"$dagflow":"DagConfig","v":{"max_attempts":0}}'),
        ("json", b"[" * 100_000),
        ("bundle", b""),
        ("bundle", b"DFNB1"),
        ("bundle", b"DFNB1\x02\x00\x00\x00\x00\x00\x00\x00[]"),
        ("bundle", b"DFNB1\xff\xff\xff\xff\xff\xff\xff\xff[1]1"),
        ("bundle", b"DFNB1\x08\x00\x00\x00\x00\x00\x00\x00[-1, 2]1"),
        ("npy", b"\x93NUMPY"),
        ("npy", b""),
        ("pickle", b"garbage"),
        ("memory", None),
        ("parchment", b"x"),
    ],
)
def test_damaged_bytes(codec: str, data: bytes | None) -> None:
    """Bytes that are damaged, unknown or were never stored are a `SerializationError` with the way out."""
    with pytest.raises(SerializationError, match=r"run the node|newer|version|allow_pickle"):
        CODEC.decode(codec, data)


@quick
@given(value=values, data=st.data())
def test_torn_bytes(value: Any, data: st.DataObject) -> None:
    """Bytes that were cut off are a `SerializationError`, or happen to say something: no other exception."""
    stored = CODEC.encode(value)
    assert stored.data is not None
    cut = data.draw(st.integers(0, max(0, len(stored.data) - 1)))
    with contextlib.suppress(SerializationError):
        CODEC.decode(stored.codec, stored.data[:cut])


def test_pickles_only_where_allowed() -> None:
    """Nothing is pickled or unpickled unless that is allowed; then it is the last resort."""
    trusting = Codec(allow_pickle=True)
    assert trusting.encode({"a": (1, 2)}).codec == "json"
    stored = trusting.encode({"f": lambda x: x + 1})
    assert stored.codec == "pickle"
    assert trusting.decode("pickle", stored.data)["f"](1) == 2
    with pytest.raises(SerializationError, match="allow_pickle=True"):
        CODEC.decode("pickle", stored.data)
    text = trusting.dumps({"f": lambda x: x + 1, "n": 1})
    assert trusting.loads(text)["f"](1) == 2
    with pytest.raises(SerializationError, match="allow_pickle=True"):
        CODEC.loads(text)
    reason = trusting.encode(i for i in ()).reason
    assert reason is not None and "pickling failed too" in reason


def test_nothing_is_imported() -> None:
    """Encoding and decoding values brings in no library that the values do not come from."""
    program = """
import sys
from dagflow_nb.codec import Codec
import datetime, decimal, dataclasses
before = set(sys.modules)
codec = Codec()
class Odd: pass
for value in (1, {"a": {1, (2,)}}, datetime.datetime.now(), decimal.Decimal(1), Odd(), print, [b"x" * 9999]):
    stored = codec.encode(value)
    if stored.data is not None:
        codec.decode(stored.codec, stored.data)
    codec.loads(codec.dumps(value))
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not roots & {"numpy", "pandas", "polars", "pydantic", "pyarrow", "cloudpickle", "dateutil"}, roots
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_large_lists_are_not_walked() -> None:
    """A long list of scalars is looked at by type only: it is stored as one text, and comes back."""
    value = {"numbers": list(range(200_000)), "when": date(2024, 1, 1)}
    assert again(value) == value


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than a database row may be stays in memory, with that reason."""
    for module in ("values", "packing"):
        monkeypatch.setattr(f"dagflow_nb.codec.{module}.MAX_BYTES", 1000)
    for value in ("x" * 2000, b"x" * 2000, [b"x" * 2000], {"a": [b"x" * 400] * 3}):
        reason = CODEC.encode(value).reason
        assert reason is not None and "larger than" in reason
