"""Which family takes a type, and which one reads a tag.

Rules kept here: a type is taken by what it is, not by what its name says; numpy, pandas and polars are
looked for only in values that come from them, and imported only to read such values back.
"""

from __future__ import annotations

import sys

from . import arrays, classes, containers, frames, models, pickling, polars_frames, records, standard
from .base import Family

_ALL: tuple[Family, ...] = (
    *standard.FAMILIES,
    *containers.FAMILIES,
    *classes.FAMILIES,
    *models.FAMILIES,
    *records.FAMILIES,
    *arrays.FAMILIES,
    *frames.FAMILIES,
    *polars_frames.FAMILIES,
    *pickling.FAMILIES,
)
_BY_TAG: dict[str, Family] = {family.tag: family for family in _ALL}
_BY_TYPE: dict[type, Family] = {kind: family for family in _ALL for kind in family.kinds}
# libraries: a module of theirs -> who knows its types
_BY_LIBRARY = {
    "numpy": arrays.family_of,
    "pandas": frames.family_of,
    "polars": polars_frames.family_of,
    "dagflow_nb": records.family_of,
    "ipaddress": standard.family_of,
    "fractions": standard.family_of,
    "zoneinfo": standard.family_of,
    "pytz": standard.family_of,
    "dateutil": standard.family_of,
}


def family_of(kind: type) -> Family | None:
    """Who packs values of exactly this type; None if nobody does."""
    family = _BY_TYPE.get(kind)
    if family is None:
        module = kind.__module__
        root = module.partition(".")[0] if type(module) is str else ""
        ask = _BY_LIBRARY.get(root)
        if ask is not None and root in sys.modules:
            family = ask(kind)
        if family is None:
            family = models.family_of(kind) or classes.family_of(kind)
    return family


def family_named(tag: object) -> Family | None:
    """Who reads this tag; None if nobody does."""
    return _BY_TAG.get(tag) if type(tag) is str else None
