"""Values as the page shows them: texts, tables, images; small whatever their size, and never markup."""

from __future__ import annotations

import base64
import io
import sys
import types
from collections import namedtuple
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, Field, SecretStr

from dagflow_nb.codec import MissingValue
from dagflow_nb.core.model import Ref
from dagflow_nb.notebook.showing import COLUMNS, ROWS, TEXT, brief, shown

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass
class Parts:
    name: str
    hidden: str = field(default="h", repr=False)


class Account(BaseModel):
    user: str
    password: SecretStr
    blob: bytes = Field(b"secret", repr=False)


class Loud:
    """Says so if somebody asks for its repr."""

    asked = False

    def __repr__(self) -> str:
        Loud.asked = True
        return "loud"


def test_texts():
    """Values look as in Python; references, lost values and secrets are told as what they are."""
    assert shown({"a": [1, (2,), {3}], "b": None}) == {
        "kind": "text",
        "text": "{'a': [1, (2,), {3}], 'b': None}",
    }
    assert shown(Ref("fetch", ("rows",)))["text"] == "→ fetch.rows"
    assert shown(MissingValue("no codec"))["text"] == "not stored: no codec"
    assert shown(Parts("x"))["text"] == "Parts(name='x')"
    assert shown(Account(user="ada", password="hunter2"))["text"] == (
        "Account(user='ada', password=SecretStr('**********'))"
    )
    assert shown(namedtuple("P", "x y")(1, 2))["text"] == "P(x=1, y=2)"
    assert shown("\x1b[31mred")["text"] == "'\\x1b[31mred'"
    assert shown(10**5000)["text"] == "an integer of 16,610 bits"


def test_a_hundred_megabytes_are_cut_without_being_written_out():
    """Of what is big only the beginning is looked at, and a note says how much there is."""
    tail = [Loud()]
    big = [0] * 10_000_000 + tail
    assert len(shown(big)["text"]) <= TEXT + 1 and shown(big)["note"] == "10,000,001 items"
    assert shown({i: i for i in range(100_000)} | {"last": tail})["note"] == "100,001 items"
    assert not Loud.asked
    assert shown("x" * 100_000_000) == {
        "kind": "text",
        "text": "'" + "x" * (TEXT - 1) + "…",
        "note": "100,000,000 characters",
    }
    assert shown(b"x" * 100_000_000)["note"] == "100 MB"
    array = shown(np.zeros((5000, 2500)))
    assert len(array["text"]) < 1000 and array["note"] == "5000 \u00d7 2500 float64, 100 MB"
    assert len(shown(np.array(["x" * 10_000_000], dtype=object))["text"]) <= TEXT + 1
    assert len(shown(Parts("x" * 50_000_000))["text"]) <= TEXT + 1
    heavy = type("Heavy", (), {"__sizeof__": lambda self: 200_000_000})
    assert shown(heavy()) == {"kind": "text", "text": "<Heavy>", "note": "200 MB"}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_frames_are_small_tables(make: Any):
    """The first rows and columns of a frame, cells as short texts; the note has its whole size."""
    wide = {f"c{i}": range(1000) for i in range(20)}
    told = shown(make({"when": [datetime(2026, 1, 2)] * 1000, "text": ["<b>" + "x" * 500] * 1000} | wide))
    assert told["kind"] == "table" and len(told["rows"]) == ROWS
    assert told["note"].startswith("1,000 rows \u00d7 22 columns, ")
    assert len(told["columns"]) == COLUMNS + (make is pd.DataFrame)
    when, text = told["rows"][0][-COLUMNS], told["rows"][0][1 - COLUMNS]
    assert when == "2026-01-02" and text.startswith("<b>x") and len(text) <= 81


def test_series_and_strange_frames():
    """A series is a table of one column; doubled and nested names, and no rows at all, are no problem."""
    assert shown(pd.Series([1.5], name="x"))["rows"] == [["0", "1.5"]]
    assert shown(pl.Series("x", [1.5]))["rows"] == [["1.5"]]
    twice = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 1)]))
    assert shown(twice)["columns"] == ["", "('a', 1)", "('a', 1)"]
    assert shown(pd.DataFrame())["note"].startswith("0 rows")


def test_images():
    """PNG, JPEG and GIF bytes, and what offers one of these to IPython, are images; SVG and HTML never."""
    told = shown(PNG)
    assert (told["kind"], told["mime"], told["note"]) == ("image", "image/png", "PNG, 70 bytes")
    assert base64.b64decode(told["data"]) == PNG
    assert shown(b"\xff\xd8\xff\xe0")["mime"] == "image/jpeg"
    assert shown(b"<svg onload='alert(1)'/>")["kind"] == "text"
    offers = type("Plot", (), {"_repr_png_": lambda self: (PNG, {"width": 1}), "_repr_html_": None})
    assert shown(offers())["mime"] == "image/png" and shown(offers)["kind"] == "text"
    text = type("Text", (), {"_repr_png_": lambda self: base64.b64encode(PNG).decode()})
    assert shown(text())["mime"] == "image/png"
    lies = type("Lies", (), {"_repr_png_": lambda self: b"<script>"})
    assert shown(lies())["kind"] == "text"
    big = shown(PNG + b"x" * 5_000_000)
    assert big["kind"] == "text" and "too big" in big["note"]


def test_figures_and_pictures_of_libraries(monkeypatch: pytest.MonkeyPatch):
    """A figure is drawn with a bounded number of dots, a PIL image is made smaller first."""

    class Figure:
        dpi = 1000

        def get_size_inches(self) -> tuple[float, float]:
            return 40.0, 2.0

        def savefig(self, to: io.BytesIO, *, format: str, dpi: float) -> None:
            assert (format, dpi) == ("png", 40.0)
            to.write(PNG)

    monkeypatch.setitem(sys.modules, "matplotlib.figure", types.SimpleNamespace(Figure=Figure))
    assert shown(Figure())["mime"] == "image/png"

    class Image:
        def __init__(self, size: tuple[int, int], mode: str = "RGB") -> None:
            self.size, self.mode = size, mode

        def reduce(self, factor: int) -> Image:
            return Image((self.size[0] // factor, self.size[1] // factor))

        def save(self, to: io.BytesIO, format: str) -> None:
            assert max(self.size) <= 1600 and format == "PNG"
            to.write(PNG)

    monkeypatch.setitem(sys.modules, "PIL.Image", types.SimpleNamespace(Image=Image))
    assert shown(Image((16_000, 9_000)))["note"] == "PNG, 16000 \u00d7 9000 pixels"


def test_values_whose_code_raises_are_told_by_their_type():
    """A repr, a picture or a length that raises, even with an error without a text, does no harm."""

    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(*_: object) -> Any:
        raise Bad

    assert "its repr raised Bad" in shown(type("Broken", (), {"__repr__": fail})())["text"]
    picture = type("Picture", (), {"_repr_png_": fail})
    assert shown(picture()) == {"kind": "text", "text": "Picture", "note": "cannot be shown: Bad"}
    assert shown(type("Items", (dict,), {"__iter__": fail})())["text"] == "Items"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.binary(), lambda inner:
    st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers())))  # fmt: skip
def test_any_value_is_shown_in_bounds(value: Any):
    """Whatever it is, its text is bounded."""
    assert len(brief(value)) <= 81
    assert len(shown(value).get("text", "")) <= TEXT + 1
