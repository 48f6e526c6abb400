"""Tools: actions with a JSON schema, in the forms of the APIs of language models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from dagflow_nb import ActionNotFound, DagFlow, NodeAction, NodeCtx, NodeOutput, ValidationError
from dagflow_nb.actions.docstrings import read_docstring
from dagflow_nb.agents.tools import STYLES, Tools, schema


class Filter(BaseModel):
    """A condition that hits fulfil."""

    name: str
    kind: Literal["is", "is not"] = "is"


def search(
    query: str,
    ctx: NodeCtx,
    limit: Annotated[int, Field(description="At most so many.", ge=1)] = 5,
    filters: tuple[Filter, ...] = (),
    human_input: Any = None,
) -> list[str]:
    """Search the web.

    Quick, but not for pictures.

    Args:
        query (str): What to look for,
            as one types it.
        limit: This is not it.
        **rest: Nothing.

    Returns:
        query: The addresses.
    """
    return [query]


@pytest.fixture
def flow() -> Iterator[DagFlow]:
    with DagFlow(":memory:") as flow:
        yield flow


def test_the_form_of_openai(flow: DagFlow) -> None:
    """A tool is a function with its name, its docstring's text and its parameters as an object."""
    flow.tool(search)
    (made,) = flow.tools.schemas("openai")
    assert set(made) == {"type", "function"} and made["type"] == "function"
    function = made["function"]
    assert function["name"] == "search"
    assert function["description"] == "Search the web.\n\nQuick, but not for pictures."
    parameters = function["parameters"]
    assert set(parameters["properties"]) == {"query", "limit", "filters"}  # neither ctx nor human_input
    assert parameters["required"] == ["query"] and parameters["additionalProperties"] is False
    jsonschema.Draft202012Validator.check_schema(parameters)
    jsonschema.validate({"query": "x", "filters": [{"name": "site"}]}, parameters)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"query": "x", "limit": 0}, parameters)


def test_the_forms_of_anthropic_and_mcp(flow: DagFlow) -> None:
    """They have the same three parts under their own names."""
    flow.tool(search)
    parameters = flow.tools.schemas()[0]["function"]["parameters"]
    about = {"name": "search", "description": "Search the web.\n\nQuick, but not for pictures."}
    assert flow.tools.schemas("anthropic") == [{**about, "input_schema": parameters}]
    assert flow.tools.schemas("mcp") == [{**about, "inputSchema": parameters}]


def test_parameters_are_described() -> None:
    """By their annotation, else by the docstring, whose further lines belong to the parameter above."""
    properties = schema(search)["function"]["parameters"]["properties"]
    assert properties["query"]["description"] == "What to look for, as one types it."
    assert properties["limit"] == {
        "type": "integer",
        "default": 5,
        "minimum": 1,
        "description": "At most so many.",
    }
    assert "description" not in properties["filters"]


def test_a_tool_is_an_action(flow: DagFlow) -> None:
    """It takes the settings of an action, runs in workflows and is still the plain function."""

    @flow.tool(name="twice", retries=2, description="Doubles.")
    def double(number: int) -> dict[str, int]:
        return {"number": 2 * number}

    @flow.workflow
    def pipeline(number: int = 4) -> Any:
        return double(number)

    assert double(3) == {"number": 6}
    assert flow.run("pipeline", view=False).result == {"number": 8}
    assert flow.tools["twice"].options.settings.try_count == 3
    assert flow.tools.schemas("mcp")[0]["description"] == "Doubles."


def test_classes_are_tools_too(flow: DagFlow) -> None:
    """A `NodeAction` has its own `input_schema`; without one it takes anything."""

    @flow.tool
    class Send(NodeAction):
        """Send a message."""

        name = "send"
        input_schema = {"type": "object", "properties": {"to": {"type": "string"}}}  # noqa: RUF012  # as users write it

        async def execute(self, ctx: NodeCtx) -> NodeOutput:
            return NodeOutput.ok({})

    (made,) = flow.tools.schemas("anthropic")
    assert made == {"name": "send", "description": "Send a message.", "input_schema": Send.input_schema}


def test_only_tools_are_told_of(flow: DagFlow) -> None:
    """An action is no tool, nor is a tool whose name was given to an action since."""

    @flow.action
    def plain() -> None: ...

    flow.tool(search)
    made = flow.tool(name="other")(plain)
    assert list(flow.tools) == ["search", "other"] and len(flow.tools) == 2 and "plain" not in flow.tools
    assert made.name == "other"
    flow.action(name="other")(plain)
    assert list(flow.tools) == ["search"]


@pytest.mark.parametrize("name", ["two words", "a.b", "ü", "x" * 65])
def test_a_name_that_the_apis_refuse_is_refused(flow: DagFlow, name: str) -> None:
    """The error says which characters there may be and how to give another name."""
    with pytest.raises(ValidationError, match=r"a-z, A-Z, 0-9, _ and -.*name='\.\.\.'"):
        flow.tool(name=name)(search)
    assert name not in flow.actions


@pytest.mark.parametrize("style", ["opneai", "", None, 3])
def test_another_style_is_refused(flow: DagFlow, style: Any) -> None:
    """The error names the styles that there are."""
    with pytest.raises(ValidationError, match="'openai', 'anthropic' or 'mcp'") as raised:
        flow.tools.schemas(style)
    assert raised.value.culprit == "style"


def test_an_unknown_tool_is_named(flow: DagFlow) -> None:
    """`flow.tools[...]` suggests what there is."""
    flow.tool(search)
    with pytest.raises(ActionNotFound, match="did you mean 'search'"):
        flow.tools["serch"]


@pytest.mark.parametrize("style", STYLES)
def test_a_schema_may_be_changed(style: str) -> None:
    """What a caller does to a schema does not change the next one."""
    first = schema(search, style)
    next(part for part in [first.get("function", first)] if part).popitem()[1]["properties"].clear()
    inner = schema(search, style)
    assert next(iter(reversed(inner.get("function", inner).values())))["properties"]


def test_tools_show_themselves(flow: DagFlow) -> None:
    """As a table, in which nothing of a docstring is markup."""
    assert "@flow.tool" in repr(flow.tools) and "@flow.tool" in flow.tools._repr_html_()

    @flow.tool
    def bold() -> None:
        """Makes <b>bold</b>."""

    assert repr(flow.tools) == "<tools: bold>"
    assert "Makes &lt;b&gt;bold&lt;/b&gt;." in flow.tools._repr_html_()


def test_a_registry_keeps_its_tools(flow: DagFlow) -> None:
    """A flow that is made with another one's registry has its tools."""
    flow.tool(search)
    assert list(Tools(flow._session.registry.copy())) == ["search"]


@pytest.mark.parametrize(
    ("doc", "text", "parameters"),
    [
        (None, "", {}),
        ("One line.", "One line.", {}),
        ("One.\n\nArgs:\n    a: A.\n\n    b: B: b.\n\nMore.", "One.", {"a": "A.", "b": "B: b."}),
        ("One.\n\nExample:\n    a: no\n", "One.", {}),
        ("One.\n>>> f()\na: no\n", "One.", {}),
        ("\nArgs:\n  no entry\n  a (dict[str, int], optional): A.\n", "", {"a": "A."}),
        ("Reads: quickly.\n\nArgs:\n\n", "Reads: quickly.", {}),
    ],
)
def test_docstrings_are_read(doc: str | None, text: str, parameters: dict[str, str]) -> None:
    """The text ends at the first section or example; only sections of parameters describe any."""

    def documented() -> None: ...

    documented.__doc__ = doc
    assert read_docstring(documented) == (text, parameters)
