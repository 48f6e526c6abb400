"""References resolved to values: into mappings, lists, objects, frames; and what a map goes over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pytest

from dagflow_nb.core.model import NodeDef, NodeOutput, Ref
from dagflow_nb.core.scheduler import Scheduler
from dagflow_nb.errors import ValidationError
from dagflow_nb.runtime.values import MissingReference, Values, combine


@dataclass
class Point:
    x: int
    _hidden: int = 0


def values(outputs: dict[str, Any], inputs: dict[str, Any] | None = None) -> Values:
    """Values of a run whose node `a` gave these outputs."""
    scheduler = Scheduler("w", "r", [NodeDef(id="a", action="x"), NodeDef(id="b", action="x", deps=("a",))])
    scheduler.nodes["a"].outcome = NodeOutput(outputs)
    return Values(scheduler.nodes, inputs or {})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("rows",), [{"n": 1}, {"n": 2}]),
        (("rows", 1, "n"), 2),
        (("rows", -1, "n"), 2),
        (("point", "x"), 5),
        (("by_text", 7), "seven"),
        ((), None),
    ],
)
def test_a_path_leads_into_values(path: tuple[str | int, ...], expected: Any) -> None:
    """Keys, indices and attributes, one after the other; an empty path is what the action returned."""
    outputs = {"rows": [{"n": 1}, {"n": 2}], "point": Point(5), "by_text": {"7": "seven"}}
    found = values(outputs).lookup(Ref("a", path))
    assert found == (outputs if path == () else expected)


@pytest.mark.parametrize(
    "path", [("nope",), ("rows", 9), ("rows", "n"), ("point", "_hidden"), ("point", "y")]
)
def test_a_path_that_ends_says_where(path: tuple[str | int, ...]) -> None:
    """What is not there is a `MissingReference` that names the step; private attributes are not there."""
    with pytest.raises(MissingReference, match=str(path[-1])):
        values({"rows": [1], "point": Point(5)}).lookup(Ref("a", path))


def test_references_are_found_inside_lists_and_dicts() -> None:
    """Literals stay as they are, nested references are replaced, defaults fill what is missing."""
    run = values({"n": 4}, {"k": 2})
    spec = NodeDef(
        id="c",
        action="x",
        inputs={"deep": {"l": [1, Ref("a", ("n",))]}, "k": Ref("inputs", ("k",)), "d": Ref("a", ("gone",))},
        defaults={"d": 9},
    )
    node = Scheduler("w", "r", [NodeDef(id="a", action="x"), spec]).nodes["c"]
    assert run.resolve(node) == {"deep": {"l": [1, 4]}, "k": 2, "d": 9}


def test_a_map_goes_over_combinations_rows_and_frames() -> None:
    """Every combination of the lists; or each row of a list of dicts or of a frame."""
    import pandas as pd

    spec = NodeDef(id="m", action="x", kind="map")
    assert combine(spec, {"a": [1, 2], "b": ["", "y"]}) == [
        {"a": a, "b": b} for a in (1, 2) for b in ("", "y")
    ]
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert combine(spec, rows) == rows == combine(spec, pd.DataFrame(rows))
    assert combine(spec, []) == [] == combine(spec, {"a": []})


@pytest.mark.parametrize(
    "over", [{"a": 5}, {"a": "text"}, {"a": None}, 5, "text", [1, 2], [{1: 2}], {"a": iter([1])}]
)
def test_what_cannot_be_gone_over_names_the_map(over: Any) -> None:
    """No list, no rows: `ValidationError` whose culprit is the map."""
    with pytest.raises(ValidationError, match="'m'") as caught:
        combine(NodeDef(id="m", action="x", kind="map"), over)
    assert caught.value.culprit == "m"


FRAME = pd.DataFrame({"n": [1]})


@pytest.mark.parametrize("values", [{"b", "a"}, frozenset({1}), FRAME], ids=["set", "frozenset", "frame"])
def test_a_map_goes_over_nothing_whose_items_would_change_places(values: object) -> None:
    """A set, whose order differs between processes, and a frame as one input's values are refused."""
    spec = NodeDef(id="m", action="a", kind="map")
    with pytest.raises(ValidationError, match=r"sorted|over="):
        combine(spec, {"n": values})


def test_a_default_for_an_output_that_was_not_given_is_told_once() -> None:
    """With the nearest name, once an output; not where the node gave it, or has not ended well."""
    found = values({"threshold": 3})
    told: list[tuple[str, str]] = []
    found.tell = lambda id, text: told.append((id, text))
    spec = NodeDef(id="b", action="x", inputs={"t": Ref("a", ("treshold",))}, defaults={"t": 7})
    node = found.nodes["b"]
    node.spec = spec
    assert found.resolve(node) == found.resolve(node) == {"t": 7}
    text = "node 'b': 'a' gave no output 'treshold' (did you mean 'threshold'?): the default of 't' is used"
    assert told == [("b", text)]
    node.spec = replace(spec, inputs={"t": Ref("a", ("threshold",))})
    assert found.resolve(node) == {"t": 3}
    found.nodes["a"].outcome = None
    assert found.resolve(node) == {"t": 7} and len(told) == 1


def test_what_a_node_gave_is_named_where_something_else_is_asked_for() -> None:
    """The nearest key is suggested; of nothing at all that is said."""
    with pytest.raises(MissingReference, match=r"did you mean 'rows'\?"):
        values({"rows": [1], "count": 1}).lookup(Ref("a", ("row",)))
    with pytest.raises(MissingReference, match="'row' cannot be found: it is empty"):
        values({}).lookup(Ref("a", ("row",)))
