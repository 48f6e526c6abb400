"""DataFrames as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def as_text(table: pd.DataFrame) -> str:
    """A table as wide as it needs, without the index: times to the second, nothing for what is missing."""
    shown = table.astype(object).where(table.notna(), "")
    for name in table.select_dtypes(include=["datetime", "datetimetz"]):
        shown[name] = table[name].dt.strftime("%Y-%m-%d %H:%M:%S").fillna("")
    return str(shown.to_string(index=False, max_colwidth=60, float_format="{:.3f}".format))
