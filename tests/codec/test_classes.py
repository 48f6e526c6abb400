"""Objects of classes come back as they were, or as `Unknown` where their class is gone; secrets never."""

from __future__ import annotations

import enum
import functools
import json
import subprocess
import sys
import threading
from collections import namedtuple
from dataclasses import InitVar, dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pydantic
import pydantic.dataclasses
import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretBytes, SecretStr

from dagflow_nb.codec import Codec, MissingValue, Unknown

CODEC = Codec()
T = TypeVar("T")


def again(value: Any, codec: Codec = CODEC) -> Any:
    """What `value` is after it was stored; fails where it is not stored."""
    stored = codec.encode(value)
    assert stored.data is not None, stored.reason
    return codec.decode(stored.codec, stored.data)


def reason(value: Any, codec: Codec = CODEC) -> str:
    """Why `value` is not stored."""
    stored = codec.encode(value)
    assert stored.codec == "memory" and stored.reason is not None
    return stored.reason


class Colour(enum.Enum):
    """An enum with an alias and values of several types."""

    RED = "red"
    BLUE = (1, 2)
    CRIMSON = "red"
    CALL = len


class Level(enum.IntEnum):
    """An enum of integers."""

    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    """An enum of texts."""

    FAST = "fast"


class Right(enum.Flag):
    """An enum of flags."""

    READ = enum.auto()
    WRITE = enum.auto()


Pair = namedtuple("Pair", "x y")


class Point(NamedTuple):
    """A named tuple with types."""

    x: float
    y: float = 0.0


@dataclass
class Plain:
    """A dataclass with a mutable default and parts."""

    name: str
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen dataclass with slots."""

    day: date
    inner: Any = None


@dataclass
class Computed:
    """A dataclass that would notice a second `__init__`."""

    radius: float
    scale: InitVar[int] = 1
    area: float = field(init=False)
    unset: int = field(init=False)
    made = 0

    def __post_init__(self, scale: int) -> None:
        type(self).made += 1
        self.area = self.radius * scale
        self.note = ("not a field",)

    @functools.cached_property
    def cached(self) -> int:
        """Kept in the object once it was asked for."""
        return 7


@dataclass(slots=True)
class Base:
    """A slotted base."""

    a: int


@dataclass(slots=True)
class Derived(Base, Generic[T]):
    """A slotted, generic dataclass below another one."""

    b: T


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of pydantic's."""

    n: int


@dataclass
class OfDict(dict):  # type: ignore[type-arg]
    """A dataclass on top of a dict."""

    a: int = 1


class Order(BaseModel):
    """A model whose validator is not idempotent."""

    model_config = ConfigDict(extra="allow")
    id: int
    price: Decimal = Decimal("1.0")
    tags: tuple[str, ...] = ()
    colour: Colour = Colour.RED
    inner: Order | None = None
    _hidden: int = PrivateAttr(default=3)

    @pydantic.field_validator("id")
    @classmethod
    def _add(cls, value: int) -> int:
        return value + 1


class Box(BaseModel, Generic[T]):
    """A generic model."""

    content: T


class Numbers(pydantic.RootModel[list[int]]):
    """A model of a list."""


class Site(BaseModel):
    """A model with a URL."""

    url: pydantic.HttpUrl


class Login(BaseModel):
    """A model with a secret."""

    user: str
    password: SecretStr


@dataclass
class Holder:
    """A dataclass around anything."""

    value: Any


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Colour.BLUE,
        Colour.CRIMSON,
        Level.HIGH,
        Mode.FAST,
        Right.READ,
        Right.READ | Right.WRITE,
        Right(0),
        Pair(1, (2,)),
        Point(1.5),
        Plain("a"),
        Plain("b", [1, {2}, Plain("c")]),
        Frozen(date(2024, 1, 1), {"a": Frozen(date.min)}),
        Derived[int](1, 2),
        Checked(3),
        Order(id=1),
        Order(id=1, tags=("a",), inner=Order(id=2), colour=Colour.BLUE, more={"x": (1,)}),
        Box[int](content=1),
        Box[Order](content=Order(id=1)),
        Box(content="x"),
        Numbers([1, 2]),
        Site(url="https://example.org/a?b=c"),
        {Level.LOW: 1, Frozen(date.min): 2, Point(1): {Mode.FAST}},
        Holder([Holder(None), {"a": Holder(Order(id=1))}]),
    ],
    ids=repr,
)
def test_objects_come_back(value: Any) -> None:
    """Enums, named tuples, dataclasses and models keep type and content, in bytes and in text."""
    for found in (again(value), CODEC.loads(CODEC.dumps([value]))[0]):
        assert type(found) is type(value)
        assert found == value
        assert repr(found) == repr(value)
    if isinstance(value, enum.Enum):
        assert again(value) is value


def test_no_init_is_run() -> None:
    """A dataclass comes back with all that it held, also what is no field, and without its `__init__`."""
    value = Computed(2.0, 3)
    assert value.cached == 7
    count = Computed.made
    found = again(value)
    assert Computed.made == count
    assert found == value if hasattr(value, "unset") else vars(found) == vars(value)
    assert (found.area, found.note, found.__dict__["cached"]) == (6.0, ("not a field",), 7)
    assert not hasattr(found, "unset")


def test_models_keep_their_state() -> None:
    """A model comes back without its validators, with the fields that were set, extras and private values."""
    value = Order(id=1, more=5)
    value._hidden = 9
    found = again(value)
    assert (found.id, found.more, found._hidden) == (2, 5, 9)
    assert found.model_fields_set == value.model_fields_set == {"id", "more"}
    assert again(Order.model_construct(id="not a number")).id == "not a number"
    assert type(again(Box[int](content=1))) is Box[int]


def test_frames_in_objects() -> None:
    """Big parts inside objects are stored beside the JSON, and come back in their place."""
    found = again(Holder({"frame": pd.DataFrame({"a": range(500)}), "array": np.arange(500)}))
    assert found.value["frame"]["a"].sum() == found.value["array"].sum()


def _local_classes() -> list[Any]:
    @dataclass
    class Local:
        x: int = 1

    class LocalEnum(enum.Enum):
        A = 1

    class LocalModel(BaseModel):
        x: int = 1

    return [Local(), LocalEnum.A, LocalModel(), namedtuple("LocalTuple", "x")(1)]


@pytest.mark.parametrize("value", _local_classes(), ids=lambda value: type(value).__name__)
def test_local_classes_stay_in_memory(value: Any) -> None:
    """A class that could not be found again keeps its objects in memory, and it is said what to do."""
    assert "define it at the top" in reason([value]) and reason([value]).startswith("[0] ")
    assert again([value], Codec(allow_pickle=True))[0] == value
    assert isinstance(CODEC.loads(CODEC.dumps([value]))[0], MissingValue)


def test_objects_that_stay_in_memory() -> None:
    """Objects with parts that have no stored form are not stored, and the part is named."""
    assert reason(Holder({"a": threading.Lock()})).startswith("value['a'] is of type _thread.lock")
    assert reason([Order(id=1, more=[print])]).startswith("[0].more[0] is of type builtin")
    assert "built-in type" in reason(OfDict())
    assert "generic model" in reason(Box[list[int]](content=[1]))
    circle = Holder(None)
    circle.value = [circle]
    assert "contains itself" in reason(circle)
    stored = CODEC.loads(CODEC.dumps({"x": Holder(threading.Lock()), "y": 1}))
    assert isinstance(stored["x"], MissingValue) and stored["x"].repr == "<Holder>" and stored["y"] == 1


def _redefine(monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    scope: dict[str, Any] = {**globals(), "__name__": __name__}
    exec(source, scope)
    monkeypatch.setattr(sys.modules[__name__], name, scope[name])


def test_class_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a class is gone its objects are `Unknown`: readable, and stored again as they were."""
    values = {
        "Plain": Plain("a", [1]),
        "Colour": Colour.BLUE,
        "Order": Order(id=1),
        "Point": Point(1.0, 2.0),
        "Right": Right.WRITE,
        "Level": Level.LOW,
    }
    stored = CODEC.encode(values)
    for name in values:
        monkeypatch.delattr(sys.modules[__name__], name)
    found = CODEC.decode(stored.codec, stored.data)
    assert {type(value) for value in found.values()} == {Unknown}
    assert found["Plain"].name == "a" and found["Plain"].fields == {"name": "a", "parts": [1]}
    assert found["Plain"].class_name == f"{__name__}:Plain"
    assert "Plain, name='a', parts=[1]" in repr(found["Plain"])
    assert found["Colour"].name == "BLUE" and found["Colour"].value == (1, 2)
    assert found["Order"].price == Decimal("1.0") and found["Point"].x == 1.0
    with pytest.raises(AttributeError, match="import its module"):
        _ = found["Plain"].colour
    assert {found["Plain"], again(found)["Plain"]} == {found["Plain"]} and again(found) == found
    monkeypatch.undo()
    assert again(found) == values


def test_class_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields added with a default are filled in; where fields are lost or needed, the object is `Unknown`."""
    stored = CODEC.encode([Plain("a"), Order(id=1)])
    assert stored.data is not None

    def read() -> Any:
        return CODEC.decode(stored.codec, stored.data)

    plain = "@dataclass\nclass Plain:\n    name: str\n"
    more = "    parts: list\n    n: int = 5\n    l: list = field(default_factory=list)"
    _redefine(monkeypatch, "Plain", plain + more)
    assert (read()[0].n, read()[0].l, read()[0].name) == (5, [], "a")
    _redefine(monkeypatch, "Plain", plain + "    parts: list\n    n: int")
    assert isinstance(read()[0], Unknown)
    _redefine(monkeypatch, "Plain", plain)
    assert isinstance(read()[0], Unknown)
    _redefine(monkeypatch, "Plain", "class Plain:\n    pass")
    assert isinstance(read()[0], Unknown)
    fields = "    id: int\n    price: Any\n    tags: Any\n    colour: Any\n    inner: Any\n"
    _redefine(
        monkeypatch,
        "Order",
        f"class Order(BaseModel):\n{fields}    n: int = 4\n    _p: int = PrivateAttr(default=8)",
    )
    assert (read()[1].n, read()[1]._p, read()[1].id) == (4, 8, 2)
    _redefine(monkeypatch, "Order", f"class Order(BaseModel):\n{fields}    n: int")
    assert isinstance(read()[1], Unknown)
    colour = CODEC.encode(Colour.BLUE)
    _redefine(monkeypatch, "Colour", "class Colour(enum.Enum):\n    RED = 1")
    assert isinstance(CODEC.decode(colour.codec, colour.data), Unknown)


def test_classes_of_a_cell_that_ran_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object made before its class was defined again is stored, and read as one of the new class."""
    old = Plain("a", [1])
    _redefine(monkeypatch, "Plain", "@dataclass\nclass Plain:\n    name: str\n    parts: list")
    found = again(old)
    assert type(found) is Plain is not type(old) and vars(found) == vars(old)


def test_nothing_is_imported_or_called(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that names a module, a function or another class makes nothing imported or called."""
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for tag in ("dataclass", "pydantic", "enum", "namedtuple", "url"):
        for name in (
            "trap_module:Trap",
            "os:system",
            "subprocess:Popen",
            "builtins:dict",
            f"{__name__}:pytest.exit",
            "",
        ):
            payload = {"class": name, "fields": {"args": ["ls"]}, "name": "x", "set": [], "text": "x"}
            found = CODEC.loads(json.dumps({"$dagflow": tag, "v": payload}))
            assert isinstance(found, Unknown) and found.class_name == name
    assert "trap_module" not in sys.modules


def test_classes_of_a_script() -> None:
    """Objects of classes in `__main__` come back in the next process that defines them."""
    program = """
import sys
from dataclasses import dataclass
from dagflow_nb.codec import Codec
@dataclass
class Mine:
    x: int
codec = Codec()
if len(sys.argv) == 1:
    print(codec.dumps(Mine(5)))
else:
    assert codec.loads(sys.argv[1]) == Mine(5)
"""
    run = functools.partial(subprocess.run, check=True, timeout=60, capture_output=True, text=True)
    text = run([sys.executable, "-c", program]).stdout.strip()
    run([sys.executable, "-c", program, text])
    assert isinstance(CODEC.loads(text), Unknown)


SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    "value",
    [
        SecretStr(SECRET),
        SecretBytes(SECRET.encode()),
        pydantic.Secret[str](SECRET),
        [SecretStr(SECRET)],
        {"a": {"b": (SecretStr(SECRET),)}},
        {SecretStr(SECRET): 1},
        Login(user="u", password=SECRET),
        Holder(Login(user="u", password=SECRET)),
        {SecretStr(SECRET)},
        pd.Series([SecretStr(SECRET)]),
        pd.DataFrame({"a": [SecretStr(SECRET)]}),
        np.array([SecretStr(SECRET)], dtype=object),
        [threading.Lock(), SecretStr(SECRET)],
        functools.partial(print, SecretStr(SECRET)),
        Order(id=1, more=SecretStr(SECRET)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_secrets_are_never_written(value: Any) -> None:
    """No secret is written in any form, pickles included, and the reason names it without showing it."""
    for codec in (CODEC, Codec(allow_pickle=True)):
        why = reason(value, codec)
        text = codec.dumps({"x": value, "y": 1})
        assert SECRET not in why + text
        assert codec.loads(text)["y"] == 1
        assert "secret" in why or "no stored form" in why


def test_where_the_secret_is() -> None:
    """The reason says where the secret lies; in a message only its own place is a gap."""
    assert reason({"login": Login(user="u", password=SECRET)}).startswith(
        "['login'].password is a secret (SecretStr)"
    )
    found = CODEC.loads(CODEC.dumps({"user": "u", "password": SecretStr(SECRET)}))
    assert found["user"] == "u" and isinstance(found["password"], MissingValue)
