"""From a Python Workflow Definition to a workflow.

The format: https://github.com/pythonworkflow/python-workflow-definition, the models of its version 0.1.
Function nodes become nodes, input nodes inputs of the run, output nodes the result. A `get_dict` or
`get_list` that only gathers what one input takes becomes a dict or list of references in that input.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..actions import ENGINE_INPUTS, LateAction
from ..core.model import RESERVED_IDS, Ref
from ..errors import CycleError, ValidationError, did_you_mean, shorten
from .check import check
from .naming import REQUIRED
from .pwd_functions import HELPERS, SHARED, Functions
from .yaml_source import read

if TYPE_CHECKING:
    from .builder import Workflow

log = logging.getLogger("dagflow_nb")
KNOWN = "0.1"  # the version of the format
_KINDS = ("input", "function", "output")
_PORTS = ("source", "sourcePort", "target", "targetPort")
RESERVED_PORT = "__result__"  # of the format: what `null` stands for inside its own tools


@dataclass(frozen=True, slots=True)
class _Node:
    id: int
    kind: str
    name: str  # of an input or output; of a function `module.function`
    value: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class _Edge:
    number: int
    source: int
    key: str | None
    target: int
    port: str

    def __str__(self) -> str:
        return f"edge {self.number} ({self.source} -> {self.target})"


def load_pwd(source: str | os.PathLike[str] | Mapping[str, Any], module: Any = None) -> Workflow:
    """The workflow of a definition: a JSON file, or what is in one; see `Workflow.from_pwd`."""
    from .builder import Workflow

    file: Path | None = None
    if isinstance(source, Mapping):
        data: Any = source
    else:
        text, name = read(source, "JSON", "*.json", "use Workflow.from_pwd(json.loads(text))")
        file = Path(name)
        data = _parse(text, name)
    definition = _Definition(data, str(file) if file is not None else None)
    workflow = Workflow("workflow" if file is None else file.stem)
    definition.build(workflow, Functions(file, module))
    return workflow


def _parse(text: str, file: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            text = f"the key {twice!r} is there twice in {shorten(found)}: leave one of them"
            raise ValidationError(text, culprit=twice, file=file)
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as bad:
        raise ValidationError(
            f"this is no JSON: {bad.msg} (column {bad.colno})", culprit=file, file=file, line=bad.lineno
        ) from None
    except (RecursionError, ValueError) as bad:
        if isinstance(bad, ValidationError):
            raise
        raise ValidationError(f"this JSON cannot be read: {bad}", culprit=file, file=file) from None


class _Definition:
    """A definition's nodes and edges, each checked."""

    def __init__(self, data: Any, file: str | None) -> None:
        self._file = file
        if not isinstance(data, Mapping):
            self._refuse(f"a definition is an object with nodes and edges, not {shorten(data)}", "nodes")
        if not isinstance(data.get("version", ""), str):
            self._refuse(f"version is a text such as '0.1.0', not {shorten(data['version'])}", "version")
        version = data.get("version", KNOWN)
        if version.split(".")[:2] != KNOWN.split("."):
            text = "%sversion %s of the format is not known here, it is read as %s: look at what comes of it"
            log.warning(text, f"{file}: " if file is not None else "", shorten(version), KNOWN)
        self.nodes: dict[int, _Node] = {}
        for position, said in enumerate(self._list(data, "nodes")):
            node = self._node(position, said)
            if node.id in self.nodes:
                self._refuse(f"two nodes have the id {node.id}: give one of them another", node.id)
            self.nodes[node.id] = node
        self._check_names()
        self.edges = [self._edge(i, said) for i, said in enumerate(self._list(data, "edges"))]
        self._into: dict[int, dict[str, _Edge]] = {id: {} for id in self.nodes}
        self._out: dict[int, list[_Edge]] = {id: [] for id in self.nodes}
        for edge in self.edges:
            if edge.port in self._into[edge.target]:
                first, what = self._into[edge.target][edge.port], self._told(edge.target)
                into = what if self.nodes[edge.target].kind == "output" else f"port {edge.port!r} of {what}"
                self._refuse(f"{first} and {edge} both lead into {into}: take one of them out", edge.target)
            self._into[edge.target][edge.port] = edge
            self._out[edge.source].append(edge)
        for node in self._of("output"):
            if not self._into[node.id]:
                self._refuse(f"no edge leads into {self._told(node.id)}: add one, or take it out", node.id)
        self._gathered = {node.id for node in self.nodes.values() if self._only_gathers(node)}
        self._seen: set[int] = set()  # of these, those that lead to a node

    # --- reading ----------------------------------------------------------------------------------

    def _refuse(self, text: str, culprit: Any) -> NoReturn:
        raise ValidationError(text, culprit=culprit, file=self._file)

    def _list(self, data: Mapping[str, Any], key: str) -> list[Any]:
        if key not in data:
            known = [str(k) for k in data]
            hint = f": {did_you_mean(key, known)}" if known else ""
            self._refuse(f"a definition has a list of {key}, which is missing here{hint}", key)
        if not isinstance(data[key], list | tuple):
            self._refuse(f"{key} is a list, not {shorten(data[key])}", key)
        return list(data[key])

    def _node(self, position: int, said: Any) -> _Node:
        where = f"nodes[{position}]"
        if not isinstance(said, Mapping):
            self._refuse(f"{where} is an object with id and type, not {shorten(said)}", where)
        id = said.get("id")
        if type(id) is not int:
            self._refuse(f"{where} has an id that is a whole number, not {shorten(id)}", where)
        kind = said.get("type")
        if kind not in _KINDS:
            hint = did_you_mean(kind, _KINDS) if isinstance(kind, str) else "one of " + ", ".join(_KINDS)
            if kind == "workflow":
                hint = "a definition in another file is loaded by itself, and added with wf.add(the_workflow)"
            self._refuse(f"node {id} has the type {shorten(kind)}, which is none: {hint}", id)
        if kind == "function":
            return _Node(id, kind, self._function(id, said.get("value")))
        name = said.get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            self._refuse(f"{kind} node {id} has a name, a printable text, not {shorten(name)}", id)
        return _Node(id, kind, name, said.get("value", REQUIRED))

    def _function(self, id: int, value: Any) -> str:
        parts = value.split(".") if isinstance(value, str) else []
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            self._refuse(f"function node {id} has a value 'module.function', not {shorten(value)}", id)
        return str(value)

    def _check_names(self) -> None:
        for kind in ("input", "output"):
            known: dict[str, int] = {}
            for node in self._of(kind):
                if node.name in known:
                    self._refuse(
                        f"the {kind} nodes {known[node.name]} and {node.id} are both called {node.name!r}: "
                        f"give one of them another name",
                        node.name,
                    )
                known[node.name] = node.id

    def _edge(self, number: int, said: Any) -> _Edge:
        where = f"edges[{number}]"
        if not isinstance(said, Mapping):
            self._refuse(f"{where} is an object with source and target, not {shorten(said)}", where)
        for key in said:
            if key not in _PORTS:
                self._refuse(f"{where} has a key {key!r}: {did_you_mean(str(key), _PORTS)}", where)
        ends = []
        for end, never in (("source", "output"), ("target", "input")):
            id = said.get(end)
            if type(id) is not int or id not in self.nodes:
                known = ", ".join(map(str, list(self.nodes)[:10])) or "none"
                self._refuse(
                    f"{where} has a {end} that is the id of a node, not {shorten(id)}: there are {known}"
                    f"{' and more' if len(self.nodes) > 10 else ''}",
                    where,
                )
            if self.nodes[id].kind == never:
                does, can = ("begins", "lead into") if end == "source" else ("ends", "come from")
                text = f"{where} {does} at {self._told(id)}, which an edge can only {can}"
                self._refuse(f"{text}: are source and target mixed up?", where)
            ends.append(id)
        key, port = said.get("sourcePort"), said.get("targetPort")
        if key is not None and not isinstance(key, str):
            self._refuse(f"{where} has a sourcePort that is a text or null, not {shorten(key)}", where)
        if key == RESERVED_PORT:
            self._refuse(f"{where} has the sourcePort {key!r}, which is reserved: write null", where)
        if self.nodes[ends[1]].kind == "output":
            port = ""
        elif not isinstance(port, str) or not port:
            text = f"{where} has a targetPort that names a parameter of {self._told(ends[1])}"
            self._refuse(f"{text}, not {shorten(port)}", where)
        return _Edge(number, ends[0], key, ends[1], port)

    def _of(self, kind: str) -> list[_Node]:
        return [node for node in self.nodes.values() if node.kind == kind]

    def _told(self, id: int) -> str:
        return f"{self.nodes[id].kind} node {id} ({self.nodes[id].name})"

    # --- building ---------------------------------------------------------------------------------

    def _only_gathers(self, node: _Node) -> bool:
        """Whether a node is there only to make a dict or list of what one other node takes."""
        out = self._out[node.id]
        return node.name in HELPERS and bool(self._into[node.id]) and len(out) == 1 and out[0].key is None

    def build(self, workflow: Workflow, functions: Functions) -> None:
        """Adds all of it to an empty workflow."""
        for node in self._of("input"):
            workflow._inputs[node.name] = node.value
        ids: dict[int, str] = {}
        taken = set(RESERVED_IDS)
        for node in self._of("function"):
            if node.id not in self._gathered:
                name = node.name.rpartition(".")[2]
                ids[node.id] = workflow._naming.free_id(name, taken)
                taken.add(ids[node.id])
        known: dict[str, LateAction] = {}
        for number, id in ids.items():
            node = self.nodes[number]
            module, _, function = node.name.rpartition(".")
            if node.name not in known:
                known[node.name] = _late(functions, module, function)
            for port in self._into[number] if module == SHARED else ():
                if port in ENGINE_INPUTS:
                    self._refuse(
                        f"{self._told(number)} has a port {port!r}, a reserved name: rename it", number
                    )
            inputs = {port: self._value(edge, ids) for port, edge in self._into[number].items()}
            workflow.add(known[node.name], id=id, inputs=inputs)
        self._set_result(workflow, ids)
        if astray := sorted(self._gathered - self._seen):
            listed = " and ".join(self._told(id) for id in astray[:3])
            self._refuse(f"{listed} lead only into each other: let one of them lead out", astray[0])
        try:
            check(workflow)
        except CycleError as bad:
            raise CycleError(bad.cycle, file=self._file) from None

    def _set_result(self, workflow: Workflow, ids: Mapping[int, str]) -> None:
        outputs = self._of("output")
        found = {node.name: self._value(self._into[node.id][""], ids) for node in outputs}
        workflow._outputs = tuple(found)
        if len(found) == 1:
            (workflow.result,) = found.values()
        elif found:
            workflow.result = found

    def _value(self, edge: _Edge, ids: Mapping[int, str], depth: int = 0) -> Any:
        """What an edge carries: a reference, or a dict or list of what is gathered."""
        source = self.nodes[edge.source]
        path = () if edge.key is None else (edge.key,)
        if source.kind == "input":
            return Ref("inputs", (source.name, *path))
        if source.id not in self._gathered:
            return Ref(ids[source.id], path)
        if depth > _DEEPEST:
            self._refuse(f"{self._told(source.id)} is nested more than {_DEEPEST} times", source.id)
        self._seen.add(source.id)
        parts = {port: self._value(part, ids, depth + 1) for port, part in self._into[source.id].items()}
        return parts if source.name.endswith(".get_dict") else list(parts.values())


_DEEPEST = 100


def _late(functions: Functions, module: str, function: str) -> LateAction:
    return LateAction(f"{module}.{function}", lambda: functions.find(module, function))
