"""One node of a YAML workflow: its keys, checked one by one, as a `NodeDef`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import yaml

from ..core.model import Form, NodeDef, Ref
from ..errors import NodeAlreadyExists, ValidationError, shorten
from . import settings
from .check import Place
from .yaml_source import Source

# fmt: off
_NODE = (
    "id", "action", "workflow", "description", "dependencies", "inputs", "outputs", "failure", "onfailure",
    "on_failure", "timeout", "try_count", "when", "cache", "map", "branch", "executor", "ask", "tags",
    "instructions",
)
# fmt: on
_DEPENDENCIES = "write dependencies: [fetch, clean]"
_IN_MAP = "write it in a map: map: {over: {path: scan.files}, limit: 4}"
# what is called so in Python, or by others
_MEANT = {
    "retries": "write try_count: 3 for 2 retries",
    **dict.fromkeys(("after", "deps", "depends_on", "needs"), _DEPENDENCIES),
    **dict.fromkeys(("over", "rows", "limit"), _IN_MAP),
}
_OVER = ("name", "description", "reference", "value")
_INPUT = (*_OVER, "default")
_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "timeout": settings.timeout_seconds,
    "try_count": lambda value: settings.count("try_count", value),
    "when": settings.when,
    "cache": settings.cache,
    "executor": settings.executor,
}


class NodeReader:
    """Makes nodes; `places` and `notes` remember where things stand and what is said of them."""

    def __init__(self, source: Source, places: dict[Place, yaml.Node]) -> None:
        self._source = source
        self._places = places
        self.notes: dict[tuple[str, str, str], str] = {}

    def read(self, node: yaml.Node) -> NodeDef:
        """The node; dependencies are those that are listed, references perhaps still as text."""
        source = self._source
        fields = source.fields(node, "a node", _NODE, meant=_MEANT)
        node_id = source.text(source.required(fields, node, "id", "a node"), "id")
        earlier = self._places.get((node_id, "node", node_id))
        if earlier is not None:
            raise NodeAlreadyExists(
                node_id,
                f"line {source.line(earlier)} has this id too; give one of them another id",
                file=source.file,
                line=source.line(fields["id"]),
            )
        self._places[node_id, "node", node_id] = fields["id"]
        made = self._kind(fields, node, node_id)
        made["inputs"], made["defaults"] = self._inputs(fields, node_id, made)
        for key in ("description", "instructions"):
            if key in fields:
                made[key] = source.text(fields[key], key)
        for key, check in _SETTINGS.items():
            if key in fields:
                with source.at(fields[key]):
                    made[key] = check(source.value(fields[key]))
        if "failure" in fields:
            with source.at(fields["failure"]):
                made["failure"] = settings.name("failure", source.text(fields["failure"], "failure"))
        if "ask" in fields:
            with source.at(fields["ask"]):
                made["ask"] = _form(source.value(fields["ask"]))
        deps: dict[str, None] = {}
        for dep in source.items(fields.get("dependencies"), "dependencies", "[fetch, clean]"):
            name = source.text(dep, "a dependency")
            self._places[node_id, "dependency", name] = dep
            deps[name] = None
        return NodeDef(
            id=node_id,
            deps=tuple(deps),
            on_failure=self._policy(fields),
            outputs=self._outputs(fields.get("outputs"), node_id),
            tags=tuple(source.texts(fields.get("tags"), "tags")),
            **made,
        )

    # --- what kind of node ------------------------------------------------------------------------

    def _kind(self, fields: dict[str, yaml.Node], node: yaml.Node, node_id: str) -> dict[str, Any]:
        source = self._source
        given = [key for key in ("action", "workflow", "branch") if key in fields]
        if "branch" in fields and "action" in fields and fields["action"].value == "branch":
            given.remove("action")
        if len(given) != 1:
            raise source.error(
                f"node {node_id!r} needs one of 'action', 'workflow' and 'branch'"
                + (f", not both {given[0]!r} and {given[1]!r}" if given else ": write action: ..."),
                fields[given[1]] if given else node,
                given[1] if given else "action",
            )
        kind = given[0]
        if kind == "branch":
            return self._branch(fields, node_id)
        with source.at(fields[kind]):
            action = settings.name(kind, source.text(fields[kind], kind))
        if "map" not in fields:
            return {"kind": kind, "action": action}
        made = self._map(fields["map"], node_id)
        if kind == "workflow":
            made["result"] = {"template": (), "result": None}
        return {"kind": "map", "action": action, **made}

    def _branch(self, fields: dict[str, yaml.Node], node_id: str) -> dict[str, Any]:
        source = self._source
        if "map" in fields:
            raise source.error(f"node {node_id!r} is a branch and cannot be a map too", fields["map"], "map")
        sides = source.fields(fields["branch"], "branch", ("then", "otherwise"))
        over: dict[str, tuple[str, ...]] = {}
        for side in ("then", "otherwise"):
            over[side] = tuple(source.texts(sides.get(side), side))
            for part in sides[side].value if side in sides else ():
                self._places[node_id, "branch", part.value] = part
        both = set(over["then"]) & set(over["otherwise"])
        if both or not (over["then"] or over["otherwise"]):
            problem = f"has {min(both)!r} on both sides" if both else "leads nowhere"
            raise source.error(f"branch {node_id!r} {problem}", fields["branch"], "branch")
        return {"kind": "branch", "action": "branch", "over": over}

    def _map(self, node: yaml.Node, node_id: str) -> dict[str, Any]:
        source = self._source
        fields = source.fields(node, "map", ("over", "rows", "limit"))
        if ("over" in fields) == ("rows" in fields):
            raise source.error(
                "map needs over: [{name: path, reference: scan.files}] or rows: {reference: scan.table}",
                node,
                "over",
            )
        limit = None
        if "limit" in fields:
            with source.at(fields["limit"]):
                limit = settings.count("limit", source.value(fields["limit"]))
        if "rows" in fields:
            return {"over": self._rows(fields["rows"], node_id), "limit": limit}
        over: dict[str, Any] = {}
        for name, part, items in self._varied(fields["over"]):
            over[name] = items
            self._places[node_id, "over", name] = part
            if not isinstance(items, Ref | list):
                raise source.error(
                    f"{name!r} of over is a list, or a reference to one, not {shorten(items)}",
                    part,
                    name,
                    items,
                )
        if not over:
            raise source.error("over names at least one parameter", fields["over"], "over")
        return {"over": over, "limit": limit}

    def _varied(self, node: yaml.Node) -> Iterator[tuple[str, yaml.Node, Any]]:
        """Each parameter of `over` with its place and what it takes: in a mapping a reference or a list."""
        source, taken = self._source, set[str]()
        if isinstance(node, yaml.MappingNode):
            for key, part in source.pairs(node):
                is_list = isinstance(part, yaml.SequenceNode)
                yield source.text(key, "a name"), part, (source.value if is_list else source.reference)(part)
            return
        for part in source.items(node, "over", "[{name: path, reference: scan.files}]"):
            name = self._name_of(part, "an entry of over", _OVER, taken)
            taken.add(name)
            yield name, part, self._given(part, f"{name!r} of over", name, _OVER)

    def _rows(self, node: yaml.Node, node_id: str) -> Any:
        rows = self._given(node, "rows", "rows", ("reference", "value"))
        self._places[node_id, "over", ""] = node
        if isinstance(rows, Ref) or (
            isinstance(rows, list)
            and all(isinstance(row, Ref) or settings.is_text_mapping(row) for row in rows)
        ):
            return rows
        raise self._source.error("rows is a list of mappings, or a reference to one", node, "rows", rows)

    # --- inputs and outputs -----------------------------------------------------------------------

    def _name_of(self, node: yaml.Node, what: str, known: tuple[str, ...], taken: Collection[str]) -> str:
        source = self._source
        fields = source.fields(node, what, known)
        name = source.text(source.required(fields, node, "name", what), "name")
        if not name:
            raise source.error(f"{what} has a name that is not empty", node, "name")
        if name in taken:
            raise source.error(f"{name!r} is here twice: leave one of them", fields["name"], name)
        return name

    def _given(self, node: yaml.Node, what: str, culprit: str, known: tuple[str, ...]) -> Any:
        source = self._source
        fields = source.fields(node, what, known, empty=("value", "default"))
        if ("reference" in fields) == ("value" in fields):
            both = "not both" if "value" in fields else "write reference: node.key, or value: ..."
            raise source.error(f"{what} has either a reference or a value: {both}", node, culprit)
        if "value" in fields:
            return source.value(fields["value"])
        return source.reference(fields["reference"])

    def _inputs(
        self, fields: Mapping[str, yaml.Node], node_id: str, made: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        source = self._source
        inputs: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        over = made["over"] if made["kind"] == "map" and isinstance(made["over"], dict) else {}
        for part in source.items(fields.get("inputs"), "inputs", "[{name: rows, reference: fetch.rows}]"):
            name = self._name_of(part, "an input", _INPUT, inputs)
            what = f"input {name!r} of node {node_id!r}"
            if name in over:
                raise source.error(f"{what} is also in its map's over: leave one of them", part, name)
            inputs[name] = self._given(part, what, name, _INPUT)
            self._places[node_id, "input", name] = part
            said = source.fields(part, what, _INPUT, empty=("default", "value"))
            if "default" in said:
                defaults[name] = source.value(said["default"])
            if "description" in said:
                self.notes[node_id, "inputs", name] = source.text(said["description"], "description")
        if made["kind"] == "branch" and set(inputs) != {"condition"}:
            raise source.error(
                f"branch {node_id!r} has one input: [{{name: condition, reference: node.key}}]",
                fields.get("inputs", fields["id"]),
                "condition",
            )
        return inputs, defaults

    def _outputs(self, node: yaml.Node | None, node_id: str) -> tuple[str, ...] | None:
        if node is None:
            return None
        source, names = self._source, dict[str, None]()
        for part in source.items(node, "outputs", "[{name: rows}]"):
            if isinstance(part, yaml.MappingNode):
                name = self._name_of(part, "an output", ("name", "description"), names)
                said = source.fields(part, "an output", ("name", "description"))
                if "description" in said:
                    self.notes[node_id, "outputs", name] = source.text(said["description"], "description")
            else:
                name = source.text(part, "an output")
            names[name] = None
        return tuple(names)

    def _policy(self, fields: Mapping[str, yaml.Node]) -> Any:
        given = [key for key in ("onfailure", "on_failure") if key in fields]
        if len(given) == 2:
            raise self._source.error(
                "onfailure and on_failure say the same: leave one of them", fields["on_failure"], "on_failure"
            )
        for key in given:
            with self._source.at(fields[key]):
                return settings.on_failure(self._source.value(fields[key]), key)
        return None


def _form(value: Any) -> Form | None:
    """A form from `true`, a question, a JSON schema, or `{question, schema, defaults}`."""
    if not isinstance(value, dict) or not value or not set(value) <= {"question", "schema", "defaults"}:
        return settings.ask(value)
    question, schema = settings.text("question", value.get("question")), value.get("schema")
    if "defaults" not in value:
        return settings.ask({"question": question, "schema": schema})
    for key in ("schema", "defaults"):
        if value.get(key) is not None and not settings.is_text_mapping(value[key]):
            raise ValidationError(f"{key} of ask is a mapping, not {shorten(value[key])}", culprit=key)
    return Form(question, schema, value["defaults"])
