"""Big values: written piece by piece, lent instead of copied, and seen from afar."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, strategies as st

from dagflow_nb.codec import Codec, Parts, base, columns
from dagflow_nb.codec.weight import HEAVY, are_heavy

CODEC = Codec()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=9),
)


@given(JSON)
def test_pieces_are_the_json(value: Any) -> None:
    """Whatever its shape, the pieces together are the same text as in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "CHUNK", 2)
        patch.setattr(base, "_WIDE", 4)
        patch.setattr(base, "_DEEP", 3)
        assert b"".join(base.json_parts(value)) == base.write_json(value).encode("utf-8", "surrogatepass")


def frame(rows: int) -> pd.DataFrame:
    """A frame in one block, 80 bytes a row."""
    return pd.DataFrame(np.arange(rows * 10.0).reshape(rows, 10), columns=list("abcdefghij"))


BIG: dict[str, Any] = {
    "frame": frame(20_000),
    "columns": frame(20_000).assign(n=range(20_000)),
    "array": np.arange(200_000),
    "fortran": np.asfortranarray(np.arange(200_000.0).reshape(500, 400)),
    "times": np.arange(200_000).astype("datetime64[s]"),
    "strided": np.arange(400_000)[::2],
    "polars": pl.DataFrame({"n": np.arange(200_000)}),
    "list": list(range(400_000)),
    "records": [{"a": i, "b": "x" * 50} for i in range(30_000)],
}


@pytest.mark.parametrize("name", list(BIG))
def test_what_is_lent_is_what_is_copied(name: str) -> None:
    """The parts of a big value are the bytes that a snapshot has; read back they are the value, writable."""
    value = BIG[name]
    lent, copied = CODEC.encode(value, lend=True), CODEC.encode(value)
    assert type(lent.data) is Parts and b"".join(lent.data) == copied.data
    assert lent.size == copied.size == len(copied.data or b"")
    for data in (copied.data, bytearray(copied.data or b"")):
        found = CODEC.decode(copied.codec, data)
        assert type(found) is type(value)
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype and np.array_equal(found, value)
            found[0] = found[1]
        elif isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found, value)
            found.iloc[0, 0] = 5
        else:
            assert found.equals(value) if isinstance(value, pl.DataFrame) else found == value


@pytest.mark.parametrize("name", ["frame", "columns", "array", "fortran", "times"])
def test_lending_takes_no_memory(name: str) -> None:
    """A numeric frame or array is not copied to be written, and read into memory once."""
    value = BIG[name]
    size = CODEC.encode(value).size
    CODEC.encode(value, lend=True)  # what is imported for the first time counts no more
    tracemalloc.start()
    lent = CODEC.encode(value, lend=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 1_000_000 and lent.size == size and peak < size / 10


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
@pytest.mark.parametrize("missing", [pd.NA, np.nan], ids=["NA", "nan"])
def test_long_columns_of_text(storage: str, missing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written in lines, and come back with their dtype, missing values and line ends."""
    if storage == "pyarrow":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(columns, "CHUNK", 4)
    texts = ["a", "b\nc", None, "ü", '"', "", "\\n", None, "x" * 100, "\u2028"]
    value = pd.Series(pd.array(texts, dtype=pd.StringDtype(storage, na_value=missing)))
    stored = CODEC.encode(value)
    found = CODEC.decode(stored.codec, stored.data)
    pd.testing.assert_series_equal(found, value)
    assert found.dtype.storage == storage
    assert CODEC.loads(CODEC.dumps(value)).equals(value)


@dataclass
class Trap:
    """Something that cannot be looked at."""

    @property
    def nbytes(self) -> int:
        """Never known."""
        raise RuntimeError("do not touch")


@pytest.mark.parametrize(
    ("value", "heavy"),
    [
        (None, False),
        ("x" * 1000, False),
        ([1, [2, {"a": (3.0, None)}]], False),
        (np.zeros(10), False),
        (Trap(), False),
        ("x" * (HEAVY + 1), True),
        ([b"x" * HEAVY, "y"], True),
        ({"a": {"b": np.zeros(HEAVY)}}, True),
        (list(range(2000)), True),
        ([[0] * 100] * 50, True),
        (pd.DataFrame({"a": [1]}), True),
        (pl.Series([1]), True),
    ],
)
def test_what_is_heavy(value: Any, heavy: bool) -> None:
    """Much data, or more than a glance can count, is heavy."""
    assert are_heavy([value]) is heavy


def test_sizes_of_json_are_exact() -> None:
    """A long list written in pieces has the bytes that `json` reads."""
    value = {"rows": [{"i": i, "t": "é\ud800"[: 1 + i % 2]} for i in range(25_000)]}
    stored = CODEC.encode(value)
    assert stored.data is not None and stored.size == len(stored.data)
    assert json.loads(bytes(stored.data).decode("utf-8", "surrogatepass")) == value
