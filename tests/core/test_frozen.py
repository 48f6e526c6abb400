"""Records that are frozen, and quickly made."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace

import pytest

from dagflow_nb.core.frozen import maker, quick


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the others have."""

    seq: int = 0


@dataclass(frozen=True, slots=True)
class Usual(Base):
    """As `dataclasses` makes it."""

    x: int
    y: tuple[int, ...] = ()
    z: str = field(default="z", kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Point(Base):
    """The same, made quickly."""

    x: int
    y: tuple[int, ...] = ()
    z: str = field(default="z", kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Checked:
    """One that looks at what it is given."""

    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("below zero")


class Derived(Point):
    """A class with a layout of its own."""


def test_a_quick_record_is_made_as_a_usual_one() -> None:
    """It takes the same arguments, has the same defaults, and complains in the same words."""
    assert inspect.signature(Point) == inspect.signature(Usual)
    for make in (Point, Usual):
        assert asdict(make(1)) == {"seq": 0, "x": 1, "y": (), "z": "z"}
        assert asdict(make(1, (2,), z="w", seq=3)) == {"seq": 3, "x": 1, "y": (2,), "z": "w"}
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
            make()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected keyword argument 'w'"):
            make(1, w=2)  # type: ignore[call-arg]


def test_a_default_that_is_made_anew_is_refused() -> None:
    """A `default_factory` is named when the class is made."""

    @dataclass(frozen=True, slots=True)
    class Listed:
        items: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match="'items' has a default"):
        quick(Listed)


def test_a_quick_record_is_frozen_and_of_its_class() -> None:
    """Nothing can be set or deleted; it equals, hashes, copies and pickles as any other."""
    point = Point(1, seq=2)
    assert type(point) is Point and not hasattr(point, "__dict__")
    for change in (lambda: setattr(point, "x", 2), lambda: delattr(point, "x")):
        with pytest.raises(FrozenInstanceError):
            change()
    assert point == Point(1, seq=2) != Point(2, seq=2)
    assert repr(point) == "Point(seq=2, x=1, y=(), z='z')"
    assert replace(point, x=5) == Point(5, seq=2)
    assert copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point


def test_a_quick_record_is_checked_and_may_be_derived_from() -> None:
    """`__post_init__` is called; a class derived from it, which has another layout, is filled as usual."""
    with pytest.raises(ValueError, match="below zero"):
        Checked(-1)
    derived = Derived(1, (2,), z="w", seq=4)
    assert type(derived) is Derived and asdict(derived) == {"seq": 4, "x": 1, "y": (2,), "z": "w"}


def test_a_maker_takes_some_of_the_fields_by_position() -> None:
    """The others have their defaults."""
    make = maker(Point, "x", "seq")
    assert make(3, 4) == Point(3, seq=4) and type(make(3, 4)) is Point
    assert make(3) == Point(3)
    with pytest.raises(FrozenInstanceError):
        make(3).x = 4  # type: ignore[misc]
