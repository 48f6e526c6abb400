"""numpy arrays, pandas objects and polars frames come back as they were."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from dagflow_nb.codec import Codec, MissingValue
from dagflow_nb.errors import SerializationError

CODEC = Codec()
BERLIN = ZoneInfo("Europe/Berlin")


def again(value: Any) -> Any:
    """What `value` is after it was stored, also as a part of others; fails where it is not stored."""
    stored = CODEC.encode(value)
    assert stored.data is not None, stored.reason
    inner = CODEC.encode({"a": [value]})
    assert inner.data is not None
    found = CODEC.decode(stored.codec, stored.data)
    assert type(CODEC.decode(inner.codec, inner.data)["a"][0]) is type(found)
    assert type(CODEC.loads(CODEC.dumps((value,)))[0]) is type(found)
    return found


def reason(value: Any) -> str:
    """Why `value` is not stored."""
    stored = CODEC.encode([value])
    assert stored.codec == "memory" and stored.reason is not None
    assert isinstance(CODEC.loads(CODEC.dumps([value]))[0], MissingValue)
    return stored.reason


arrays = hnp.arrays(
    st.one_of(
        hnp.scalar_dtypes(),
        hnp.array_dtypes(allow_subarrays=True),
        hnp.unicode_string_dtypes(max_len=5),
        hnp.byte_string_dtypes(max_len=5),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


@settings(max_examples=100, deadline=None)
@given(arrays)
def test_arrays(value: Any) -> None:
    """Arrays of every dtype, byte order and shape come back exactly, and can be written to."""
    found = again(value)
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert found.tobytes() == value.tobytes()
    assert found.flags.writeable


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(hnp.scalar_dtypes(), hnp.array_dtypes(allow_subarrays=False)).flatmap(
        lambda dtype: hnp.arrays(dtype, ())
    )
)
def test_scalars(array: Any) -> None:
    """Scalars of numpy keep their type and their bytes."""
    value = array[()]
    found = again(value)
    assert type(found) is type(value)
    assert found.dtype == value.dtype and found.tobytes() == value.tobytes()


def test_special_arrays() -> None:
    """Arrays of objects, of long strings and in Fortran's order, masked arrays and records come back."""
    mixed = np.array([None, (1, 2), [3], np.float32(1.5), date(2024, 1, 1), "x"], dtype=object)
    found = again(mixed)
    assert found.dtype == object and found.tolist() == mixed.tolist() and type(found[3]) is np.float32
    square = np.array([[1, "a"], [None, {}]], dtype=object)
    assert again(square).shape == (2, 2)
    lists = np.empty(2, dtype=object)
    lists[:] = [[1, 2], [3, 4]]
    assert again(lists).shape == (2,) and again(lists)[1] == [3, 4]
    assert again(np.asfortranarray(np.arange(6).reshape(2, 3))).flags.f_contiguous
    assert again(np.arange(10)[::3]).tolist() == [0, 3, 6, 9]
    masked = np.ma.MaskedArray([1, 2, 3], mask=[0, 1, 0], fill_value=7, hard_mask=True)
    found = again(masked)
    assert found.tolist() == [1, None, 3] and found.fill_value == 7 and found.hardmask
    assert again(np.ma.MaskedArray([1.0])).mask is np.ma.nomask
    if hasattr(np.dtypes, "StringDType"):
        words = np.array(["a", "längeres Wort"], dtype=np.dtypes.StringDType())
        assert again(words).dtype == words.dtype and again(words).tolist() == words.tolist()
    assert CODEC.encode(np.zeros(3)).codec == "npy"
    assert CODEC.encode(np.array([1, None])).codec == "json"


def test_arrays_that_stay_in_memory() -> None:
    """Subclasses of arrays, and dtypes that no file keeps, are not stored, and it is said why."""
    assert "numpy" in reason(np.zeros(2).view(np.recarray))
    assert "metadata" in reason(np.zeros(1, dtype=np.dtype("f8", metadata={"unit": "m"})))
    assert "metadata" in reason(np.zeros(1, dtype=[("a", np.dtype("f8", metadata={"unit": "m"}))]))
    assert "structured" in reason(np.zeros(1, dtype=[("a", object)]))
    assert "function" in reason(np.array([print, 1], dtype=object))
    assert "Generator" in reason(np.random.default_rng())


INDEXES = {
    "range": lambda: pd.RangeIndex(1, 20, 5, name=("a", 1)),
    "int": lambda: pd.Index([3, 1, 2, 2, 5], dtype="int8", name="n"),
    "float": lambda: pd.Index([1.5, np.nan, -0.0, np.inf, 1]),
    "str": lambda: pd.Index(["a", "b", "ü", "", "a"], name=None),
    "object": lambda: pd.Index(["a", 1, None, (1, 2), date(2024, 1, 1)], dtype=object),
    "texts as objects": lambda: pd.Index(list("abcde"), dtype=object),
    "bool": lambda: pd.Index([True, False, True, True, False]),
    "datetime": lambda: pd.date_range("2024-01-01", periods=5, freq="h", unit="s"),
    "datetime without freq": lambda: pd.DatetimeIndex(["2024-01-01", None, "1900-01-01", "2024", "2025"]),
    "datetime with zone": lambda: pd.date_range("2024-10-26", periods=5, freq="D", tz=BERLIN, name=5),
    "utc": lambda: pd.date_range("2024-10-26", periods=5, freq="15min", tz="UTC"),
    "offset": lambda: pd.DatetimeIndex(["2024"] * 5).tz_localize(timezone(timedelta(hours=2))),
    "timedelta": lambda: pd.timedelta_range("1s", periods=5, freq="2s"),
    "period": lambda: pd.period_range("2024-01", periods=5, freq="M", name="month"),
    "interval": lambda: pd.interval_range(0, 5, closed="left"),
    "interval of times": lambda: pd.interval_range(pd.Timestamp("2024"), periods=5, freq="D"),
    "category": lambda: pd.CategoricalIndex(list("abcab"), categories=list("cbad"), ordered=True),
    "multi": lambda: pd.MultiIndex.from_product(
        [["a", "b"], pd.date_range("2024", periods=3, tz="UTC"), [1.5]], names=["x", None, 3]
    )[1:],
    "nullable": lambda: pd.Index([1, None, 3, 4, 5], dtype="Int64"),
    "empty": lambda: pd.Index([], dtype=object),
    "empty range": lambda: pd.RangeIndex(0),
    "empty multi": lambda: pd.MultiIndex.from_arrays([[], []], names=["a", "b"]),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes(name: str) -> None:
    """Every kind of index keeps its type, dtype, names, frequency and missing values."""
    value = INDEXES[name]()
    found = again(value)
    pd.testing.assert_index_equal(found, value, exact=True)
    assert found.names == value.names and found.dtype == value.dtype
    assert getattr(found, "freq", None) == getattr(value, "freq", None)
    if isinstance(value, pd.MultiIndex):
        for one, other in zip(found.levels, value.levels, strict=True):
            pd.testing.assert_index_equal(one, other, exact=True)


COLUMNS: dict[str, Any] = {
    "int": lambda: pd.Series([1, 2, 3], dtype="int16"),
    "float": lambda: pd.Series([1.5, np.nan, -0.0], dtype="float32"),
    "bool": lambda: pd.Series([True, False, True]),
    "complex": lambda: pd.Series([1j, 2, 3]),
    "str": lambda: pd.Series(["a", None, "ü😀"], dtype="str"),
    "string": lambda: pd.Series(["a", None, ""], dtype="string"),
    "string in python": lambda: pd.Series(["a", pd.NA, ""], dtype=pd.StringDtype("python")),
    "object": lambda: pd.Series([1, "a", None], dtype=object),
    "texts as objects": lambda: pd.Series(["a", np.nan, None], dtype=object),
    "objects of all kinds": lambda: pd.Series([pd.NA, pd.NaT, float("nan")], dtype=object),
    "nested": lambda: pd.Series([[1, 2], {"a": (1,)}, Decimal("1.5")]),
    "Int64": lambda: pd.Series([1, None, 2**62 + 1], dtype="Int64"),
    "UInt8": lambda: pd.Series([1, None, 255], dtype="UInt8"),
    "Float32": lambda: pd.Series([1.5, None, 0.1], dtype="Float32"),
    "boolean": lambda: pd.Series([True, None, False], dtype="boolean"),
    "category": lambda: pd.Series(["b", None, "a"], dtype=pd.CategoricalDtype(["b", "a", "c"], ordered=True)),
    "category of numbers": lambda: pd.Series([1, 2, 1], dtype="category"),
    "category of times": lambda: pd.Series(pd.to_datetime(["2024", "2025", "2024"])).astype("category"),
    "datetime": lambda: pd.Series(
        np.array(["2024-01-01T12:00:00.123456", "NaT", "1700-01-01"], dtype="M8[us]")
    ),
    "datetime in seconds": lambda: pd.Series(np.array(["2024", "NaT", "9999"], dtype="M8[s]")),
    "datetime with zone": lambda: pd.Series(
        pd.to_datetime(["2024-06-01", None, "2024-12-01"])
    ).dt.tz_localize(BERLIN),
    "timedelta": lambda: pd.Series(pd.to_timedelta(["1s", None, "2D"])),
    "period": lambda: pd.Series(pd.PeriodIndex(["2024Q1", None, "2024Q3"], freq="Q")),
    "interval": lambda: pd.Series(pd.IntervalIndex.from_tuples([(0, 1), (1, 2), (2, 3)], closed="both")),
    "sparse": lambda: pd.Series(pd.arrays.SparseArray([0, 0, 5], fill_value=0)),
    "sparse blocks": lambda: pd.Series(pd.arrays.SparseArray([np.nan, 1.0, 2.0], kind="block")),
    "arrow": lambda: pd.Series([1, None, 3], dtype="int64[pyarrow]"),
    "arrow lists": lambda: pd.Series(
        [[1], None, [2, 3]], dtype=pd.ArrowDtype(_arrow().list_(_arrow().int8()))
    ),
}


def _arrow() -> Any:
    return pytest.importorskip("pyarrow", reason="pyarrow is not installed")


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(name: str) -> None:
    """Columns keep dtype, values and missing values: alone, in a frame, as an array, and where empty."""
    if "arrow" in name:
        _arrow()
    series = COLUMNS[name]().rename("x")
    for value in (series, series.iloc[:0], series[::-1]):
        found = again(value)
        pd.testing.assert_series_equal(found, value, check_freq=True)
        assert found.dtype == value.dtype
        assert [type(item) for item in found] == [type(item) for item in value]
    frame = pd.DataFrame({"x": series, "n": [1, 2, 3]}, index=series.index)
    pd.testing.assert_frame_equal(again(frame), frame)
    if not isinstance(series.dtype, np.dtype):
        array = series.array
        assert again(array).dtype == array.dtype
        assert again(array).equals(array)


FRAMES = {
    "empty": lambda: pd.DataFrame(),
    "rows only": lambda: pd.DataFrame(index=[1, 2]),
    "columns only": lambda: pd.DataFrame(columns=pd.Index(["a", 1], dtype=object)),
    "one block": lambda: pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=["a", "b"]),
    "one block of times": lambda: pd.DataFrame(
        {"a": pd.to_datetime(["2024"]), "b": pd.to_datetime(["2025"])}
    ),
    "the same name twice": lambda: pd.DataFrame([[1, "a"], [2, "b"]], columns=["x", "x"]),
    "the same label twice": lambda: pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}, index=[0, 0]),
    "names of all kinds": lambda: pd.DataFrame([[1, "a", 2.5]], columns=[1, ("a", 2), None]),
    "multi": lambda: pd.DataFrame(
        [[1, "b"], [3, "d"]],
        index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"]),
        columns=pd.MultiIndex.from_tuples([("u", 1), ("v", 2)]),
    ),
    "all texts": lambda: pd.DataFrame({"a": ["x", "y"], "b": ["z", None]}),
    "all objects": lambda: pd.DataFrame({"a": [1, "x"], "b": [None, (1,)]}, dtype=object),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name: str) -> None:
    """Frames keep their shape, labels and dtypes, and are independent of what was stored."""
    value = FRAMES[name]()
    found = again(value)
    pd.testing.assert_frame_equal(found, value, check_column_type=True, check_freq=True)
    assert found.index.equals(value.index) and found.columns.equals(value.columns)
    assert [type(name) for name in found.columns] == [type(name) for name in value.columns]


def test_frame_extras() -> None:
    """`attrs` and flags come back with a frame; a subclass of a frame is not stored."""
    frame = pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    frame.attrs = {"unit": ("m", 2), "made": date(2024, 1, 1)}
    found = again(frame)
    assert found.attrs == frame.attrs and not found.flags.allows_duplicate_labels
    assert again(pd.Series([1])).attrs == {}

    class Own(pd.DataFrame):
        pass

    assert "Own" in reason(Own({"a": [1]}))


def test_frames_that_stay_in_memory() -> None:
    """A frame with objects that have no stored form is not stored, and the column is named."""
    assert ".values" in reason(pd.Series([1, print])) and "function" in reason(pd.Series([1, print]))
    assert "['f']" in reason(pd.DataFrame({"a": [1], "f": [print]}))
    assert "GroupBy" in reason(pd.DataFrame({"a": [1]}).groupby("a"))
    special = pd.offsets.CustomBusinessDay(holidays=["2024-01-02"])
    assert "freq=None" in reason(pd.date_range("2024-01-01", periods=3, freq=special))


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2024-01-01 12:00:00.123456789"),
        pd.Timestamp("2024-01-01").as_unit("s"),
        pd.Timestamp("9999-01-01"),
        pd.Timestamp("2024-07-27 02:30", tz=BERLIN),
        pd.Timestamp("2024-10-27 02:30").tz_localize(BERLIN, ambiguous=False),
        pd.Timestamp(datetime(2024, 1, 1, tzinfo=UTC)),
        pd.Timedelta("1D 3s"),
        pd.Timedelta(nanoseconds=5),
        pd.Period("2024-03", freq="M"),
        pd.Interval(1, 2.5, closed="neither"),
        pd.Interval(pd.Timestamp("2024"), pd.Timestamp("2025")),
        pd.NA,
        pd.NaT,
    ],
    ids=str,
)
def test_pandas_scalars(value: Any) -> None:
    """Scalars of pandas keep type, unit, zone and fold."""
    found = again(value)
    assert type(found) is type(value)
    assert found is value or found == value
    for name in ("unit", "tz", "fold", "closed", "freq"):
        assert getattr(found, name, None) == getattr(value, name, None)


def test_nested_frames() -> None:
    """A dict that holds frames, series, arrays and times is stored as one bundle."""
    value = {
        "frame": pd.DataFrame({"a": range(1000), "b": ["x"] * 1000}),
        "parts": [np.arange(1000), (pd.Timestamp("2024"), {np.int8(1)})],
        np.int64(3): pl.DataFrame({"a": [1]}),
    }
    stored = CODEC.encode(value)
    assert stored.codec == "bundle"
    found = CODEC.decode(stored.codec, stored.data)
    pd.testing.assert_frame_equal(found["frame"], value["frame"])
    assert found["parts"][0].tolist() == list(range(1000)) and found["parts"][1] == value["parts"][1]
    assert found[3].equals(value[np.int64(3)]) and type(list(found)[2]) is np.int64


def test_frames_are_snapshots() -> None:
    """Changing a frame or an array after it was stored changes nothing."""
    frame, array = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), np.zeros(200)
    stored, other = CODEC.encode(frame), CODEC.encode([array])
    frame.iloc[0, 0] = array[0] = 99
    assert CODEC.decode(stored.codec, stored.data).iloc[0, 0] == 1
    assert CODEC.decode(other.codec, other.data)[0][0] == 0


POLARS = pl.DataFrame(
    {
        "n": [1, None, 3],
        "x": [1.5, float("nan"), None],
        "s": ["a", None, "ü"],
        "d": [date(2024, 1, 1), None, date(2025, 1, 1)],
        "t": [datetime(2024, 1, 1, tzinfo=UTC), None, datetime(2025, 1, 1, tzinfo=UTC)],
        "delta": [timedelta(seconds=1), None, timedelta(days=1)],
        "lists": [[1], None, [2, 3]],
        "struct": [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}],
        "raw": [b"x", None, b""],
    },
).with_columns(
    cat=pl.Series(["a", "b", "a"], dtype=pl.Categorical),
    enum=pl.Series(["a", "b", "a"], dtype=pl.Enum(["b", "a"])),
    fixed=pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int8, 2)),
    dec=pl.Series([Decimal("1.50"), None, Decimal("2.25")], dtype=pl.Decimal(38, 2)),
    small=pl.Series([1, 2, 3], dtype=pl.UInt8),
    none=pl.Series([None, None, None], dtype=pl.Null),
)


@pytest.mark.parametrize("value", [POLARS, POLARS.head(0), pl.DataFrame()], ids=["rows", "no rows", "empty"])
def test_polars_frames(value: pl.DataFrame) -> None:
    """Frames of polars keep their schema and rows."""
    found = again(value)
    assert found.schema == value.schema and found.equals(value)


def test_polars_series() -> None:
    """Series of polars keep name and dtype."""
    for column in POLARS.iter_columns():
        found = again(column)
        assert found.name == column.name and found.dtype == column.dtype and found.equals(column)


def test_polars_that_stays_in_memory() -> None:
    """Lazy frames and columns of objects are not stored, with the way out."""
    assert "collect()" in reason(POLARS.lazy())
    assert "Python objects (o)" in reason(pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}))
    assert "Expr" in reason(pl.col("a"))


def test_torn_frames() -> None:
    """Damaged bytes of frames and arrays are a `SerializationError`."""
    for value in (np.arange(100), COLUMNS["datetime with zone"]().to_frame(), POLARS, FRAMES["multi"]()):
        stored = CODEC.encode(value)
        assert stored.data is not None
        for cut in (1, 10, len(stored.data) // 2, len(stored.data) - 1):
            with pytest.raises(SerializationError):
                CODEC.decode(stored.codec, stored.data[:cut])
        with pytest.raises(SerializationError):
            CODEC.decode(stored.codec, stored.data[:-50] + bytes(50) + b"x")


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a value's library is not installed, the error says what to install."""
    stored = {name: CODEC.encode(value) for name, value in {"numpy": np.arange(3), "polars": POLARS}.items()}
    for name, found in stored.items():
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SerializationError, match=f"pip install {name}"):
            CODEC.decode(found.codec, found.data)


def test_strings_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dtype `str` comes back without pyarrow as well; a dtype of pyarrow's own says what to install."""
    _arrow()
    series = pd.Series(["a", None], dtype="str")
    texts, numbers = CODEC.encode(series), CODEC.encode(COLUMNS["arrow"]())
    monkeypatch.setattr("dagflow_nb.codec.columns.library", _without_pyarrow)
    found = CODEC.decode(texts.codec, texts.data)
    assert (
        str(found.dtype) == str(series.dtype)
        and found.tolist()[0] == "a"
        and found.isna().tolist() == [False, True]
    )
    with pytest.raises(SerializationError, match="pip install pyarrow"):
        CODEC.decode(numbers.codec, numbers.data)


def _without_pyarrow(name: str, package: str | None = None) -> Any:
    from dagflow_nb.codec.base import library

    if name.startswith("pyarrow"):
        raise SerializationError("this value needs pyarrow: run `pip install pyarrow`")
    return library(name, package)
