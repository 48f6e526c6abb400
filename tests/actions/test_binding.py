"""How inputs become arguments: by name, converted by pydantic's rules, refused before the action runs."""

from __future__ import annotations

import dataclasses
import enum
import pickle
import timeit
import typing
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, Field, SecretStr

from dagflow_nb.actions import MISSING, FunctionAction, InputError, MissingInput, NodeCtx, convert
from dagflow_nb.actions.conversion import mentions_secret, type_name
from dagflow_nb.errors import ValidationError

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]  # the point of the test that uses it


NO_SECRET = SecretStr("x")
SOME_DAY = pd.Timestamp("2026-01-01")


class Colour(enum.Enum):
    """A choice."""

    RED = "red"


class Row(BaseModel):
    """A model."""

    name: str
    count: int = 0


class Login(BaseModel):
    """A model that holds a secret."""

    user: int
    password: SecretStr


@dataclasses.dataclass
class Point:
    """A plain dataclass."""

    x: int
    y: int = 0


@dataclasses.dataclass
class Report:
    """A dataclass with a field of any class."""

    title: str
    frame: pd.DataFrame


class Reader(Protocol):
    """A protocol that cannot be checked at run time."""

    def read(self) -> str:
        """Some text."""


def bind(fn: Any, **inputs: Any) -> dict[str, Any]:
    return FunctionAction(fn, name="act").bind(NodeCtx(node_id="n", inputs=inputs))


def call(fn: Any, **inputs: Any) -> Any:
    action = FunctionAction(fn, name="act")
    return action.call(action.bind(NodeCtx(node_id="n", inputs=inputs)))


def test_parameters_are_bound_by_name():
    """Inputs go to the parameters of their names; a missing one with a default is left to the function."""

    def act(left, right=2, *, scale=1):
        return left, right, scale

    assert bind(act, left="a", scale=3) == {"left": "a", "scale": 3}
    assert call(act, left="a", scale=3) == ("a", 2, 3)


def test_positional_only_parameters():
    """Positional-only parameters are filled by position, also behind one that keeps its default."""

    def act(first, second=2, third=3, /, fourth=4):
        return first, second, third, fourth

    assert call(act, first=1) == (1, 2, 3, 4)
    assert call(act, first=1, third=9, fourth=8) == (1, 2, 9, 8)


@pytest.mark.parametrize("annotation", [NodeCtx, "NodeCtx", "dagflow_nb.NodeCtx", NodeCtx | None, None])
def test_the_context(annotation):
    """A parameter called ctx, or annotated NodeCtx, gets the context and takes no input."""

    def named(ctx, value):
        return ctx.node_id, value

    def typed(where, value):
        return where.node_id, value

    if annotation is not None:
        typed.__annotations__["where"] = annotation
        assert call(typed, value=1) == ("n", 1)
    assert call(named, value=1) == ("n", 1)
    with pytest.raises(InputError, match="'ctx' of action 'act' is its context"):
        bind(named, value=1, ctx=2)


def test_kwargs_get_the_rest_but_not_what_the_engine_gives():
    """`**kwargs` take the inputs that no parameter has, except those that the engine adds by itself."""

    def act(left, error=None, **rest: int):
        return left, error, rest

    assert call(act, left=1, error="e", node_id="x", human_input={}, inputs={}, more="3") == (
        1,
        "e",
        {"more": 3},
    )
    with pytest.raises(InputError, match="parameter 'more'"):
        bind(act, left=1, more="three")


def test_inputs_of_the_engine_are_ignored_where_nobody_wants_them():
    """human_input, error, node_id and inputs are no unknown inputs."""
    assert bind(lambda left: left, left=1, human_input={}, error="", node_id="", inputs={}) == {"left": 1}


def test_an_input_that_no_parameter_takes():
    """It is refused with the nearest name."""

    def act(source):
        return source

    with pytest.raises(
        InputError, match=r"node 'n': action 'act' has no parameter 'sauce': did you mean 'source'"
    ):
        bind(act, source=1, sauce=2)


def test_a_function_of_its_context_alone_reads_all_inputs_there():
    """Inputs that no parameter takes are wrong only where a parameter takes others."""

    def reads(ctx):
        return ctx.inputs["source"]

    def takes(ctx, source):
        return source

    reading, taking = FunctionAction(reads), FunctionAction(takes)
    assert reading.input_problems({"source", "sauce"}) == []
    assert bind(reads, source=1)["ctx"].inputs == {"source": 1}
    assert [name for name, _ in taking.input_problems({"source", "sauce"})] == ["sauce"]
    assert [name for name, _ in reading.input_problems({"ctx"})] == ["ctx"]


def test_a_missing_input():
    """It is named, with those that are there, and is a KeyError too."""

    def act(source):
        return source

    with pytest.raises(
        MissingInput, match=r"node 'n': action 'act' needs the input 'source'.*'sauce'"
    ) as found:
        bind(act, sauce=2)
    assert isinstance(found.value, KeyError) and isinstance(found.value, ValidationError)
    assert (found.value.node_id, found.value.parameter) == ("n", "source")


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (int, "3", 3),
        (float, 3, 3.0),
        (int, np.int64(3), 3),
        (Path, "/tmp/x", Path("/tmp/x")),
        (datetime, "2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5)),
        (Colour, "red", Colour.RED),
        (Row, {"name": "a", "count": "2"}, Row(name="a", count=2)),
        (list[Row], [{"name": "a"}], [Row(name="a")]),
        (Point, {"x": "1"}, Point(1)),
        (int | None, None, None),
        (Literal["a", "b"], "a", "a"),
        (Annotated[int, Field(gt=2)], "3", 3),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (Iterable[int], ["1", 2], [1, 2]),
        (tuple[int, str], ["1", "b"], (1, "b")),
        (list["Row"], [{"name": "a"}], [Row(name="a")]),
        ("list[Row]", [{"name": "a"}], [Row(name="a")]),
        (Any, "3", "3"),
        (object, "3", "3"),
        ("Unknown", "3", "3"),
        ("this is no annotation", "3", "3"),
        (Reader, "3", "3"),
        (3, "3", "3"),
    ],
)
def test_conversion(annotation, given, expected):
    """Values are converted by pydantic's rules; an annotation that cannot be used is not checked."""

    def act(value):
        return value

    act.__annotations__["value"] = annotation
    assert call(act, value=given) == expected


@pytest.mark.parametrize(
    "value", [Row(name="a"), Point(1), pd.DataFrame({"a": [1]}), Colour.RED, [1], {"a": 1}, "a"]
)
def test_a_value_that_has_the_type_is_not_copied(value):
    """An instance of the annotated class is passed as it is."""

    def act(value):
        return value

    act.__annotations__["value"] = type(value)
    assert call(act, value=value) is value


def test_a_dataclass_with_a_field_of_any_class():
    """Its plain fields are converted, the others are checked to be instances."""

    def act(report: Report):
        return report

    frame = pd.DataFrame()
    assert call(act, report={"title": "t", "frame": frame}).frame is frame
    with pytest.raises(InputError, match=r"report.frame = 3: input should be an instance of DataFrame"):
        bind(act, report={"title": "t", "frame": 3})


def test_an_iterable_that_is_no_container_passes_unread():
    """An iterator for an Iterable is not consumed by the check; what cannot be iterated is refused."""

    def act(rows: Iterable[int]):
        return rows

    rows = iter([1, 2])
    assert call(act, rows=rows) is rows
    with pytest.raises(InputError, match=r"takes Iterable\[int\], not 3"):
        bind(act, rows=3)


@pytest.mark.parametrize(
    ("annotation", "given", "message"),
    [
        (
            list[str],
            3,
            r"node 'n': parameter 'value' of action 'act' takes list\[str\], not 3: input should be",
        ),
        (list[Row], [{"name": "a"}, {"count": 1}], r"value.1.name: field required"),
        (Row, {"name": "a", "count": "many"}, r"value.count = 'many': input should be a valid integer"),
        (pd.DataFrame, 3, r"takes DataFrame, not 3: input should be an instance of DataFrame"),
        (Annotated[int, Field(gt=2)], 1, r"takes int, not 1: input should be greater than 2"),
        (Literal["a", "b"], "c", r"takes Literal\['a', 'b'\], not 'c'"),
        (list[int], list("abcde"), r"value.0 = 'a': .*; and 2 more"),
        (str, "x" * 10**6, None),
        (int, "x" * 10**6, r"takes int, not 'xxx"),
    ],
)
def test_a_mismatch_names_node_parameter_type_and_value(annotation, given, message):
    """The error names all four, in a message of bounded length."""

    def act(value):
        return value

    act.__annotations__["value"] = annotation
    if message is None:
        assert bind(act, value=given)
        return
    with pytest.raises(InputError, match=message) as found:
        bind(act, value=given)
    assert len(str(found.value)) < 1000
    assert found.value.__context__ is None
    assert (found.value.node_id, found.value.parameter, found.value.culprit) == ("n", "value", "value")


def test_secrets_are_never_shown():
    """What a secret holds is in no message, attribute or cause of an error."""

    def act(login: Login, secret: SecretStr = NO_SECRET, other: int = 0):
        return login

    with pytest.raises(InputError, match="may hold a secret") as found:
        bind(act, login={"user": "me", "password": "hunter2"})
    assert "hunter2" not in repr(vars(found.value)) + str(found.value)
    with pytest.raises(InputError) as found:
        bind(act, login=Login(user=1, password=SecretStr("hunter2")), secret=["hunter2"])
    assert "hunter2" not in repr(vars(found.value)) + str(found.value)
    with pytest.raises(InputError, match=r"\*\*\*\*") as found:
        bind(act, login=Login(user=1, password=SecretStr("hunter2")), other=SecretStr("hunter2"))
    assert "hunter2" not in repr(vars(found.value)) + str(found.value)


def test_errors_travel_between_processes():
    """An InputError is pickled with its attributes, and holds on to no data."""

    def act(value: int):
        return value

    with pytest.raises(InputError) as found:
        bind(act, value=pd.DataFrame({"a": range(1000)}))
    again = pickle.loads(pickle.dumps(found.value))
    assert str(again) == str(found.value) and again.parameter == "value" and again.node_id == "n"
    assert isinstance(again.value, str) and len(again.value) <= 80


def test_any_exception_of_a_validator_is_an_input_error():
    """Validators are the user's code: what they raise does not look like the action's own failure."""

    class Odd:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            from pydantic_core import core_schema

            return core_schema.no_info_plain_validator_function(lambda value: value["missing"])

    def act(value):
        return value

    act.__annotations__["value"] = Odd
    with pytest.raises(InputError, match="KeyError: 'missing'"):
        bind(act, value={})


def test_names_of_the_surrounding_function_are_found():
    """Text annotations may use classes that are local to where the action is defined."""

    class Local(BaseModel):
        size: int

    def act(value: Local, several: list[Local]):
        return value, several

    assert call(act, value={"size": "1"}, several=[{"size": 2}]) == (Local(size=1), [Local(size=2)])


def test_names_defined_after_the_action_are_found():
    """Text annotations are looked up at the first value, so that a later cell may define their classes."""
    space: dict[str, Any] = {"__name__": "cell"}
    exec("def act(value: 'Later'):\n    return value", space)
    action = FunctionAction(space["act"])
    exec("from pydantic import BaseModel\nclass Later(BaseModel):\n    size: int", space)
    assert action.bind(NodeCtx(inputs={"value": {"size": "3"}}))["value"] == space["Later"](size=3)


def test_a_default_is_not_validated():
    """A default may be of another type than the annotation says."""

    def act(value: int = None):  # noqa: RUF013  # written so on purpose
        return value

    assert call(act) is None


def test_default_of():
    """The default of a parameter, MISSING where there is none."""
    action = FunctionAction(lambda left, right=None: None, name="act")
    assert action.default_of("right") is None
    assert action.default_of("left") is MISSING and action.default_of("nothing") is MISSING
    assert repr(MISSING) == "MISSING"


def test_what_can_be_known_at_the_start():
    """Missing inputs and inputs that nobody takes are listed, what the engine gives counts as given."""

    def act(left, error, ctx, right=1):
        return left

    action = FunctionAction(act)
    assert action.input_problems({"left"}) == []
    found = dict(action.input_problems(["rigth", "ctx"]))
    assert found.keys() == {"left", "rigth", "ctx"}
    assert "did you mean 'right'" in found["rigth"] and "context" in found["ctx"]
    assert dict(action.input_problems({"left"}, given_by_engine=())).keys() == {"error"}
    assert FunctionAction(lambda **rest: None, name="all").input_problems(["anything"]) == []


def test_methods_partials_callable_objects_and_builtins():
    """Anything callable is bound by its signature."""
    import functools

    class Scale:
        def __init__(self, by):
            self.by = by

        def times(self, value: int):
            return self.by * value

        def __call__(self, value: int):
            return self.by * value

    def scale(value: int, by):
        return by * value

    assert call(Scale(2).times, value="3") == 6
    assert call(Scale(2), value="3") == 6
    assert call(functools.partial(scale, by=2), value="3") == 6
    assert call(functools.lru_cache(scale), value="3", by=2) == 6
    assert call(sorted, iterable=[2, 1]) == [1, 2]
    assert call(dict, a=1) == {"a": 1}
    assert call(Point, x=1) == Point(1) and call(Row, name="a") == Row(name="a")


def test_an_annotation_that_cannot_be_used_is_looked_at_once():
    """The second value is passed without a look, whatever the first one was."""

    def act(value: Unknown):
        return value

    action = FunctionAction(act)
    for value in (1, "two"):
        assert action.bind(NodeCtx(inputs={"value": value})) == {"value": value}
    assert action.parameters["value"].checked is False


def test_a_model_that_is_never_finished_is_not_checked():
    """A model whose own annotations name what does not exist lets every value through."""

    class Unfinished(BaseModel):
        other: Nowhere  # noqa: F821

    def act(value):
        return value

    act.__annotations__["value"] = Unfinished
    assert call(act, value=3) == 3


def test_values_that_are_validated_again():
    """A model that asks for it is validated although the value is its instance."""

    class Again(BaseModel, revalidate_instances="always"):
        size: int

    def act(value: Again):
        return value

    broken = Again.model_construct(size="many")
    with pytest.raises(InputError, match=r"value.size"):
        bind(act, value=broken)


def test_recursive_types_and_typed_dicts():
    """Types that refer to themselves and typed dicts are looked through for secrets."""

    class Inner(typing.TypedDict):
        key: SecretStr

    class Outer(BaseModel):
        login: Login
        more: list[Outer] = []

    @dataclasses.dataclass
    class Odd:
        field: Nowhere  # noqa: F821

    assert (
        mentions_secret(Outer) and mentions_secret(list[Outer | None]) and mentions_secret(dict[str, Inner])
    )
    assert not mentions_secret(Row) and not mentions_secret(Odd) and not mentions_secret(Point)


def test_the_schema_of_the_parameters():
    """It lists types, defaults and what is required, and leaves open what has no JSON form."""

    def act(
        ctx,
        rows: list[Row],
        _hidden: Annotated[int, Field(description="how many")],
        frame: pd.DataFrame | None = None,
        odd: 3 = 4,
        when=SOME_DAY,
    ):
        return rows

    schema = FunctionAction(act).input_schema
    assert schema["required"] == ["rows", "_hidden"]
    assert schema["properties"]["_hidden"] == {"type": "integer", "description": "how many"}
    assert schema["properties"]["rows"]["items"] == {"$ref": "#/$defs/Row"}
    assert schema["properties"]["odd"] == {"default": 4}
    assert set(schema["properties"]) == {"rows", "_hidden", "frame", "odd", "when"}
    assert schema["additionalProperties"] is False
    assert FunctionAction(lambda **rest: None, name="all").input_schema["additionalProperties"] is True


def test_convert():
    """The same rules, for one value."""
    assert convert("3", int, name="n") == 3 and convert("3", None, name="n") == "3"
    assert convert([1], Annotated[list[str | int], ["unhashable"]], name="n") == [1]
    with pytest.raises(InputError, match="input 'n' takes int, not 'x'"):
        convert("x", int, name="n")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (list[Row], "list[Row]"),
        (int | None, "int | None"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Annotated[Path, 1], "Path"),
        (Any, "Any"),
    ],
)
def test_type_names(annotation, text):
    """Types are written as in source text, without modules."""
    assert type_name(annotation) == text


def test_binding_nothing_is_cheap():
    """An action without parameters is bound in about a third of a microsecond; the bound leaves room."""

    async def act():
        return None

    action, ctx = FunctionAction(act), NodeCtx()
    assert min(timeit.repeat(lambda: action.bind(ctx), number=2000, repeat=5)) / 2000 < 5e-6
